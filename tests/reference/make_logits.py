"""Writes tests/fixtures/logits and tests/fixtures/greedy: python make_logits.py SHARED_MODELS_DIR [NAME...]

With names (patterns), only these models' files are written anew; the others' entries in the index stay.
SHARED_MODELS_DIR holds stories260K.gguf and tiny1m-F32.gguf. See README.md for the format.
"""

import fnmatch
import json
import pathlib
import sys
import zlib

import numpy as np

from forward import exact as exact_model
from reference import Reference

# Models without windows; what a windowed cache keeps is the implementation's choice.
CUT = (
    "llama-F32", "qwen2-F32", "qwen2-yarn-tied", "llama-linear", "llama-freqs", "llama-yarn", "qwen3-gqa", "phi3-short",
    "mistral3-yarn-temperature", "qwen3moe-8x2", "deepseek2-sigmoid", "deepseek2-yarn",
)
ROOT = pathlib.Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"


def nmse(x, exact):
    return float(np.sum((x - exact) ** 2) / np.sum(exact**2))


def spread(values, n):
    """n of the values, evenly chosen, the last among them."""
    return [values[round((i + 1) * len(values) / n) - 1] for i in range(n)]


def main():
    shared, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:] or ["*"]
    models = [(p.stem, p, f"tests/fixtures/models/{p.name}") for p in sorted((FIXTURES / "models").glob("*.gguf"))]
    models.append(("bible-5M-Q8_0", ROOT / "models/bible-5M-Q8_0.gguf", "models/bible-5M-Q8_0.gguf"))
    models += [(n, shared / f"{n}.gguf", f"shared:models/{n}.gguf") for n in ("stories260K", "tiny1m-F32")]
    for folder in ("logits", "greedy"):
        (FIXTURES / folder).mkdir(exist_ok=True)
    index = []
    at = FIXTURES / "logits" / "index.json"
    known = {m["model"]: m for m in json.loads(at.read_text())} if at.exists() else {}
    cut = (5, 14)
    for name, path, where in models:
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
            index += [known[name]] if name in known else []
            continue
        ref, exact = Reference(path), exact_model(path)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        # The first two architectures' files came before the others, whose windows are shorter than their tokens.
        early = exact and exact.arch in ("llama", "qwen2") and "moe" not in name
        n = 32 if early else 40
        tokens = rng.integers(3, ref.n_vocab, n).tolist()
        if where.startswith("shared:") or "bible" in name:
            tokens = ref.tokenize("Once upon a time, there was a man who had two sons and a house by the sea", True)[:n]
        rows = (
            list(range(len(tokens)))
            if ref.n_vocab <= 64
            else spread(list(range(len(tokens))), 20 if "bible" in name else 8)
        )
        r = ref.decode(tokens)[rows]
        about = {"model": name, "path": where, "n_vocab": ref.n_vocab, "tokens": tokens, "rows": rows}
        kept, said = [("ref", r)], ""
        if exact:
            e = exact.logits(tokens)[rows]
            about["reference_nmse"] = nmse(r.astype(np.float64), e)
            said = f"nmse {about['reference_nmse']:.2e}"
            if exact.smallest_gap < np.inf:
                said += f" gap {exact.smallest_gap:.1e}"
            # If both round in float32 alone, their distance says enough.
            if early or exact.types != {"F32"}:
                kept.append(("f64", e))
        for kind, x in kept:
            (FIXTURES / "logits" / f"{name}.{kind}.bin").write_bytes(np.ascontiguousarray(x, "<f4").tobytes())
        index.append({**about, **({} if len(kept) > 1 else {"f64": False})})
        print(f"{name:20} tokens {len(tokens)} rows {len(rows)} |logit| {np.abs(r).max():.2f} std {r.std():.2f} {said}")
        if name in CUT:
            ref.clear()
            ref.decode(tokens[:-1])
            ref.cut(*cut)
            last = ref.decode(tokens[-1:], len(tokens) - 1 - (cut[1] - cut[0]))[0]
            exact_last = exact.logits(tokens, cut)[-1]
            (FIXTURES / "logits" / f"{name}.cut.bin").write_bytes(np.ascontiguousarray(exact_last, "<f4").tobytes())
            index[-1]["cut"] = cut
            print(f"    cut {cut}: nmse {nmse(last.astype(np.float64), exact_last):.2e}, "
                  f"against the uncut {nmse(e[-1], exact_last):.2e}")
        if where.startswith("shared:"):
            greedy(name, ref, where)
        ref.close()
    lines = ",\n".join("  " + json.dumps(m) for m in index)
    at.write_text(f"[\n{lines}\n]\n")


def greedy(name, ref, where):
    prompt = "Once upon a time"
    tokens = ref.tokenize(prompt, True)
    out, gaps = ref.greedy(tokens, 200)
    text = b"".join(ref.piece(t) for t in out)
    (FIXTURES / "greedy" / f"{name}.txt").write_bytes(text)
    about = {"model": name, "path": where, "prompt": prompt, "n_predict": 200, "prompt_tokens": tokens, "tokens": out,
             "stopped_at_end": len(out) < 200, "smallest_gap": min(gaps)}
    (FIXTURES / "greedy" / f"{name}.json").write_text(json.dumps(about) + "\n")
    print(f"{name}: {len(out)} tokens, smallest gap between the two best logits {min(gaps):.5f}: {text[:80]!r}")


main()
