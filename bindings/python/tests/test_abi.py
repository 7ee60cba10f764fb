"""The declarations, and how the library is found."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from rekindle import _abi, _library

SOURCES = sorted(Path(_library.__file__).parent.glob("*.py"))

#: generations and complete() serve in place of the first; the second opens by the first with an empty text.
UNUSED = {"rekindle_abi_version", "rekindle_file_open", "rekindle_status_name"}


class TestAbi(unittest.TestCase):
    def test_every_function_is_used(self) -> None:
        written = "".join(p.read_text(encoding="utf-8") for p in SOURCES if p.name != "_abi.py")
        used = set(re.findall(r"lib\.(rekindle_\w+)", written))
        declared = {name for name, _, _ in _abi.FUNCTIONS}
        self.assertEqual(used - declared, set(), "names that the header does not have")
        self.assertEqual(declared - used, UNUSED)

    def test_structs_are_the_library_s(self) -> None:
        # The sizes of tests/abi/layout.c.
        sizes = {"rekindle_batch": 40, "rekindle_event": 32, "rekindle_error_detail": 160, "rekindle_device_limit": 24}
        self.assertEqual({n: ctypes.sizeof(getattr(_abi, n)) for n in sizes}, sizes)


class TestLibrary(unittest.TestCase):
    def import_with(self, library: str) -> str:
        """The last line of what an import says that must fail."""
        env = {**os.environ, "REKINDLE_LIBRARY": library}
        done = subprocess.run([sys.executable, "-c", "import rekindle"], env=env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr.strip().split("\n")[-1]

    def test_a_missing_library_is_said(self) -> None:
        line = self.import_with("/no/such/librekindle.so")
        for word in ("ImportError", "/no/such/librekindle.so", "REKINDLE_LIBRARY", "librekindle.so.1"):
            self.assertIn(word, line)

    def test_another_library_is_said(self) -> None:
        self.assertIn("is not rekindle", self.import_with("libm.so.6"))

    def test_a_file_that_is_no_library_is_said(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"text")
            file.flush()
            self.assertIn("cannot be loaded", self.import_with(file.name))
