"""Files with layers that predict the token after the next behind the trunk (nextn_predict_layers, counted in
block_count): qwen35, qwen35moe, glm4moe. The logits are the trunk's.

Real qwen35 in proportion: three gated delta nets to one layer of attention, 16 heads of keys to 32 of values, a quarter
of a head rotated in sections of 11, 11 and 10 pairs.
"""

import numpy as np

from builder import Builder

# The delta net's `state` is the length of its heads, `keys` and `values` are the numbers of heads.
# name: (architecture, shape, keys, options)
MODELS = {
    "qwen35-nextn": (
        "qwen35", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=16, n_ff=24, n_layer=4),
        {"rope.dimension_count": 8, "rope.freq_base": 1e7}, dict(state=8, keys=2, values=4, sections=[2, 1, 1, 0]),
    ),
    # 27B: three heads of values to one of keys. The tied matrix; every second layer attends.
    "qwen35-nextn-three": (
        "qwen35", dict(n_embd=16, n_head=3, n_head_kv=3, head_dim=12, n_ff=20, n_layer=4),
        {"full_attention_interval": 2}, dict(state=12, keys=1, values=3, sections=[2, 2, 2, 0], tied=True),
    ),
    # As many heads of values as of keys; two prediction layers with matrices of their own; a longer convolution.
    "qwen35-nextn-two": (
        "qwen35", dict(n_embd=12, n_head=2, n_head_kv=1, head_dim=16, n_ff=20, n_layer=4),
        {"ssm.conv_kernel": 5}, dict(state=16, keys=2, values=2, sections=[2, 2, 1, 0], nextn=2, own=True),
    ),
    # 35B-A3B: 16 heads over 2 keys, 256 experts of which 8 are used, a gated shared one as long.
    "qwen35moe-nextn": (
        "qwen35moe", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=16, n_ff=32, n_layer=4),
        {"rope.dimension_count": 8, "rope.freq_base": 1e7},
        dict(state=8, keys=2, values=4, sections=[2, 1, 1, 0], experts=(8, 3, 6)),
    ),
    "qwen35moe-nextn-fused": (
        "qwen35moe", dict(n_embd=12, n_head=2, n_head_kv=2, head_dim=8, n_ff=24, n_layer=8),
        {}, dict(state=6, keys=1, values=4, sections=[2, 1, 1, 0], experts=(4, 2, 6), shared=10, fused=True, tied=True),
    ),
    "qwen35moe-nextn-own": (
        "qwen35moe", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=12, n_ff=24, n_layer=3),
        {"full_attention_interval": 3},
        dict(state=12, keys=3, values=3, sections=[2, 2, 2, 0], experts=(4, 4, 8), shared=12, own=True),
    ),
    # GLM-4.5 Air: 96 heads over 8 keys, half of a head rotated, sigmoid gates with a bias, a leading dense layer.
    "glm4moe-nextn": (
        "glm4moe", dict(n_embd=16, n_head=6, n_head_kv=1, head_dim=12, n_ff=32, n_layer=3),
        {"rope.dimension_count": 6, "rope.freq_base": 1e6},
        dict(experts=(8, 3, 6), dense=1, own=True),
    ),
    # GLM-4.5: norms of heads, two dense layers, results scaled by 2.5.
    "glm4moe-nextn-norms": (
        "glm4moe", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=12, n_ff=24, n_layer=4),
        {"rope.dimension_count": 6, "expert_weights_scale": 2.5}, dict(experts=(6, 2, 8), dense=2, qk_norm=True),
    ),
    "glm4moe-nextn-shared": (
        "glm4moe", dict(n_embd=16, n_head=4, n_head_kv=4, head_dim=8, n_ff=24, n_layer=3),
        {"expert_shared_count": 2, "expert_weights_norm": False, "expert_gating_func": 1},
        dict(experts=(6, 2, 8), dense=1, tied=True),
    ),
}
ASIDE = (
    "qwen35-nextn-two", "qwen35moe-nextn-fused", "qwen35moe-nextn-own", "glm4moe-nextn-norms", "glm4moe-nextn-shared",
)


