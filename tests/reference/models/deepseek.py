"""deepseek2: latent attention, leading dense layers, shared experts, gates and routing."""

from gguf import GGMLQuantizationType as T

from builder import Builder

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 32}

# name: (shape, keys, options); nope, rope and v are lengths in a head, q and kv the ranks of the compressed vectors.
MODELS = {
    # Low-rank queries, sigmoid gates with a selection bias, weights normalised and scaled, two groups of four.
    "deepseek2-sigmoid": (
        dict(
            n_embd=20, n_head=4, n_ff=28, n_layer=3, nope=8, rope=4, v=6, q=12, kv=10, lead=1, n=8, used=3, ff=8,
            shared=1,
        ),
        {
            "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5, "expert_group_count": 4,
            "expert_group_used_count": 2,
        },
        dict(bias=True),
    ),
    # Softmax gates, weights neither normalised nor scaled; YaRN with the multiplier that sets the attention factor.
    "deepseek2-yarn": (
        dict(
            n_embd=24, n_head=3, n_ff=28, n_layer=3, nope=8, rope=8, v=8, q=0, kv=12, lead=1, n=6, used=2, ff=8,
            shared=2,
        ),
        {**YARN, "rope.scaling.yarn_log_multiplier": 0.0707},
        {},
    ),
    # As V3: multiplier 1. The gating function is not in the file: softmax. Gate and up in one matrix; no leading dense
    # layer.
    "deepseek2-fused": (
        dict(
            n_embd=24, n_head=4, n_ff=36, n_layer=2, nope=6, rope=6, v=10, q=16, kv=10, lead=0, n=8, used=4, ff=10,
            shared=1,
        ),
        {
            **YARN, "rope.scaling.yarn_log_multiplier": 0.1, "expert_weights_scale": 1.7, "expert_weights_norm": False,
            "expert_group_count": 2, "expert_group_used_count": 1,
        },
        dict(fused=True, gating=False),
    ),
    # YaRN without a multiplier.
    "deepseek2-yarn-plain": (
        dict(
            n_embd=24, n_head=2, n_ff=36, n_layer=2, nope=8, rope=4, v=8, q=12, kv=16, lead=1, n=4, used=2, ff=12,
            shared=1,
        ),
        YARN,
        {},
    ),
    # Older files: attn_kv_b whole, a key and a value per head in the cache.
    "deepseek2-whole": (
        dict(
            n_embd=20, n_head=4, n_ff=28, n_layer=3, nope=8, rope=4, v=8, q=12, kv=12, lead=1, n=4, used=2, ff=12,
            shared=2,
        ),
        {**YARN, "rope.scaling.yarn_log_multiplier": 0.0707, "expert_weights_scale": 1.0},
        dict(whole=True),
    ),
    # 27 layers are the lite model: no rank of queries in the file. An output matrix shared with the embedding.
    "deepseek2-27-layers": (
        dict(
            n_embd=8, n_head=2, n_ff=12, n_layer=27, nope=4, rope=4, v=4, q=None, kv=8, lead=1, n=4, used=2, ff=4,
            shared=1,
        ),
        {**YARN, "rope.scaling.yarn_log_multiplier": 0.0707},
        dict(tied=True),
    ),
}


def write(name):
    s, keys, options = MODELS[name]
    e, h, nope, rope, v, q, kv = (s[k] for k in ("n_embd", "n_head", "nope", "rope", "v", "q", "kv"))
    whole = options.get("whole", False)
    own = {
        "attention.head_count_kv": h if whole else 1,
        "attention.key_length": nope + rope if whole else kv + rope,
        "attention.value_length": v if whole else kv,
        "attention.key_length_mla": None if whole else nope + rope,
        "attention.value_length_mla": None if whole else v,
        "attention.q_lora_rank": q,
        "attention.kv_lora_rank": kv,
        "rope.dimension_count": rope,
        "leading_dense_block_count": s["lead"],
        "expert_count": s["n"],
        "expert_used_count": s["used"],
        "expert_feed_forward_length": s["ff"],
        "expert_shared_count": s["shared"],
        "expert_gating_func": 1 if options.get("gating", True) else None,
    }
    b = Builder(name, "deepseek2", dict(s, n_head_kv=1), {**own, **keys})
    b.ends(options.get("tied", False))
    for i in range(b.s["n_layer"]):
        p = f"blk.{i}."
        b.norm(p + "attn_norm.weight")
        if q:
            b.matrix(p + "attn_q_a.weight", q, e, 1.0)
            b.norm(p + "attn_q_a_norm.weight", q)
            b.matrix(p + "attn_q_b.weight", h * (nope + rope), q, 1.5)
        else:
            b.matrix(p + "attn_q.weight", h * (nope + rope), e, 1.5)
        b.matrix(p + "attn_kv_a_mqa.weight", kv + rope, e, 1.2)
        b.norm(p + "attn_kv_a_norm.weight", kv)
        if whole:
            b.matrix(p + "attn_kv_b.weight", h * (nope + v), kv, 1.2)
        else:
            b.matrix(p + "attn_k_b.weight", kv, nope, 1.2 * (nope / kv) ** 0.5, h)
            b.matrix(p + "attn_v_b.weight", v, kv, 1.2, h)
        b.matrix(p + "attn_output.weight", e, h * v, 1.0)
        b.norm(p + "ffn_norm.weight")
        if i < s["lead"]:
            b.gated(i)
        else:
            b.experts(i, s["n"], s["ff"], options.get("fused", False))
            if options.get("bias"):
                b.vector(p + "exp_probs_b.bias", s["n"], 0.0, 0.2)
            b.gated(i, s["ff"] * s["shared"], "_shexp")
    b.save()
