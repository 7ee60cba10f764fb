#!/usr/bin/env python3
"""Writes a model with random weights, for benchmarks.

    random_model.py OUT.gguf [--shape 1.1B] [--type Q4_K_M]

Shapes: 1.1B (TinyLlama's, llama), 0.5B (Qwen2-0.5B's, with its tied embedding), moe (qwen3moe, 32 experts of which 4 are used), long
(four layers of 1.1B, its vocabulary cut alike, for long contexts). Types: Q4_K_M (the mix), Q6_K, Q8_0, Q4_0, F16; where rows are no
multiple of 256, K types fall back to Q5_0 and Q8_0, as quantisers do.

Needs numpy and gguf (PyPI). Blocks are random bytes under scales that keep activations of ordinary size. Speed does not depend
on the values, so there is no need to quantise real ones.
"""

import argparse

import gguf
import numpy as np

T = gguf.GGMLQuantizationType
SHAPES = {
    "1.1B": dict(arch="llama", layers=22, embd=2048, heads=32, kv=4, head_dim=64, ff=5632, vocab=32000),
    "0.5B": dict(arch="qwen2", layers=24, embd=896, heads=14, kv=2, head_dim=64, ff=4864, vocab=151936),
    "moe": dict(arch="qwen3moe", layers=16, embd=1024, heads=16, kv=4, head_dim=64, ff=512, vocab=32000, experts=32, used=4),
    "long": dict(arch="llama", layers=4, embd=2048, heads=32, kv=4, head_dim=64, ff=5632, vocab=5824),
}
rng = np.random.default_rng(1)


