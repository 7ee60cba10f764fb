#!/bin/bash
# Tries a release of `make dist` in an old system: packaging/try-old.sh ROOT [DIST]   (as root)
#
# ROOT is a folder with that system, with Python 3 and its venv, for example of
#     debootstrap --variant=minbase --include=python3,python3-venv bullseye ROOT
# The tarball's tool plans and writes there, and the wheel does in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1 dist=${2:-build/dist} version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
arch=$(uname -m) name=rekindle-$version-$(uname -m)-linux-gnu
work=$root/opt/try
rm -rf "$work"
mkdir -p "$work"
zstd -dqc "$dist/$name.tar.zst" | tar -x -C "$work"
cp "$dist"/rekindle-"$version"-py3-none-manylinux_*_"$arch".whl "$work"
cp models/bible-5M-Q8_0.gguf bindings/python/minimal.py "$work"
[ -e "$root/proc/self" ] || { mount -t proc proc "$root/proc" && trap 'umount "$root/proc"' EXIT; }

inside() { chroot "$root" /bin/sh -c "cd /opt/try && $1"; }

inside 'ldd --version | head -1'
inside "$name/bin/rekindle --version"
inside "$name/bin/rekindle devices"
inside "$name/bin/rekindle run bible-5M-Q8_0.gguf -p 'And God said' -n 24"
if [ -x "$work/$name/bin/rekindle-server" ]; then inside "$name/bin/rekindle-server --help 2>&1 | head -1"; fi
inside 'python3 -m venv --without-pip venv && python3 -c "
import sys, zipfile, glob
zipfile.ZipFile(glob.glob(\"*.whl\")[0]).extractall(glob.glob(\"venv/lib/python*/site-packages\")[0])"'
inside 'venv/bin/python minimal.py bible-5M-Q8_0.gguf | tail -2'
echo "try-old: all of it ran"
