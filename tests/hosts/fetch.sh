#!/bin/sh
# Builds a program outside of the repository with the Go module fetched as from a proxy: a folder that has it as a
# version with a tag. pkg-config must find rekindle. usage: fetch.sh PROGRAM
set -eu
cd "$(dirname "$0")/../.."
module=$(sed -n 's/^module //p' bindings/go/go.mod)
version=v0.0.1
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
versions=$away/proxy/$module/@v
mkdir -p "$versions" "$away/host"
cp bindings/go/go.mod "$versions/$version.mod"
echo "{\"Version\": \"$version\"}" >"$versions/$version.info"
# A module has the files of its folder, but for those of modules within it.
python3 - "$module@$version" "$versions/$version.zip" <<EOF
import pathlib, sys, zipfile
prefix, name = sys.argv[1:]
root = pathlib.Path("bindings/go")
with zipfile.ZipFile(name, "w") as z:
    for p in sorted(root.rglob("*")):
        if p.is_file() and p.relative_to(root).parts[0] != "cmd":
            z.write(p, f"{prefix}/{p.relative_to(root)}")
EOF
cp bindings/go/example/main.go "$away/host/"
others=$(go env GOPROXY)
cd "$away/host"
export GOPROXY="file://$away/proxy,$others" GONOSUMDB="$module" GOFLAGS=-modcacherw GOMODCACHE="$away/cache"
go mod init host
go get "$module@$version"
go build -o "$1" .
grep "$module $version" go.mod
