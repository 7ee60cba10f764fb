#!/bin/bash
# Makes a release in build/dist: packaging/dist.sh [ARCH...]   (x86_64, aarch64; default: x86_64)
#
# For each: a tarball that runs with glibc 2.28 or newer from wherever it is unpacked, one with the debug symbols, the
# Python wheel; and SHA256SUMS. It needs ziglang from PyPI for PYTHON, and zstd. `make dist` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
build=${BUILD:-build} cargo=${CARGO:-cargo} target=${TARGET:-$PWD/target}
export PYTHON=${PYTHON:-python3} GLIBC=${GLIBC:-2.28}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 1577836800)}"
export SOURCE_DATE_EPOCH
out=$build/dist
mkdir -p "$out"
"$PYTHON" -m ziglang version >/dev/null || { echo "dist: pip install ziglang, for $PYTHON" >&2; exit 1; }

packed() { # tarball, folder: the same files make the same bytes
    tar -C "$build" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$2" |
        zstd -q -12 -T2 -f -o "$out/$1"
}

newest() { # file: the newest glibc that it asks for
    objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1
}

for arch in ${@:-x86_64}; do
    triple=$arch-unknown-linux-gnu name=rekindle-$version-$arch-linux-gnu
    export ARCH=$arch
    variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$triple")_LINKER
    built=$target/$triple/release
    # PREBUILT, a folder with librekindle.so and librekindle.a, is for trying this script.
    if [ -n "${PREBUILT:-}" ]; then built=$PREBUILT
    else env "$variable=$PWD/packaging/cc-old" $cargo build --locked --release --lib --target "$triple"
    fi
    stage=$build/$name
    rm -rf "$stage" "$stage-debug"
    helper=
    [ "$arch" = "$(uname -m)" ] || helper="HELPER=$PWD/$build/rekindle"
    make -s install-files BUILT="$built" BUILD="$build/dist-$arch" DESTDIR="$PWD/$stage" PREFIX= CC=packaging/cc-old \
        CFLAGS=-O2 LIBDIR=/lib INCLUDEDIR=/include BINDIR=/bin DATADIR=/share RPATH='$$ORIGIN/../lib' \
        PC_PREFIX='$${pcfiledir}/../..' PC_LIBDIR='$${prefix}/lib' PC_INCLUDEDIR='$${prefix}/include' \
        ${helper:+"$helper"}
    cp LICENSE README.md CHANGELOG.md "$stage"
    if command -v "${GO:-go}" >/dev/null; then
        goarch=$(sed 's/x86_64/amd64/; s/aarch64/arm64/' <<<"$arch")
        (cd bindings/go/cmd/rekindle-server && CGO_ENABLED=1 GOARCH=$goarch CC="$root/packaging/cc-old" \
            CGO_CFLAGS="-O2 -I$root/include" CGO_LDFLAGS="-L$root/$stage/lib -Wl,-rpath,\$ORIGIN/../lib" \
            "${GO:-go}" build -tags nopkgconfig -trimpath -ldflags "-s -w -linkmode=external" \
            -o "$root/$stage/bin/rekindle-server" .)
    else
        echo "dist: without the server, since Go is not installed" >&2
    fi
    library=$stage/lib/librekindle.so.$version
    strip=strip objcopy=objcopy
    if [ "$arch" != "$(uname -m)" ]; then strip=$arch-linux-gnu-strip objcopy=$arch-linux-gnu-objcopy; fi
    mkdir -p "$stage-debug/lib/debug"
    $objcopy --only-keep-debug "$library" "$stage-debug/lib/debug/librekindle.so.$version.debug"
    $strip --strip-unneeded "$library" "$stage/bin/rekindle"
    $strip --strip-debug "$stage/lib/librekindle.a"
    (cd "$stage-debug/lib/debug" && $objcopy --add-gnu-debuglink="librekindle.so.$version.debug" "$OLDPWD/$library")
    for file in "$library" "$stage"/bin/*; do
        found=$(newest "$file")
        echo "$file asks for $found"
        [ "$(printf '%s\n' "$found" "GLIBC_$GLIBC" | sort -V | tail -1)" = "GLIBC_$GLIBC" ] || exit 1
    done
    packed "$name.tar.zst" "$name"
    packed "$name-debug.tar.zst" "$name-debug"
    "$PYTHON" packaging/wheel.py "$library" "$out"
done
(cd "$out" && rm -f SHA256SUMS && sha256sum -- *.tar.zst *.whl >SHA256SUMS && ls -l)
