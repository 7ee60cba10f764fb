#!/usr/bin/env python3
"""Makes the GPU images of kernels/*.cu: cubins and PTX under kernels/images, their index and report, and
src/cuda/images.rs.

    kernels/build.py             compiles what changed
    kernels/build.py --check     compiles everything elsewhere; fails if a byte differs from what is checked in
    kernels/build.py --check --sample   the same for one image of each file: that of sm_37, or another; the sources
                                                          decide which
    kernels/build.py --bound KERNEL VALUES BYTES [LOOP]   the bound of an inner loop (see report.py), from the image
                                                          on disk
    kernels/build.py --loops KERNEL                       instructions of its inner loops, counted

It needs Python 3.8. It installs the compiler (NVRTC 11.8) with pip into $REKINDLE_NVRTC, else into the target folder;
--offline forbids that. The exit status is 0, 1 (an error, a difference, a spill) or 3 (the compiler cannot be had).
--source, --images and --table work on other folders.
"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib

sys.dont_write_bytecode = True
import nvrtc
import report
import sass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A cubin runs on its own major version from its minor version on: these six are the fewest for 3.7 and 5.0 to 9.0.
ARCHITECTURES = [37, 50, 60, 70, 80, 90]
# For cards after these, by the driver's compiler. The newest driver for the K80 knows PTX up to 7.4.
PTX, PTX_VERSION = 37, "7.4"
OPTIONS = ["--std=c++17"]
KINDS = ["sm_%d" % a for a in ARCHITECTURES] + ["ptx"]


def crc(data):
    return "%08x" % zlib.crc32(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def image_name(file, kind):
    return file + (".ptx.z" if kind == "ptx" else ".%s.cubin.z" % kind)


def unpacked(path):
    """An image as the compiler made it. On disk and in the library it is compressed (zlib), to less than a third."""
    try:
        return zlib.decompress(read(path))
    except (OSError, zlib.error):
        return None


def sources(folder):
    """File name -> bytes, of all that is compiled."""
    return {n: read(os.path.join(folder, n)) for n in sorted(os.listdir(folder)) if n.endswith((".cu", ".h"))}


def included(texts, name):
    """The headers that a file includes, directly or not; those that are not here (the host's) are left out."""
    found, open_ = set(), [name]
    while open_:
        for h in re.findall(rb'^\s*#\s*include\s*"([^"]+)"', texts[open_.pop()], re.M):
            if h.decode() in texts and h.decode() not in found:
                found.add(h.decode())
                open_.append(h.decode())
    return sorted(found)


def fingerprint(texts, file):
    names = [file + ".cu"] + included(texts, file + ".cu")
    said = "nvrtc 11.8.89 %s ptx %s %s" % (" ".join(OPTIONS), PTX_VERSION, " ".join(KINDS))
    return crc(b"\0".join([said.encode()] + [n.encode() + b"\0" + texts[n] for n in names]))


def compile_one(job):
    """One image of one file, in a process of its own: (image, log)."""
    file, kind, text, headers = job
    compiler = nvrtc.Compiler()
    arch = "--gpu-architecture=" + ("compute_%d" % PTX if kind == "ptx" else kind)
    verbose = ["--ptxas-options=-v"] if kind == "sm_37" else []
    try:
        image, log = compiler.compile(
            file + ".cu", text, headers, OPTIONS + [arch] + verbose, "PTX" if kind == "ptx" else "CUBIN"
        )
    except RuntimeError as e:
        return None, str(e)
    if kind == "ptx":
        image = re.sub(
            rb"^\.version .*$", b".version " + PTX_VERSION.encode(), image.rstrip(b"\0"), count=1, flags=re.M
        )
        log += assemble(compiler.ptxas, image)
    return image, log


def assemble(ptxas, ptx):
    """The PTX of the lowered version must still assemble, for the K80 and for the newest card that this ptxas knows.
    Nothing is optimised: this only tells whether it assembles, and so it is quick."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.ptx")
        with open(path, "wb") as f:
            f.write(ptx)
        for arch in ["sm_37", "sm_90"]:
            done = subprocess.run(
                [ptxas, "-w", "-O0", "-arch", arch, path, "-o", os.path.join(folder, "x.cubin")],
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                return "error: PTX %s does not assemble for %s: %s" % (PTX_VERSION, arch, done.stderr.strip()[-400:])
    return ""


def spills(log):
    """Kernel -> [bytes of spill stores, of spill loads], from the compiler's log."""
    out, name = {}, None
    for line in log.splitlines():
        m = re.search(r"Function properties for (\w+)", line)
        name = m.group(1) if m else name
        m = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if m:
            out[name] = [int(m.group(1)), int(m.group(2))]
    return out


def warnings(log):
    lines = [
        l for l in log.splitlines() if l.strip() and not l.startswith("ptxas info") and not l.startswith("ptxas    ")
    ]
    return "\n".join(lines)


def load_index(images):
    try:
        return json.loads(read(os.path.join(images, "index.json")))
    except (OSError, ValueError):
        return {"files": {}}


def fresh(entry, mark, images, file):
    """True if the images on disk are those that the index speaks of, and made of these sources."""
    if (
        entry is None
        or entry.get("fingerprint") != mark
        or set(entry.get("images", ())) != {image_name(file, k) for k in KINDS}
    ):
        return False
    found = {n: unpacked(os.path.join(images, n)) for n in entry["images"]}
    return all(found[n] is not None and crc(found[n]) == c for n, c in entry["images"].items())


def build(args, images, old):
    """Compiles what `old` (an index) does not have into `images`; the new index and the number of errors."""
    texts = sources(args.source)
    files = [n[:-3] for n in texts if n.endswith(".cu")]
    marks = {f: fingerprint(texts, f) for f in files}
    entries = {f: old["files"].get(f) for f in files}
    stale = [f for f in files if not fresh(entries[f], marks[f], images, f)]
    jobs, failures, found = [], [], {}
    for f in stale:
        headers = {h: texts[h].decode() for h in included(texts, f + ".cu")}
        jobs += [(f, k, texts[f + ".cu"].decode(), headers) for k in KINDS]
    if jobs:
        install(args)
        # The longest first, so that both processes end together.
        jobs.sort(key=lambda j: (-len(unpacked(os.path.join(args.images, image_name(*j[:2]))) or j[2]), j[:2]))
        with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
            done = list(pool.map(compile_one, jobs))
        told, made = set(), {f: {} for f in stale}
        for (f, kind, _, _), (image, log) in zip(jobs, done):
            failed = image is None or "error: PTX" in log
            noise = log.strip() if image is None else warnings(log)
            if noise and (f, noise) not in told:
                told.add((f, noise))
                print("%s (%s): %s" % (f, kind, noise), file=sys.stderr)
            made[f][kind] = None if failed else image
            if kind == "sm_37" and not failed:
                found[f] = spills(log)
        for f in stale:
            # A file that does not compile keeps the images that it had; the index then does not know its source.
            if None in made[f].values():
                failures.append(f)
                continue
            for kind, image in made[f].items():
                with open(os.path.join(images, image_name(f, kind)), "wb") as out:
                    out.write(zlib.compress(image, 9))
            entries[f] = {"fingerprint": marks[f], "spills": found[f],
                          "images": {image_name(f, k): crc(i) for k, i in sorted(made[f].items())}}
    known = {n: crc(t) for n, t in texts.items() if n[:-3] not in failures or not n.endswith(".cu")}
    index = {"sources": known, "files": {f: e for f, e in entries.items() if e}}
    return texts, index, len(stale), len(failures)


def index_text(index):
    """One line a file, so that two branches rarely meet in one."""
    line = lambda d: ",\n".join(
        "  %s: %s" % (json.dumps(k), json.dumps(v, sort_keys=True)) for k, v in sorted(d.items())
    )
    return '{\n"sources": {\n%s\n},\n"files": {\n%s\n}\n}\n' % (line(index["sources"]), line(index["files"]))


def table_text(files, where):
    """src/cuda/images.rs."""
    out = ["//! The images of all kernels. Written by kernels/build.py; do not edit.", ""]
    if files:
        out += ["use super::image::{Cubin, File};", ""]
    else:
        out += ["use super::image::File;", ""]
    out += [
        "/// The compute capability that the PTX was made for.",
        "pub const PTX: (u32, u32) = (%d, %d);" % (PTX // 10, PTX % 10),
        "",
        "#[rustfmt::skip]",
        "pub static FILES: &[File] = &[",
    ]
    for f in files:
        out.append("    File {")
        out.append("        name: \"%s\"," % f)
        out.append("        cubins: &[")
        for a in ARCHITECTURES:
            out.append("        Cubin { major: %d, minor: %d, packed: include_bytes!(\"%s/%s\") }," % (
                a // 10, a % 10, where, image_name(f, "sm_%d" % a)))
        out.append("        ],")
        out.append("        ptx: include_bytes!(\"%s/%s\")," % (where, image_name(f, "ptx")))
        out.append("    },")
    return "\n".join(out + ["];"]) + "\n"


def rows_of(images, index):
    rows, sizes = [], {k: 0 for k in KINDS}
    for f, entry in sorted(index["files"].items()):
        for kind in KINDS:
            sizes[kind] += len(unpacked(os.path.join(images, image_name(f, kind))))
        for k in sass.kernels(unpacked(os.path.join(images, image_name(f, "sm_37")))):
            rows.append((f, k, entry["spills"].get(k.name, [0, 0])))
    return rows, list(sizes.items())


def outputs(args, images, texts, index, errors):
    """Path as it is checked in -> text, of what is made of the images."""
    rows, sizes = rows_of(images, index)
    said = {}
    for n, t in texts.items():
        if n.endswith(".cu"):
            said.update(report.annotations(t.decode()))
    if errors:
        names = {k.name for _, k, _ in rows}
        said = {n: s for n, s in said.items() if n in names}
    where = os.path.relpath(args.images, os.path.dirname(args.table)).replace(os.sep, "/")
    return rows, {
        os.path.join(args.images, "index.json"): index_text(index),
        os.path.join(args.images, "report.md"): report.write(rows, said, sizes),
        args.table: table_text(sorted(index["files"]), where),
    }


def differences(args, made, index, texts_out):
    """Names of the files that are checked in and differ from those that were made."""
    names = sorted(n for e in index["files"].values() for n in e["images"])
    out = [n for n in names if unpacked(os.path.join(args.images, n)) != unpacked(os.path.join(made, n))]
    here = os.listdir(args.images) if os.path.isdir(args.images) else []
    out += [n + " (left over)" for n in sorted(here) if n.endswith(".z") and n not in names]
    return out + [
        os.path.relpath(p, ROOT) for p, text in texts_out.items() if not os.path.exists(p) or read(p) != text.encode()
    ]


def sample(args):
    """An image of each file, compiled anew: names of those that differ, and of what is not made of the images on disk.
    All images take a compiler's run of the same length each, so this takes a seventh of a whole check."""
    texts, index = sources(args.source), load_index(args.images)
    turn = zlib.crc32(b"".join(crc(t).encode() for t in texts.values()))
    jobs, wrong = [], []
    for i, f in enumerate(n[:-3] for n in texts if n.endswith(".cu")):
        if not fresh(index["files"].get(f), fingerprint(texts, f), args.images, f):
            wrong.append(f + ".cu")
            continue
        headers = {h: texts[h].decode() for h in included(texts, f + ".cu")}
        others = [k for k in KINDS if k != "sm_37"]
        kind = "sm_37" if (turn + i) % 2 else others[(turn + i) // 2 % len(others)]
        jobs.append((f, kind, texts[f + ".cu"].decode(), headers))
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        for (f, kind, _, _), (image, log) in zip(jobs, pool.map(compile_one, jobs)):
            known = unpacked(os.path.join(args.images, image_name(f, kind)))
            if image is None or "error: PTX" in log or image != known:
                wrong.append(image_name(f, kind))
            elif kind == "sm_37" and spills(log) != index["files"][f]["spills"]:
                wrong.append("the spills of %s in index.json" % f)
    if not wrong:
        rows, written = outputs(args, args.images, texts, index, 0)
        wrong = [os.path.relpath(p, ROOT) for p, text in written.items() if read(p) != text.encode()]
        wrong += ["%s (it spills on sm_37)" % name for name in report.spilling(rows)]
    return wrong, len(jobs)


def install(args):
    """The compiler, in its folder."""
    if nvrtc.find() is None:
        if args.offline:
            raise nvrtc.Missing("NVRTC 11.8 is not in %s, and --offline" % nvrtc.folder())
        print("installing %s" % " ".join(nvrtc.PACKAGES), flush=True)
        nvrtc.install()
    nvrtc.Compiler()


def look(args):
    """--bound and --loops, from the images on disk."""
    name = (args.bound or [args.loops])[0]
    rows, _ = rows_of(args.images, load_index(args.images))
    kernels = {k.name: k for _, k, _ in rows}
    if name not in kernels:
        raise ValueError("there is no kernel %s; there are %s" % (name, " ".join(sorted(kernels))))
    for n, loop in report.inner_loops(kernels[name]):
        print("loop %d: %d instructions, %d issue slots, busiest unit %s (%.1f clocks): %s" % (
            n, loop.n, loop.slots, loop.unit, loop.unit_clocks, loop.text()))
    if args.bound:
        said = dict(zip(["values", "bytes", "loop"], map(int, args.bound[1:])))
        number, loop, found = report.bound(kernels[name], said)
        print("loop %d: %.2f instructions a value" % (number, loop.n * 32 / said["values"]))
        for clock, r in zip(report.CLOCKS, found):
            print(
                "%d MHz: %.0f GB/s issuing one instruction a clock and scheduler, %.0f as paired, %.0f by units (%s)"
                % (clock, *r, loop.unit)
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--bound", nargs="+", metavar="X")
    parser.add_argument("--loops", metavar="KERNEL")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--source", default=os.path.join(ROOT, "kernels"))
    parser.add_argument("--images", default=os.path.join(ROOT, "kernels", "images"))
    parser.add_argument("--table", default=os.path.join(ROOT, "src", "cuda", "images.rs"))
    args = parser.parse_args()
    if args.bound or args.loops:
        return look(args)
    begun = time.time()
    if args.check and args.sample:
        install(args)
        wrong, n = sample(args)
        for name in wrong:
            print("out of date: %s" % name)
        print("%d images compiled in %.1f s" % (n, time.time() - begun))
        return 1 if wrong else 0
    if args.check:
        with tempfile.TemporaryDirectory() as made:
            texts, index, n, errors = build(args, made, {"files": {}})
            rows, written = outputs(args, made, texts, index, errors)
            wrong = differences(args, made, index, written)
        for name in wrong:
            print("out of date: %s" % name)
    else:
        os.makedirs(args.images, exist_ok=True)
        texts, index, n, errors = build(args, args.images, load_index(args.images))
        rows, written = outputs(args, args.images, texts, index, errors)
        wrong = []
        for path, text in written.items():
            with open(path, "w", newline="\n") as f:
                f.write(text)
        names = {i for e in index["files"].values() for i in e["images"]}
        for name in sorted(os.listdir(args.images)):
            if name.endswith(".z") and name not in names:
                os.remove(os.path.join(args.images, name))
    spilt = report.spilling(rows)
    for name in spilt:
        print("%s spills on sm_37" % name)
    print("%d of %d files compiled in %.1f s%s" % (n, len(index["files"]), time.time() - begun,
          ": images are up to date" if args.check and not wrong else ""))
    if wrong:
        print("kernels/build.py writes them")
    return 1 if errors or wrong or spilt else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except nvrtc.Missing as e:
        print("no compiler: %s" % e)
        sys.exit(3)
    except ValueError as e:
        print("error: %s" % e)
        sys.exit(1)
