#!/bin/sh
# Everything that only a card can tell, in one call of under ten minutes: correctness, speed of the kernels, tokens per
# second, two dies on one card, compute-sanitizer. On a machine with any NVIDIA GPU from compute capability 3.7 on and a
# driver for CUDA 11.4 or newer:
#
#   tests/gpu.sh                      builds first (cargo, cc, make), which is not counted
#   tests/gpu.sh --pack FOLDER        only builds, for a machine without compilers
#   tests/gpu.sh --prebuilt FOLDER    runs what was packed; needs sh, timeout and this tree besides
#   --small                           small models and matrices: proves the script on the virtual rig (docs/gpu.md)
#   --work FOLDER                     where the models for speed are kept (target/gpu; 5.6 GB)
#
# Steps whose tool is missing are SKIPPED, with the reason. Fails if a step does.
set -u
cd "$(dirname "$0")/.."
limit_all=590
prebuilt='' pack='' small='' work=target/gpu
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
    --prebuilt) prebuilt=${2-}; [ -d "$prebuilt" ] || usage; shift ;;
    --pack) pack=${2-}; [ -n "$pack" ] || usage; shift ;;
    --work) work=${2-}; [ -n "$work" ] || usage; shift ;;
    --small) small=1 ;;
    *) usage ;;
    esac
    shift
done

# packed FILE COMMAND...: what cargo builds, as a file.
packed() {
    file=$1
    shift
    built=$(cargo "$@" --no-run 2>&1) || { echo "$built"; exit 1; }
    cp "$(echo "$built" | sed -n 's/.*Executable.*(\(.*\)).*/\1/p' | tail -1)" "$file" || exit 1
}
# The tests of the CUDA path, the benchmark, the tool with its library.
build() {
    command -v cargo >/dev/null || {
        echo "cargo is missing; pack on a machine that has it, and use --prebuilt" >&2
        exit 2
    }
    mkdir -p "$1" && make --no-print-directory all || exit 1
    packed "$1/rig" test --test rig
    packed "$1/ops" test --test ops
    packed "$1/bench" bench --bench ops
    cp -L build/rekindle build/librekindle.so.1 "$1" || exit 1
    # Debug information is most of it.
    command -v strip >/dev/null && strip "$1/rig" "$1/ops" "$1/bench" "$1/librekindle.so.1"
    return 0
}
if [ -n "$pack" ]; then
    build "$pack"
    exit 0
fi
mkdir -p "$work" || exit 2
if [ -z "$prebuilt" ]; then
    prebuilt=$work/built
    build "$prebuilt"
fi
bin=$(cd "$prebuilt" && pwd)
tool=$bin/rekindle
command -v timeout >/dev/null || { echo "timeout (coreutils) is missing" >&2; exit 2; }
export REKINDLE_GPU=1 REKINDLE_ROOT="$PWD"

begun=$(date +%s)
failed=0
summary=$work/summary.txt
out=$work/out.txt
: >"$summary"

# A line of the summary: name, outcome, seconds, what is worth saying.
note() {
    printf '%-34s %-8s %4s s  %s\n' "$1" "$2" "$3" "$4" >>"$summary"
    [ "$2" != FAILED ] || failed=$((failed + 1))
}
# Of a failure: what the test said, or else the last line.
why() {
    { grep -v '^ *$' "$out" | tail -1; sed -n '/panicked at/{n;p;}' "$out" | tail -1; } | tail -1 | cut -c1-110
}
skip() {
    printf '\n== %s: SKIPPED: %s\n' "$1" "$2"
    note "$1" SKIPPED 0 "$2"
}
# step NAME SECONDS COMMAND...; what it printed stays in $out, and the status is the command's.
step() {
    name=$1 limit=$2
    shift 2
    left=$((begun + limit_all - $(date +%s)))
    [ "$limit" -le "$left" ] || limit=$left
    printf '\n== %s\n' "$name"
    if [ "$limit" -le 0 ]; then
        note "$name" FAILED 0 "no time left of $limit_all s"
        return 1
    fi
    at=$(date +%s)
    { timeout -k 5 "$limit" "$@" 2>&1; echo $? >"$work/status"; } | tee "$out"
    status=$(cat "$work/status")
    seconds=$(($(date +%s) - at))
    case $status in
    0) ;;
    124 | 137) note "$name" FAILED "$seconds" "not done after $limit s" ;;
    *) note "$name" FAILED "$seconds" "$(why)" ;;
    esac
    return "$status"
}
# As step, with the last line of the output that has the pattern in the summary.
told() {
    pattern=$1
    shift
    if step "$@"; then
        line=$(grep -e "$pattern" "$out" | tail -1 | sed 's/^ *//; s/^[^:]*tokens\/s: //' | cut -c1-110)
        note "$name" ok "$seconds" "$line"
    fi
}

model=models/bible-5M-Q8_0.gguf
told '^device 0' 'device' 60 "$tool" plan "$model" --devices cuda --ctx 64
if [ "$failed" -gt 0 ]; then
    printf '\nno CUDA device serves: nothing was checked\n'
    exit 1
fi

