"""Finds or installs NVRTC 11.8, the last compiler that knows the K80 (sm_37), and calls it. Needs no CUDA headers."""

import ctypes
import glob
import os
import shutil
import subprocess
import sys
import tempfile

PACKAGES = ["nvidia-cuda-nvrtc-cu11==11.8.89", "nvidia-cuda-nvcc-cu11==11.8.89"]
VERSION = (11, 8)


class Missing(Exception):
    """The compiler is not here and cannot be had; says why."""


def folder():
    """The folder of the compiler: outside of the tree, or the ignored target folder."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.environ.get("REKINDLE_NVRTC") or os.path.join(
        os.environ.get("CARGO_TARGET_DIR") or os.path.join(root, "target"), "nvrtc"
    )


def find():
    """Paths of libnvrtc, its builtins and ptxas (None without them)."""
    found = []
    for name in ["libnvrtc.so.11.2", "libnvrtc-builtins.so.11.8", "ptxas"]:
        paths = sorted(glob.glob(os.path.join(glob.escape(folder()), "**", name), recursive=True))
        if not paths:
            return None
        found.append(paths[0])
    return found


def install():
    """pip unpacks two wheels (about 45 MB) into the folder; the interpreter's own packages stay as they are."""
    target = folder()
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    new = tempfile.mkdtemp(prefix="nvrtc-new-", dir=os.path.dirname(os.path.abspath(target)))
    try:
        try:
            python = sys.executable
            if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode != 0:
                made = subprocess.run([python, "-m", "venv", os.path.join(new, "venv")], capture_output=True, text=True)
                if made.returncode != 0:
                    raise Missing("neither pip nor venv works: " + (made.stderr or made.stdout).strip()[-300:])
                python = os.path.join(new, "venv", "bin", "python")
            pip = [
                python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
                "--disable-pip-version-check",
            ]
            done = subprocess.run(
                pip + ["--target", os.path.join(new, "packages")] + PACKAGES, capture_output=True, text=True,
                timeout=600,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise Missing("pip: %s" % e)
        if done.returncode != 0:
            raise Missing("pip cannot install %s: %s" % (" ".join(PACKAGES), done.stderr.strip()[-300:]))
        if os.path.isdir(target):
            shutil.rmtree(target)
        os.rename(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if find() is None:
        raise Missing("%s have other files than expected" % " ".join(PACKAGES))


class Compiler:
    def __init__(self):
        found = find()
        if found is None:
            raise Missing("NVRTC 11.8 is not in %s" % folder())
        library, builtins, self.ptxas = found
        try:
            ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
            self.lib = ctypes.CDLL(library)
        except OSError as e:
            raise Missing("NVRTC cannot be loaded: %s" % e)
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        if (major.value, minor.value) != VERSION:
            raise Missing("NVRTC is %d.%d, not 11.8" % (major.value, minor.value))

    def _call(self, name, *args):
        code = getattr(self.lib, name)(*args)
        if code != 0:
            raise RuntimeError("%s: %s" % (name, self.lib.nvrtcGetErrorString(code).decode()))

    def _bytes(self, program, what):
        size = ctypes.c_size_t()
        self._call("nvrtcGet%sSize" % what, program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call("nvrtcGet%s" % what, program, buffer)
        return buffer.raw

    def compile(self, name, text, headers, options, what):
        """(image, log); `what` is CUBIN or PTX. Headers are given as text, so no path can end in the image."""
        program = ctypes.c_void_p()
        strings = lambda items: (ctypes.c_char_p * len(items))(*[i.encode() for i in items])
        names = sorted(headers)
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), name.encode(), len(names),
                   strings([headers[n] for n in names]), strings(names))
        try:
            code = self.lib.nvrtcCompileProgram(program, len(options), strings(options))
            log = self._bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if code != 0:
                raise RuntimeError(log.strip() or self.lib.nvrtcGetErrorString(code).decode())
            return self._bytes(program, what), log
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))


if __name__ == "__main__":
    if find() is None:
        install()
    print(folder())
