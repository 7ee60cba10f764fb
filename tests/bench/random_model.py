#!/usr/bin/env python3
"""Writes a model with random weights, for benchmarks.

    random_model.py OUT.gguf [--shape 1.1B] [--type Q4_K_M]

The shapes are 1.1B (TinyLlama's), 8B (Llama 3's), 0.5B (Qwen2-0.5B's, with its tied embedding), moe (qwen3moe, 32
experts of which 4 are used), long (four layers of 1.1B, its vocabulary cut alike, for long contexts), tiny (for tests),
and of models with recurrent layers qwen35 (1B), qwen35moe (2.7B, 64 experts of which 4 are used), lfm2 (1.2B) and
mamba2 (0.8B). qwen35-agrees has a prediction layer that mostly guesses what the trunk says, and qwen35-useless one that
never does: of the former, layers add little to the embedding of a token, so both map a token to the next one alike. The
types are Q4_K_M (the mix), Q6_K, Q8_0, Q4_0 and F16. If rows are no multiple of 256, K types fall back to Q5_0 and
Q8_0, as quantisers do.

It needs nothing but Python. Blocks are random bytes under scales that keep activations of ordinary size. A matrix
repeats some thousand of them, beginning at another one in each matrix. Speed does not depend on the values, so there is
no need to quantise real ones.
"""

import argparse
import math
import random
import struct

# Sizes; `base` of the rotation where it is not 10000.
SHAPES = {
    "1.1B": dict(arch="llama", layers=22, embd=2048, heads=32, kv=4, head_dim=64, ff=5632, vocab=32000),
    "8B": dict(arch="llama", layers=32, embd=4096, heads=32, kv=8, head_dim=128, ff=14336, vocab=128256, base=5e5),
    "0.5B": dict(arch="qwen2", layers=24, embd=896, heads=14, kv=2, head_dim=64, ff=4864, vocab=151936, base=1e6),
    "moe": dict(
        arch="qwen3moe", layers=16, embd=1024, heads=16, kv=4, head_dim=64, ff=512, vocab=32000, experts=32, used=4,
        base=1e6,
    ),
    "long": dict(arch="llama", layers=4, embd=2048, heads=32, kv=4, head_dim=64, ff=5632, vocab=5824),
    "qwen35": dict(
        arch="qwen35", layers=24, embd=1536, heads=12, kv=2, head_dim=256, ff=4608, vocab=32000, base=1e7, rot=64,
        state=128, groups=16, ssm_heads=16, inner=2048, taps=4, attends=lambda i: i % 4 == 3,
    ),
    "qwen35moe": dict(
        arch="qwen35moe", layers=24, embd=1024, heads=8, kv=2, head_dim=256, ff=512, vocab=32000, base=1e7, rot=64,
        state=128, groups=16, ssm_heads=16, inner=2048, taps=4, attends=lambda i: i % 4 == 3, experts=64, used=4,
    ),
    "lfm2": dict(
        arch="lfm2", layers=16, embd=2048, heads=32, kv=8, head_dim=64, ff=8192, vocab=32000, base=1e6, taps=3,
        attends=lambda i: i in (2, 5, 8, 10, 12, 14),
    ),
    "mamba2": dict(
        arch="mamba2", layers=48, embd=1536, heads=0, kv=0, head_dim=0, ff=0, vocab=32000, state=128, groups=1,
        ssm_heads=48, inner=3072, taps=4, attends=lambda i: False,
    ),
    "tiny": dict(arch="llama", layers=3, embd=256, heads=4, kv=2, head_dim=64, ff=512, vocab=512),
}
# `share` is the weight of the norms before mixers and feed-forward blocks: a small one lets these add little.
SHAPES["qwen35-agrees"] = SHAPES["qwen35"] | dict(predictions=1, share=0.03)
SHAPES["qwen35-useless"] = SHAPES["qwen35"] | dict(predictions=1)
# GGUF's number of a type, and elements and bytes of what is drawn at once.
TYPES = {
    "F32": (0, 1, 4),
    "F16": (1, 32, 64),
    "Q4_0": (2, 32, 18),
    "Q5_0": (6, 32, 22),
    "Q8_0": (8, 32, 34),
    "Q4_K": (12, 256, 144),
    "Q6_K": (14, 256, 210),
}
# `general.file_type`, which is a choice for --type.
FILE_TYPES = {"Q4_K_M": 15, "Q6_K": 18, "Q8_0": 7, "Q4_0": 2, "F16": 1}
FALLBACK = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}
ALIGN = 32
N_BLOCKS = 32749
rng = random.Random(1)
pools = {}


