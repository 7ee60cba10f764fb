#!/bin/bash
# Makes Debian packages in build/deb: packaging/deb.sh [SOURCE-ONLY]. `make deb` calls it.
#
# First the source, with all crates and Go modules in it, which are fetched (or taken from the caches); then the
# packages, for which nothing is. It needs debhelper, dh-python, Rust and Go.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
out=$PWD/${BUILD:-build}/deb source=rekindle-$version
rm -rf "${out:?}/$source"
mkdir -p "$out/$source"
git archive HEAD | tar -x -C "$out/$source"
cd "$out/$source"
cargo vendor --quiet --locked --versioned-dirs vendor >/dev/null
(cd bindings/go/cmd/rekindle-server && go mod vendor)
XZ_OPT=-3 tar --sort=name --mtime="@$(git -C "$OLDPWD" log -1 --format=%ct)" --owner=0 --group=0 -C .. -cJf \
    "../rekindle_$version.orig.tar.xz" "$source"
cp -rL packaging/debian debian
[ "${1:-}" = SOURCE-ONLY ] && exit 0
dpkg-buildpackage -us -uc -b
ls -l "$out"/*.deb
