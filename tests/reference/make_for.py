"""Writes reference logits for examples/conformance.rs beside any GGUF.

    python make_for.py [-n TOKENS] [--nextn] MODEL.gguf...

MODEL.json has the token ids, which are decoded in one batch from position 0, the rows whose logits are stored, and the
context that they were computed with. MODEL.logits.bin has the logits: little-endian f32, [rows, n_vocab]. Each of
several models has a process of its own, since the reference aborts where it cannot go on. --nextn stores the logits of
the prediction layer besides (reference.py says which), as MODEL.nextn.json and MODEL.nextn.logits.bin.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np

N_CTX = 512


def write(path, n, nextn):
    from reference import Reference

    ref = Reference(path, N_CTX, nextn)
    tokens = np.random.default_rng(zlib.crc32(path.stem.encode())).integers(3, ref.n_vocab, n).tolist()
    # All rows of a small vocabulary, eight of a large one.
    rows = list(range(n)) if ref.n_vocab <= 4096 else [(i + 1) * n // 8 - 1 for i in range(8)]
    about = {"tokens": tokens, "rows": rows, "n_vocab": ref.n_vocab, "n_ctx": N_CTX}
    for suffix, decode in (("", ref.decode), (".nextn", ref.predictions))[: 2 if nextn else 1]:
        logits = decode(tokens)[rows]
        path.with_suffix(f"{suffix}.logits.bin").write_bytes(np.ascontiguousarray(logits, "<f4").tobytes())
        path.with_suffix(f"{suffix}.json").write_text(json.dumps(about) + "\n")
        print(f"{path.stem + suffix:40} |logit| up to {np.abs(logits).max():.3g}, std {logits.std():.3g}", flush=True)
    ref.close()


args = argparse.ArgumentParser()
args.add_argument("-n", type=int, default=64)
args.add_argument("--nextn", action="store_true")
args.add_argument("models", nargs="+", type=pathlib.Path)
args = args.parse_args()
if len(args.models) == 1:
    write(args.models[0], args.n, args.nextn)
    sys.exit()
failed = []
# An abort says where it was, without a debugger's help.
env = {**os.environ, "GGML_NO_BACKTRACE": "1"}
for path in args.models:
    command = [sys.executable, __file__, "-n", str(args.n), *["--nextn"] * args.nextn, path]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [""]
        failed.append(f"{path.name}: {said[-1]}")
print(*failed, sep="\n", file=sys.stderr)
sys.exit(len(failed) > 0)