def pool(ty, n_in):
    """Random blocks of a matrix with n_in columns, twice, so that it can be begun anywhere."""
    if (ty, n_in) in pools:
        return pools[ty, n_in]
    size, sd = TYPES[ty][2], n_in**-0.5  # Outputs as large as inputs.
    b = bytearray(rng.randbytes(N_BLOCKS * size))

    def of_all(offset, change):
        b[offset::size] = b[offset::size].translate(bytes(change(i) for i in range(256)))

    def scale(offset, value):
        for i, byte in enumerate(struct.pack("<e", value)):
            of_all(offset + i, lambda _: byte)

    if ty == "F16":
        # A random sign and fraction under one exponent: magnitudes of 2/3 to 4/3 of sd.
        exponent = struct.pack("<e", 2.0 ** math.floor(math.log2(sd / 1.5 * 1.42)))
        for i in range(0, size, 2):
            of_all(i, lambda x: x | exponent[0])
            of_all(i + 1, lambda x: x & 0x83 | exponent[1])
    elif ty == "Q8_0":
        for i in range(2, size):
            # Quantisers never make -128.
            of_all(i, lambda x: 0x81 if x == 0x80 else x)
        scale(0, sd / 74)
    elif ty in ("Q4_0", "Q5_0"):
        scale(0, sd / (4.6 if ty == "Q4_0" else 9.2))
    elif ty == "Q4_K":
        # Weight = d * scale * q - dmin * min with scale, min in 0..63 and q in 0..15: centred by dmin = 7.5 d.
        scale(0, sd / 160)
        scale(2, sd / 160 * 7.5)
        for i in range(4, 16):
            of_all(i, lambda x: x & 0x3F)
    else:
        for i in range(192, 208):
            of_all(i, lambda x: x & 0x3F)
        scale(208, sd / 600)
    pools[ty, n_in] = bytes(b) * 2
    return pools[ty, n_in]


def normal(n, sd):
    return struct.pack(f"<{n}f", *(rng.gauss(0, sd) for _ in range(n)))


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


def keys(name, file_type, s):
    of_model = {
        "context_length": 32768,
        "embedding_length": s["embd"],
        "block_count": s["layers"],
        "feed_forward_length": s["ff"],
        "attention.head_count": s["heads"],
        "attention.head_count_kv": s["kv"],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": s.get("base", 1e4),
        "vocab_size": s["vocab"],
    }
    if s["arch"] == "llama":
        of_model["rope.dimension_count"] = s["head_dim"]
    if "predictions" in s:
        of_model |= {"block_count": s["layers"] + s["predictions"], "nextn_predict_layers": s["predictions"]}
    if s["arch"].startswith("qwen35"):
        of_model |= {"rope.dimension_count": s["rot"], "rope.dimension_sections": [11, 11, 10, 0]}
    if s["arch"].startswith("qwen35") or "experts" in s:
        of_model |= {"attention.key_length": s["head_dim"], "attention.value_length": s["head_dim"]}
    if s["arch"] == "lfm2":
        of_model["shortconv.l_cache"] = s["taps"]
        of_model["attention.head_count_kv"] = [s["kv"] if s["attends"](i) else 0 for i in range(s["layers"])]
    if "state" in s:
        of_model |= {
            "ssm.conv_kernel": s["taps"],
            "ssm.inner_size": s["inner"],
            "ssm.state_size": s["state"],
            "ssm.time_step_rank": s["ssm_heads"],
            "ssm.group_count": s["groups"],
        }
    if "experts" in s:
        of_model |= {"expert_shared_feed_forward_length": s["ff"]} if "state" in s else {}
        of_model |= {"attention.key_length": s["head_dim"], "attention.value_length": s["head_dim"]}
        of_model |= {
            "expert_count": s["experts"],
            "expert_used_count": s["used"],
            "expert_feed_forward_length": s["ff"],
        }
    bytes_as_text, others = [f"<0x{i:02X}>" for i in range(256)], [f"t{i}" for i in range(s["vocab"] - 259)]
    return {
        "general.architecture": s["arch"],
        "general.name": f"random-{name}",
        "general.file_type": FILE_TYPES[file_type],
        **{f"{s['arch']}.{k}": v for k, v in of_model.items()},
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *bytes_as_text, *others],
        "tokenizer.ggml.scores": [0.0] * s["vocab"],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(others),
    }


