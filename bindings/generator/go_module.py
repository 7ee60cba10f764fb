"""The path of the Go module: the place where the repository is to lie, behind which its folder follows.

It is one constant. `bindings/generate.py` writes it into go.mod, into imports and into the documents, in place of what
stands there, and finds that by the path which go.mod has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

MODULE = "github.com/rekindle-llm/rekindle/bindings/go"

#: The folders and files that name the module, from the repository's root.
PLACES = ("bindings/go", "tests/hosts", "README.md", "docs", "Makefile")
SUFFIXES = {".go", ".md", ".mod", ""}


def moved(root: Path) -> Dict[Path, str]:
    """The files that name another path than MODULE, with the text that they should have."""
    manifest = (root / "bindings/go/go.mod").read_text(encoding="utf-8")
    found = re.match(r"module (\S+)", manifest)
    if not found:
        raise ValueError("bindings/go/go.mod does not begin with its module's path")
    old = found[1]
    result: Dict[Path, str] = {}
    if old == MODULE:
        return result
    for place in PLACES:
        start = root / place
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES:
                text = path.read_text(encoding="utf-8")
                new = re.sub(rf"{re.escape(old)}(?![\w.-])", MODULE, text)
                if new != text:
                    result[path] = new
    return result
