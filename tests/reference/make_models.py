"""Writes the small random models of tests/fixtures/models: python make_models.py [-o DIR] [NAME...], names as patterns

DIR takes the place of tests/fixtures/models. What a family sets aside, to keep the repository small, is written only if
a name asks for it. Those below are llama and qwen2; the others are in models/. Each one here has two layers,
grouped-query attention and no tokeniser. The weights are scaled so that attention is far from uniform and logits are of
the order of 1 to 10. This needs numpy, gguf and llama-cpp-python (whose ggml quantises the K types).
"""

import argparse
import fnmatch
import pathlib
import zlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

import builder
from builder import quantise
from models import deepseek, dense, experts, gemma, gemma3n, gemma4, hybrids, nextn, others, sections, step35, variants

SMALL = dict(n_vocab=64, n_embd=64, n_head=4, n_head_kv=2, head_dim=16, n_ff=32)
BLOCKS = dict(SMALL, n_ff=96)
K_BLOCKS = dict(SMALL, n_embd=256, n_ff=256)
# Rows of ffn_down are Q8_0, which keeps the file small.
K_FEW = dict(SMALL, n_embd=256, n_ff=64)

# name: (architecture, shape, weight type, options)
MODELS = {
    "llama-F32": ("llama", SMALL, T.F32, {}),
    "llama-bias-tied": ("llama", SMALL, T.F32, dict(tied=True, bias="qkvo")),
    "llama-linear": ("llama", SMALL, T.F32, dict(tied=True, scaling="linear", factor=4.0)),
    "llama-yarn": ("llama", SMALL, T.F32, dict(tied=True, scaling="yarn", factor=4.0, n_ctx_orig=64, n_head_kv=4)),
    "llama-freqs": ("llama", SMALL, T.F32, dict(tied=True, freqs=True, n_head_kv=1, freq_base=500000.0)),
    "qwen2-F32": ("qwen2", SMALL, T.F32, dict(bias="qkv", freq_base=1000000.0)),
    "qwen2-yarn-tied": (
        "qwen2", SMALL, T.F32, dict(tied=True, bias="qkv", scaling="yarn", factor=8.0, n_ctx_orig=32, attn_factor=1.25),
    ),
    # No width is a multiple of a vector; the heads do not add up to the embedding's length.
    "llama-odd": (
        "llama", dict(n_vocab=61, n_embd=45, n_head=3, n_head_kv=1, head_dim=20, n_ff=37), T.F32, dict(tied=True),
    ),
    **{
        f"llama-{t.name}": ("llama", BLOCKS, t, {})
        for t in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.IQ4_NL)
    },
    **{f"llama-{t.name}": ("llama", K_BLOCKS, t, {}) for t in (T.Q4_K, T.Q5_K, T.Q6_K)},
    **{f"llama-{t.name}": ("llama", K_FEW, t, {}) for t in (T.IQ4_XS, T.Q2_K, T.Q3_K)},
}


def write(name, arch, shape, t, options):
    s = {**shape, **{k: v for k, v in options.items() if k in shape}}
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    w = gguf.GGUFWriter(str(builder.OUT / f"{name}.gguf"), arch)
    w.add_name(name)
    w.add_vocab_size(s["n_vocab"])
    w.add_context_length(256)
    w.add_embedding_length(s["n_embd"])
    w.add_block_count(2)
    w.add_feed_forward_length(s["n_ff"])
    w.add_head_count(s["n_head"])
    w.add_head_count_kv(s["n_head_kv"])
    w.add_key_length(s["head_dim"])
    w.add_value_length(s["head_dim"])
    w.add_rope_dimension_count(s["head_dim"])
    w.add_rope_freq_base(options.get("freq_base", 10000.0))
    w.add_layer_norm_rms_eps(1e-5)
    if "scaling" in options:
        w.add_rope_scaling_type(gguf.RopeScalingType(options["scaling"]))
        w.add_rope_scaling_factor(options["factor"])
        if "n_ctx_orig" in options:
            w.add_rope_scaling_orig_ctx_len(options["n_ctx_orig"])
        if "attn_factor" in options:
            w.add_rope_scaling_attn_factors(options["attn_factor"])
    w.add_tokenizer_model("none")

    def norm(name):
        w.add_tensor(name, (1 + rng.normal(0, 0.2, s["n_embd"])).astype(np.float32))

    def matrix(name, rows, cols, std):
        x = np.ascontiguousarray(rng.normal(0, std, (rows, cols)), np.float32)
        # Rows that do not fill the type's blocks are Q8_0, as files in the field have it.
        ty = t if cols % gguf.GGML_QUANT_SIZES[t][0] == 0 else T.Q8_0
        if ty == T.F32:
            w.add_tensor(name, x)
        elif ty == T.F16:
            w.add_tensor(name, x.astype(np.float16))
        else:
            w.add_tensor(name, quantise(x, ty), raw_dtype=ty)

    def bias(name, n):
        w.add_tensor(name, rng.normal(0, 0.5, n).astype(np.float32))

    e, q, kv, ff = s["n_embd"], s["n_head"] * s["head_dim"], s["n_head_kv"] * s["head_dim"], s["n_ff"]
    tied = options.get("tied", False)
    matrix("token_embd.weight", s["n_vocab"], e, 3 / e**0.5 if tied else 1.0)
    norm("output_norm.weight")
    if not tied:
        matrix("output.weight", s["n_vocab"], e, 3 / e**0.5)
    if options.get("freqs"):
        w.add_tensor("rope_freqs.weight", np.linspace(1, 8, s["head_dim"] // 2).astype(np.float32))
    for i in range(2):
        b = f"blk.{i}."
        norm(b + "attn_norm.weight")
        matrix(b + "attn_q.weight", q, e, 1.5 / e**0.5)
        matrix(b + "attn_k.weight", kv, e, 1.5 / e**0.5)
        matrix(b + "attn_v.weight", kv, e, 1.0 / e**0.5)
        matrix(b + "attn_output.weight", e, q, 1.0 / q**0.5)
        for name, n in (("q", q), ("k", kv), ("v", kv), ("o", e)):
            if name in options.get("bias", ""):
                bias(b + ("attn_output.bias" if name == "o" else f"attn_{name}.bias"), n)
        norm(b + "ffn_norm.weight")
        matrix(b + "ffn_gate.weight", ff, e, 1.5 / e**0.5)
        matrix(b + "ffn_up.weight", ff, e, 1.0 / e**0.5)
        matrix(b + "ffn_down.weight", e, ff, 1.0 / ff**0.5)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


args = argparse.ArgumentParser()
args.add_argument("-o", type=pathlib.Path, default=builder.OUT)
args.add_argument("names", nargs="*")
args = args.parse_args()
builder.OUT = args.o
builder.OUT.mkdir(parents=True, exist_ok=True)
makers, aside = {name: lambda name: write(name, *MODELS[name]) for name in MODELS}, set()
for family in (dense, gemma, experts, deepseek, gemma4, gemma3n, step35, sections, nextn, hybrids, variants, others):
    makers.update({name: family.write for name in family.MODELS})
    aside.update(getattr(family, "ASIDE", ()))
for name, make in makers.items():
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in args.names or ([] if name in aside else ["*"])):
        make(name)
