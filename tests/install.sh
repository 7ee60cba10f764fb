#!/bin/sh
# Installs into an empty folder and builds hosts from there: with pkg-config (shared and static) and with CMake.
set -eu
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make -s install PROFILE=dev BUILD="$root/build" DESTDIR="$root" PREFIX=/opt/rekindle
lib=$root/opt/rekindle/lib
model=$PWD/models/bible-5M-Q8_0.gguf
n=0

expect() { # what, command...
    what=$1
    shift
    "$@" >"$root/out" 2>&1 || { echo "FAILED: $what"; cat "$root/out"; exit 1; }
    n=$((n + 1))
    echo "ok: $what"
}

expect "the installed tool prints a plan" env LD_LIBRARY_PATH="$lib" "$root/opt/rekindle/bin/rekindle" plan "$model"
test "$(readlink "$lib/librekindle.so")" = librekindle.so.1
expect "the plan's schema is installed" cmp schema/plan.schema.json "$root/opt/rekindle/share/rekindle/plan.schema.json"

share=$root/opt/rekindle/share
expect "the tool's page names its options" grep -q 'control..vector' "$share/man/man1/rekindle.1"
expect "the library's page has its functions" grep -q '^rekindle_status rekindle_plan_ask' "$share/man/man3/rekindle.3"
expect "bash reads its completions" bash -n "$share/bash-completion/completions/rekindle"

expect "licences and sources of what is linked are allowed" python3 packaging/notices.py --check
expect "the notices are installed" grep -q '^minijinja ' "$root/opt/rekindle/share/rekindle/THIRD-PARTY.txt"
expect "the bill of materials is JSON" python3 -m json.tool "$root/opt/rekindle/share/rekindle/rekindle.cdx.json"

if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
    expect "pkg-config, shared" cc bindings/c/minimal.c $(pkg-config --cflags --libs rekindle) -o "$root/shared"
    expect "the shared host runs" env LD_LIBRARY_PATH="$lib" "$root/shared" "$model"
    grep -q '[a-z]' "$root/out"
    flags=$(pkg-config --static --cflags --libs rekindle | sed "s|-lrekindle|$lib/librekindle.a|")
    expect "pkg-config, static" cc bindings/c/minimal.c $flags -o "$root/static"
    expect "the static host runs" "$root/static" "$model"
    if command -v g++ >/dev/null; then
        expect "pkg-config, C++" g++ bindings/cpp/minimal.cpp $(pkg-config --cflags --libs rekindle) -o "$root/cpp"
        expect "the C++ host runs" env LD_LIBRARY_PATH="$lib" "$root/cpp" "$model"
    fi
    if command -v go >/dev/null; then
        expect "Go, cgo by pkg-config" env CGO_ENABLED=1 go -C bindings/go build -o "$root/cgo" ./example
        expect "Go, without cgo" env CGO_ENABLED=0 go -C bindings/go build -o "$root/purego" ./example
        for way in cgo purego; do
            expect "the Go host runs, $way" env LD_LIBRARY_PATH="$lib" "$root/$way" "$model"
        done
        expect "Go fetches the module" tests/hosts/fetch.sh "$root/fetched"
        expect "the host of the fetched module runs" env LD_LIBRARY_PATH="$lib" "$root/fetched" "$model"
    fi
    unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
else
    echo "SKIPPED: pkg-config is not installed"
fi

if command -v cmake >/dev/null; then
    mkdir "$root/cmake"
    cat >"$root/cmake/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.16)
project(host C)
find_package(rekindle 0.1 REQUIRED)
add_executable(shared $PWD/bindings/c/minimal.c)
target_link_libraries(shared rekindle::rekindle)
add_executable(static $PWD/bindings/c/minimal.c)
target_link_libraries(static rekindle::static)
EOF
    expect "CMake finds the package" cmake -S "$root/cmake" -B "$root/cmake/build" -Drekindle_DIR="$lib/cmake/rekindle"
    expect "CMake builds hosts" cmake --build "$root/cmake/build"
    expect "CMake's shared host runs" "$root/cmake/build/shared" "$model"
    expect "CMake's static host runs" "$root/cmake/build/static" "$model"
else
    echo "SKIPPED: cmake is not installed"
fi
echo "install: $n checks passed"
