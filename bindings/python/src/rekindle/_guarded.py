"""numpy's array over memory of a model, which refuses to show what a later call has written there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional

import numpy

from ._rows import StaleViewError, Writes

if TYPE_CHECKING:
    from typing_extensions import Self

#: Methods that numpy runs without asking __array_ufunc__ or __array_function__.
METHODS = (
    "argmax argmin argpartition argsort astype copy diagonal dot dump dumps flatten item nonzero ravel repeat reshape "
    "searchsorted sort take tobytes tofile tolist trace transpose __array__ __contains__ __float__ __getitem__ "
    "__iter__ __copy__ __deepcopy__ __reduce__ __reduce_ex__ __repr__ __str__ __format__"
).split()


class GuardedRow(numpy.ndarray):
    """A read-only row of floats that is good until the next call that changes its model: StaleViewError after that.

    `current` tells if it is still good. What is computed from it (and copy()) is a plain array. Views made of it are
    guarded as well. numpy.asarray(row) and numpy.array(row) do not ask; the former is a plain array over the same
    memory.
    """

    _writes: Optional[Writes] = None
    _count = 0

    @classmethod
    def over(cls, buffer: Any, writes: Writes) -> Self:
        array = numpy.frombuffer(buffer, dtype=numpy.float32).view(cls)
        array._writes, array._count = writes, writes.count
        array.flags.writeable = False
        return array

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, GuardedRow):
            self._writes, self._count = source._writes, source._count

    @property
    def current(self) -> bool:
        """True until the next call that changes the model."""
        return self._writes is None or self._writes.count == self._count

    def _plain(self) -> Any:
        if not self.current:
            raise StaleViewError("this row belongs to an earlier batch; copy rows that shall stay (copy=True)")
        return self.view(numpy.ndarray)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*map(plain, inputs), **{k: plain(v) for k, v in options.items()})

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        return function(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})


def plain(value: Any) -> Any:
    """Guarded rows as plain arrays, also in lists and tuples."""
    if isinstance(value, GuardedRow):
        return value._plain()
    if isinstance(value, (list, tuple)) and any(isinstance(v, GuardedRow) for v in value):
        return type(value)(map(plain, value))
    return value


def _guard(name: str) -> None:
    original = getattr(numpy.ndarray, name, None)
    if original is None:
        return

    def method(self: GuardedRow, *args: Any, **options: Any) -> Any:
        result = getattr(self._plain(), name)(*args, **options)
        if isinstance(result, numpy.ndarray) and result.base is not None and numpy.may_share_memory(result, self):
            shared = result.view(GuardedRow)
            shared._writes, shared._count = self._writes, self._count
            return shared
        return result

    method.__name__ = name
    setattr(GuardedRow, name, method)


for _name in METHODS:
    _guard(_name)
