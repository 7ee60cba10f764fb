"""Python's values as those of C, and back: numbers with their ranges, texts, arrays, structs.

ctypes cuts integers that are too large without a word, so every one is checked before it goes in.
"""

from __future__ import annotations

import array
import ctypes
import operator
import os
from enum import IntEnum
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from . import _abi
from .enums import Status
from .errors import NotFoundError, check, invalid

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
E = TypeVar("E", bound=IntEnum)

RANGES: Dict[Any, Tuple[int, int]] = {
    ctypes.c_int32: (-(2**31), 2**31 - 1),
    ctypes.c_uint32: (0, 2**32 - 1),
    ctypes.c_int64: (-(2**63), 2**63 - 1),
    ctypes.c_uint64: (0, 2**64 - 1),
    ctypes.c_size_t: (0, 2**64 - 1),
}


def integer(value: Any, kind: Any, name: str) -> int:
    """An integer that the C type holds."""
    try:
        number = operator.index(value)
    except TypeError:
        raise invalid(name, f"is {value!r}, expected an integer") from None
    low, high = RANGES[kind]
    if not low <= number <= high:
        raise invalid(name, f"is {number}, expected {low} to {high}")
    return number


def i32(value: Any, name: str) -> int:
    return integer(value, ctypes.c_int32, name)


def u32(value: Any, name: str) -> int:
    return integer(value, ctypes.c_uint32, name)


def member(enum: Type[E], value: Union[E, int, str], name: str) -> int:
    """A number of an enumeration, which may be given by its name: "q8_0"."""
    if not isinstance(value, str):
        return i32(value, name)
    key = value.upper().replace("-", "_")
    if key not in enum.__members__:
        raise invalid(name, f"is {value!r}, expected one of {', '.join(m.lower() for m in enum.__members__)}")
    return int(enum.__members__[key])


def utf8(text: Union[str, bytes], name: str) -> bytes:
    """A text for the library, which checks that bytes are UTF-8."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise invalid(name, f"is {type(text).__name__}, expected str")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise invalid(name, f"cannot be UTF-8: {e}") from None


def path_of(path: Path) -> bytes:
    """A path as the file system's bytes."""
    return os.fsencode(path)


def sized(kind: Type[Any]) -> Any:
    """A struct of that kind, all zero but for its size."""
    return kind(struct_size=ctypes.sizeof(kind))


def put_text(struct: Any, name: str, text: Optional[Union[str, bytes]], keep: List[Any]) -> None:
    """Sets a text and its length in a struct; `keep` must live as long as the struct is used."""
    if text is not None:
        data = utf8(text, name)
        keep.append(data)
        setattr(struct, name, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p))
        setattr(struct, f"{name}_len", len(data))


def known(options: Mapping[str, Any], wishes: Any) -> Dict[str, Any]:
    """The options that are not None. TypeError: `wishes`, a TypedDict, has no such option."""
    for name in options:
        if name not in wishes.__annotations__:
            raise TypeError(f"there is no option {name!r}")
    return {name: value for name, value in options.items() if value is not None}


def put_numbers(struct: Any, options: Mapping[str, Any], enums: Mapping[str, Type[IntEnum]]) -> None:
    """Sets the numbers of a struct by name."""
    kinds = dict((f[0], f[1]) for f in struct._fields_)
    for name, value in options.items():
        if name in enums:
            setattr(struct, name, member(enums[name], value, name))
        elif kinds[name] in RANGES:
            setattr(struct, name, integer(value, kinds[name], name))
        else:
            try:
                setattr(struct, name, float(value))
            except (TypeError, ValueError):
                raise invalid(name, f"is {value!r}, expected a number") from None


def int32s(values: Any, name: str) -> Tuple[Any, int]:
    """A C array of 32-bit integers and its length. Arrays of that type, numpy's too, are copied at once."""
    try:
        view = memoryview(values)
        if view.format in ("i", "l", "<i", "<l") and view.itemsize == 4 and view.ndim == 1 and view.c_contiguous:
            return (ctypes.c_int32 * len(view)).from_buffer_copy(view.cast("B")), len(view)
    except TypeError:
        pass
    try:
        data = array.array("i", values if isinstance(values, (list, tuple)) else [operator.index(v) for v in values])
    except (TypeError, OverflowError) as e:
        raise invalid(name, f"must be integers of 32 bits: {e}") from None
    return (ctypes.c_int32 * len(data)).from_buffer(data) if data else (ctypes.c_int32 * 0)(), len(data)


def floats(values: Iterable[float], name: str) -> Tuple[Any, int]:
    """A C array of floats and its length."""
    try:
        view = memoryview(values)  # type: ignore[arg-type]
        if view.format in ("f", "<f") and view.ndim == 1 and view.c_contiguous:
            return (ctypes.c_float * len(view)).from_buffer_copy(view.cast("B")), len(view)
    except TypeError:
        pass
    try:
        data = [float(v) for v in values]
    except (TypeError, ValueError) as e:
        raise invalid(name, f"must be numbers: {e}") from None
    return (ctypes.c_float * len(data))(*data), len(data)


def texts(values: Sequence[Union[str, bytes]], name: str) -> Tuple[Any, Any, int]:
    """A C array of texts, one of their lengths, and their number."""
    if isinstance(values, (str, bytes)):
        raise invalid(name, "is one text, expected a list of texts")
    data = [utf8(v, name) for v in values]
    return (ctypes.c_char_p * len(data))(*data), (ctypes.c_size_t * len(data))(*map(len, data)), len(data)


def bytes_from(function: Callable[..., int], *arguments: Any) -> bytes:
    """A text of unknown length: calls with a buffer, and once more with a larger one if that was too small."""
    needed = ctypes.c_size_t()
    capacity = 1024
    while True:
        buffer = (ctypes.c_char * capacity)()
        status = function(*arguments, buffer, capacity, ctypes.byref(needed))
        if status != Status.BUFFER_TOO_SMALL or needed.value <= capacity:
            check(status)
            return buffer.raw[: needed.value - 1]
        capacity = needed.value


def text_from(function: Callable[..., int], *arguments: Any) -> str:
    return bytes_from(function, *arguments).decode("utf-8", "replace")


def listed(function: Any, *arguments: Any) -> List[str]:
    """Texts by index, until there are no more."""
    result: List[str] = []
    while True:
        try:
            result.append(text_from(function, *arguments, len(result)))
        except NotFoundError:
            return result


def array_from(kind: Any, capacity: int, function: Callable[..., int], *arguments: Any) -> Any:
    """An array of unknown length; `capacity` is the first guess."""
    needed = ctypes.c_size_t()
    while True:
        buffer = (kind * capacity)()
        status = function(*arguments, buffer, capacity, ctypes.byref(needed))
        if status != Status.BUFFER_TOO_SMALL or needed.value <= capacity:
            check(status)
            return (kind * needed.value).from_buffer(buffer)
        capacity = needed.value


def text_at(address: Optional[int], length: int) -> str:
    """The text of so many bytes at an address."""
    return ctypes.string_at(address, length).decode("utf-8", "replace") if address and length else ""


def read(kind: Type[Any], function: Callable[..., int], *arguments: Any) -> Any:
    """A struct that the library fills."""
    struct = sized(kind)
    check(function(*arguments, ctypes.byref(struct)))
    return struct


def logprobs(function: Callable[..., int], handle: int, distribution: int) -> Any:
    """The chosen token's log-probability and those of the likeliest, of a sampler or a generation."""
    chosen = _abi.rekindle_logprob()
    return chosen, array_from(_abi.rekindle_logprob, 32, function, handle, distribution, ctypes.byref(chosen))
