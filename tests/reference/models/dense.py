"""qwen3 (norms of each head's query and key), phi3 (fused matrices, long and short factors), mistral3 (temperature)."""

import numpy as np

from builder import Builder

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}

# name: (shape, keys, options)
QWEN3 = {
    # Heads longer than their share of the embedding.
    "qwen3-gqa": (
        dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=12, n_ff=40),
        {"rope.freq_base": 1e6},
        dict(tied=True),
    ),
    # One key head for all; three layers.
    "qwen3-mqa": (dict(n_embd=28, n_head=5, n_head_kv=1, head_dim=10, n_ff=29, n_layer=3), {"rope.freq_base": 1e6}, {}),
    "qwen3-yarn": (dict(n_embd=24, n_head=4, n_head_kv=4, head_dim=8, n_ff=32), YARN, dict(bias="qkv")),
    # Q, K and V in one matrix, which llama.cpp takes for nearly every architecture.
    "qwen3-fused": (dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=8, n_ff=32), {}, dict(tied=True, fused=True)),
    # Products of attention are scaled before their bias is added.
    "qwen3-scales": (
        dict(n_embd=16, n_head=2, n_head_kv=1, head_dim=8, n_ff=24),
        {},
        dict(tied=True, bias="qkv", scales=True),
    ),
}

PHI3_SMALL = dict(n_embd=32, n_head=4, n_head_kv=4, head_dim=8, n_ff=32)
PHI3 = {
    # The window is in the file and not applied.
    "phi3-plain": (PHI3_SMALL, {"attention.sliding_window": 16}, {}),
    # The context used stays within the original one: the short factors.
    "phi3-short": (
        dict(n_embd=36, n_head=6, n_head_kv=2, head_dim=6, n_ff=28),
        {"context_length": 8192, "rope.scaling.original_context_length": 4096, "rope.scaling.attn_factor": 1.19},
        dict(factors=True),
    ),
    # The context used is longer than the original one: the long factors. Only two thirds of a head are rotated.
    "phi3-long": (
        dict(n_embd=48, n_head=4, n_head_kv=1, head_dim=12, n_ff=24),
        {"rope.dimension_count": 8, "rope.scaling.type": "longrope", "rope.scaling.original_context_length": 64,
         "rope.scaling.attn_factor": 1.3, "rope.scaling.factor": 1.0},
        dict(factors=True, tied=True),
    ),
}

MISTRAL3 = {
    "mistral3-plain": (dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=12, n_ff=32), {}, dict(tied=True)),
    # Queries grow with the logarithm of the position over the original context; YaRN with its own turns and multiplier.
    "mistral3-yarn-temperature": (
        dict(n_embd=28, n_head=6, n_head_kv=2, head_dim=8, n_ff=24, n_layer=3),
        {
            "rope.scaling.type": "yarn", "rope.scaling.factor": 16.0, "rope.scaling.original_context_length": 12,
            "rope.scaling.yarn_beta_fast": 0.5, "rope.scaling.yarn_beta_slow": 0.02,
            "rope.scaling.yarn_log_multiplier": 1.0, "attention.temperature_scale": 0.3,
        },
        {},
    ),
    "mistral3-log-multiplier": (
        dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=8, n_ff=32),
        {**YARN, "rope.scaling.yarn_log_multiplier": 0.5},
        dict(bias="o"),
    ),
    # Products of the feed-forward part are scaled after their bias is added.
    "mistral3-scales": (
        dict(n_embd=16, n_head=2, n_head_kv=2, head_dim=8, n_ff=24),
        {},
        dict(tied=True, bias="qkvo", ffn_bias=True, scales=True),
    ),
}

MODELS = {**QWEN3, **PHI3, **MISTRAL3}


def write(name):
    s, keys, options = MODELS[name]
    arch = name.split("-")[0]
    b = Builder(name, arch, s, keys)
    tied = options.get("tied", False)
    b.ends(tied)
    if options.get("factors"):
        half = keys.get("rope.dimension_count", s["head_dim"]) // 2
        b.w.add_tensor("rope_factors_long.weight", np.linspace(1.1, 9, half).astype(np.float32))
        b.w.add_tensor("rope_factors_short.weight", np.linspace(1, 1.8, half).astype(np.float32))
    for i in range(b.s["n_layer"]):
        b.attention(i, options.get("bias", ""), arch == "qwen3", arch == "phi3" or options.get("fused", False))
        b.norm(f"blk.{i}.ffn_norm.weight")
        if arch == "phi3":
            b.matrix(f"blk.{i}.ffn_up.weight", 2 * s["n_ff"], s["n_embd"], 1.3)
            b.matrix(f"blk.{i}.ffn_down.weight", s["n_embd"], s["n_ff"], 1.0)
        else:
            b.gated(i)
        if options.get("ffn_bias"):
            for part, n in (("gate", s["n_ff"]), ("up", s["n_ff"]), ("down", s["n_embd"])):
                b.vector(f"blk.{i}.ffn_{part}.bias", n)
        if options.get("scales"):
            b.scales(i, ffn="gate up down")
    b.save()
