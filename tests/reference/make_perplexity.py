"""tests/fixtures/perplexity.json: the reference's perplexity of the held-out text, as its tool defines it.

    make_perplexity.py SHARED_MODELS_DIR
    make_perplexity.py MODEL.gguf TEXT N_CTX

llama-perplexity is not in the package, so its sums are done here over the logits that the library gives: the text's
tokens in windows of n_ctx, BOS in the place of each window's first token where the vocabulary adds one, the tokens
n_ctx/2 + 1 to n_ctx - 1 of a window counted, e to the mean of -ln p, and its standard error.
"""

import json
import pathlib
import sys

import llama_cpp as lc
import numpy as np
from reference import Reference

ROOT = pathlib.Path(__file__).resolve().parents[2]


WINDOWS = 12


def perplexity(path, text, n_ctx, most=None):
    r = Reference(path, n_ctx=n_ctx)
    tokens = r.tokenize(text, True)
    bos = lc.llama_vocab_bos(r.vocab) if lc.llama_vocab_get_add_bos(r.vocab) else None
    first, all_surprises, running = n_ctx // 2, np.empty(0), []
    for start in range(0, len(tokens) - n_ctx + 1, n_ctx)[:most]:
        window = list(tokens[start : start + n_ctx])
        if bos is not None:
            window[0] = bos
        r.clear()
        logits = r.decode(window).astype(np.float64)[first:-1]
        top = logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        surprises = log_sum - logits[np.arange(len(logits)), window[first + 1 :]]
        all_surprises = np.concatenate([all_surprises, surprises])
        running.append(round(float(np.exp(all_surprises.mean())), 6))
    r.close()
    mean, n = all_surprises.mean(), len(all_surprises)
    error = np.exp(mean) * np.sqrt(((all_surprises**2).mean() - mean**2) / (n - 1))
    return dict(
        n_ctx=n_ctx, n_tokens=len(tokens), n_counted=n, perplexity=running[-1], standard_error=round(float(error), 6),
        chunks=running,
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        path, text = map(pathlib.Path, sys.argv[1:3])
        print(json.dumps(perplexity(path, text.read_text(), int(sys.argv[3]))))
    else:
        fixtures, shared = ROOT / "tests/fixtures", pathlib.Path(sys.argv[1])
        text = (fixtures / "heldout.txt").read_text()
        models = {
            "models/bible-5M-Q8_0.gguf": ROOT / "models/bible-5M-Q8_0.gguf",
            "shared:models/stories260K.gguf": shared / "stories260K.gguf",
        }
        out = [dict(model=name, **perplexity(path, text, 256, WINDOWS)) for name, path in models.items()]
        (fixtures / "perplexity.json").write_text(json.dumps(out, indent=1) + "\n")
