#!/bin/sh
# Coverage-guided fuzzing with libFuzzer, each target for MINUTES: `tests/fuzz/run.sh MINUTES [TARGET...]`. Findings lie in
# target/fuzz/found. It needs clang or g++ for libFuzzer itself, nothing of a nightly toolchain.
set -eu
cd "$(dirname "$0")/../.."
minutes=${1:-10}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- file tokenizer template devices saved adapter grammar reply
export CARGO_TARGET_DIR="$PWD/target/fuzz"
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml
mkdir -p target/fuzz/found
for target in "$@"; do
    corpus=target/fuzz/corpus/$target
    mkdir -p "$corpus"
    cp tests/fuzz/corpus/"$target"/* "$corpus"/ 2>/dev/null || true
    case $target in
        file) cp tests/fixtures/models/*-scales.gguf "$corpus"/ ;;
        adapter) cp tests/fixtures/adapters/*.gguf "$corpus"/ ;;
    esac
    echo "$target:"
    REKINDLE_FUZZ=$target target/fuzz/release/fuzz "$corpus" -max_total_time=$((minutes * 60)) -rss_limit_mb=2048 \
        -timeout=20 -max_len=65536 -print_final_stats=1 -artifact_prefix=target/fuzz/found/"$target"- 2>&1 |
        grep -E "number_of_executed_units|new_units_added|peak_rss|ERROR|SUMMARY|panicked" || true
done
ls target/fuzz/found
