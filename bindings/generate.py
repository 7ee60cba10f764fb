#!/usr/bin/env python3
"""Writes the declarations that bindings share with include/rekindle.h.

    python3 bindings/generate.py            writes them
    python3 bindings/generate.py --check    writes nothing; ends with 1 and names those that are out of date

It needs Python 3.8 and nothing else. A binding in another language adds a writer under generator/ and a line below. The
path of the Go module is a constant in generator/go_module.py, which this program carries to all places that name it.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True

from generator import go_abi, go_module, header, python_abi, python_info  # noqa: E402

BINDINGS = Path(__file__).resolve().parent

WRITERS = {
    "go/internal/abi/constants.go": go_abi.write_constants,
    "go/internal/abi/types.go": go_abi.write_types,
    "go/internal/abi/calls.h": go_abi.write_wrappers,
    "go/internal/abi/calls_cgo.go": go_abi.write_cgo,
    "go/internal/abi/layout_cgo.go": go_abi.write_layout,
    "go/internal/abi/calls_purego.go": go_abi.write_purego,
    "go/internal/abi/names_purego.go": go_abi.write_names,
    "python/src/rekindle/_abi.py": python_abi.write,
    "python/src/rekindle/enums.py": python_info.write_enums,
    "python/src/rekindle/info.py": python_info.write_info,
}


def main() -> int:
    source = header.read((BINDINGS.parent / "include/rekindle.h").read_text(encoding="utf-8"))
    files = {BINDINGS / name: write(source) for name, write in WRITERS.items()}
    files.update(go_module.moved(BINDINGS.parent))
    stale = []
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(BINDINGS.parent)))
            if "--check" not in sys.argv[1:]:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv[1:] and stale:
        print("out of date, bindings/generate.py writes them anew:", ", ".join(stale), file=sys.stderr)
        return 1
    print("written:" if stale else "all up to date", ", ".join(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
