"""Ctrl-C ends a call that computes.

While Python's main thread is inside the library, its signal handler cannot run. So for the time of such a call another
handler is in place, which only takes a note, and the system's signal is seen by a thread of ours through a pipe
(signal.set_wakeup_fd). That thread cancels the call; when it has returned, KeyboardInterrupt is raised. All this
happens only in the main thread, and only while SIGINT has Python's default handler.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, List, Optional, Tuple

from ._library import lib

#: The call under way: the handle of the model to cancel, and a number that only this call has. At most one.
_active: List[Tuple[Optional[int], object]] = []
_pipe: List[int] = []
#: Signals that came during the call under way.
_noted: List[int] = []
#: The descriptor that someone else wants to be told by; -1 if none.
_former = [-1]


def _note(number: int, frame: Optional[FrameType]) -> None:
    _noted.append(number)


def noted() -> bool:
    """True if Ctrl-C came during the call under way in this thread; its callback should end it."""
    return bool(_noted and _active) and threading.current_thread() is threading.main_thread()


def _watch() -> None:
    while True:
        select.select([_pipe[0]], [], [])
        # Taken before the pipe is read: a byte of an earlier call must not cancel a later one.
        call = _active[0] if _active else None
        try:
            numbers = os.read(_pipe[0], 64)
        except BlockingIOError:
            continue
        if _former[0] >= 0:
            _forward(numbers)
        if signal.SIGINT not in numbers or call is None or call[0] is None:
            continue
        # A cancel that comes before the computation began is lost, so it is said until the call has ended.
        while _active and _active[0] is call:
            lib.rekindle_cancel(call[0])
            time.sleep(0.01)


def _forward(numbers: bytes) -> None:
    try:
        os.write(_former[0], numbers)
    except OSError:
        # Whoever it was has closed it.
        pass


def _start() -> None:
    if _pipe:
        return
    _pipe.extend(os.pipe())
    try:
        for end in _pipe:
            os.set_blocking(end, False)
        threading.Thread(target=_watch, name="rekindle-interrupt", daemon=True).start()
    except RuntimeError:
        for end in _pipe:
            os.close(end)
        _pipe.clear()
        raise


def _forget() -> None:
    """After a fork the child has no thread that watches."""
    _pipe.clear()
    _active.clear()
    _noted.clear()


os.register_at_fork(after_in_child=_forget)


def again() -> None:
    """Sends this process a Ctrl-C that was caught where nothing can be raised, a moment later."""
    later = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
    later.daemon = True
    later.start()


def _applies() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and not _active
    )


def interruptible(model: Optional[int], function: Callable[..., int], *arguments: Any) -> int:
    """Calls a function of the library so that Ctrl-C ends it; `model` is the handle to cancel, or None if a callback
    looks at noted()."""
    if not _applies():
        return function(*arguments)
    _noted.clear()
    try:
        # From here to the end of the second block Ctrl-C raises nothing, so the blocks are left as they should be.
        signal.signal(signal.SIGINT, _note)
    except ValueError:
        # Another interpreter: it sees no signals.
        return function(*arguments)
    try:
        _arm()
        _active.append((model, object()))
        # A signal from before that line is noted by now; one from behind it finds the call.
        status = 0 if _noted else function(*arguments)
    finally:
        _active.clear()
        signal.set_wakeup_fd(_former[0])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted = bool(_noted)
        _noted.clear()
    if interrupted:
        raise KeyboardInterrupt
    return status


def _arm() -> None:
    """Lets the thread see signals, but none of earlier calls."""
    try:
        _start()
        _former[0] = signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    except (OSError, RuntimeError):
        # No descriptors or threads are left: Ctrl-C waits for the end of the call.
        _former[0] = signal.set_wakeup_fd(-1)
        return
    _drain()


def _drain() -> None:
    try:
        while os.read(_pipe[0], 64):
            pass
    except BlockingIOError:
        pass


class Raising:
    """Around a host's code in a callback: there Ctrl-C raises KeyboardInterrupt as everywhere."""

    def __enter__(self) -> None:
        self.swapped = bool(_active) and threading.current_thread() is threading.main_thread()
        if self.swapped:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self.swapped:
            signal.signal(signal.SIGINT, _note)
