"""The candidates that the reference's sampler steps leave of random rows of logits: tests/fixtures/sample.

    python make_sample.py LIBLLAMA_SO

`src/sample/tests/reference.rs` makes the same rows and settings from the same small generator of integers, and runs the
same cases. So the file holds results alone: for each case the number of candidates that are left, a hash of their
tokens, and two numbers of their probabilities, the largest one and a sum with weights that depend on the token. Steps
that learn from a draw have two rows each; the token that the reference drew from the first one is stored, too.
"""

import ctypes as c
import pathlib
import struct
import sys

import gguf
import llama_cpp
import numpy as np

HERE = pathlib.Path(__file__).parent
OUT = HERE.parent / "fixtures" / "sample"
CASES = 1000
SUPPRESSED = (5, 9)


class Data(c.Structure):
    _fields_ = [("id", c.c_int32), ("logit", c.c_float), ("p", c.c_float)]


class Array(c.Structure):
    _fields_ = [("data", c.POINTER(Data)), ("size", c.c_size_t), ("selected", c.c_int64), ("sorted", c.c_bool)]


class Bias(c.Structure):
    _fields_ = [("token", c.c_int32), ("bias", c.c_float)]


class Vector(c.Structure):
    """std::vector, as the reference's library lays it out."""

    _fields_ = [("begin", c.c_void_p), ("end", c.c_void_p), ("capacity", c.c_void_p)]


class Random:
    """Knuth's MMIX generator; its upper 31 bits."""

    def __init__(self, seed):
        self.x = seed

    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 33) % n

    def real(self, low, high):
        """One of 1001 numbers from low to high."""
        return np.float32(low + (high - low) * self.below(1001) / 1000)


def row(r, n):
    """Logits that are all different: about normal, with a deviation of 0.5, 1, 2 or 4."""
    bits = max(1, (n - 1).bit_length())
    scale = 0.5 ** (22 - r.below(4))
    each = 2 ** (22 - bits)
    values = [((r.below(each) + r.below(each) + r.below(each)) << bits) + i for i in range(n)]
    return np.array([(v - 6291456) * scale for v in values], dtype=np.float32)


def length(r):
    return 2 + (r.below(900) if r.below(8) == 0 else r.below(200))


def history(r, n_vocab, most):
    """Tokens of a small alphabet that repeat themselves."""
    out = []
    for _ in range(r.below(most)):
        if len(out) > 4 and r.below(3) == 0:
            at, k = r.below(len(out)), 1 + r.below(8)
            out += out[at : at + k]
        else:
            out.append(r.below(min(n_vocab, 6)))
    return out


def declare(lib):
    p, i, f, n, u = c.c_void_p, c.c_int32, c.c_float, c.c_size_t, c.c_uint32
    arguments = {
        "dist": (u,), "logit_bias": (i, i, c.POINTER(Bias)), "penalties": (i, i, f, f, f), "top_n_sigma": (f,),
        "top_k": (i,), "typical": (f, n), "top_p": (f, n), "min_p": (f, n), "xtc": (f, f, n, u), "temp": (f,),
        "temp_ext": (f, f, f), "mirostat": (i, u, f, f, i), "mirostat_v2": (u, f, f), "adaptive_p": (f, f, u),
        "infill": (p,), "dry": (p, f, f, i, i, c.POINTER(c.c_char_p), n),
    }
    for name, types in arguments.items():
        function = getattr(lib, f"llama_sampler_init_{name}")
        function.argtypes, function.restype = types, p
    lib.dry_tokens = lib._Z30llama_sampler_init_dry_testingffiiRKSt6vectorIS_IiSaIiEESaIS1_EE
    lib.dry_tokens.argtypes, lib.dry_tokens.restype = (f, f, i, i, c.POINTER(Vector)), p
    for name in ("accept", "apply", "free"):
        getattr(lib, f"llama_sampler_{name}").restype = None
    lib.llama_sampler_accept.argtypes = (p, i)
    lib.llama_sampler_apply.argtypes = (p, c.POINTER(Array))
    lib.llama_sampler_free.argtypes = (p,)


def vector(kind, items):
    """A vector of plain items, and what must live as long as it."""
    array = (kind * max(1, len(items)))(*items)
    at = c.addressof(array)
    end = at + c.sizeof(kind) * len(items)
    return Vector(at, end, end), array


