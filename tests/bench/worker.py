"""A process of bench.py: one of the two libraries, told over standard input what to do, a line of JSON at a time.

    worker.py rekindle|llama.cpp MODEL THREADS

Both sides are driven the same way, by ctypes, with the same tokens, batches, contexts and threads and an F16 KV cache.
"""

import ctypes as C
import json
import os
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 512


def token(i, n_vocab):
    return (i * 7919 + 1) % (n_vocab - 300) + 300


class Ours:
    class ContextParams(C.Structure):
        _fields_ = [
            ("struct_size", C.c_uint32), ("n_threads", C.c_uint32), ("devices", C.c_char_p),
            ("devices_len", C.c_size_t),
        ]

    class PlanParams(C.Structure):
        _fields_ = [
            (n, C.c_uint32) for n in "struct_size n_ctx n_seq_max n_outputs_max n_batch n_ubatch type_k type_v".split()
        ]

    class Batch(C.Structure):
        _fields_ = [("struct_size", C.c_uint32), ("n_tokens", C.c_uint32)]
        _fields_ += [(n, C.c_void_p) for n in ("tokens", "positions", "seq_ids", "outputs")]

    class ModelInfo(C.Structure):
        _fields_ = [("struct_size", C.c_uint32), ("n_vocab", C.c_uint32)]

    def __init__(self, path, threads):
        self.lib = C.CDLL(os.environ.get("REKINDLE_LIBRARY", str(ROOT / "build/librekindle.so")))
        self.lib.rekindle_last_error.restype = C.c_char_p
        self.path, self.threads, self.model = path.encode(), threads, None

    def call(self, name, *args):
        if getattr(self.lib, f"rekindle_{name}")(*args):
            raise RuntimeError(f"{name}: {self.lib.rekindle_last_error().decode()}")

    def open(self, n_ctx, n_seqs):
        """Everything from the file's path on."""
        if self.model:
            self.call("model_destroy", self.model)
        context, file, plan, self.model = (C.c_void_p() for _ in range(4))
        params = self.ContextParams(C.sizeof(self.ContextParams), self.threads, b"cpu", 3)
        self.call("context_create", 1, C.byref(params), C.byref(context))
        self.call("file_open", context, self.path, C.c_size_t(len(self.path)), C.byref(file))
        params = self.PlanParams(C.sizeof(self.PlanParams), n_ctx, n_seqs, n_seqs, BATCH, BATCH, 2, 2)
        self.call("plan", context, file, C.byref(params), C.byref(plan))
        self.call("load", context, plan, None, C.byref(self.model))
        self.call("plan_destroy", plan)
        self.call("file_close", file)
        self.call("context_destroy", context)
        info = self.ModelInfo(C.sizeof(self.ModelInfo))
        self.call("model_get_info", self.model, C.byref(info))
        self.n_vocab = info.n_vocab

    def clear(self):
        self.call("seq_remove", self.model, -1, -1, -1)

    def cut(self, seq, n):
        """Forgets a sequence's tokens from position n on. False: it cannot go on there."""
        reached = C.c_uint32()
        self.call("seq_cut", self.model, seq, n, C.byref(reached))
        return reached.value == n

    def decode(self, tokens, positions, seqs, outputs):
        arrays = [
            np.ascontiguousarray(x, t)
            for x, t in zip((tokens, positions, seqs, outputs), (np.int32,) * 3 + (np.uint8,))
        ]
        batch = self.Batch(C.sizeof(self.Batch), len(tokens), *(x.ctypes.data for x in arrays))
        self.call("decode", self.model, C.byref(batch))

    def logits(self, row):
        at, n = C.POINTER(C.c_float)(), C.c_uint32()
        self.call("logits", self.model, row, C.byref(at), C.byref(n))
        return np.ctypeslib.as_array(at, (n.value,)).copy()


