#!/usr/bin/env python3
"""The licences of everything that is compiled into the library, from Cargo's own data.

    packaging/notices.py --check                    # licences and sources are those that are allowed
    packaging/notices.py -o THIRD-PARTY.txt         # names, versions, licences and their texts
    packaging/notices.py --sbom rekindle.cdx.json   # the same as a CycloneDX bill of materials

It follows the library's dependencies, those of its tests and tools aside. It needs `cargo` and the packages' sources,
which a build has fetched.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A package needs one of its licences to be here.
ALLOWED = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0", "BSL-1.0", "Unlicense",
           "0BSD", "CC0-1.0", "Apache-2.0 WITH LLVM-exception"}
SOURCE = "registry+"
TEXT = re.compile(r"^(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)


def packages(target):
    """The packages in the library, the project's own aside."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    by_id = {p["id"]: p for p in data["packages"]}
    nodes = {n["id"]: n for n in data["resolve"]["nodes"]}
    first = next(i for i, p in by_id.items() if p["name"] == "rekindle")
    seen, todo = set(), [first]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            # Neither those of tests nor those that only run while it is built.
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    return sorted((by_id[i] for i in seen), key=lambda p: (p["name"], p["version"]))


def is_allowed(expression):
    """True if an SPDX expression can be met with the allowed licences."""
    words = re.split(r"\s+(?:OR|or)\s+|/", (expression or "").replace("(", "").replace(")", ""))
    return any(all(part.strip() in ALLOWED for part in re.split(r"\s+AND\s+", word)) for word in words)


def problems(all_packages):
    for p in all_packages:
        if not is_allowed(p["license"]):
            yield f"{p['name']} {p['version']}: licence {p['license']!r} is not among the allowed ones"
        if not (p["source"] or "").startswith(SOURCE):
            yield f"{p['name']} {p['version']}: comes from {p['source']}, expected the registry"


def notices(all_packages):
    out = ["rekindle contains the packages below. Their licences follow.", ""]
    out += [f"{p['name']} {p['version']}: {p['license']}" for p in all_packages]
    texts = {}
    for p in all_packages:
        folder = pathlib.Path(p["manifest_path"]).parent
        for path in sorted(f for f in folder.iterdir() if f.is_file() and TEXT.match(f.name)):
            text = path.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(f"{p['name']} {p['version']} ({path.name})")
    for text, of in texts.items():
        out += ["", "=" * 80, ", ".join(of), "=" * 80, "", text]
    return "\n".join(out) + "\n"


def sbom(all_packages):
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    components = [{"type": "library", "name": p["name"], "version": p["version"],
                   "purl": f"pkg:cargo/{p['name']}@{p['version']}",
                   "licenses": [{"expression": p["license"].replace("/", " OR ")}]} for p in all_packages]
    main = {"type": "library", "name": "rekindle", "version": version, "licenses": [{"expression": "MIT"}]}
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": main},
                       "components": components}, indent=1) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path)
    parser.add_argument("--sbom", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    args = parser.parse_args()
    found = packages(args.target)
    wrong = list(problems(found))
    if args.check:
        print(f"{len(found)} packages, {len(wrong)} problems")
    if args.output:
        args.output.write_text(notices(found))
    if args.sbom:
        args.sbom.write_text(sbom(found))
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
