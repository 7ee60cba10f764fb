#!/bin/sh
# Unit tests of threads and locks under the thread sanitizer, with a standard library that is built with it, too.
# NAME... runs others.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- cpu::pool cpu::signal threads:: memory:: session::
export RUSTFLAGS="-Zsanitizer=thread ${RUSTFLAGS:-}" TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"
exec cargo +nightly test -Zbuild-std --target "$(rustc -vV | sed -n 's/^host: //p')" --lib \
    --target-dir "${CARGO_TARGET_DIR:-target}/tsan" -- "$@"
