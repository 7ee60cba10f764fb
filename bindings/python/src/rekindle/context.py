"""Contexts: the devices, the CPU threads and the log that everything else belongs to."""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Union

from . import _abi
from ._callbacks import Progress, log, log_level
from ._handle import Object, created
from ._library import lib
from ._values import Path, listed, put_text, read, sized, u32
from .enums import OnOom
from .file import File
from .info import ContextInfo, DeviceInfo
from .plan import Plan

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .model import Model
    from .options import PlanOptions

#: Gets the library's messages unless a context is given another logger. A host that configures no logging sees none.
LOGGER = logging.getLogger("rekindle")
LOGGER.addHandler(logging.NullHandler())


class Context(Object):
    """The devices that models may use, the CPU threads, and a log.

    `devices` is a device spec: "auto" (everything that is found), "cpu", "cuda:2", "k80:4,cpu" (described dies), or
    JSON (rekindle_context_params in rekindle.h has all of it). `threads` is the number of CPU threads, 0 one per core.
    Messages go to `logger`, by default "rekindle", with the levels that it is enabled for when the context is created.

    Methods that only read may run at the same time from several threads. Models of one context compute in turn.
    """

    def __init__(self, devices: str = "auto", threads: int = 0, logger: Optional[logging.Logger] = None) -> None:
        logger = logger or LOGGER
        texts: List[Any] = []
        callback = log(logger)
        params = sized(_abi.rekindle_context_params)
        params.n_threads = u32(threads, "threads")
        put_text(params, "devices", devices, texts)
        params.log = callback
        params.log_level = log_level(logger)
        handle = created(
            lib.rekindle_context_destroy,
            lib.rekindle_context_create,
            _abi.REKINDLE_ABI_VERSION,
            ctypes.byref(params),
        )
        super().__init__(handle, lib.rekindle_context_destroy, (callback,))

    @property
    def info(self) -> ContextInfo:
        """The number of devices and threads, and the instruction set of the CPU's kernels."""
        return ContextInfo.of(read(_abi.rekindle_context_info, lib.rekindle_context_get_info, self._handle))

    @property
    def devices(self) -> List[DeviceInfo]:
        """The devices: dies first, the CPU last. Errors and plans name them by their place here."""
        return [
            DeviceInfo.of(read(_abi.rekindle_device_info, lib.rekindle_context_get_device, self._handle, i))
            for i in range(self.info.n_devices)
        ]

    def open(self, path: Path, overrides: Optional[Any] = None, adapters: Sequence[Path] = ()) -> File:
        """Opens a GGUF file (or all files of a split one); see File.open."""
        return File.open(self, path, overrides, adapters)

    def plan(self, file: File, **options: Unpack[PlanOptions]) -> Plan:
        """Decides what of a file goes where, and allocates nothing; see Plan.make."""
        return Plan.make(self, file, **options)

    def load(
        self,
        plan: Plan,
        progress: Optional[Progress] = None,
        *,
        check_tensors: bool = False,
        mlock: bool = False,
        on_oom: Union[OnOom, str] = OnOom.FAIL,
        cuda_graphs: bool = True,
    ) -> Model:
        """Allocates just the bytes that a plan says and fills them; see Model.load."""
        from .model import Model

        return Model.load(
            self, plan, progress, check_tensors=check_tensors, mlock=mlock, on_oom=on_oom, cuda_graphs=cuda_graphs
        )


def version() -> str:
    """The library's version."""
    text: bytes = lib.rekindle_version()
    return text.decode()


def environment() -> List[str]:
    """The environment variables that the library reads, each as "NAME: what it does"."""
    return listed(lib.rekindle_environment)
