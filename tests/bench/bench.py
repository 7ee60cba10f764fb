#!/usr/bin/env python3
"""Speed and memory of rekindle against llama.cpp, alternating in one run on the same files. `make bench` runs it.

    bench.py [--quick] [--files 1.1B-Q4_K_M,...] [--only prompt,decode,...] [--pairs 5] [--threads N] [--folder DIR]
             [--install] [--keep] [--json FILE]

It makes each file (random weights, random_model.py). Then two processes (worker.py) do the same work in turn, with the
same tokens, batches, contexts and threads. First their logits are compared. A line of the table is the median of at
least five pairs, and the ratio is the median of the pairs' ratios. It is ours / reference: for speeds we are faster
above 1, for times and memory below. The bandwidth is that of a plain threaded read of the same file in memory, in the
same rounds.

The reference is llama-cpp-python 0.3.36. It is looked for in the Python that runs this and in FOLDER/reference;
--install puts it there, built for this machine, and once more for AVX2 in FOLDER/reference-avx2. The exit status is 1
if something was computed differently; targets that are missed are only reported.
"""

import argparse
import ctypes
import json
import mmap
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
VERSION = "0.3.36"
TYPES = ["Q4_K_M", "Q4_0", "Q8_0", "Q6_K", "F16"]
FILES = [f"{shape}-{ty}" for shape in ("1.1B", "0.5B") for ty in TYPES] + ["moe-Q4_K_M", "long-Q4_K_M"]
FILES += ["qwen35-Q4_K_M", "qwen35moe-Q4_K_M", "lfm2-Q4_K_M", "mamba2-Q4_K_M"]
QUICK = ["1.1B-Q4_K_M", "moe-Q4_K_M", "long-Q4_K_M"]
CASES = ["prompt", "decode", "together", "long", "avx2", "load"]
# The least prompt speed by type; the other types have no target.
PROMPT = {"Q4_K_M": 1.5, "Q4_0": 1.5, "Q8_0": 1.5, "F16": 1.2}
BANDWIDTH = {"Q8_0": 0.9, "F16": 0.9, "Q4_K_M": 0.8}
# The normalised mean square error that the logits of both may have. Both round activations to 8 bits, in different
# blocks. Against the same weights in F32 each is off by 2e-4 to 5e-4 after four layers of Q8_0 or Q6_K, and a model
# here has 24. A wrong layer gives about 2.
NMSE = 5e-3


def python_of(folder):
    return folder / "reference/bin/python"


def install(folder):
    avx2 = (
        "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF"
    )
    pip = [
        str(python_of(folder)), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-binary", "llama-cpp-python",
    ]
    if not python_of(folder).exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "reference"], check=True)
    subprocess.run([*pip, "numpy", "gguf", f"llama-cpp-python=={VERSION}"], check=True)
    if platform.machine() == "x86_64" and not (folder / "reference-avx2").exists():
        to = ["--no-deps", "--target", str(folder / "reference-avx2"), f"llama-cpp-python=={VERSION}"]
        subprocess.run([*pip, *to], check=True, env=os.environ | {"CMAKE_ARGS": avx2})


# The threads of numpy's linear algebra spin for a while when it is imported, beside what is timed.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


