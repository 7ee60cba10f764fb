"""The reference: llama.cpp through the package llama-cpp-python, with an F32 KV cache and no flash attention."""

import ctypes

import llama_cpp as lc
import numpy as np

F32 = 0
# Functions that the reference exports to its own tools alone.
_lib = lc.llama_cpp._lib
_set_hidden = _lib._Z26llama_set_embeddings_nextnP13llama_contextbb
_set_hidden.argtypes, _set_hidden.restype = (ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool), None
_hidden = _lib._Z26llama_get_embeddings_nextnP13llama_context
_hidden.argtypes, _hidden.restype = (ctypes.c_void_p,), ctypes.POINTER(ctypes.c_float)


@lc.llama_log_callback
def quiet(level, text, user_data):
    if level == 4:
        print(text.decode(errors="replace"), end="")


class Reference:
    def __init__(self, path, n_ctx=512, nextn=False):
        lc.llama_log_set(quiet, ctypes.c_void_p(0))
        lc.llama_backend_init()
        mp = lc.llama_model_default_params()
        mp.n_gpu_layers = 0
        # The repacked kernels quantise differently from the plain ones.
        if hasattr(mp, "use_extra_bufts"):
            mp.use_extra_bufts = False
        if nextn:
            mp.load_mtp = True
        self.model = lc.llama_model_load_from_file(str(path).encode(), mp)
        assert self.model, f"{path}: the reference cannot load it"
        self.ctx = self.context(n_ctx)
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.n_vocab = lc.llama_vocab_n_tokens(self.vocab)

    def context(self, n_ctx, other=None):
        """A context of the trunk, or of the prediction layers beside another context."""
        cp = lc.llama_context_default_params()
        cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = n_ctx, 512, 512, 2, 2
        cp.type_k = cp.type_v = F32
        cp.flash_attn_type = 0
        # Windows mask what the cache holds, nothing is thrown away.
        cp.swa_full = True
        if other:
            cp.ctx_type, cp.ctx_other = lc.LLAMA_CONTEXT_TYPE_MTP, other
        ctx = lc.llama_init_from_model(self.model, cp)
        assert ctx, "no context"
        return ctx

    def close(self):
        lc.llama_free(self.ctx)
        lc.llama_model_free(self.model)

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.ctx), True)

    def cut(self, p0, p1):
        """Removes positions p0 to p1 - 1 of the sequence and moves the later ones up."""
        memory = lc.llama_get_memory(self.ctx)
        assert lc.llama_memory_seq_rm(memory, 0, p0, p1)
        lc.llama_memory_seq_add(memory, 0, p1, -1, p0 - p1)

    def predictions(self, tokens, n_ctx=512):
        """Logits [len(tokens), n_vocab] of the prediction layer. Position i has token i and the trunk's hidden row of
        position i - 1, which is zeros at first; it predicts token i + 1."""
        _set_hidden(self.ctx, True, False)
        self.clear()
        self.decode(tokens)
        hidden = np.ctypeslib.as_array(_hidden(self.ctx), (len(tokens), lc.llama_model_n_embd(self.model)))
        before = np.ascontiguousarray(np.vstack([np.zeros_like(hidden[:1]), hidden[:-1]]))
        ctx = self.context(n_ctx, self.ctx)
        _set_hidden(ctx, True, True)
        out = self.decode(tokens, rows=before, ctx=ctx)
        lc.llama_free(ctx)
        return out

    def decode(self, tokens, first=0, rows=None, ctx=None):
        """Logits [len(tokens), n_vocab] of tokens at positions first..., for prediction layers with rows of theirs."""
        n, ctx = len(tokens), ctx or self.ctx
        batch = lc.llama_batch_init(n, 0, 1)
        if rows is not None:
            batch.embd = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        batch.n_tokens = n
        for i, t in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(t), first + i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, 1
        assert lc.llama_decode(ctx, batch) == 0
        out = np.ctypeslib.as_array(lc.llama_get_logits(ctx), (n, self.n_vocab)).copy()
        batch.embd = None
        lc.llama_batch_free(batch)
        return out

    def tokenize(self, text, add_special):
        raw = text.encode()
        ids = (lc.llama_token * (len(raw) + 8))()
        n = lc.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), add_special, False)
        assert n >= 0
        return list(ids[:n])

    def piece(self, token):
        buf = ctypes.create_string_buffer(256)
        n = lc.llama_token_to_piece(self.vocab, token, buf, 256, 0, False)
        return buf.raw[:n]

    def greedy(self, tokens, n, stop_at_end=True):
        """Greedy continuation one token at a time, at most n tokens, not beyond an end-of-generation token."""
        self.clear()
        logits = self.decode(tokens)[-1]
        at, out, gaps = len(tokens), [], []
        while len(out) < n:
            t = int(np.argmax(logits))
            if stop_at_end and lc.llama_vocab_is_eog(self.vocab, t):
                break
            top = np.sort(logits)[-2:]
            out.append(t)
            gaps.append(float(top[1] - top[0]))
            logits = self.decode([t], at)[0]
            at += 1
        return out, gaps
