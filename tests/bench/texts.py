#!/usr/bin/env python3
"""Embeddings of rekindle against llama.cpp, on the same file, alternating in one run.

    texts.py MODEL.gguf [--texts 256] [--words 24] [--pairs 5] [--threads N]

First the tokens of all texts are compared, then their pooled rows (cosine). Then both embed all texts again and again
in turn, in batches of 2048 tokens, whole texts together. A line tells the median texts per second of each, and the
median of the pairs' ratios. The library is build/librekindle.so, or REKINDLE_LIBRARY. minilm.py makes a model.
"""

import argparse
import ctypes as C
import os
import pathlib
import random
import statistics
import time

import llama_cpp as lc
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH, SEQUENCES, FILE = 2048, 256, 1
WORDS = (ROOT / "tests/fixtures/heldout.txt").read_text().split()


class Ours:
    class ContextParams(C.Structure):
        _fields_ = [("struct_size", C.c_uint32), ("n_threads", C.c_uint32), ("devices", C.c_char_p),
                    ("devices_len", C.c_size_t)]

    class PlanParams(C.Structure):
        _fields_ = [(n, C.c_uint32) for n in "size n_ctx n_seq_max n_outputs n_batch n_ubatch k v weights aim".split()]
        _fields_ += [("reserve", C.c_uint64), ("estimator", C.c_int32), ("n_limits", C.c_uint32)]
        _fields_ += [("limits", C.c_void_p), ("margin", C.c_double)]
        _fields_ += [(n, C.c_uint32) for n in ("n_checkpoints", "n_draft", "pooling", "reserved")]

    class Batch(C.Structure):
        _fields_ = [("struct_size", C.c_uint32), ("n_tokens", C.c_uint32)]
        _fields_ += [(n, C.c_void_p) for n in ("tokens", "positions", "seq_ids", "outputs")]

    def __init__(self, path, threads):
        self.lib = C.CDLL(os.environ.get("REKINDLE_LIBRARY", str(ROOT / "build/librekindle.so")))
        self.lib.rekindle_last_error.restype = C.c_char_p
        path = str(path).encode()
        context, file, plan, self.model, self.vocab = (C.c_void_p() for _ in range(5))
        params = self.ContextParams(C.sizeof(self.ContextParams), threads, b"cpu", 3)
        self.call("context_create", 1, C.byref(params), C.byref(context))
        self.call("file_open", context, path, C.c_size_t(len(path)), C.byref(file))
        params = self.PlanParams(size=C.sizeof(self.PlanParams), n_ctx=BATCH, n_seq_max=SEQUENCES, n_batch=BATCH,
                                 n_ubatch=BATCH, pooling=FILE)
        self.call("plan", context, file, C.byref(params), C.byref(plan))
        self.call("load", context, plan, None, C.byref(self.model))
        self.call("model_vocab", self.model, C.byref(self.vocab))

    def call(self, name, *args):
        if getattr(self.lib, f"rekindle_{name}")(*args):
            raise RuntimeError(f"{name}: {self.lib.rekindle_last_error().decode()}")

    def tokens(self, text):
        raw, n = text.encode(), C.c_size_t()
        ids = (C.c_int32 * (len(raw) + 8))()
        self.call("tokenize", self.vocab, raw, C.c_size_t(len(raw)), 1, ids, C.c_size_t(len(ids)), C.byref(n))
        return list(ids[: n.value])

    def embed(self, texts):
        tokens = np.concatenate(texts).astype(np.int32)
        seqs = np.repeat(np.arange(len(texts)), [len(t) for t in texts]).astype(np.int32)
        batch = self.Batch(C.sizeof(self.Batch), len(tokens), tokens.ctypes.data, None, seqs.ctypes.data, None)
        self.call("seq_remove", self.model, -1, -1, -1)
        self.call("decode", self.model, C.byref(batch))
        out, n = [], C.c_size_t()
        for seq in range(len(texts)):
            row = np.empty(8192, np.float32)
            self.call("pooled", self.model, seq, 0, row.ctypes.data_as(C.c_void_p), C.c_size_t(len(row)), C.byref(n))
            out.append(row[: n.value])
        return out


