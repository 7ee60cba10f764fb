"""Python functions as callbacks of C. What they raise ends the call, and is raised again when that has returned."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, Callable, Optional

from . import _abi, _interrupt
from .enums import LogLevel
from .errors import hold

#: Gets the share that is done, 0 to 1. To return False, or to raise, cancels.
Progress = Callable[[float], object]
#: Gets a token (-1 for text that is left at the end) and the text that it completes. To return False stops.
OnPiece = Callable[[int, str], object]

LEVELS = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARN: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
}


def guarded(function: Callable[[], object]) -> int:
    """Runs a host's code: 0 to go on, 1 to end the call."""
    try:
        if _interrupt.noted():
            return 1
        with _interrupt.Raising():
            return int(function() is False)
    except BaseException as e:
        hold(e)
        return 1


def progress(callback: Optional[Progress]) -> Any:
    """A rekindle_progress_fn. It is needed without a callback too, so that Ctrl-C ends the call."""

    def call(_: Any, done: float) -> int:
        return guarded(lambda: callback(done) if callback else None)

    return _abi.rekindle_progress_fn(call)


def log(logger: logging.Logger) -> Any:
    """A rekindle_log_fn. It is called from any thread, and cannot end anything."""

    def call(_: Any, level: int, message: Optional[bytes]) -> None:
        try:
            logger.log(LEVELS.get(LogLevel(level), logging.INFO), "%s", (message or b"").decode("utf-8", "replace"))
        except BaseException as e:
            # In the host's thread the call that has logged raises it; in the library's nobody could catch it.
            if isinstance(threading.current_thread(), threading._DummyThread):
                sys.unraisablehook(sys.UnraisableHookArgs((type(e), e, e.__traceback__, None, logger)))  # type: ignore
            else:
                hold(e)

    return _abi.rekindle_log_fn(call)


def log_level(logger: logging.Logger) -> LogLevel:
    """The library's level that tells what the logger wants to hear."""
    for level in (LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARN):
        if logger.isEnabledFor(LEVELS[level]):
            return level
    return LogLevel.ERROR
