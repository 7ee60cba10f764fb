"""Finds the shared library, loads it and gives its functions their prototypes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import List

from . import _abi

VARIABLE = "REKINDLE_LIBRARY"
SONAME = "librekindle.so.1"
BUNDLED = Path(__file__).resolve().parent / "lib" / SONAME


def candidates() -> List[str]:
    """The places to look at, the first that counts alone: a path that was set, the wheel's own, the loader's."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return [chosen]
    return [str(BUNDLED)] if BUNDLED.exists() else [SONAME]


def load() -> ctypes.CDLL:
    """Loads the library. ImportError says what was tried and what else would help."""
    (path,) = candidates()
    try:
        library = ctypes.CDLL(path)
    except OSError as e:
        raise ImportError(
            f"the rekindle library cannot be loaded: {e}. Looked for: {VARIABLE} "
            f"({'set to ' + path if os.environ.get(VARIABLE) else 'not set'}), {BUNDLED} "
            f"({'there' if BUNDLED.exists() else 'not there'}), and {SONAME} on the loader's search path "
            f"(LD_LIBRARY_PATH, ldconfig). Set {VARIABLE} to the path of librekindle.so, or install the library."
        ) from e
    try:
        library.rekindle_abi_version.restype = ctypes.c_uint32
        version = library.rekindle_abi_version()
        if version < _abi.REKINDLE_ABI_VERSION:
            raise ImportError(f"{path} has version {version} of the ABI, expected {_abi.REKINDLE_ABI_VERSION} or newer")
        _abi.declare(library)
    except AttributeError as e:
        raise ImportError(f"{path} is not rekindle, or one that is too old: {e}") from e
    return library


#: The library, with prototypes. Calls release the interpreter's lock.
lib = load()