def blocks(n_blocks, n_bytes, scales):
    """Random blocks; `scales` are (byte offset, value) of half-precision fields."""
    b = np.frombuffer(rng.bytes(n_blocks * n_bytes), np.uint8).reshape(n_blocks, n_bytes).copy()
    for offset, value in scales:
        b[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return b


def fitting(ty, n_in):
    """The type, or what quantisers take where rows are no multiple of its blocks."""
    return {T.Q4_K: T.Q5_0, T.Q6_K: T.Q8_0}.get(ty, ty) if n_in % 256 else ty


def matrix(ty, n_in, n_out):
    n = n_in * n_out
    sd = 1 / np.sqrt(n_in)  # Outputs as large as inputs.
    if ty == T.F16:
        # A random sign and fraction under one exponent: magnitudes of 2/3 to 4/3 of sd.
        bits = np.frombuffer(rng.bytes(2 * n), np.uint16)
        exponent = np.float16(2.0 ** np.floor(np.log2(sd / 1.5 * 1.42))).view(np.uint16)
        return ((bits & 0x83FF) | exponent).view(np.float16).reshape(n_out, n_in)
    if ty == T.Q8_0:
        b = blocks(n // 32, 34, [(0, sd / 74)])
        # Quantisers never make -128.
        b[:, 2:][b[:, 2:] == 0x80] = 0x81
    elif ty == T.Q4_0:
        b = blocks(n // 32, 18, [(0, sd / 4.6)])
    elif ty == T.Q5_0:
        b = blocks(n // 32, 22, [(0, sd / 9.2)])
    elif ty == T.Q4_K:
        # Weight = d * scale * q - dmin * min with scale, min in 0..63 and q in 0..15: centred by dmin = 7.5 d.
        b = blocks(n // 256, 144, [(0, sd / 160), (2, sd / 160 * 7.5)])
        b[:, 4:16] &= 0x3F
    else:
        b = blocks(n // 256, 210, [(208, sd / 600)])
        b[:, 192:208] &= 0x3F
    return b.reshape(n_out, -1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--shape", choices=SHAPES, default="1.1B")
    p.add_argument("--type", choices=["Q4_K_M", "Q6_K", "Q8_0", "Q4_0", "F16"], default="Q4_K_M")
    a = p.parse_args()
    s = argparse.Namespace(**SHAPES[a.shape])
    w = gguf.GGUFWriter(a.out, s.arch)
    w.add_name(f"random-{a.shape}")
    w.add_context_length(32768)
    w.add_embedding_length(s.embd)
    w.add_block_count(s.layers)
    w.add_feed_forward_length(s.ff)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv)
    w.add_layer_norm_rms_eps(1e-5)
    if s.arch == "llama":
        w.add_rope_dimension_count(s.head_dim)
    else:
        w.add_rope_freq_base(1e6)
    if s.arch == "qwen3moe":
        w.add_key_length(s.head_dim)
        w.add_value_length(s.head_dim)
        w.add_expert_count(s.experts)
        w.add_expert_used_count(s.used)
        w.add_expert_feed_forward_length(s.ff)
    w.add_vocab_size(s.vocab)
    w.add_tokenizer_model("llama")
    special = ["<unk>", "<s>", "</s>"]
    w.add_token_list(special + [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(s.vocab - 259)])
    w.add_token_scores([0.0] * s.vocab)
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (s.vocab - 259))
    ty = T[a.type] if a.type != "Q4_K_M" else T.Q4_K
    # What the mix keeps in more bits; of pure types nothing.
    wide = T.Q6_K if a.type == "Q4_K_M" else ty

    def more_bits(i):
        """The layers whose attn_v and ffn_down the mix keeps in Q6_K."""
        return i < s.layers // 8 or i >= 7 * s.layers // 8 or (i - s.layers // 8) % 3 == 2

    def add(name, ty, n_in, n_out, n=0):
        ty = fitting(ty, n_in)
        m = matrix(ty, n_in, n_out * max(n, 1))
        if n:
            m = m.reshape(n, n_out, -1)
        w.add_tensor(name, m, raw_dtype=None if ty == T.F16 else ty)

    def ones(name, n):
        w.add_tensor(name, np.ones(n, np.float32))

    n_q, n_kv = s.heads * s.head_dim, s.kv * s.head_dim
    tied = s.arch == "qwen2"
    add("token_embd.weight", wide if tied else ty, s.embd, s.vocab)
    for i in range(s.layers):
        b, down = f"blk.{i}.", wide if more_bits(i) else ty
        ones(b + "attn_norm.weight", s.embd)
        add(b + "attn_q.weight", ty, s.embd, n_q)
        add(b + "attn_k.weight", ty, s.embd, n_kv)
        add(b + "attn_v.weight", down, s.embd, n_kv)
        add(b + "attn_output.weight", ty, n_q, s.embd)
        if s.arch == "qwen2":
            for name, n in [("q", n_q), ("k", n_kv), ("v", n_kv)]:
                w.add_tensor(b + f"attn_{name}.bias", rng.normal(0, 0.1, n).astype(np.float32))
        ones(b + "ffn_norm.weight", s.embd)
        if s.arch == "qwen3moe":
            ones(b + "attn_q_norm.weight", s.head_dim)
            ones(b + "attn_k_norm.weight", s.head_dim)
            router = rng.normal(0, 1 / np.sqrt(s.embd), (s.experts, s.embd)).astype(np.float32)
            w.add_tensor(b + "ffn_gate_inp.weight", router)
            add(b + "ffn_gate_exps.weight", ty, s.embd, s.ff, s.experts)
            add(b + "ffn_up_exps.weight", ty, s.embd, s.ff, s.experts)
            add(b + "ffn_down_exps.weight", down, s.ff, s.embd, s.experts)
        else:
            add(b + "ffn_gate.weight", ty, s.embd, s.ff)
            add(b + "ffn_up.weight", ty, s.embd, s.ff)
            add(b + "ffn_down.weight", down, s.ff, s.embd)
    ones("output_norm.weight", s.embd)
    if not tied:
        add("output.weight", wide, s.embd, s.vocab)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main()
