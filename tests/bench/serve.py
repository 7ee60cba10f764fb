#!/usr/bin/env python3
"""Servers under load: rekindle-server beside llama.cpp's, on the same file, one after the other.

    serve.py LLAMA-SERVER REKINDLE-SERVER MODEL.gguf [--clients 8] [--tokens 128] [--long 4096] [--ubatch 512]
             [--threads N] [--rounds 3]

together: so many clients at once, each with a prompt of its own; tokens per second of all (want 1.5 times as many).
beside:   the time to the first token of a short prompt that comes while another client's long prompt is read, in
          micro-batches of that prompt (want at most 2).
again:    the second turn of a long conversation: tokens of the prompt that were computed (want at most the new ones
          and 64).

bench.py --keep --folder DIR makes the 1.1B file. The exit status is 1 if a target is missed; the machine must have
nothing else to do.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import statistics
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))
from compare import serving  # noqa: E402


def tokens(n, seed):
    """Token ids at random: all of them are words of the file's vocabulary."""
    rng = random.Random(seed)
    return [rng.randrange(300, 1900) for _ in range(n)]


def post(base, body):
    data = json.dumps({"temperature": 0, "ignore_eos": True, **body}).encode()
    headers = {"Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(base + "/v1/completions", data, headers), timeout=3600)


def complete(base, prompt, n):
    with post(base, {"prompt": prompt, "max_tokens": n}) as answer:
        return json.load(answer)


def first_token(base, prompt):
    """Seconds to the first piece of a stream."""
    began = time.monotonic()
    with post(base, {"prompt": prompt, "max_tokens": 2, "stream": True}) as answer:
        for line in answer:
            if line.startswith(b"data: ") and b'"finish_reason":null' in line.replace(b" ", b"")[:4000]:
                return time.monotonic() - began
    raise SystemExit("a stream without a token")


def together(base, a, seed):
    """Tokens per second of all clients, from the first request to the last answer."""
    prompts = [tokens(64, seed + i) for i in range(a.clients)]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(a.clients) as pool:
        answers = list(pool.map(lambda p: complete(base, p, a.tokens), prompts))
    written = sum(m["usage"]["completion_tokens"] for m in answers)
    assert written == a.clients * a.tokens, written
    return written / (time.monotonic() - began)


def beside(base, a, seed):
    """Micro-batches of a long prompt until a short one has its first token."""
    began = time.monotonic()
    complete(base, tokens(a.long, seed), 1)
    micro = (time.monotonic() - began) / (a.long / a.ubatch)
    reader = threading.Thread(target=complete, args=(base, tokens(a.long, seed + 1), 1))
    reader.start()
    # In the middle of a micro-batch that is neither the first nor the last.
    time.sleep(1.5 * micro)
    seconds = first_token(base, tokens(8, seed + 2))
    reader.join()
    return seconds / micro


def again(base, a, seed):
    """Tokens computed in the second turn beyond those that are new."""
    first = tokens(a.long, seed)
    written = complete(base, first, 32)["usage"]["completion_tokens"]
    # What was written is not known by its ids, so the second turn goes on from the prompt: that is the harder case.
    new = tokens(40, seed + 1)
    usage = complete(base, first + new, 4)["usage"]
    known = usage["prompt_tokens_details"]["cached_tokens"]
    assert written == 32, written
    return usage["prompt_tokens"] - known - len(new)


def commands(a, parallel, ctx):
    threads = ["--threads", str(a.threads)]
    yield "llama.cpp", [
        a.reference, "--host", "127.0.0.1", "-m", a.model, "-c", str(ctx), "-np", str(parallel), "-ub", str(a.ubatch),
        "-b", str(max(a.ubatch, 2048)), *threads,
    ]
    yield "rekindle", [
        a.ours, "--devices", "cpu", "--ctx", str(ctx), "--parallel", str(parallel), "--ubatch", str(a.ubatch), *threads,
        a.model,
    ]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("reference")
    p.add_argument("ours")
    p.add_argument("model")
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--long", type=int, default=4096)
    p.add_argument("--ubatch", type=int, default=512)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a = p.parse_args()
    found = {}
    cases = [
        ("together", together, a.clients, a.clients * (a.tokens + 128)),
        ("beside", beside, 2, 2 * (a.long + 128)),
        ("again", again, 2, 2 * (a.long + 256)),
    ]
    for name, measure, parallel, ctx in cases:
        for who, command in commands(a, parallel, ctx):
            with serving(*command) as base:
                complete(base, tokens(16, 1), 4)
                values = [measure(base, a, 1000 * (n + 1)) for n in range(a.rounds)]
            found[name, who] = statistics.median(values)
            print(f"{name}, {who}: {', '.join(f'{v:.2f}' for v in values)}", flush=True)
    ratio = found["together", "rekindle"] / found["together", "llama.cpp"]
    first, besides = found["beside", "rekindle"], found["again", "rekindle"]
    targets = [
        (f"together: {ratio:.2f} times as many tokens per second, want 1.5", ratio >= 1.5),
        (f"beside: {first:.2f} micro-batches, want 2 at most", first <= 2),
        (f"again: {besides:.0f} tokens besides the new ones, want 64 at most", besides <= 64),
    ]
    for line, met in targets:
        print(line if met else f"{line}: MISSED")
    return not all(met for _, met in targets)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
