#!/bin/sh
# The NEON kernels on any machine: kernels, conformance and sequences built for 64-bit ARM and run by qemu's user-mode
# emulation; on such a machine itself, cargo test does the same. Needs a cross compiler and qemu (Debian:
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user-static) and rustup. Takes ten minutes; the suites not run here
# have no code of their own for ARM.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
cargo test --target "$target" --lib cpu
REKINDLE_CPU=neon cargo test --target "$target" --test conformance --test sequences
