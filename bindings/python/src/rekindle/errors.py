"""Errors as exceptions: one class for each status, all of them `Error`."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import Any, Dict, Optional, Tuple, Type, Union

from . import _abi
from ._library import lib
from .enums import Status

__all__ = [
    "AbiMismatchError",
    "BadFileError",
    "BufferTooSmallError",
    "BusyError",
    "CancelledError",
    "ClosedError",
    "ContextFullError",
    "DeviceError",
    "Error",
    "FileError",
    "FileForbiddenError",
    "FileMissingError",
    "InternalError",
    "InvalidArgumentError",
    "NotFitError",
    "NotFoundError",
    "OutOfMemoryError",
    "UnsupportedError",
]


class Error(Exception):
    """A call that failed. It changed nothing, unless the documentation of that call says otherwise."""

    def __init__(
        self,
        status: Status,
        message: str,
        device: Optional[int] = None,
        needed: int = 0,
        available: int = 0,
        subject: str = "",
    ) -> None:
        super().__init__(message)
        #: The library's number and name of what happened.
        self.status = status
        self.message = message
        #: The device at fault, by its place in the context; None if none is.
        self.device = device
        #: The bytes that were needed and those that there were (tokens, if the context is full); 0 if not said.
        self.needed = needed
        self.available = available
        #: The key, tensor, parameter or field at fault; empty if none is.
        self.subject = subject

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.status, self.message, self.device, self.needed, self.available, self.subject)


class InvalidArgumentError(Error, ValueError):
    """An argument, field or text is not what it must be; the message names it and what was expected."""


class OutOfMemoryError(Error, MemoryError):
    """Memory, or another resource of the system, could not be had."""


class FileError(Error, OSError):
    """A file could not be read or written. `filename` and `errno` are set where they are known."""


class FileMissingError(FileError, FileNotFoundError):
    """There is no such file."""


class FileForbiddenError(FileError, PermissionError):
    """The file may not be read."""


class BadFileError(Error, ValueError):
    """A file is not well-formed, or contradicts itself; the message names the key or tensor."""


class UnsupportedError(Error):
    """Something is well-formed but asks for what this library, or this model, cannot do."""


class NotFitError(Error):
    """The model does not fit on the devices; the plan says what is missing and what would help."""


class ContextFullError(Error):
    """The KV cache has too few free cells; `needed` and `available` are tokens."""


class CancelledError(Error):
    """The call was ended by cancel() or by a callback."""


class BusyError(Error):
    """Another call is using this object, or the call that this callback belongs to."""


class BufferTooSmallError(Error):
    """A buffer was too small. The package makes buffers large enough, so this is not expected."""


class NotFoundError(Error, LookupError):
    """There is no such key, tensor, template or index."""


class AbiMismatchError(Error):
    """The package is newer than the library."""


class ClosedError(Error, ValueError):
    """The object was closed."""


class InternalError(Error):
    """The library has a defect. The object may be closed, and everything else goes on."""


class DeviceError(Error):
    """A device or its driver failed."""


CLASSES: Dict[Status, Type[Error]] = {
    Status.INVALID_ARGUMENT: InvalidArgumentError,
    Status.OUT_OF_MEMORY: OutOfMemoryError,
    Status.IO: FileError,
    Status.BAD_FILE: BadFileError,
    Status.UNSUPPORTED: UnsupportedError,
    Status.NOT_FIT: NotFitError,
    Status.CONTEXT_FULL: ContextFullError,
    Status.CANCELLED: CancelledError,
    Status.BUSY: BusyError,
    Status.BUFFER_TOO_SMALL: BufferTooSmallError,
    Status.NOT_FOUND: NotFoundError,
    Status.ABI_MISMATCH: AbiMismatchError,
    Status.BAD_HANDLE: ClosedError,
    Status.INTERNAL: InternalError,
    Status.DEVICE: DeviceError,
}


class _Held(threading.local):
    exception: Optional[BaseException] = None


_held = _Held()


def hold(exception: BaseException) -> None:
    """Keeps what a callback raised in this thread until the call that it belongs to has returned."""
    if _held.exception is None:
        _held.exception = exception


def raise_held() -> None:
    """Raises what a callback of the call that has returned raised."""
    exception, _held.exception = _held.exception, None
    if exception is not None:
        raise exception


def last_error(status: int, kind: Optional[Type[Error]] = None) -> Error:
    """This thread's last error, of the class for its status."""
    detail = _abi.rekindle_error_detail(struct_size=ctypes.sizeof(_abi.rekindle_error_detail))
    message = (lib.rekindle_last_error() or b"").decode("utf-8", "replace")
    lib.rekindle_last_error_detail(ctypes.byref(detail))
    known = Status(status)
    return (kind or CLASSES.get(known, Error))(
        known,
        message or known.name,
        None if detail.device < 0 else detail.device,
        detail.needed,
        detail.available,
        detail.subject.decode("utf-8", "replace"),
    )


def check(status: int) -> None:
    """Raises what a callback raised, or the error of a status that is not OK."""
    raise_held()
    if status:
        raise last_error(status)


def check_file(status: int, path: Union[str, bytes]) -> None:
    """The same for a call that uses a file: a missing one is a FileNotFoundError as well."""
    raise_held()
    if status not in (Status.OK, Status.IO, Status.NOT_FOUND):
        raise last_error(status)
    if status:
        reason = reason_of(path)
        kinds = {errno.ENOENT: FileMissingError, errno.EACCES: FileForbiddenError}
        error = last_error(status, kinds.get(reason, FileError))
        if isinstance(error, OSError):
            error.errno, error.strerror, error.filename = reason, error.message, path
        raise error


def reason_of(path: Union[str, bytes]) -> int:
    """The system's number for the reason why a file cannot be opened."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as e:
        return e.errno or errno.EIO
    except ValueError:
        return errno.EINVAL
    return errno.EIO


def invalid(subject: str, message: str) -> InvalidArgumentError:
    """An argument that cannot even be handed to the library."""
    return InvalidArgumentError(Status.INVALID_ARGUMENT, f"{subject} {message}", subject=subject)