class Theirs:
    def __init__(self, path, threads):
        import llama_cpp

        self.api, self.path, self.threads, self.model, self.context = llama_cpp, path.encode(), threads, None, None
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, None)
        llama_cpp.llama_backend_init()
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def open(self, n_ctx, n_seqs):
        api = self.api
        if not self.model:
            self.model = api.llama_model_load_from_file(self.path, api.llama_model_default_params())
            if not self.model:
                raise RuntimeError("the model was not loaded")
            self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        if self.context:
            api.llama_free(self.context)
        p = api.llama_context_default_params()
        p.n_ctx, p.n_seq_max, p.n_batch, p.n_ubatch = n_ctx, n_seqs, BATCH, BATCH
        p.n_threads = p.n_threads_batch = self.threads
        p.flash_attn_type = int(os.environ.get("REFERENCE_FLASH_ATTENTION", p.flash_attn_type))
        self.context = api.llama_init_from_model(self.model, p)
        if not self.context:
            raise RuntimeError("no context")

    def clear(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), False)

    def cut(self, seq, n):
        return self.api.llama_memory_seq_rm(self.api.llama_get_memory(self.context), seq, n, -1)

    def decode(self, tokens, positions, seqs, outputs):
        b, self.rows = self.batch, []
        b.n_tokens = len(tokens)
        for i, (t, p, s, o) in enumerate(zip(tokens, positions, seqs, outputs)):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = t, p, 1, s, o
            if o:
                self.rows.append(i)
        if self.api.llama_decode(self.context, b):
            raise RuntimeError("llama_decode failed")
        self.api.llama_synchronize(self.context)

    def logits(self, row):
        at = self.api.llama_get_logits_ith(self.context, self.rows[row])
        return np.ctypeslib.as_array(at, (self.n_vocab,)).copy()


def prompt(side, seq, n, first=0):
    """n tokens of a sequence in batches, logits for the last; salted by the sequence."""
    for start in range(first, first + n, BATCH):
        some = range(start, min(start + BATCH, first + n))
        outputs = [0] * (len(some) - 1) + [1]
        side.decode([token(i + 1000 * seq, side.n_vocab) for i in some], list(some), [seq] * len(some), outputs)


def steps(side, n, n_seqs, first):
    """n steps of a token for each sequence."""
    for i in range(first, first + n):
        tokens = [token(i + 1000 * s, side.n_vocab) for s in range(n_seqs)]
        side.decode(tokens, [i] * n_seqs, list(range(n_seqs)), [1] * n_seqs)


def memory(key):
    """A line of the process's status, in MiB."""
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) / 1024


def timed(f, *args):
    start = time.perf_counter()
    f(*args)
    return time.perf_counter() - start


def run(side, c):
    kind = c["do"]
    if kind == "first token":
        # The page tables of what came before do not count.
        before = memory("VmRSS")
        seconds = timed(lambda: (side.open(1024, 1), prompt(side, 0, 1)))
        prompt(side, 0, 512, 1)
        return {"seconds": seconds, "peak": memory("VmHWM") - before}
    if kind == "open":
        return timed(side.open, c["ctx"], c["seqs"])
    if kind == "prompt":
        side.clear()
        return timed(prompt, side, 0, c["n"])
    if kind == "fill":
        side.clear()
        return timed(lambda: [prompt(side, s, c["n"]) for s in range(c["seqs"])])
    if kind == "steps":
        if not all([side.cut(s, c["from"]) for s in range(c["seqs"])]):
            # Recurrent layers remember what came after.
            side.clear()
            for s in range(c["seqs"]):
                prompt(side, s, c["from"])
        return timed(steps, side, c["n"], c["seqs"], c["from"])
    if kind == "logits":
        path = c["path"]
        np.save(path, np.stack([side.logits(r) for r in range(c["rows"])]))
        return path
    raise ValueError(kind)


def main():
    side = {"rekindle": Ours, "llama.cpp": Theirs}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(side, json.loads(line))), flush=True)


main()
