"""The parts that the small random models share: keys, tensors in a weight type, the blocks of most architectures."""

import ctypes
import pathlib
import zlib

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as T

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "models"
ggml = ctypes.CDLL(str(next((pathlib.Path(llama_cpp.__file__).parent / "lib").glob("libggml-base.*"))))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = (
    [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
)


def quantise(x, t):
    if t in (T.F32, T.F16, T.BF16, T.Q8_0):
        return gguf.quants.quantize(x, t)
    n, size = gguf.GGML_QUANT_SIZES[t]
    out = np.empty((x.shape[0], x.shape[1] // n * size), np.uint8)
    done = ggml.ggml_quantize_chunk(int(t), x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], None)
    assert done == out.nbytes
    return out


class Builder:
    """One model file. `s` has n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff and n_vocab; the names of `keys`
    follow that of the architecture."""

    def __init__(self, name, arch, s, keys, t=T.F32, salt=""):
        self.name, self.arch, self.t = name, arch, t
        self.s = {"n_vocab": 64, "n_layer": 2, **s}
        self.rng = np.random.default_rng(zlib.crc32((name + salt).encode()))
        self.w = gguf.GGUFWriter(str(OUT / f"{name}.gguf"), arch)
        self.w.add_name(name)
        s = self.s
        common = {
            "vocab_size": s["n_vocab"],
            "context_length": 256,
            "embedding_length": s["n_embd"],
            "block_count": s["n_layer"],
            "feed_forward_length": s["n_ff"],
            "attention.head_count": s["n_head"],
            "attention.head_count_kv": s["n_head_kv"],
            "attention.layer_norm_rms_epsilon": 1e-6,
            "rope.freq_base": 10000.0,
        }
        if "head_dim" in s:
            common["attention.key_length"] = s["head_dim"]
            common["attention.value_length"] = s.get("value_dim", s["head_dim"])
            common["rope.dimension_count"] = s["head_dim"]
        for key, value in {**common, **keys}.items():
            if value is not None:
                self.key(f"{arch}.{key}", value)
        self.w.add_tokenizer_model("none")

    def key(self, key, value):
        if isinstance(value, bool):
            self.w.add_bool(key, value)
        elif isinstance(value, int):
            self.w.add_uint32(key, value)
        elif isinstance(value, float):
            self.w.add_float32(key, value)
        elif isinstance(value, str):
            self.w.add_string(key, value)
        else:
            self.w.add_array(key, value)

    def vector(self, name, n, mean=0.0, std=0.5):
        shape = n if isinstance(n, tuple) else (n,)
        self.w.add_tensor(name, self.rng.normal(mean, std, shape).astype(np.float32))

    def norm(self, name, n=None, mean=1.0):
        self.vector(name, n or self.s["n_embd"], mean, 0.2 * mean)

    def matrix(self, name, rows, cols, std, n=None, t=None):
        """[rows, cols], or n of them; std is that of an output for inputs of variance 1."""
        x = np.ascontiguousarray(self.rng.normal(0, std / cols**0.5, ((n or 1) * rows, cols)), np.float32)
        ty = self.t if t is None else t
        # Rows that do not fill the type's blocks are Q8_0, as files in the field have it, or else F32.
        if cols % gguf.GGML_QUANT_SIZES[ty][0]:
            ty = T.Q8_0 if cols % 32 == 0 else T.F32
        x = x if ty == T.F32 else quantise(x, ty)
        x = x.reshape((n, rows, -1)) if n else x
        self.w.add_tensor(name, x, raw_dtype=None if ty == T.F32 else ty)

    def ends(self, tied, output=3.0):
        s = self.s
        # The elements of an embedding's row have a standard deviation of 1, or of output / sqrt(n_embd) if the
        # embedding is the output matrix as well.
        self.matrix("token_embd.weight", s["n_vocab"], s["n_embd"], output if tied else s["n_embd"] ** 0.5)
        self.norm("output_norm.weight")
        if not tied:
            self.matrix("output.weight", s["n_vocab"], s["n_embd"], output)

    def attention(self, i, bias="", qk_norm=False, fused=False, kv=True, value=True, gated=False, qk_mean=1.3, pre=True,
                  **shape):
        """A layer's matrices and norms; `shape` has what differs from the other layers. Without `kv` the layer reads
        another one's cache, without `value` V is K. Each head of a `gated` query is followed by its output's gate.
        Without `pre` there is no norm before it."""
        s, b = {**self.s, **shape}, f"blk.{i}."
        e, hd = s["n_embd"], s["head_dim"]
        q, n_kv = s["n_head"] * hd, s["n_head_kv"] * hd
        value_dim = s.get("value_dim", hd)
        n_value, n_out = s["n_head_kv"] * value_dim, s["n_head"] * value_dim
        if pre:
            self.norm(b + "attn_norm.weight")
        if fused:
            self.matrix(b + "attn_qkv.weight", q + n_kv + n_value, e, 1.4)
        else:
            self.matrix(b + "attn_q.weight", 2 * q if gated else q, e, 1.5)
            if kv:
                self.matrix(b + "attn_k.weight", n_kv, e, 1.5)
            if kv and value:
                self.matrix(b + "attn_v.weight", n_value, e, 1.0)
        self.matrix(b + "attn_output.weight", e, n_out, 1.0)
        for name, n in (("q", q), ("k", n_kv), ("v", n_value), ("o", e)):
            if name in bias:
                self.vector(b + ("attn_output.bias" if name == "o" else f"attn_{name}.bias"), n)
        if qk_norm:
            self.norm(b + "attn_q_norm.weight", hd, qk_mean)
            if kv:
                self.norm(b + "attn_k_norm.weight", hd, qk_mean)

    def gated(self, i, n_ff=None, suffix=""):
        e, ff, b = self.s["n_embd"], n_ff or self.s["n_ff"], f"blk.{i}."
        self.matrix(f"{b}ffn_gate{suffix}.weight", ff, e, 1.5)
        self.matrix(f"{b}ffn_up{suffix}.weight", ff, e, 1.0)
        self.matrix(f"{b}ffn_down{suffix}.weight", e, ff, 1.0)

    def experts(self, i, n, n_ff, fused=False, router=2.0, gate=1.5):
        """The router is F32 in every file."""
        e, b = self.s["n_embd"], f"blk.{i}."
        self.matrix(b + "ffn_gate_inp.weight", n, e, router, t=T.F32)
        if fused:
            self.matrix(b + "ffn_gate_up_exps.weight", 2 * n_ff, e, 1.3, n)
        else:
            self.matrix(b + "ffn_gate_exps.weight", n_ff, e, gate, n)
            self.matrix(b + "ffn_up_exps.weight", n_ff, e, gate / 1.5, n)
        self.matrix(b + "ffn_down_exps.weight", e, n_ff, 1.5, n)

    def scales(self, i, attention="qkv output", ffn="", n_expert=None):
        """Factors of whole products, which llama.cpp takes beside any matrix: one number, or one per expert."""
        for part in attention.replace("qkv", "q k v").split():
            self.vector(f"blk.{i}.attn_{part}.scale", 1, 1.0, 0.3)
        for part in ffn.split():
            self.vector(f"blk.{i}.ffn_{part}.scale", n_expert or 1, 1.0, 0.3)

    def save(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()
