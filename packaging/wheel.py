#!/usr/bin/env python3
"""Makes the Python wheel of a built library: python3 packaging/wheel.py LIBRARY FOLDER

The wheel holds the package of bindings/python and the library, stripped. It serves every Python from 3.8 on, since
nothing in it is compiled for one. Its name says the oldest glibc that the library's symbols ask for, as PEP 600 wants
it: py3-none-manylinux_2_28_x86_64. It needs Python 3.8, objdump and strip, and nothing from PyPI.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import List, Tuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bindings/python"
SONAME = "librekindle.so.1"

#: What every system of that age has, by PEP 600.
ALLOWED = re.compile(r"lib(c|m|dl|rt|pthread|gcc_s|util)\.so\.\d+|ld-linux.*\.so\.\d+")

#: The time in the wheel, so that the same files make the same wheel.
MOMENT = (2020, 1, 1, 0, 0, 0)


def output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        raise SystemExit(f"{' '.join(command)}: {e}") from None


def platform(library: Path) -> str:
    """The platform's tag. SystemExit: the library needs what not every system has, or is none."""
    headers = output("objdump", "-p", str(library))
    needed = re.findall(r"NEEDED\s+(\S+)", headers)
    strange = [name for name in needed if not ALLOWED.fullmatch(name)]
    if strange:
        raise SystemExit(f"{library} needs {', '.join(strange)}, which not every system has")
    if not re.search(rf"SONAME\s+{re.escape(SONAME)}\n", headers):
        raise SystemExit(f"{library} is not {SONAME}")
    symbols = output("objdump", "-T", str(library))
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    major, minor = max(versions)[:2]
    machines = {"x86-64": "x86_64", "aarch64": "aarch64"}
    machine = next(tag for name, tag in machines.items() if name in headers.split("\n")[1])
    # The oldest that these tags know of.
    return f"manylinux_{major}_{max(minor, 17)}_{machine}"


def fact(text: str, name: str) -> str:
    """A text of pyproject.toml or Cargo.toml."""
    found = re.search(rf'^{name} = "([^"]*)"$', text, re.M)
    if not found:
        raise SystemExit(f"{name} is missing")
    return found[1]


def metadata(version: str) -> str:
    project = (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
    lines = [
        "Metadata-Version: 2.1",
        "Name: rekindle",
        f"Version: {version}",
        f"Summary: {fact(project, 'description')}",
        "License: MIT",
        f"Requires-Python: {fact(project, 'requires-python')}",
        "Provides-Extra: numpy",
        'Requires-Dist: numpy; extra == "numpy"',
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + (PACKAGE / "README.md").read_text(encoding="utf-8")


def contents(library: Path, version: str, tag: str) -> List[Tuple[str, bytes]]:
    """Names and bytes of all that is in the wheel but its list."""
    source = PACKAGE / "src"
    files = [
        (str(path.relative_to(source)), path.read_bytes())
        for path in sorted((source / "rekindle").glob("*"))
        if path.suffix == ".py" or path.name == "py.typed"
    ]
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / SONAME
        output("strip", "--strip-unneeded", "-o", str(stripped), str(library))
        files.append((f"rekindle/lib/{SONAME}", stripped.read_bytes()))
    info = f"rekindle-{version}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: rekindle\nRoot-Is-Purelib: false\nTag: {tag}\n"
    scripts = fact((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"), "rekindle-py")
    files += [
        (f"{info}/METADATA", metadata(version).encode()),
        (f"{info}/WHEEL", wheel.encode()),
        (f"{info}/entry_points.txt", f"[console_scripts]\nrekindle-py = {scripts}\n".encode()),
        (f"{info}/LICENSE", (ROOT / "LICENSE").read_bytes()),
    ]
    return files


def listed(name: str, data: bytes) -> str:
    """A file's line in the wheel's list."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: wheel.py LIBRARY FOLDER")
    library, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    version = fact((ROOT / "Cargo.toml").read_text(encoding="utf-8"), "version")
    tag = f"py3-none-{platform(library)}"
    files = contents(library, version, tag)
    record = f"rekindle-{version}.dist-info/RECORD"
    lines = "".join(listed(name, data) for name, data in files) + f"{record},,\n"
    files.append((record, lines.encode()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rekindle-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files:
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.endswith(SONAME) else 0o100644) << 16
            wheel.writestr(entry, data)
    print(path)


if __name__ == "__main__":
    main()
