#!/bin/sh
# All tests: Rust, the C ABI, the hosts in C, C++, Go and Python, the installation. It needs cargo and a C compiler, and
# says what else is missing.
set -eu
cd "$(dirname "$0")/.."
for tool in g++ go valgrind cmake pkg-config python3; do
    command -v "$tool" >/dev/null || echo "note: $tool is not installed; what needs it is skipped"
done
# One profile and one set of features, so that the library is compiled twice in all: as hosts have it, and with its unit
# tests.
cargo test
cargo build --benches
tests/install.sh
