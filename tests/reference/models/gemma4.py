"""gemma4: heads of two lengths, V = K, dense and expert feed-forward side by side, per-layer embeddings, shared caches.

Shapes are those of the released models in proportion: global layers' heads are twice as long as windowed ones' and have
fewer keys; a quarter of a global head's pairs is rotated, the others' factors are 1e30.
"""

import numpy as np

from builder import Builder

# `window` is the length of a windowed layer's heads, `pattern` has a 1 for each windowed layer, `shared` is how many
# layers at the end read the cache of the last layer of their kind before them.
# name: (shape, keys, options)
MODELS = {
    # 26B-A4B: 16 heads over 8 and 2 keys, 128 experts of which 8 are used, three dense lengths to an expert's one.
    "gemma4-experts": (
        dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=12, n_ff=15, n_layer=6),
        {"final_logit_softcapping": 30.0, "expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 5},
        dict(window=6, pattern=[1, 1, 1, 1, 1, 0], global_kv=1, value=False),
    ),
    # Gate and up in one tensor, a factor for each expert's result, and V of its own everywhere.
    "gemma4-experts-fused": (
        dict(n_embd=24, n_head=2, n_head_kv=1, head_dim=12, n_ff=20, n_layer=3),
        {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 8},
        dict(window=6, pattern=[1, 0, 1], fused=True, scale=False),
    ),
    # 31B: dense, 32 heads over 16 and 4 keys.
    "gemma4-dense": (
        dict(n_embd=16, n_head=8, n_head_kv=4, head_dim=8, n_ff=28, n_layer=7),
        {"final_logit_softcapping": 30.0, "rope.freq_base_swa": 1e4},
        dict(window=4, pattern=[1, 1, 1, 1, 1, 0, 1], global_kv=1, value=False),
    ),
    # E2B: one key for all heads, four of seven layers share a cache, and those have twice the length of feed-forward.
    "gemma4-layers": (
        dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=16, n_ff=20, n_layer=10),
        {"final_logit_softcapping": 30.0},
        dict(window=8, pattern=[1, 1, 1, 1, 0] * 2, layer=4, shared=5, wide=2),
    ),
    # E4B: two keys, three of seven layers share a cache.
    "gemma4-layers-gqa": (
        dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=8, n_ff=28, n_layer=12),
        {"final_logit_softcapping": 30.0},
        dict(window=4, pattern=[1, 1, 1, 1, 1, 0] * 2, layer=3, shared=6),
    ),
    # Per-layer embeddings of all layers' own caches, an output matrix of its own, no cap.
    "gemma4-layers-own": (
        dict(n_embd=16, n_head=2, n_head_kv=2, head_dim=8, n_ff=24, n_layer=4),
        {"rope.freq_base": 1e5, "attention.sliding_window": 7},
        dict(window=8, pattern=[1, 1, 0, 1], layer=6, tied=False, scale=False),
    ),
}
# The mean of the norms of results. The reference looks GELU up in a table of F16; results that outweigh the residual
# stream would have that error grow from layer to layer.
POST = 0.15
ASIDE = ("gemma4-layers-gqa", "gemma4-layers-own")


def write(name):
    s, keys, options = MODELS[name]
    pattern, layer, n = options["pattern"], options.get("layer", 0), s["n_layer"]
    shared, wide, window = options.get("shared", 0), options.get("wide", 1), options["window"]
    n_kv = [s["n_head_kv"] if p else options.get("global_kv", s["n_head_kv"]) for p in pattern]
    n_ff = [s["n_ff"] * (wide if i >= n - shared else 1) for i in range(n)]
    b = Builder(name, "gemma4", s, {
        "attention.sliding_window": 12,
        "attention.sliding_window_pattern": [bool(p) for p in pattern],
        "attention.shared_kv_layers": shared,
        "attention.head_count_kv": n_kv if len(set(n_kv)) > 1 else n_kv[0],
        "attention.key_length_swa": window,
        "attention.value_length_swa": window,
        "rope.dimension_count_swa": window,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "feed_forward_length": n_ff if wide > 1 else n_ff[0],
        "embedding_length_per_layer_input": layer,
        **keys,
    })
    e = s["n_embd"]
    b.ends(options.get("tied", True))
    pairs = s["head_dim"] // 2
    rotated = max(pairs // 4, 1)
    b.w.add_tensor("rope_freqs.weight", np.array([1] * rotated + [1e30] * (pairs - rotated), np.float32))
    if layer:
        b.matrix("per_layer_token_embd.weight", b.s["n_vocab"], n * layer, n**0.5)
        b.matrix("per_layer_model_proj.weight", n * layer, e, e**0.5)
        b.norm("per_layer_proj_norm.weight", layer)
    for i in range(n):
        own = i < n - shared
        b.attention(
            i, qk_norm=True, qk_mean=0.7, kv=own, value=bool(pattern[i]) or options.get("value", True),
            n_head_kv=n_kv[i], head_dim=window if pattern[i] else s["head_dim"],
        )
        for part in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
            b.norm(f"blk.{i}.{part}.weight", mean=POST if "post" in part else 1.0)
        b.gated(i, n_ff[i])
        if "expert_count" in keys:
            for part in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
                b.norm(f"blk.{i}.{part}.weight")
            b.norm(f"blk.{i}.ffn_gate_inp.scale", mean=e**0.5)
            b.experts(i, keys["expert_count"], keys["expert_feed_forward_length"], options.get("fused", False))
            if options.get("fused"):
                b.vector(f"blk.{i}.ffn_down_exps.scale", keys["expert_count"], 1.0, 0.3)
        if layer:
            b.matrix(f"blk.{i}.inp_gate.weight", layer, e, 1.5)
            b.matrix(f"blk.{i}.proj.weight", e, layer, 1.0)
            b.norm(f"blk.{i}.post_norm.weight", mean=POST)
        if options.get("scale", True):
            b.vector(f"blk.{i}.layer_output_scale.weight", 1, 0.7, 0.2)
    b.save()
