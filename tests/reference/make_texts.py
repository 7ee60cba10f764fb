"""Writes tests/fixtures/texts: small random encoders, and what the reference makes of texts with them.

    python make_texts.py [-o DIR] [NAME...]

MODEL.gguf is the model. index.json has for each the texts (token ids), and by pooling the file of rows: little-endian
f32, [texts, n]. The reference computes each text alone. `file` is the pooling that the file names; `none` are the rows
of all tokens, text by text.
"""

import argparse
import ctypes
import fnmatch
import json
import pathlib
import zlib

import llama_cpp as lc
import numpy as np

import builder
from models import encoders

NAMES = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
LENGTHS = (17, 1, 40, 6)


class Encoder:
    def __init__(self, path):
        lc.llama_backend_init()
        mp = lc.llama_model_default_params()
        mp.n_gpu_layers, mp.use_extra_bufts = 0, False
        self.model = lc.llama_model_load_from_file(str(path).encode(), mp)
        assert self.model, path
        self.n_embd = lc.llama_model_n_embd_out(self.model)

    def rows(self, texts, pooling):
        """Of each text by itself: the rows of its tokens, or its one row."""
        cp = lc.llama_context_default_params()
        cp.n_ctx = cp.n_batch = cp.n_ubatch = 512
        cp.n_threads = cp.n_threads_batch = 2
        cp.embeddings, cp.pooling_type, cp.flash_attn_type = True, pooling, 0
        cp.type_k = cp.type_v = 0
        ctx = lc.llama_init_from_model(self.model, cp)
        assert ctx
        n = lc.llama_model_n_cls_out(self.model) if pooling == 4 else self.n_embd
        out = []
        for tokens in texts:
            if lc.llama_get_memory(ctx):
                lc.llama_memory_clear(lc.llama_get_memory(ctx), True)
            batch = lc.llama_batch_init(len(tokens), 0, 1)
            batch.n_tokens = len(tokens)
            for i, t in enumerate(tokens):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(t), i, 1
                batch.seq_id[i][0], batch.logits[i] = 0, 1
            assert lc.llama_decode(ctx, batch) == 0
            if pooling == 0:
                out.append(np.ctypeslib.as_array(lc.llama_get_embeddings(ctx), (len(tokens), n)).copy())
            else:
                out.append(np.ctypeslib.as_array(lc.llama_get_embeddings_seq(ctx, 0), (1, n)).copy())
            lc.llama_batch_free(batch)
        lc.llama_free(ctx)
        return np.concatenate(out)

    def close(self):
        lc.llama_model_free(self.model)


@lc.llama_log_callback
def quiet(level, text, user_data):
    if level == 4:
        print(text.decode(errors="replace"), end="")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("-o", type=pathlib.Path, default=builder.OUT.parent / "texts")
    args.add_argument("names", nargs="*")
    args = args.parse_args()
    builder.OUT = args.o
    args.o.mkdir(parents=True, exist_ok=True)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    at = args.o / "index.json"
    known = {m["model"]: m for m in json.loads(at.read_text())} if at.exists() else {}
    for name, (_, _, keys, _) in encoders.MODELS.items():
        if not any(fnmatch.fnmatchcase(name, p) for p in args.names or ["*"]):
            continue
        encoders.write(name)
        ref = Encoder(args.o / f"{name}.gguf")
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        texts = [rng.integers(3, 64, n).tolist() for n in LENGTHS]
        file, rows = keys["pooling_type"], {}
        # The others do not see the rows that a head makes.
        for pooling in (4,) if file == 4 else (0, 1, 2, 3):
            x = ref.rows(texts, pooling)
            assert np.isfinite(x).all()
            rows[NAMES[pooling]] = x.shape[1]
            (args.o / f"{name}.{NAMES[pooling]}.bin").write_bytes(np.ascontiguousarray(x, "<f4").tobytes())
        known[name] = {"model": name, "file": NAMES[file], "texts": texts, "rows": rows}
        print(f"{name:24} std {x.std():.3g}", flush=True)
        ref.close()
    lines = ",\n".join("  " + json.dumps(known[name]) for name in encoders.MODELS if name in known)
    at.write_text(f"[\n{lines}\n]\n")


main()
