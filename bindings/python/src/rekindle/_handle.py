"""Handles of the library: who owns them, and when they end.

An `Owner` destroys its handle once: when it is told to, when nobody refers to it any more, or when the interpreter
ends. Objects of the library keep alive what they need there, so objects may be closed in any order. What C calls in
Python (a log, a step of a sampler) is kept as long as something may call it.
"""

from __future__ import annotations

import ctypes
import weakref
from types import TracebackType
from typing import Any, Callable, Optional, Sequence, Set, Tuple, Type, TypeVar

from . import _interrupt
from .enums import Status
from .errors import ClosedError, check, raise_held

S = TypeVar("S", bound="Object")


def _destroy(function: Callable[[int], int], handle: int, keep: Tuple[Any, ...]) -> None:
    try:
        function(handle)
    except KeyboardInterrupt:
        # Python ignores what is raised where the last reference goes, so it comes once more.
        _interrupt.again()


class Owner:
    """A handle, the function that destroys it, and what must live until then."""

    def __init__(self, handle: int, destroy: Callable[[int], int], keep: Tuple[Any, ...]) -> None:
        self.handle = handle
        self.keep = keep
        #: The views of its memory that live.
        self.views: Set[weakref.ref[View]] = set()
        self._end = weakref.finalize(self, _destroy, destroy, handle, keep)

    def end(self) -> None:
        """Destroys the handle now."""
        left = self._end.detach()
        if left is not None:
            _, _, (destroy, handle, _), _ = left
            destroy(handle)


class View:
    """What a view of an owner's memory has to keep. The owner ends with the last of them at the earliest."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        owner.views.add(weakref.ref(self, owner.views.discard))


class Object:
    """An object of the library. Closing it twice does nothing; its methods raise ClosedError afterwards."""

    def __init__(self, handle: int, destroy: Callable[[int], int], keep: Tuple[Any, ...] = ()) -> None:
        self._owner: Optional[Owner] = Owner(handle, destroy, keep)
        # A call in another thread may still use these when the object is closed.
        self._keep = keep

    def _owned(self) -> Owner:
        """The owner of the handle. ClosedError: the object was closed."""
        owner = self._owner
        if owner is None:
            raise ClosedError(Status.BAD_HANDLE, f"this {type(self).__name__} is closed")
        return owner

    @property
    def _handle(self) -> int:
        return self._owned().handle

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._owner is None

    def close(self) -> None:
        """Ends the object now. Otherwise that happens when nobody refers to it any more."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.end()
            raise_held()

    def __enter__(self: S) -> S:
        self._owned()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rekindle.{type(self).__name__}{' (closed)' if self.closed else ''}>"


def created(
    destroy: Callable[[Any], int], function: Callable[..., int], *arguments: Any, check: Callable[[int], None] = check
) -> int:
    """Calls a function whose last argument gets a new handle. If anything is raised, the handle is destroyed."""
    out = ctypes.c_void_p()
    try:
        check(function(*arguments, ctypes.byref(out)))
    except BaseException:
        if out.value:
            destroy(out.value)
        raise
    assert out.value is not None
    return out.value


def handles(objects: Sequence[Any]) -> Any:
    """A C array of objects' handles."""
    return (ctypes.c_void_p * len(objects))(*(o._handle for o in objects))
