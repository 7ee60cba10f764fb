"""Sequences of a model: the texts whose keys and values its KV cache holds, and saving them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Optional, Sequence, Union

from . import _callbacks
from ._base import ModelBase
from ._library import lib
from ._values import Path, array_from, floats, i32, path_of, u32
from .errors import check, check_file

Buffer = Union[bytes, bytearray, memoryview]


def position(value: Optional[int], name: str) -> int:
    """A position; None stands for the start or the end."""
    return -1 if value is None else i32(value, name)


class Sequences(ModelBase):
    """The part of Model about sequences. Ids go from 0 to n_seq_max - 1; positions and lengths are in tokens.

    All that changes a sequence raises BusyError while another call changes the model.
    """

    def seq_remove(self, seq: Optional[int] = None, start: Optional[int] = None, end: Optional[int] = None) -> None:
        """Forgets positions start to end - 1 of a sequence, by default all; of every sequence if `seq` is None.

        UnsupportedError: recurrent layers would have to forget tokens before others. seq_cut cuts where it can be.
        """
        self._write(lib.rekindle_seq_remove, position(seq, "seq"), position(start, "start"), position(end, "end"))

    def seq_cut(self, seq: int, length: int) -> int:
        """Cuts the tail of a sequence to the longest part of its first `length` positions from whose end it can go
        on, and gives the length of that part. The rest is to be decoded again."""
        reached = ctypes.c_uint32()
        self._write(lib.rekindle_seq_cut, i32(seq, "seq"), u32(length, "length"), ctypes.byref(reached))
        return reached.value

    def seq_checkpoint(self, seq: int) -> None:
        """Takes a checkpoint of a sequence at its end, to which seq_cut can go back. Models without recurrent layers
        need none, and nothing happens."""
        self._write(lib.rekindle_seq_checkpoint, i32(seq, "seq"))

    def seq_leave(self, seq: int) -> None:
        """Leaves a sequence that the host has filled to generations: they may go on from it, and forget it."""
        self._write(lib.rekindle_seq_leave, i32(seq, "seq"))

    def seq_copy(self, source: int, target: int, start: Optional[int] = None, end: Optional[int] = None) -> None:
        """Makes a sequence the same as positions start to end - 1 of another one. Both share the cells, so this costs
        no memory. What the target had is forgotten."""
        places = position(start, "start"), position(end, "end")
        self._write(lib.rekindle_seq_copy, i32(source, "source"), i32(target, "target"), *places)

    def seq_keep(self, seq: int) -> None:
        """Forgets every sequence but this one."""
        self._write(lib.rekindle_seq_keep, i32(seq, "seq"))

    def seq_shift(self, seq: int, start: Optional[int], end: Optional[int], delta: int) -> None:
        """Adds `delta` to positions start to end - 1 of a sequence. To drop the oldest n tokens of a full context:
        seq_remove(s, 0, n), then seq_shift(s, n, None, -n). UnsupportedError: see info.can_shift."""
        places = position(start, "start"), position(end, "end")
        self._write(lib.rekindle_seq_shift, i32(seq, "seq"), *places, i32(delta, "delta"))

    def seq_length(self, seq: int) -> int:
        """The last position of a sequence plus one, 0 if it is empty."""
        length = ctypes.c_uint32()
        check(lib.rekindle_seq_length(self._handle, i32(seq, "seq"), ctypes.byref(length)))
        return length.value

    @property
    def n_free(self) -> int:
        """The tokens that the KV cache still has room for, of all sequences together."""
        free = ctypes.c_uint32()
        check(lib.rekindle_n_free(self._handle, ctypes.byref(free)))
        return free.value

    def seq_set_adapters(self, seq: int, scales: Sequence[float]) -> None:
        """Sets the scales of the model's adapters, in their order, for the tokens of a sequence, which must be empty.
        Those that are not given are 0."""
        array, n = floats(scales, "scales")
        self._write(lib.rekindle_seq_set_adapters, i32(seq, "seq"), array, n)

    def seq_save(self, seq: int) -> bytes:
        """What the model remembers of a sequence, as bytes. They load on other devices and with another n_ctx, but not
        in another model or with another type of cache."""
        handle, number = self._handle, i32(seq, "seq")

        def save(*arguments: Any) -> int:
            # `array_from` calls until the buffer is large enough.
            from ._interrupt import interruptible

            return interruptible(handle, lib.rekindle_seq_save, handle, number, *arguments)

        self._writes.another()
        return bytes(array_from(ctypes.c_uint8, 0, save))

    def seq_load(self, seq: int, saved: Buffer) -> None:
        """Puts a saved sequence in place of what `seq` has; an error leaves that as it was.

        BadFileError: the bytes are damaged. UnsupportedError: they are of another model, version or type of cache.
        """
        data = saved if isinstance(saved, bytes) else bytes(saved)
        pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
        self._write(lib.rekindle_seq_load, i32(seq, "seq"), pointer, len(data))

    def seq_save_file(self, seq: int, path: Path, progress: Optional[_callbacks.Progress] = None) -> None:
        """Saves a sequence to a file. An error leaves what was there under that name. `progress` gets the share that
        is done; to return False cancels."""
        self._with_file(lib.rekindle_seq_save_file, seq, path, progress)

    def seq_load_file(self, seq: int, path: Path, progress: Optional[_callbacks.Progress] = None) -> None:
        """Loads a sequence from a file, as seq_load does. FileMissingError and the like: it cannot be read."""
        self._with_file(lib.rekindle_seq_load_file, seq, path, progress)

    def _with_file(self, function: Any, seq: int, path: Path, progress: Optional[_callbacks.Progress]) -> None:
        name, callback = path_of(path), _callbacks.progress(progress)
        check = functools.partial(check_file, path=name)
        self._write(function, i32(seq, "seq"), name, len(name), callback, None, check=check)