def prediction(b, i, head):
    """What a prediction layer has besides; with `head` embedding and output matrices of its own."""
    e, at = b.s["n_embd"], f"blk.{i}.nextn."
    b.matrix(at + "eh_proj.weight", e, 2 * e, 1.0)
    b.norm(at + "enorm.weight")
    b.norm(at + "hnorm.weight")
    b.norm(at + "shared_head_norm.weight")
    if head:
        b.matrix(at + "embed_tokens.weight", b.s["n_vocab"], e, e**0.5)
        b.matrix(at + "shared_head_head.weight", b.s["n_vocab"], e, 3.0)


def delta_net(b, i, state, keys, values, kernel):
    """Decays between 0.3 and 1, with steps around 1."""
    e, at, inner = b.s["n_embd"], f"blk.{i}.", state * values
    width = 2 * state * keys + inner
    b.norm(at + "attn_norm.weight")
    b.matrix(at + "attn_qkv.weight", width, e, 1.4)
    b.matrix(at + "attn_gate.weight", inner, e, 1.5)
    b.matrix(at + "ssm_conv1d.weight", width, kernel, 1.5)
    b.vector(at + "ssm_dt.bias", values)
    b.w.add_tensor(at + "ssm_a", (-np.exp(b.rng.normal(-1.5, 0.7, values))).astype(np.float32))
    b.matrix(at + "ssm_beta.weight", values, e, 1.5)
    b.matrix(at + "ssm_alpha.weight", values, e, 1.0)
    b.norm(at + "ssm_norm.weight", state)
    b.matrix(at + "ssm_out.weight", e, inner, 1.0)


def write(name):
    arch, s, keys, options = MODELS[name]
    nextn, glm = options.get("nextn", 1), arch == "glm4moe"
    n, used, n_ff = options.get("experts", (None, None, None))
    more = {"expert_count": n, "expert_used_count": used, "expert_feed_forward_length": n_ff}
    shared = options.get("shared", n_ff)
    if glm:
        shared = n_ff * keys.get("expert_shared_count", 1)
        more |= {"expert_shared_count": 1, "leading_dense_block_count": options["dense"], "expert_weights_norm": True,
                 "expert_gating_func": 2}
    else:
        state, n_keys, n_values = (options[key] for key in ("state", "keys", "values"))
        more |= {"ssm.conv_kernel": 4, "ssm.inner_size": state * n_values, "ssm.state_size": state,
                 "ssm.time_step_rank": n_values, "ssm.group_count": n_keys,
                 "rope.dimension_sections": options["sections"], "expert_shared_feed_forward_length": shared}
    trunk = s["n_layer"]
    b = Builder(name, arch, s, {"block_count": trunk + nextn, "nextn_predict_layers": nextn, **more, **keys})
    b.ends(options.get("tied", False))
    for i in range(trunk + nextn):
        if glm or i >= trunk or (i + 1) % keys.get("full_attention_interval", 4) == 0:
            b.attention(i, "qkv" if glm else "", options.get("qk_norm", not glm), gated=not glm)
        else:
            delta_net(b, i, state, n_keys, n_values, keys.get("ssm.conv_kernel", 4))
        b.norm(f"blk.{i}.post_attention_norm.weight")
        if n is None or i < options.get("dense", 0):
            b.gated(i)
        else:
            b.experts(i, n, n_ff, options.get("fused", False))
            b.gated(i, shared, "_shexp")
            if glm:
                b.vector(f"blk.{i}.exp_probs_b.bias", n, 0.0, 0.2)
            else:
                b.vector(f"blk.{i}.ffn_gate_inp_shexp.weight", s["n_embd"])
        if i >= trunk:
            prediction(b, i, options.get("own", False))
    b.save()
