"""Writes reference logits for examples/conformance.rs beside any GGUF: python make_for.py [-n TOKENS] MODEL.gguf...

MODEL.json has the token ids, which are decoded in one batch from position 0, the rows whose logits are stored, and the
context that they were computed with. MODEL.logits.bin has the logits: little-endian f32, [rows, n_vocab].
"""

import argparse
import json
import pathlib
import sys
import zlib

import numpy as np

from reference import Reference

N_CTX = 512

args = argparse.ArgumentParser()
args.add_argument("-n", type=int, default=64)
args.add_argument("models", nargs="+", type=pathlib.Path)
args = args.parse_args()
failed = 0
for path in args.models:
    try:
        ref = Reference(path, N_CTX)
    except AssertionError as e:
        print(e, file=sys.stderr)
        failed += 1
        continue
    tokens = np.random.default_rng(zlib.crc32(path.stem.encode())).integers(3, ref.n_vocab, args.n).tolist()
    # All rows of a small vocabulary, eight of a large one.
    rows = list(range(args.n)) if ref.n_vocab <= 4096 else [(i + 1) * args.n // 8 - 1 for i in range(8)]
    logits = ref.decode(tokens)[rows]
    path.with_suffix(".logits.bin").write_bytes(np.ascontiguousarray(logits, "<f4").tobytes())
    about = {"tokens": tokens, "rows": rows, "n_vocab": ref.n_vocab, "n_ctx": N_CTX}
    path.with_suffix(".json").write_text(json.dumps(about) + "\n")
    print(f"{path.name:40} |logit| up to {np.abs(logits).max():.3g}, std {logits.std():.3g}")
    ref.close()
sys.exit(failed > 0)
