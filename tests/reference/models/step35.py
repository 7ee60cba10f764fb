"""step35: more heads in windowed layers, half of a global head rotated, a gate for each head, clamped gates, a bias for
the choice of experts.

In proportion to Step 3.5 Flash: every fourth layer is global with two thirds of the windowed ones' heads, the first
layers are dense, a shared expert is as long as one of the others.
"""

import numpy as np

from builder import Builder
from models.nextn import prediction

# name: (shape, keys, options); `heads` are those of a windowed layer, `clamps` the limits of experts and of dense parts
# and shared experts by layer.
MODELS = {
    "step35-clamps": (
        dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=8, n_ff=28, n_layer=6),
        {"rope.freq_base": 5e6, "expert_weights_scale": 3.0},
        dict(heads=6, dense=2, experts=(8, 3, 6), clamps=([0.0] * 4 + [0.4, 0.7], [0.0, 0.5, 0.0, 0.0, 0.6, 0.8])),
    ),
    # Factors of the global layers' rotation, a softmax for a gate, no bias of the choice, no norms of heads.
    "step35-softmax": (
        dict(n_embd=20, n_head=2, n_head_kv=1, head_dim=16, n_ff=20, n_layer=3),
        {"rope.freq_base": 1e5, "expert_gating_func": 1, "expert_weights_norm": False},
        dict(heads=3, dense=1, experts=(4, 2, 10), freqs=True, bias=False, qk_norm=False),
    ),
    # The prediction layers that real files have, whose entries are in all arrays; no gate of heads.
    "step35-nextn": (
        dict(n_embd=16, n_head=4, n_head_kv=4, head_dim=8, n_ff=20, n_layer=4),
        {"rope.freq_base": 5e6, "attention.sliding_window": 9},
        dict(heads=8, dense=1, experts=(4, 3, 8), gate=False, nextn=2),
    ),
}
ASIDE = ("step35-nextn",)


def write(name):
    s, keys, options = MODELS[name]
    nextn, dense, (n, used, n_ff) = options.get("nextn", 0), options["dense"], options["experts"]
    total = s["n_layer"] + nextn
    windowed = [i % 4 != 0 for i in range(total)]
    heads = [options["heads"] if w else s["n_head"] for w in windowed]
    clamps = options.get("clamps", (None, None))
    b = Builder(name, "step35", s, {
        "block_count": total, "nextn_predict_layers": nextn or None, "leading_dense_block_count": dense,
        "attention.head_count": heads, "attention.head_count_kv": [s["n_head_kv"]] * total,
        "attention.sliding_window": 12, "attention.sliding_window_pattern": windowed, "rope.freq_base_swa": 1e4,
        "expert_count": n, "expert_used_count": used, "expert_feed_forward_length": n_ff,
        "expert_shared_feed_forward_length": n_ff, "expert_gating_func": 2, "expert_weights_norm": True,
        "swiglu_clamp_exp": clamps[0], "swiglu_clamp_shexp": clamps[1], **keys,
    })
    b.ends(False)
    if options.get("freqs"):
        # As many as the widest rotation has pairs; a global layer takes the first half.
        b.w.add_tensor("rope_freqs.weight", np.linspace(1, 8, s["head_dim"] // 2).astype(np.float32))
    for i in range(total):
        b.attention(i, qk_norm=options.get("qk_norm", True), n_head=heads[i])
        if options.get("gate", True):
            b.matrix(f"blk.{i}.attn_gate.weight", heads[i], s["n_embd"], 1.5)
        b.norm(f"blk.{i}.ffn_norm.weight")
        if i < dense or i >= s["n_layer"]:
            b.gated(i)
        else:
            b.experts(i, n, n_ff)
            if options.get("bias", True):
                b.vector(f"blk.{i}.exp_probs_b.bias", n, 0.0, 0.2)
            b.gated(i, n_ff, "_shexp")
        if i >= s["n_layer"]:
            prediction(b, i, head=True)
    b.save()
