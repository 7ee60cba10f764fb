#!/usr/bin/env python3
"""Writes a llama model of 1.1 B parameters (TinyLlama's shape) in the Q4_K_M mix with random weights, for benchmarks.

    make_model.py OUT.gguf

Needs numpy and gguf (PyPI). Blocks are random bytes under scales that keep activations of ordinary size. Speed does not depend
on the values, so there is no need to quantise real ones.
"""

import sys

import gguf
import numpy as np

N_LAYER, N_EMBD, N_HEAD, N_HEAD_KV, N_FF, N_VOCAB = 22, 2048, 32, 4, 5632, 32000
rng = np.random.default_rng(1)


def blocks(n_blocks, n_bytes, scales):
    """Random blocks; `scales` are (byte offset, value) of half-precision fields."""
    b = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for offset, value in scales:
        b[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return b


def matrix(ty, n_in, n_out):
    n = n_in * n_out // 256
    sd = 1 / np.sqrt(n_in)  # Outputs as large as inputs.
    if ty == gguf.GGMLQuantizationType.Q4_K:
        # Weight = d * scale * q - dmin * min with scale, min in 0..63 and q in 0..15: centred by dmin = 7.5 d.
        b = blocks(n, 144, [(0, sd / 160), (2, sd / 160 * 7.5)])
        b[:, 4:16] &= 0x3F
    else:
        b = blocks(n, 210, [(208, sd / 600)])
        b[:, 192:208] &= 0x3F
    return b.reshape(n_out, -1)


def more_bits(i):
    """The layers whose attn_v and ffn_down the mix keeps in Q6_K."""
    return i < N_LAYER // 8 or i >= 7 * N_LAYER // 8 or (i - N_LAYER // 8) % 3 == 2


def main():
    w = gguf.GGUFWriter(sys.argv[1], "llama")
    w.add_name("random-1.1B")
    w.add_context_length(2048)
    w.add_embedding_length(N_EMBD)
    w.add_block_count(N_LAYER)
    w.add_feed_forward_length(N_FF)
    w.add_head_count(N_HEAD)
    w.add_head_count_kv(N_HEAD_KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(N_EMBD // N_HEAD)
    w.add_vocab_size(N_VOCAB)
    w.add_file_type(15)
    w.add_tokenizer_model("llama")
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{i:02X}>" for i in range(256)] + [f"t{i}" for i in range(N_VOCAB - 259)]
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * N_VOCAB)
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (N_VOCAB - 259))
    q4, q6 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K

    def add(name, ty, n_in, n_out):
        w.add_tensor(name, matrix(ty, n_in, n_out), raw_dtype=ty)

    n_kv = N_EMBD // N_HEAD * N_HEAD_KV
    add("token_embd.weight", q4, N_EMBD, N_VOCAB)
    for i in range(N_LAYER):
        wide = q6 if more_bits(i) else q4
        w.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(N_EMBD, np.float32))
        add(f"blk.{i}.attn_q.weight", q4, N_EMBD, N_EMBD)
        add(f"blk.{i}.attn_k.weight", q4, N_EMBD, n_kv)
        add(f"blk.{i}.attn_v.weight", wide, N_EMBD, n_kv)
        add(f"blk.{i}.attn_output.weight", q4, N_EMBD, N_EMBD)
        w.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(N_EMBD, np.float32))
        add(f"blk.{i}.ffn_gate.weight", q4, N_EMBD, N_FF)
        add(f"blk.{i}.ffn_up.weight", q4, N_EMBD, N_FF)
        add(f"blk.{i}.ffn_down.weight", wide, N_FF, N_EMBD)
    w.add_tensor("output_norm.weight", np.ones(N_EMBD, np.float32))
    add("output.weight", q6, N_EMBD, N_VOCAB)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main()