# 1. The tests of the virtual rig, on the card. Two dies are one card where there is no second one, and in any case
#    once.
correct() { # NAME LIMIT TEST [PROGRAM]
    if step "$1" "$2" "$bin/${4-rig}" "$3" --exact --nocapture --test-threads=1; then
        if grep -q '1 passed' "$out"; then
            note "$name" ok "$seconds" "$(grep '^SKIPPED' "$out" | tail -1 | cut -c1-100)"
        else
            note "$name" FAILED "$seconds" 'the test did not run'
        fi
    fi
}
correct 'each op alone' 60 every_op_is_exact_on_a_die ops
correct 'logits, float64 fixtures' 90 logits_are_exact_on_one_die
correct 'one die, many, one card as two' 170 logits_do_not_depend_on_the_dies
correct 'groups of two dies, in a row' 60 groups::groups_stand_behind_each_other
correct 'a group and one die, saved rows' 60 groups::a_saved_sequence_goes_on_elsewhere
correct 'joined launches' 120 joined_nodes_give_the_same_bits
correct 'caches F32, F16, Q8_0' 100 sequences::caches_of_every_type_are_the_cpus
correct 'batches of 1 to 512' 90 sequences::batches_of_every_size_are_the_cpus
correct 'sequences' 90 sequences::sequences_are_the_cpus
correct 'mixtures, experts on the CPU' 60 experts_on_the_cpu_give_the_same
correct 'adapters' 60 sequences::adapters_are_the_cpus
correct 'greedy text' 60 sequences::greedy_text_is_the_cpus

# 2. Kernels beside a plain copy.
if [ -n "$small" ]; then
    told 'plain copy' 'kernels' 120 "$bin/bench" cuda cols=512 rows=64 context=64 tokens=16 mib=1 round=0
else
    told 'plain copy' 'kernels' 120 "$bin/bench" cuda round=40
fi

# 3. Tokens per second.
# rates NAME LIMIT OPTION...: both tests of the bench, which are lines of a table.
rates() {
    name=$1 limit=$2
    shift 2
    if step "$name" "$limit" "$tool" bench "$file" --devices cuda:1 -p "$n_prompt" -n "$n" "$@"; then
        note "$name" ok "$seconds" "$(awk -F'|' '/ ± / { print $(NF - 2), $(NF - 1) }' "$out" | xargs)"
    fi
}
speed() { # NAME SHAPE BYTES LIMIT PROMPT N
    file=$work/random-$2.gguf n_prompt=$5 n=$6
    if ! [ -f "$file" ]; then
        if ! command -v python3 >/dev/null; then
            skip "$1" 'no python3 to write the model'
            return
        fi
        if [ "$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1000) }')" -lt "$3" ]; then
            skip "$1" "less than $3 MB free for the model in $work"
            return
        fi
        if ! step "$1: write it" 90 python3 tests/bench/random_model.py "$file.part" --shape "$2"; then
            rm -f "$file.part"
            return
        fi
        mv "$file.part" "$file"
    fi
    if "$tool" plan "$file" --devices cuda:1 --ctx "$5" 2>&1 | grep -q REKINDLE_NOT_FIT; then
        skip "$1" 'does not fit on the card'
        return
    fi
    rates "$1" "$4" -r 3
    rates "$1, no CUDA graphs" "$4" -r 1 --no-graphs
}
if [ -n "$small" ]; then
    speed 'tiny model' tiny 10 60 32 8
else
    speed '1.1B Q4_K_M' 1.1B 700 60 512 64
    speed '8B Q4_K_M' 8B 5000 90 512 64
fi

# 4. compute-sanitizer, which knows cards from compute capability 5.0 on; cuda-memcheck knows older ones.
PATH=$PATH:/usr/local/cuda/bin
sanitizer=''
for s in compute-sanitizer cuda-memcheck; do
    [ -z "$sanitizer" ] && command -v "$s" >/dev/null && sanitizer=$s
done
sanitize() { # TOOL MODEL...
    check=$1
    shift
    if [ -z "$sanitizer" ]; then
        skip "$check" 'no compute-sanitizer'
        return
    fi
    # Asking one module after another for a kernel is no error.
    # shellcheck disable=SC2016
    told 'ERROR SUMMARY\|RACECHECK SUMMARY' "$check" 90 sh -c '
        sanitizer=$1 check=$2 tool=$3
        shift 3
        for model; do
            echo "$model"
            options="--tool $check --error-exitcode 9"
            [ "$sanitizer" = cuda-memcheck ] || [ "$check" = racecheck ] || options="$options --report-api-errors no"
            "$sanitizer" $options "$tool" bench "$model" --devices cuda:1 --ctx 64 -p 40 -n 5 -r 1 || exit
        done' sh "$sanitizer" "$check" "$tool" "$@"
}
f=tests/fixtures/models
sanitize memcheck "$model" "$f/llama-Q4_K.gguf" "$f/qwen3moe-Q4_K.gguf" "$f/gpt-oss-MXFP4.gguf"
sanitize racecheck "$model" "$f/llama-Q4_K.gguf" "$f/qwen3moe-Q4_K.gguf"

printf '\n'
cat "$summary"
printf '%-34s %-8s %4s s\n' all "$([ "$failed" -eq 0 ] && echo ok || echo FAILED)" $(($(date +%s) - begun))
[ "$failed" -eq 0 ]
