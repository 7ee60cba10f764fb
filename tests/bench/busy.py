#!/usr/bin/env python3
"""Single tokens on a machine that has other work: rekindle and llama.cpp with 1 to N threads, in turn, in one run.

    busy.py [--busy 4] [--threads 4] [--tokens 64] [--rounds 5] [--nice] MODEL...

BUSY processes that only count run beside them; 0 gives a quiet machine. --nice gives both a lower priority than these.
Each line is the median over the rounds. The last column is the share of the best number of threads, which is 1 where
more threads do no harm. The reference is looked for as bench.py does.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import types

import bench

COUNT = "while True: pass"


def measure(model, a):
    sides = [(name, n) for n in range(1, a.threads + 1) for name in ("rekindle", "llama.cpp")]
    lower = ["nice", "-n", "5"] if a.nice else []
    workers = {side: bench.Worker(side[0], model, types.SimpleNamespace(threads=side[1]), None, lower) for side in sides}
    for worker in workers.values():
        worker("open", ctx=512, seqs=1)
        worker("prompt", n=16)
    busy = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(a.busy)]
    try:
        speeds = {side: [] for side in sides}
        for _ in range(a.rounds):
            for side in sides:
                seconds = workers[side]("steps", n=a.tokens, seqs=1, **{"from": 16})
                speeds[side].append(a.tokens / seconds)
    finally:
        for process in busy:
            process.kill()
    for worker in workers.values():
        worker.end()
    medians = {side: statistics.median(all_of) for side, all_of in speeds.items()}
    print(f"\n{model.name}, {a.busy} busy processes on {os.cpu_count()} cores")
    print(f"{'threads':>8} {'rekindle':>10} {'llama.cpp':>10} {'ratio':>7} {'of our best':>12}")
    for n in range(1, a.threads + 1):
        ours, theirs = medians["rekindle", n], medians["llama.cpp", n]
        best = max(medians["rekindle", m] for m in range(1, n + 1))
        print(f"{n:>8} {ours:>10.1f} {theirs:>10.1f} {ours / theirs:>7.2f} {ours / best:>12.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nice", action="store_true")
    a = parser.parse_args()
    for model in a.models:
        measure(model, a)


if __name__ == "__main__":
    main()
