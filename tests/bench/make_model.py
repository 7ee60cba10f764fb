#!/usr/bin/env python3
"""Writes a llama model in the Q4_K_M mix with random weights, for benchmarks.

    make_model.py OUT.gguf [1.1B|8B|tiny]

1.1B has TinyLlama's shape (the default), 8B that of Llama 3, tiny is for tests. Needs nothing but Python. Blocks are random bytes
under scales that keep activations of ordinary size; a matrix repeats some thousand of them, beginning at another in each. Speed does not
depend on the values, so there is no need to quantise real ones.
"""

import random
import struct
import sys

# Layers, then sizes: embedding, heads, KV heads, feed-forward, vocabulary; context length, base of the rotation.
SHAPES = {
    "1.1B": (22, 2048, 32, 4, 5632, 32000, 2048, 10000.0),
    "8B": (32, 4096, 32, 8, 14336, 128256, 8192, 500000.0),
    "tiny": (3, 256, 4, 2, 512, 512, 2048, 10000.0),
}
# GGUF's numbers of types, with bytes of a block of 256.
F32, Q4_K, Q6_K = 0, 12, 14
BLOCK = {Q4_K: 144, Q6_K: 210}
ALIGN = 32
N_BLOCKS = 8191
LOW_SIX = bytes(i & 0x3F for i in range(256))
rng = random.Random(1)
pools = {}


def pool(ty, n_in):
    """Random blocks of a matrix with n_in columns, twice, so that it can be begun anywhere."""
    if (ty, n_in) not in pools:
        size, sd = BLOCK[ty], n_in**-0.5  # Outputs as large as inputs.
        b = bytearray(rng.randbytes(N_BLOCKS * size))
        for at in range(0, len(b), size):
            if ty == Q4_K:
                # Weight = d * scale * q - dmin * min with scale, min in 0..63 and q in 0..15: centred by dmin = 7.5 d.
                b[at : at + 4] = struct.pack("<ee", sd / 160, sd / 160 * 7.5)
                b[at + 4 : at + 16] = b[at + 4 : at + 16].translate(LOW_SIX)
            else:
                b[at + 208 : at + 210] = struct.pack("<e", sd / 600)
                b[at + 192 : at + 208] = b[at + 192 : at + 208].translate(LOW_SIX)
        pools[ty, n_in] = bytes(b) * 2
    return pools[ty, n_in]


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def key(name, value):
    """A key with its value: text, u32, f32, or an array of one of these (of whole numbers: i32)."""
    def one(v, whole):
        if isinstance(v, str):
            return 8, text(v)
        return (6, struct.pack("<f", v)) if isinstance(v, float) else whole(v)

    if isinstance(value, list):
        parts = [one(v, lambda v: (5, struct.pack("<i", v))) for v in value]
        body = struct.pack("<IIQ", 9, parts[0][0], len(parts)) + b"".join(p[1] for p in parts)
    else:
        ty, packed = one(value, lambda v: (4, struct.pack("<I", v)))
        body = struct.pack("<I", ty) + packed
    return text(name) + body


def main():
    path, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "1.1B"
    n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_ctx, base = SHAPES[name]
    n_kv = n_embd // n_head * n_head_kv
    special = ["<unk>", "<s>", "</s>"]
    keys = {
        "general.architecture": "llama",
        "general.name": f"random-{name}",
        "llama.context_length": n_ctx,
        "llama.embedding_length": n_embd,
        "llama.block_count": n_layer,
        "llama.feed_forward_length": n_ff,
        "llama.attention.head_count": n_head,
        "llama.attention.head_count_kv": n_head_kv,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": n_embd // n_head,
        "llama.rope.freq_base": base,
        "llama.vocab_size": n_vocab,
        "general.file_type": 15,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": special + [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(n_vocab - 259)],
        "tokenizer.ggml.scores": [0.0] * n_vocab,
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (n_vocab - 259),
    }

    def more_bits(i):
        """The layers whose attn_v and ffn_down the mix keeps in Q6_K."""
        return i < n_layer // 8 or i >= 7 * n_layer // 8 or (i - n_layer // 8) % 3 == 2

    tensors = [("token_embd.weight", Q4_K, n_embd, n_vocab)]
    for i in range(n_layer):
        wide = Q6_K if more_bits(i) else Q4_K
        layer = [
            ("attn_norm", F32, n_embd, 1),
            ("attn_q", Q4_K, n_embd, n_embd),
            ("attn_k", Q4_K, n_embd, n_kv),
            ("attn_v", wide, n_embd, n_kv),
            ("attn_output", Q4_K, n_embd, n_embd),
            ("ffn_norm", F32, n_embd, 1),
            ("ffn_gate", Q4_K, n_embd, n_ff),
            ("ffn_up", Q4_K, n_embd, n_ff),
            ("ffn_down", wide, n_ff, n_embd),
        ]
        tensors += [(f"blk.{i}.{role}.weight", *rest) for role, *rest in layer]
    tensors += [("output_norm.weight", F32, n_embd, 1), ("output.weight", Q6_K, n_embd, n_vocab)]

    def n_bytes(ty, n_in, n_out):
        return 4 * n_in * n_out if ty == F32 else n_in * n_out // 256 * BLOCK[ty]

    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
        for item in keys.items():
            f.write(key(*item))
        offset = 0
        for tensor, ty, n_in, n_out in tensors:
            shape = [n_in] if ty == F32 else [n_in, n_out]
            f.write(text(tensor) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, ty, offset))
            offset += -(-n_bytes(ty, n_in, n_out) // ALIGN) * ALIGN
        for i, (_, ty, n_in, n_out) in enumerate(tensors):
            f.write(bytes(-f.tell() % ALIGN))
            if ty == F32:
                f.write(struct.pack("<f", 1.0) * n_in)
                continue
            blocks, size, left = pool(ty, n_in), BLOCK[ty], n_in * n_out // 256
            begin = i * 997 % N_BLOCKS * size
            while left > 0:
                n = min(left, N_BLOCKS)
                f.write(memoryview(blocks)[begin : begin + n * size])
                left -= n
        f.write(bytes(-f.tell() % ALIGN))


main()
