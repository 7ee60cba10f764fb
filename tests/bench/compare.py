#!/usr/bin/env python3
"""Speed and peak memory of rekindle against llama.cpp (PyPI llama-cpp-python), on one machine in one run, alternating.

    compare.py MODEL.gguf [--rounds 5] [--threads 2] [--prompt 512] [--tokens 64]

Prints the median tokens per second of both, for a prompt and for single tokens, the ratio, and each process's peak memory.
Needs `make` to have run, and llama-cpp-python in the Python that runs this.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

REFERENCE = """
import sys, time
import llama_cpp
model, threads, n_prompt, n = sys.argv[1], *map(int, sys.argv[2:])
size = max(n_prompt, n)
llm = llama_cpp.Llama(model, n_ctx=size, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
tokens = [(i * 7919 + 1) % llm.n_vocab() for i in range(size)]
def timed(n, step):
    llm.reset()
    llm._ctx.kv_cache_clear()
    start = time.perf_counter()
    for i in range(0, n, step):
        llm.eval(tokens[i : min(i + step, n)])
    return n / (time.perf_counter() - start)
timed(1, 1)
print(f"prompt of {n_prompt} tokens {timed(n_prompt, 512):.2f} per second, single tokens {timed(n, 1):.2f} per second")
"""


def run(command):
    """(prompt, single) tokens per second and the peak memory in MiB."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if child.returncode:
        sys.exit(f"{command[0]} failed: {text}")
    prompt, single = map(float, re.search(r"tokens ([\d.]+) per second, single tokens ([\d.]+) per second", text).groups())
    return prompt, single, usage.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--tokens", type=int, default=64)
    a = p.parse_args()
    numbers = [str(a.threads), str(a.prompt), str(a.tokens)]
    ours = [str(ROOT / "build/rekindle"), "bench", a.model, "--threads", numbers[0], "--prompt", numbers[1], "-n", numbers[2], "--repeat", "1"]
    theirs = [sys.executable, "-c", REFERENCE, a.model, *numbers]
    results = {"rekindle": [], "llama.cpp": []}
    for i in range(a.rounds):
        for name, command in [("rekindle", ours), ("llama.cpp", theirs)][:: 1 if i % 2 == 0 else -1]:
            results[name].append(run(command))
            print(f"round {i + 1} {name:10} prompt {results[name][-1][0]:9.2f}/s  single {results[name][-1][1]:8.2f}/s", flush=True)
    median = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    for i, what in enumerate([f"prompt of {a.prompt}, tokens/s", "single tokens, tokens/s", "peak memory, MiB"]):
        r, l = median["rekindle"][i], median["llama.cpp"][i]
        print(f"{what:28} rekindle {r:9.2f}   llama.cpp {l:9.2f}   ratio {r / l:.2f}")


main()