class Theirs:
    def __init__(self, path, threads):
        self.quiet = lc.llama_log_callback(lambda *_: None)
        lc.llama_log_set(self.quiet, None)
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(str(path).encode(), lc.llama_model_default_params())
        p = lc.llama_context_default_params()
        p.n_ctx = p.n_batch = p.n_ubatch = BATCH
        p.n_seq_max, p.embeddings, p.n_threads, p.n_threads_batch = SEQUENCES, True, threads, threads
        p.kv_unified = True
        self.context = lc.llama_init_from_model(self.model, p)
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.n = lc.llama_model_n_embd_out(self.model)
        self.batch = lc.llama_batch_init(BATCH, 0, 1)

    def tokens(self, text):
        raw = text.encode()
        ids = (lc.llama_token * (len(raw) + 8))()
        return list(ids[: lc.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), True, False)])

    def embed(self, texts):
        b, i = self.batch, 0
        for seq, text in enumerate(texts):
            for pos, t in enumerate(text):
                b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = t, pos, 1, seq, 1
                i += 1
        b.n_tokens = i
        memory = lc.llama_get_memory(self.context)
        if memory:
            lc.llama_memory_clear(memory, False)
        start = time.perf_counter()
        if lc.llama_decode(self.context, b):
            raise RuntimeError("llama_decode failed")
        rows = [np.ctypeslib.as_array(lc.llama_get_embeddings_seq(self.context, s), (self.n,)).copy()
                for s in range(len(texts))]
        # The filling of their batch in Python is not theirs to answer for.
        self.seconds += time.perf_counter() - start
        return rows

    seconds = 0.0


def batches(texts):
    out = [[]]
    for t in texts:
        if sum(map(len, out[-1])) + len(t) > BATCH or len(out[-1]) == SEQUENCES:
            out.append([])
        out[-1].append(t)
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model", type=pathlib.Path)
    a.add_argument("--texts", type=int, default=256)
    a.add_argument("--words", type=int, default=24)
    a.add_argument("--pairs", type=int, default=5)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a = a.parse_args()
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 2 * a.words))) for _ in range(a.texts)]
    ours, theirs = Ours(a.model, a.threads), Theirs(a.model, a.threads)
    ids = [ours.tokens(t) for t in texts]
    assert ids == [theirs.tokens(t) for t in texts], "tokens differ"
    parts = batches(ids)
    rows = [np.stack([r for part in parts for r in side.embed(part)]) for side in (ours, theirs)]
    dot = lambda x, y: np.einsum("ij,ij->i", x.astype(np.float64), y)
    cosines = dot(*rows) / np.sqrt(dot(rows[0], rows[0]) * dot(rows[1], rows[1]))
    nmse = np.sum((rows[0] - rows[1]) ** 2) / np.sum(rows[1] ** 2)
    print(f"{len(texts)} texts of {sum(map(len, ids))} tokens in {len(parts)} batches: tokens equal, "
          f"1 - cosine {1 - cosines.min():.1e} at most, nmse {nmse:.1e}")
    times, ratios = ([], []), []
    for _ in range(a.pairs):
        start = time.perf_counter()
        for part in parts:
            ours.embed(part)
        times[0].append(time.perf_counter() - start)
        theirs.seconds = 0.0
        for part in parts:
            theirs.embed(part)
        times[1].append(theirs.seconds)
        ratios.append(times[1][-1] / times[0][-1])
    speeds = [len(texts) / statistics.median(t) for t in times]
    print(f"texts per second: rekindle {speeds[0]:.1f}, llama.cpp {speeds[1]:.1f}; "
          f"ratio {statistics.median(ratios):.2f} (of {a.pairs}: {min(ratios):.2f} to {max(ratios):.2f})")


main()