class Worker:
    def __init__(self, name, model, a, env=None, before=()):
        command = [*before, sys.executable, HERE / "worker.py", name, str(model), str(a.threads)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=os.environ | ONE_THREAD | (env or {})
        )
        self.name = name
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended")
        return json.loads(line)

    def __call__(self, do, **c):
        self.process.stdin.write(json.dumps({"do": do, **c}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Memory:
    """Plain reads of a file that is in the page cache, of the very pages that both map."""

    def __init__(self, path, a):
        library = a.folder / "libread.so"
        if not library.exists() or library.stat().st_mtime < (HERE / "read.c").stat().st_mtime:
            command = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-shared", "-fPIC", "-pthread"]
            subprocess.run([*command, "-o", library, HERE / "read.c"], check=True)
        self.read = ctypes.CDLL(library).read_all
        self.read.restype = ctypes.c_double
        self.bytes, self.threads = path.stat().st_size, a.threads
        # Python's own map must be writable to have an address; filled at once, it would be a copy, in other pages.
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        with open(path, "rb") as f:
            self.at = libc.mmap(None, self.bytes, mmap.PROT_READ, mmap.MAP_SHARED, f.fileno(), 0)
        if self.at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        self.unmap = lambda: libc.munmap(ctypes.c_void_p(self.at), ctypes.c_size_t(self.bytes))
        self.bandwidth()

    def bandwidth(self):
        """Bytes per second."""
        total = ctypes.c_uint64()
        return self.bytes / self.read(
            ctypes.c_void_p(self.at), ctypes.c_size_t(self.bytes), self.threads, ctypes.byref(total)
        )


class Table:
    def __init__(self):
        self.rows = []

    def add(self, case, file, ours, theirs, unit, ratio, target, most=False):
        met = None if target is None else (ratio <= target if most else ratio >= target)
        self.rows.append(
            dict(case=case, file=file, ours=ours, theirs=theirs, unit=unit, ratio=ratio, target=target, met=met)
        )
        self.rows[-1]["most"] = most
        print(self.line(self.rows[-1]), flush=True)

    @staticmethod
    def line(r):
        target = "" if r["target"] is None else ("≤ " if r["most"] else "≥ ") + f"{r['target']:.2f}"
        verdict = {None: "", True: "met", False: "**missed**"}[r["met"]]
        number = lambda x: "" if x is None else f"{x:.4g} {r['unit']}"
        figures = f"{number(r['ours'])} | {number(r['theirs'])} | {r['ratio']:.2f}"
        return f"| {r['case']} | {r['file']} | {figures} | {target} | {verdict} |"

    HEAD = "| case | file | ours | reference | ratio | target | |\n|---|---|---|---|---|---|---|"


def alternate(pairs, ours, theirs, between=lambda: None):
    """Lists of what both gave, in turn, each going first in half of the rounds."""
    a, b = [], []
    for i in range(pairs):
        for f, to in [(ours, a), (theirs, b)][:: 1 if i % 2 == 0 else -1]:
            to.append(f())
        between()
    return a, b


def median_ratio(a, b):
    return statistics.median(x / y for x, y in zip(a, b))


class Bench:
    def __init__(self, a):
        self.a, self.table, self.failed = a, Table(), False

    def file(self, name):
        path = self.a.folder / "models" / f"{name}.gguf"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shape, ty = name.split("-")
            part = path.with_suffix(".part")
            subprocess.run([sys.executable, HERE / "random_model.py", part, "--shape", shape, "--type", ty], check=True)
            part.rename(path)
        return path

    def pair(self, path, ours_env=None, theirs_env=None):
        return Worker("rekindle", path, self.a, ours_env), Worker("llama.cpp", path, self.a, theirs_env)

    def both(self, workers, do, **c):
        return [w(do, **c) for w in workers]

    def same(self, workers, name, what, rows=1):
        """Compares the logits that both have now."""
        import numpy as np

        with tempfile.TemporaryDirectory() as folder:
            x, y = (
                np.load(w("logits", path=f"{folder}/{i}.npy", rows=rows)).astype(np.float64)
                for i, w in enumerate(workers)
            )
        # Random experts may be nearly tied, and then a rounding chooses another one. So the median row counts there.
        over = statistics.median if name.startswith("moe") else max
        nmse = over([float(((p - q) ** 2).sum() / ((q - q.mean()) ** 2).sum()) for p, q in zip(x, y)])
        agree = sum(int(p.argmax() == q.argmax()) for p, q in zip(x, y))
        ok = bool(np.isfinite(x).all()) and nmse <= NMSE
        self.failed |= not ok
        print(
            f"{name}: {what}: NMSE of logits {nmse:.2g} (at most {NMSE}), greedy token agrees in {agree} of {rows}",
            flush=True,
        )
        if not ok:
            print(f"{name}: DIFFERENT", flush=True)

    def speed(self, case, name, workers, target, tokens, do, **c):
        a, b = alternate(self.a.pairs, lambda: tokens / workers[0](do, **c), lambda: tokens / workers[1](do, **c))
        self.table.add(case, name, statistics.median(a), statistics.median(b), "t/s", median_ratio(a, b), target)
        return a

    def short(self, name, path):
        """Prompts, single tokens, eight sequences."""
        a, ty = self.a, name.split("-")[1]
        dense = not name.startswith("moe")
        workers = self.pair(path)
        # The pages as they are once a file was read, which are larger than those of one that was just written.
        evict(path)
        self.both(workers, "open", ctx=1024, seqs=1)
        self.both(workers, "prompt", n=100)
        self.same(workers, name, "100 tokens at once")
        self.both(workers, "steps", n=4, seqs=1, **{"from": 100})
        self.same(workers, name, "then 4 single ones")
        if "prompt" in a.only:
            self.speed("prompt of 512", name, workers, PROMPT.get(ty) if dense else None, 512, "prompt", n=512)
        if "decode" in a.only:
            memory, n, bandwidth = Memory(path, a), 128, []
            c = dict(n=n, seqs=1, **{"from": 0})
            x, y = alternate(
                a.pairs,
                lambda: n / workers[0]("steps", **c),
                lambda: n / workers[1]("steps", **c),
                lambda: bandwidth.append(memory.bandwidth()),
            )
            self.table.add(
                "128 single tokens", name, statistics.median(x), statistics.median(y), "t/s", median_ratio(x, y), 1.05
            )
            if dense:
                read = read_per_token(path)
                best = statistics.median(bandwidth)
                share = statistics.median(s * read / b for s, b in zip(x, bandwidth))
                ours = statistics.median(x) * read / 1e9
                self.table.add("share of plain reads", name, ours, best / 1e9, "GB/s", share, BANDWIDTH.get(ty))
            memory.unmap()
        if "together" in a.only:
            self.both(workers, "open", ctx=8 * 256, seqs=8)
            self.both(workers, "fill", n=64, seqs=8)
            self.both(workers, "steps", n=2, seqs=8, **{"from": 64})
            self.same(workers, name, "8 sequences together", 8)
            self.speed("8 sequences together", name, workers, 1.5, 8 * 32, "steps", n=32, seqs=8, **{"from": 64})
        for w in workers:
            w.end()
        if "avx2" in a.only and dense and ty in ("Q4_K_M", "Q4_0", "Q8_0") and name.startswith("1.1B"):
            library = a.folder / "reference-avx2"
            if not library.exists():
                print(f"{name}: no reference built for AVX2 (make bench REFERENCE=install)")
                return
            workers = self.pair(path, {"REKINDLE_CPU": "avx2"}, {"LLAMA_CPP_LIB_PATH": str(library / "llama_cpp/lib")})
            self.both(workers, "open", ctx=1024, seqs=1)
            self.both(workers, "prompt", n=100)
            self.same(workers, name, "AVX2, 100 tokens at once")
            self.speed("prompt of 512, AVX2", name, workers, 1.2, 512, "prompt", n=512)
            self.speed("64 single tokens, AVX2", name, workers, None, 64, "steps", n=64, seqs=1, **{"from": 0})
            for w in workers:
                w.end()

    def long(self, name, path):
        """Single tokens after long contexts, against the reference with its flash attention and without it, which is
        faster here."""
        off = {"REFERENCE_FLASH_ATTENTION": "0"}
        for n in [8192] if self.a.quick else [8192, 16384]:
            workers = [*self.pair(path, theirs_env=off), Worker("llama.cpp", path, self.a)]
            self.both(workers, "open", ctx=n + 256, seqs=1)
            seconds = self.both(workers, "fill", n=n, seqs=1)
            self.same(workers[:2], name, f"{n} tokens")
            rates = [n / s for s in seconds]
            self.table.add(f"prompt of {n} (one pair)", name, *rates[:2], "t/s", rates[0] / rates[1], None)
            c = dict(n=32, seqs=1, **{"from": n})
            self.speed(f"single tokens after {n}", name, workers[:2], 1.3, 32, "steps", **c)
            self.speed(f"single tokens after {n}, its default", name, workers[::2], None, 32, "steps", **c)
            for w in workers:
                w.end()

    def load(self, name, path):
        """From the path to the first token, in fresh processes, and their peak memory."""

        def first(which, cold):
            def go():
                w = Worker(which, path, self.a)
                # It has only just started: the file is not open yet.
                if cold:
                    settle()
                    evict(path)
                result = w("first token")
                w.end()
                return result

            return go

        pairs = self.a.pairs
        read = lambda: path.read_bytes() and None
        read()
        x, y = alternate(pairs, first("rekindle", False), first("llama.cpp", False))
        ours, theirs = ([r["seconds"] for r in z] for z in (x, y))
        self.table.add(
            "load to first token, warm", name, statistics.median(ours), statistics.median(theirs), "s",
            median_ratio(ours, theirs), 0.8, True,
        )
        ours, theirs = ([r["peak"] for r in z] for z in (x, y))
        self.table.add(
            "peak memory", name, statistics.median(ours), statistics.median(theirs), "MiB", median_ratio(ours, theirs),
            1.0, True,
        )
        evict(path)
        left = resident(path)
        if left > 0.02:
            print(f"{name}: {left:.0%} of the file stays in memory after POSIX_FADV_DONTNEED: no cold load measured")
            return
        plain = []
        x, y = alternate(
            pairs, first("rekindle", True), first("llama.cpp", True), lambda: plain.append(plain_read(path))
        )
        ours, theirs = ([r["seconds"] for r in z] for z in (x, y))
        self.table.add(
            "load to first token, cold", name, statistics.median(ours), statistics.median(theirs), "s",
            median_ratio(ours, theirs), 0.95, True,
        )
        size = path.stat().st_size / 1e9
        share = statistics.median(p / s for p, s in zip(plain, ours))
        self.table.add(
            "share of the disk's plain reads", name, size / statistics.median(ours), size / statistics.median(plain),
            "GB/s", share, None,
        )

    def run(self):
        a = self.a
        print(Table.HEAD)
        for name in a.files:
            fresh = not (a.folder / "models" / f"{name}.gguf").exists()
            path = self.file(name)
            if name.startswith("long"):
                if "long" in a.only:
                    self.long(name, path)
            else:
                self.short(name, path)
                if "load" in a.only and (name.startswith("1.1B") or a.all_loads):
                    self.load(name, path)
            if fresh and not a.keep:
                path.unlink()
        print()
        date = time.strftime("%Y-%m-%d")
        print(f"{a.threads} threads, {processor()}, {date}, llama-cpp-python {VERSION}, {a.pairs} pairs\n")
        print(Table.HEAD)
        for row in self.table.rows:
            print(Table.line(row))
        judged = [r for r in self.table.rows if r["met"] is not None]
        print(f"\n{sum(r['met'] for r in judged)} of {len(judged)} targets met")
        if a.json:
            a.json.write_text(json.dumps(self.table.rows, indent=1))
        if self.failed:
            sys.exit("the two did not compute the same")


def read_per_token(path):
    """Bytes of weights that a token's decode reads: all, but of a table of embeddings of its own only a row."""
    import gguf

    tensors = {t.name: int(t.n_bytes) for t in gguf.GGUFReader(path).tensors}
    return sum(tensors.values()) - (tensors["token_embd.weight"] if "output.weight" in tensors else 0)


def evict(path):
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle():
    """Waits until a virtual machine has handed back the memory that the last process freed, which takes it two seconds.
    Otherwise it does so in the middle of a load, with the memory that the load would have got, and the host takes long
    to give that again."""
    time.sleep(3)


def resident(path):
    """The share of a file that is in memory."""
    with open(path, "rb") as f:
        size = path.stat().st_size
        m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
        vector = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
        at = ctypes.addressof((ctypes.c_char * size).from_buffer(m))
        if ctypes.CDLL(None).mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), vector):
            return 1.0
        return sum(x & 1 for x in vector) / len(vector)


