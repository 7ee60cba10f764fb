"""The parts of Model that all its files use."""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

from . import _interrupt
from ._handle import Object
from ._library import lib
from ._rows import Writes
from .errors import check, raise_held


class ModelBase(Object):
    """A model's handle, and the calls that change it."""

    def __init__(self, handle: int, keep: Tuple[Any, ...]) -> None:
        super().__init__(handle, lib.rekindle_model_destroy, keep)
        self._writes = Writes()
        # What the library may call that came later: a draft's log, say.
        self._guests: List[Any] = []

    def _write(self, function: Callable[..., int], *arguments: Any, check: Callable[[int], None] = check) -> None:
        """A call that changes the model. Ctrl-C ends it, and rows that were looked at are stale."""
        handle = self._handle
        self._writes.another()
        check(_interrupt.interruptible(handle, function, handle, *arguments))

    def close(self) -> None:
        """Gives the model's memory back; if views of rows live, when the last of them is gone. A call that is still
        using the model in another thread goes on."""
        owner, self._owner = self._owner, None
        # A view that another thread makes now is registered first, and then finds the model closed.
        if owner is not None and not owner.views:
            owner.end()
        raise_held()
