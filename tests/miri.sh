#!/bin/sh
# Unit tests under Miri: rooms that read what comes from outside, and the arithmetic of blocks. NAME... runs others.
#
# It cannot run what maps files, starts threads by the system's own call, or calls processors' instructions; and tests
# that try thousands of cases take hours there. Those are left out by name.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- gguf:: quant:: graph:: plan:: vocab:: sample::
export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks ${MIRIFLAGS:-}"
exec cargo +nightly miri test --lib --target-dir "${CARGO_TARGET_DIR:-target}/miri" -- "$@"
