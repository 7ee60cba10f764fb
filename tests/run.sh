#!/bin/sh
# All tests: Rust, the C ABI, the hosts in C, C++ and Go, the installation. Needs cargo and a C compiler; says what else is missing.
set -eu
cd "$(dirname "$0")/.."
for tool in g++ go valgrind cmake pkg-config python3; do
    command -v "$tool" >/dev/null || echo "note: $tool is not installed; what needs it is skipped"
done
cargo test --features panic-probe
cargo build --benches
tests/install.sh