def plain_read(path):
    """Seconds to read a file that is not in memory, front to back."""
    settle()
    evict(path)
    buffer = bytearray(8 << 20)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while f.readinto(buffer):
            pass
    return time.perf_counter() - start


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, 8k of context, three pairs")
    p.add_argument("--files", type=lambda s: s.split(","))
    p.add_argument("--only", type=lambda s: s.split(","), default=CASES, help=", ".join(CASES))
    p.add_argument("--pairs", type=int)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument(
        "--folder",
        type=pathlib.Path,
        default=pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bench",
    )
    p.add_argument("--install", action="store_true")
    p.add_argument("--keep", action="store_true", help="keep the files made")
    p.add_argument("--all-loads", action="store_true", help="measure loading of the small files too")
    p.add_argument("--json", type=pathlib.Path)
    a = p.parse_args()
    a.folder = a.folder.absolute()
    a.folder.mkdir(parents=True, exist_ok=True)
    a.pairs = a.pairs or (3 if a.quick else 5)
    a.files = a.files or (QUICK if a.quick else FILES)
    if a.install:
        install(a.folder)
    try:
        import gguf  # noqa: F401
        import llama_cpp  # noqa: F401
    except ImportError:
        if python_of(a.folder).exists() and sys.executable != str(python_of(a.folder)):
            arguments = [x for x in sys.argv[1:] if x != "--install"]
            os.execv(python_of(a.folder), [str(python_of(a.folder)), str(HERE / "bench.py"), *arguments])
        sys.exit(
            f"the reference is not installed. `make bench REFERENCE=install` builds llama-cpp-python {VERSION} from "
            "PyPI under "
            f"{a.folder} (some minutes), or run this with a Python that has it, numpy and gguf: make bench PYTHON=..."
        )
    Bench(a).run()


if __name__ == "__main__":
    main()
