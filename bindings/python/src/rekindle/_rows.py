"""Rows of logits and embeddings, looked at where the library has them.

A view belongs to the batch that left it. The next call that changes the model writes over its numbers, so a view
knows which calls have been made since: a memoryview is released by such a call, and an array of numpy refuses to be
looked at (StaleViewError). Memory never goes away below a view: a model that is closed while views of it live gives its
memory back when the last of them is gone.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, List, Union

from ._handle import Owner, View

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    #: An array of numpy if that is installed, else a memoryview of floats ("f"). Both are read-only.
    Row = Union[NDArray[numpy.float32], memoryview]


class StaleViewError(ValueError):
    """A view of a row was looked at after a later call had changed the model. Copy rows that shall stay."""


class Writes:
    """The number of calls that have changed a model, and the views that the next one makes stale."""

    def __init__(self) -> None:
        self.count = 0
        self._views: List[weakref.ref[Any]] = []

    def another(self) -> None:
        """Says that a call changes the model now."""
        self.count += 1
        views, self._views = self._views, []
        for view in views:
            alive = view()
            if alive is not None:
                try:
                    alive.release()
                except BufferError:
                    # A view of this view keeps it; that one shows what comes.
                    pass

    def releases(self, view: Any) -> None:
        """Says that the next such call makes a view stale."""
        self._views.append(weakref.ref(view))


def held(address: int, length: int, owner: Owner) -> Any:
    """A C array of the floats at an address, which keeps the memory."""
    buffer: Any = (ctypes.c_float * length).from_address(address)
    buffer.kept = View(owner)
    return buffer


def row(buffer: Any, writes: Writes, copy: bool) -> Any:
    """A row of floats: a copy, or a view that is good until the next call that changes the model."""
    if copy:
        return owned((ctypes.c_float * len(buffer)).from_buffer_copy(buffer))
    numpy_array = array_type()
    if numpy_array is not None:
        return numpy_array.over(buffer, writes)
    view = memoryview(buffer).cast("B").cast("f").toreadonly()
    writes.releases(view)
    return view


def owned(buffer: Any) -> Any:
    """An array of floats that belongs to Python, as numpy's array or as a memoryview."""
    try:
        import numpy
    except ImportError:
        return memoryview(buffer).cast("B").cast("f")
    return numpy.frombuffer(buffer, dtype=numpy.float32)


_array_type: List[Any] = []


def array_type() -> Any:
    """The class of guarded arrays; None without numpy. numpy is imported at the first row, not before."""
    if not _array_type:
        try:
            from ._guarded import GuardedRow
        except ImportError:
            _array_type.append(None)
        else:
            _array_type.append(GuardedRow)
    return _array_type[0]