class Cases:
    def __init__(self, lib, vocab, words):
        self.lib, self.vocab, self.words = lib, vocab, words
        self.new = lambda name, *a: getattr(lib, f"llama_sampler_init_{name}")(*a)
        self.keep = []

    def breakers(self, r):
        sequences = [[r.below(6) for _ in range(1 + r.below(3))] for _ in range(r.below(3))]
        inner = [vector(c.c_int32, s) for s in sequences]
        outer, array = vector(Vector, [v for v, _ in inner])
        self.keep = [inner, outer, array]
        return outer

    def dry_settings(self, r):
        return (r.real(0.1, 5), r.real(1, 3), 1 + r.below(5), 1 + r.below(120))

    def suppress(self):
        """The bias that the reference's tools add for the tokens that a file suppresses."""
        bias = [Bias(t, -np.inf) for t in SUPPRESSED]
        return self.new("logit_bias", 0, len(bias), (Bias * len(bias))(*bias))

    # A kind gives (n_vocab, tokens accepted before, samplers).

    def logit_bias(self, r):
        n = length(r)
        tokens = [r.below(n) for _ in range(1 + r.below(20))]
        # The reference takes the first bias of a token and ignores others, so they are all different.
        tokens = sorted(set(tokens))
        bias = [Bias(t, -np.inf if r.below(4) == 0 and t > 0 else r.real(-5, 5)) for t in tokens]
        return n, [], [self.new("logit_bias", n, len(bias), (Bias * len(bias))(*bias))]

    def penalties(self, r):
        n = length(r)
        before = history(r, n, 200)
        settings = (1 + r.below(100), r.real(0.5, 2), r.real(-1, 1), r.real(-1, 1))
        return n, before, [self.new("penalties", n, *settings)]

    def dry(self, r):
        n = length(r)
        before = history(r, n, 200)
        settings = self.dry_settings(r)
        return n, before, [self.lib.dry_tokens(*settings, self.breakers(r))]

    def dry_texts(self, r):
        before = [self.words[r.below(len(self.words))] for _ in range(r.below(100))]
        before += before[: r.below(100)]
        settings = self.dry_settings(r)
        texts = [[b"\n", b":", b'"', b"*"], [b"hello\n"], [b"o: h"], [b"\n\n", b"he"]][r.below(4)]
        array = (c.c_char_p * len(texts))(*texts)
        return None, before, [self.suppress(), self.new("dry", self.vocab, *settings, array, len(texts))]

    def top_n_sigma(self, r):
        return length(r), [], [self.new("top_n_sigma", r.real(0.1, 3))]

    def top_k(self, r):
        return length(r), [], [self.new("top_k", 1 + r.below(100))]

    def typical(self, r):
        return length(r), [], [self.new("typical", r.real(0.02, 0.98), r.below(6))]

    def top_p(self, r):
        return length(r), [], [self.new("top_p", r.real(0.02, 0.98), r.below(6))]

    def min_p(self, r):
        return length(r), [], [self.new("min_p", r.real(0.002, 0.98), r.below(6))]

    def xtc(self, r):
        return length(r), [], [self.new("xtc", 1, r.real(0.002, 0.52), r.below(6), 1)]

    def temperature(self, r):
        return length(r), [], [self.new("temp_ext", r.real(0.1, 3), 0, 1)]

    def dynamic(self, r):
        return length(r), [], [self.new("temp_ext", r.real(0.5, 2), r.real(0.1, 0.4), r.real(0.5, 2))]

    def mirostat1(self, r):
        n = length(r)
        return n, [], [self.new("mirostat", n, 1 + r.below(1000), r.real(1, 3), r.real(0.1, 1), 100)]

    def mirostat2(self, r):
        return length(r), [], [self.new("mirostat_v2", 1 + r.below(1000), r.real(1, 8), r.real(0.1, 1))]

    def adaptive(self, r):
        return length(r), [], [self.new("adaptive_p", r.real(0.01, 1), r.real(0.01, 0.98), 1 + r.below(1000))]

    def infill(self, r):
        return None, [], [self.suppress(), self.new("top_k", 2 + r.below(30)), self.new("infill", self.vocab)]

    def default(self, r):
        """All steps in the default order, each on or off."""
        n = length(r)
        before = history(r, n, 100)
        return n, before, self.chain(r, n, range(9))

    def any_order(self, r):
        """The same in another order, with some twice and some missing."""
        n = length(r)
        before = history(r, n, 100)
        return n, before, self.chain(r, n, [r.below(9) for _ in range(1 + r.below(9))])

    def chain(self, r, n, order):
        on = [r.below(2) for _ in range(9)]
        # The reference's top-n-sigma leaves what it cuts off in the list, with a logit of -infinity. So XTC counts too
        # many, the entropy of typical is no number, and the dynamic temperature's greatest entropy is too high: these
        # do not go together here.
        keep = 0 if on[2] else r.below(4)
        penalties = (64, r.real(0.5, 2), r.real(-1, 1), r.real(-1, 1))
        dry = (*self.dry_settings(r)[:3], 64)
        breakers = self.breakers(r)
        sigma, k, typical, top_p = r.real(0.5, 3), 1 + r.below(60), r.real(0.2, 0.98), r.real(0.2, 0.98)
        min_p, threshold, heat = r.real(0.002, 0.3), r.real(0.02, 0.5), r.real(0.5, 2)
        spread = (r.real(0.1, 0.4), r.real(0.5, 2))
        typical_on = on[4] and not on[2]
        dynamic = not on[2] and r.below(2)
        new = self.new
        steps = [
            on[0] and (lambda: new("penalties", n, *penalties)),
            on[1] and (lambda: self.lib.dry_tokens(*dry, breakers)),
            on[2] and (lambda: new("top_n_sigma", sigma)),
            on[3] and (lambda: new("top_k", k)),
            typical_on and (lambda: new("typical", typical, keep)),
            on[5] and (lambda: new("top_p", top_p, keep)),
            on[6] and (lambda: new("min_p", min_p, keep)),
            on[7] and (lambda: new("xtc", 1, threshold, keep, 1)),
            on[8] and (lambda: new("temp_ext", heat, spread[0] if dynamic else 0, spread[1])),
        ]
        return [steps[i]() for i in order if steps[i]]