def tensors(file_type, s):
    """Name, type, shape, and the values where they are no random blocks."""
    ty = "Q4_K" if file_type == "Q4_K_M" else file_type
    # The type of the tensors that the mix keeps in more bits. Pure types have no such tensors.
    wide = "Q6_K" if file_type == "Q4_K_M" else ty
    layers, embd, ff, head_dim = s["layers"], s["embd"], s["ff"], s["head_dim"]
    n_q, n_kv = s["heads"] * head_dim, s["kv"] * head_dim
    arch, behind, share = s["arch"], s.get("predictions", 0), s.get("share", 1.0)

    def attends(i):
        return i >= layers or s.get("attends", lambda _: True)(i)

    tied, gated = arch == "qwen2", arch.startswith("qwen35")

    def more_bits(i):
        """The layers whose attn_v and ffn_down the mix keeps in Q6_K."""
        return i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2

    def matrix(name, ty, *shape):
        return name + ".weight", FALLBACK.get(ty, ty) if shape[0] % 256 else ty, shape, None

    def ones(name, n, value=1.0):
        return name + ".weight", "F32", (n,), struct.pack("<f", value) * n

    def convolution(name, n, bias):
        yield name + ".weight", "F32", (s["taps"], n), normal(s["taps"] * n, 0.4)
        if bias:
            yield name + ".bias", "F32", (n,), normal(n, 0.1)

    def recurrent(b):
        """The mixer of a layer that does not attend."""
        if arch == "lfm2":
            yield matrix(b + "shortconv.in_proj", ty, embd, 3 * embd)
            yield from convolution(b + "shortconv.conv", embd, False)
            yield matrix(b + "shortconv.out_proj", ty, embd, embd)
            return
        n, inner, mixed = s["ssm_heads"], s["inner"], s["inner"] + 2 * s["groups"] * s["state"]
        decays = b + "ssm_a", "F32", (n,) if gated else (1, n), struct.pack(f"<{n}f", *(-0.1 - i / n for i in range(n)))
        if gated:
            yield matrix(b + "attn_qkv", ty, embd, mixed)
            yield matrix(b + "attn_gate", ty, embd, inner)
            yield matrix(b + "ssm_alpha", ty, embd, n)
            yield matrix(b + "ssm_beta", ty, embd, n)
            yield ones(b + "ssm_norm", s["state"])
        else:
            yield matrix(b + "ssm_in", ty, embd, inner + mixed + n)
            yield b + "ssm_d", "F32", (1, n), normal(n, 1.0)
            yield b + "ssm_norm.weight", "F32", (inner // s["groups"], s["groups"]), struct.pack("<f", 1.0) * inner
        yield from convolution(b + "ssm_conv1d", mixed, not gated)
        yield b + "ssm_dt.bias", "F32", (n,), normal(n, 0.5)
        yield decays
        yield matrix(b + "ssm_out", ty, inner, embd)

    yield matrix("token_embd", wide if tied else ty, embd, s["vocab"])
    for i in range(layers + behind):
        b, down = f"blk.{i}.", wide if more_bits(i) else ty
        # The short convolution of lfm2 is a product of three random rows, whose few large elements would hide all
        # else.
        yield ones(b + "attn_norm", embd, 0.5 if arch == "lfm2" and not attends(i) else share)
        if attends(i):
            yield matrix(b + "attn_q", ty, embd, n_q * (2 if gated else 1))
            yield matrix(b + "attn_k", ty, embd, n_kv)
            yield matrix(b + "attn_v", down, embd, n_kv)
            yield matrix(b + "attn_output", ty, n_q, embd)
        else:
            yield from recurrent(b)
        if attends(i) and (gated or arch in ("lfm2", "qwen3moe")):
            yield ones(b + "attn_q_norm", head_dim)
            yield ones(b + "attn_k_norm", head_dim)
        if arch == "mamba2":
            continue
        if arch == "qwen2":
            for name, n in [("q", n_q), ("k", n_kv), ("v", n_kv)]:
                yield b + f"attn_{name}.bias", "F32", (n,), normal(n, 0.1)
        yield ones(b + ("post_attention_norm" if gated else "ffn_norm"), embd, share)
        if i >= layers:
            # The embedding goes through as it is, where the layer is to agree.
            one = struct.pack("<e", 1.0)
            rows = (bytes(2 * j) + one + bytes(2 * (2 * embd - 1 - j)) for j in range(embd))
            yield b + "nextn.eh_proj.weight", "F16", (2 * embd, embd), b"".join(rows) if share < 1 else None
            for name in ("enorm", "hnorm", "shared_head_norm"):
                yield ones(b + "nextn." + name, embd)
        if "experts" not in s:
            yield matrix(b + "ffn_gate", ty, embd, ff)
            yield matrix(b + "ffn_up", ty, embd, ff)
            yield matrix(b + "ffn_down", down, ff, embd)
            continue
        n = s["experts"]
        if gated:
            yield b + "ffn_gate_inp_shexp.weight", "F32", (embd,), normal(embd, embd**-0.5)
            yield matrix(b + "ffn_gate_shexp", ty, embd, ff)
            yield matrix(b + "ffn_up_shexp", ty, embd, ff)
            yield matrix(b + "ffn_down_shexp", down, ff, embd)
        yield b + "ffn_gate_inp.weight", "F32", (embd, n), normal(embd * n, embd**-0.5)
        yield matrix(b + "ffn_gate_exps", ty, embd, ff, n)
        yield matrix(b + "ffn_up_exps", ty, embd, ff, n)
        yield matrix(b + "ffn_down_exps", down, ff, embd, n)
    yield ones("token_embd_norm" if arch == "lfm2" else "output_norm", embd)
    if not tied:
        yield matrix("output", wide, embd, s["vocab"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--shape", choices=SHAPES, default="1.1B")
    p.add_argument("--type", choices=FILE_TYPES, default="Q4_K_M")
    a = p.parse_args()
    head, all_tensors = keys(a.shape, a.type, SHAPES[a.shape]), list(tensors(a.type, SHAPES[a.shape]))
    with open(a.out, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(all_tensors), len(head)))
        for item in head.items():
            f.write(key(*item))
        offset = 0
        for name, ty, shape, _ in all_tensors:
            number, elements, size = TYPES[ty]
            f.write(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset))
            offset += -(-math.prod(shape) // elements * size // ALIGN) * ALIGN
        for i, (_, ty, shape, values) in enumerate(all_tensors):
            f.write(bytes(-f.tell() % ALIGN))
            if values:
                f.write(values)
                continue
            _, elements, size = TYPES[ty]
            blocks, left = memoryview(pool(ty, shape[0])), math.prod(shape) // elements
            begin = i * 997 % N_BLOCKS * size
            while left > 0:
                n = min(left, N_BLOCKS)
                f.write(blocks[begin : begin + n * size])
                left -= n
        f.write(bytes(-f.tell() % ALIGN))


main()
