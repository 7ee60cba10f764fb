"""Files: the keys and tensors of a GGUF file, read without loading anything."""

from __future__ import annotations

import ctypes
import functools
import json
import os
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Sequence, Union

from . import _abi
from ._handle import Object, created
from ._library import lib
from ._values import Path, path_of, read, text_from, texts, u32, utf8
from .enums import ValueType
from .errors import NotFoundError, check, check_file
from .info import AdapterInfo, FileInfo, KeyInfo, TensorInfo
from .vocab import Vocab

if TYPE_CHECKING:
    from .context import Context

Value = Union[int, float, bool, str]

INTEGERS = {
    ValueType.U8,
    ValueType.I8,
    ValueType.U16,
    ValueType.I16,
    ValueType.U32,
    ValueType.I32,
    ValueType.U64,
    ValueType.I64,
}


class File(Object):
    """A GGUF file, its header checked, its data mapped. Plans and models that are made from it outlive it.

    The files on disk must not be changed or cut short meanwhile, since they are memory of the process; to remove them,
    or to rename others over them, is fine. A file never changes, so all methods may run at the same time.
    """

    @classmethod
    def open(
        cls,
        context: Context,
        path: Path,
        overrides: Optional[Union[str, Mapping[str, Value]]] = None,
        adapters: Sequence[Path] = (),
    ) -> File:
        """Opens the file at `path`; the first of several splits opens them all. This takes milliseconds.

        `overrides` are values in place of those that keys have: {"tokenizer.ggml.pre": "qwen2"}. `adapters` are paths
        of LoRAs and control vectors, which are put beside the model in this order.

        FileMissingError and the like, if a file cannot be opened; BadFileError, if it is not well-formed.
        """
        name = path_of(path)
        text = b"" if overrides is None else utf8(json_of(overrides), "overrides")
        check = functools.partial(check_file, path=name)
        function, destroy = lib.rekindle_file_open_with, lib.rekindle_file_close
        handle = created(destroy, function, context._handle, name, len(name), text, len(text), check=check)
        file = cls(handle, destroy, context._keep)
        return file.adapted(context, adapters) if adapters else file

    def adapted(self, context: Context, paths: Sequence[Path]) -> File:
        """Another file with LoRAs and control vectors beside this one, behind those that it has. This one stays as
        it is. Nothing changes until a sequence or a generation gets scales."""
        listed = [path_of(p) for p in paths]
        arrays = texts(listed, "paths")
        # Of several the error's text says which one it is.
        suspect = next((p for p in listed if not os.path.exists(p)), b"".join(listed[:1]))
        check = functools.partial(check_file, path=suspect)
        function, destroy = lib.rekindle_file_adapt, lib.rekindle_file_close
        return File(
            created(destroy, function, context._handle, self._handle, *arrays, check=check), destroy, self._keep
        )

    @property
    def info(self) -> FileInfo:
        """Architecture, sizes, and the numbers of keys and tensors."""
        return FileInfo.of(read(_abi.rekindle_file_info, lib.rekindle_file_get_info, self._handle))

    @property
    def keys(self) -> Keys:
        """The keys, as a mapping from names to values."""
        return Keys(self)

    @property
    def tensors(self) -> List[TensorInfo]:
        """The tensors in the file's order."""
        return [
            TensorInfo.of(read(_abi.rekindle_tensor_info, lib.rekindle_file_get_tensor, self._handle, i))
            for i in range(self.info.n_tensors)
        ]

    @property
    def adapters(self) -> List[AdapterInfo]:
        """The LoRAs and control vectors beside the model."""
        result: List[AdapterInfo] = []
        while True:
            try:
                s = read(_abi.rekindle_adapter_info, lib.rekindle_file_get_adapter, self._handle, len(result))
            except NotFoundError:
                return result
            result.append(AdapterInfo.of(s))

    def vocab(self) -> Vocab:
        """The file's vocabulary with its tokeniser; no model needs to be loaded."""
        return Vocab(created(lib.rekindle_vocab_destroy, lib.rekindle_vocab_create, self._handle), self._keep)


class Keys(Mapping[str, Any]):
    """The keys of a file: a mapping from names to values. Numbers are int, float or bool, texts str; arrays are texts
    of at most 1000 elements ("[1, 2, …]"), since vocabularies are arrays."""

    def __init__(self, file: File) -> None:
        self._file = file

    def _index(self, name: str) -> int:
        index, text = ctypes.c_uint32(), utf8(name, "name")
        check(lib.rekindle_file_find_key(self._file._handle, text, len(text), ctypes.byref(index)))
        return index.value

    def info(self, name: str) -> KeyInfo:
        """The type of a key's value and the number of its elements. NotFoundError: there is no such key."""
        return self._info(self._index(name))

    def _info(self, index: int) -> KeyInfo:
        return KeyInfo.of(read(_abi.rekindle_key_info, lib.rekindle_file_get_key, self._file._handle, index))

    def text(self, name: str, max_elements: int = 1000) -> str:
        """A key's value as text, of an array at most so many elements."""
        handle, index = self._file._handle, self._index(name)
        return text_from(lib.rekindle_file_key_text, handle, index, u32(max_elements, "max_elements"))

    def __getitem__(self, name: str) -> Union[Value, str]:
        try:
            index = self._index(name)
        except NotFoundError as e:
            raise KeyError(name) from e
        kind = self._info(index).value_type
        handle = self._file._handle
        if kind in INTEGERS or kind == ValueType.BOOL:
            if kind == ValueType.U64:
                return int(text_from(lib.rekindle_file_key_text, handle, index, 0))
            whole = ctypes.c_int64()
            check(lib.rekindle_file_key_integer(handle, index, ctypes.byref(whole)))
            return bool(whole.value) if kind == ValueType.BOOL else whole.value
        if kind in (ValueType.F32, ValueType.F64):
            number = ctypes.c_double()
            check(lib.rekindle_file_key_number(handle, index, ctypes.byref(number)))
            return number.value
        return text_from(lib.rekindle_file_key_text, handle, index, 1000)

    def __iter__(self) -> Iterator[str]:
        return (self._info(i).name for i in range(len(self)))

    def __len__(self) -> int:
        return self._file.info.n_keys


def json_of(value: Any) -> Union[str, bytes]:
    """A JSON text: texts as they are, other values written."""
    return value if isinstance(value, (str, bytes)) else json.dumps(value, ensure_ascii=False)