# With these the reference draws the token itself.
DRAWING = ("mirostat1", "mirostat2", "adaptive")
KINDS = ("logit_bias penalties dry dry_texts top_n_sigma top_k typical top_p min_p xtc temperature dynamic mirostat1 "
         "mirostat2 adaptive infill default any_order").split()


def apply(lib, samplers, logits):
    data = (Data * len(logits))(*[Data(i, l, 0) for i, l in enumerate(logits)])
    array = Array(c.cast(data, c.POINTER(Data)), len(logits), -1, False)
    for s in samplers:
        lib.llama_sampler_apply(s, c.byref(array))
    left = [array.data[i] for i in range(array.size)]
    return [(d.id, d.p) for d in left if d.logit > -np.inf], left[array.selected].id


def result(left):
    tokens = sorted(t for t, _ in left)
    code = 0
    for t in tokens:
        code = (code * 31 + t + 1) % 65521
    most = max(p for _, p in left)
    share = sum(p * (t * 2654435761 % 2**32 / 2**32) for t, p in left)
    return struct.pack("<HHff", len(tokens), code, most, share)


def main(path):
    lib = c.CDLL(path)
    declare(lib)
    quiet = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda *_: None)
    lib.llama_log_set(quiet, None)
    vocab, words, n_words = vocabulary(lib)
    cases = Cases(lib, vocab, words)
    out = bytearray()
    for seed, kind in enumerate(KINDS):
        drawing = kind in DRAWING
        for case in range(CASES // 2 if drawing else CASES):
            r = Random(1_000_000 * (seed + 1) + case)
            n, before, samplers = getattr(cases, kind)(r)
            end = [] if drawing else [lib.llama_sampler_init_dist(1)]
            for s in samplers:
                for t in before:
                    lib.llama_sampler_accept(s, t)
            for _ in range(2 if drawing else 1):
                left, token = apply(lib, samplers + end, row(r, n or n_words))
                out += result(left)
                if drawing:
                    out += struct.pack("<H", token)
                    for s in samplers:
                        lib.llama_sampler_accept(s, token)
            for s in samplers + end:
                lib.llama_sampler_free(s)
        print(kind, len(out))
    (OUT / "steps.bin").write_bytes(out)


def vocabulary(lib):
    """A small vocabulary: bytes, and words that begin with one another."""
    words = ["▁", "he", "hel", "hell", "hello", "▁he", "▁hell", "▁hello", "o", "o:", "▁o", ":", ":▁", "▁:", '"', "*",
             "**", "h", "e", "l", "lo", "a", "ab", "abc", "abd", "b", "bc", "c", "d",
             "hello\n", "{\n", "\n\n", "x\n\ny"]
    special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    tokens = special + [(f"<0x{b:02X}>", 6) for b in range(256)] + [(w, 1) for w in words] + [("<|im_end|>", 3)]
    path = OUT / "words.gguf"
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(1), w.add_context_length(64), w.add_embedding_length(32), w.add_feed_forward_length(32)
    w.add_head_count(1), w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("llama")
    w.add_token_list([t for t, _ in tokens])
    w.add_token_scores([-float(i) for i in range(len(tokens))])
    w.add_token_types([k for _, k in tokens])
    w.add_array("tokenizer.ggml.suppress_tokens", [*SUPPRESSED, 100000])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.close()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    lib.llama_model_load_from_file.argtypes = (c.c_char_p, type(params))
    lib.llama_model_load_from_file.restype = lib.llama_model_get_vocab.restype = c.c_void_p
    lib.llama_model_get_vocab.argtypes = (c.c_void_p,)
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    assert model, "the reference cannot load the vocabulary"
    return lib.llama_model_get_vocab(model), list(range(259, len(tokens) - 1)), len(tokens)


if __name__ == "__main__":
    main(sys.argv[1])
