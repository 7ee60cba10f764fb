"""Hybrids with what the reference's generator leaves out: experts of nemotron_h_moe, granitehybrid and jamba, several
queries to a key, groups and heads of Mamba-2 in proportion to real files.
"""

import numpy as np

from builder import Builder

# A layer is one of M: Mamba-2 (jamba: Mamba-1), C: short convolution, *: attention, E: experts, -: a plain part.
# `ssm` is (length of a state, heads, length of a head, groups, taps), for jamba (state, rank, taps).
# name: (architecture, shape, keys, options)
MODELS = {
    # Nano 30B-A3B: 32 heads over 2 keys, 64 Mamba heads in 8 groups, 6 of 128 experts and a shared one twice as long.
    "nemotron_h_moe-nano": (
        "nemotron_h_moe", dict(n_embd=16, n_head=8, n_head_kv=1, head_dim=8, n_ff=12),
        {"expert_weights_scale": 2.5},
        dict(layers="MEM*E", ssm=(8, 8, 4, 2, 4), experts=(8, 3, 12), shared=24),
    ),
    # Super 120B-A12B: experts work in a space of a quarter of the embedding's length; one prediction layer.
    "nemotron_h_moe-latent": (
        "nemotron_h_moe", dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=6, n_ff=10),
        {"expert_weights_scale": 5.0},
        dict(layers="ME*EM", ssm=(6, 4, 6, 1, 4), experts=(6, 2, 10), shared=20, latent=8, nextn=1, bias="qkvo"),
    ),
    # Lengths and numbers of experts by layer.
    "nemotron_h_moe-uneven": (
        "nemotron_h_moe", dict(n_embd=16, n_head=4, n_head_kv=4, head_dim=8, n_ff=12), {},
        dict(layers="EM*EE", ssm=(4, 4, 8, 4, 3), experts=(5, [2, 0, 0, 1, 3], [8, 0, 0, 12, 6]), shared=10),
    ),
    # Nano 9B v2: attention with biases, plain parts.
    "nemotron_h-gqa": (
        "nemotron_h", dict(n_embd=20, n_head=5, n_head_kv=1, head_dim=8, n_ff=32), {},
        dict(layers="M-M*-", ssm=(8, 6, 4, 3, 4), bias="qkvo"),
    ),
    # H-Small 32B-A9B: one layer in ten attends, without rotation; 10 of 72 experts and a shared one twice as long.
    "granitehybrid-experts": (
        "granitehybrid", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=10),
        {"rope.scaling.finetuned": False, "embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 2.0,
         "attention.scale": 0.125},
        dict(layers="MM*M", ssm=(8, 8, 4, 1, 4), experts=(9, 3, 10), shared=20),
    ),
    # Rotation, no shared expert, a multiplier of one alone.
    "granitehybrid-rotated": (
        "granitehybrid", dict(n_embd=12, n_head=2, n_head_kv=2, head_dim=6, n_ff=8), {"residual_scale": 0.5},
        dict(layers="M*M", ssm=(6, 4, 6, 2, 4), experts=(4, 2, 8)),
    ),
    "granitehybrid-dense": (
        "granitehybrid", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=24),
        {"rope.scaling.finetuned": True, "embedding_scale": 3.0, "logit_scale": 4.0},
        dict(layers="*MM", ssm=(4, 4, 8, 4, 4)),
    ),
    # Every second layer has experts, one in four attends.
    "jamba-experts": (
        "jamba", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=20), {},
        dict(layers="MMM*", ssm=(6, 5, 4), experts=(4, 2, 20)),
    ),
    # One key for four heads; 14 convolutions to six layers of attention.
    "lfm2-gqa": (
        "lfm2", dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=6, n_ff=32), {"rope.freq_base": 1e6},
        dict(layers="CC*C*", taps=3),
    ),
    "lfm2moe-gqa": (
        "lfm2moe", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=28),
        {"rope.freq_base": 1e6, "expert_gating_func": 2, "leading_dense_block_count": 2},
        dict(layers="CC*C*", taps=4, experts=(8, 3, 6), dense=2),
    ),
    # 34B: 20 heads over 4 keys, heads of attention longer than their share, 32 Mamba heads in 2 groups.
    "falcon-h1-gqa": (
        "falcon-h1", dict(n_embd=16, n_head=5, n_head_kv=1, head_dim=8, n_ff=24), {"rope.freq_base": 1e11},
        dict(layers="HHH", ssm=(8, 6, 4, 2, 4)),
    ),
    # Without a norm of the scan's result, with an uneven number of heads.
    "falcon-h1-plain": (
        "falcon-h1", dict(n_embd=20, n_head=4, n_head_kv=2, head_dim=6, n_ff=20), {},
        dict(layers="HH", ssm=(12, 3, 8, 1, 4), norm=False),
    ),
    "mamba2-groups": ("mamba2", dict(n_embd=16, n_ff=0, n_head=0, n_head_kv=0), {},
                      dict(layers="MMM", ssm=(8, 8, 4, 4, 4))),
    "mamba2-tied": ("mamba2", dict(n_embd=12, n_ff=0, n_head=0, n_head_kv=0), {},
                    dict(layers="MM", ssm=(5, 3, 8, 1, 3), tied=True)),
}
ASIDE = (
    "nemotron_h_moe-latent", "nemotron_h_moe-uneven", "nemotron_h-gqa", "granitehybrid-experts", "granitehybrid-dense",
    "falcon-h1-plain", "mamba2-tied",
)


def decay(b, name, shape):
    b.w.add_tensor(name, (-np.exp(b.rng.normal(-0.5, 0.7, shape))).astype(np.float32))


def mamba2(b, i, ssm, norm):
    state, heads, length, groups, taps = ssm
    e, at, inner = b.s["n_embd"], f"blk.{i}.", heads * length
    width = inner + 2 * groups * state
    b.matrix(at + "ssm_in.weight", inner + width + heads, e, 1.3)
    b.matrix(at + "ssm_conv1d.weight", width, taps, 1.5)
    b.vector(at + "ssm_conv1d.bias", width)
    b.vector(at + "ssm_dt.bias", heads)
    decay(b, at + "ssm_a", (heads, 1))
    b.vector(at + "ssm_d", (heads, 1), 1.0)
    if norm:
        b.vector(at + "ssm_norm.weight", (groups, inner // groups), 1.0, 0.2)
    b.matrix(at + "ssm_out.weight", e, inner, 1.0)


def mamba1(b, i, ssm):
    state, rank, taps = ssm
    e, at = b.s["n_embd"], f"blk.{i}."
    inner = 2 * e
    b.matrix(at + "ssm_in.weight", 2 * inner, e, 1.3)
    b.matrix(at + "ssm_conv1d.weight", inner, taps, 1.5)
    b.vector(at + "ssm_conv1d.bias", inner)
    b.matrix(at + "ssm_x.weight", rank + 2 * state, inner, 1.3)
    b.matrix(at + "ssm_dt.weight", inner, rank, 1.0)
    b.vector(at + "ssm_dt.bias", inner)
    for part, n in (("dt", rank), ("b", state), ("c", state)):
        b.norm(f"{at}ssm_{part}_norm.weight", n)
    decay(b, at + "ssm_a", (inner, state))
    b.vector(at + "ssm_d", inner, 1.0)
    b.matrix(at + "ssm_out.weight", e, inner, 1.0)


def squared(b, i, n_ff, suffix=""):
    """A part without a gate, whose squares are large."""
    e, at = b.s["n_embd"], f"blk.{i}."
    b.matrix(f"{at}ffn_up{suffix}.weight", n_ff, e, 1.0)
    b.matrix(f"{at}ffn_down{suffix}.weight", e, n_ff, 0.8)


def squared_experts(b, i, n, n_ff, shared, latent):
    e, at = b.s["n_embd"], f"blk.{i}."
    inner = latent or e
    b.matrix(at + "ffn_gate_inp.weight", n, e, 2.0)
    b.vector(at + "exp_probs_b.bias", n, 0.0, 0.2)
    if latent:
        b.matrix(at + "ffn_latent_down.weight", latent, e, 1.0)
        b.matrix(at + "ffn_latent_up.weight", e, latent, 1.0)
    b.matrix(at + "ffn_up_exps.weight", n_ff, inner, 1.0, n)
    b.matrix(at + "ffn_down_exps.weight", inner, n_ff, 0.8, n)
    squared(b, i, shared, "_shexp")


def write(name):
    arch, s, keys, options = MODELS[name]
    layers, nextn, ssm = options["layers"], options.get("nextn", 0), options.get("ssm")
    n, used, n_ff = options.get("experts", (None, None, None))
    nemotron, shared, latent = arch.startswith("nemotron"), options.get("shared"), options.get("latent")
    total = len(layers) + nextn
    more = {
        "block_count": total, "nextn_predict_layers": nextn or None, "expert_count": n, "expert_used_count": used,
        "expert_shared_feed_forward_length": shared, "moe_latent_size": latent,
    }
    if set(layers) & set("M*"):
        heads = [s["n_head_kv"] if layer == "*" else 0 for layer in layers] + [s["n_head_kv"]] * nextn
        more["attention.head_count_kv"] = heads if any(heads) else s["n_head_kv"]
    if arch in ("nemotron_h_moe", "lfm2moe"):
        more["expert_feed_forward_length"] = n_ff
    if nemotron:
        lengths = n_ff if isinstance(n_ff, list) else [n_ff if layer == "E" else s["n_ff"] for layer in layers]
        more |= {
            "feed_forward_length": [k if layer in "E-" else 0 for k, layer in zip(lengths, layers)] + [0] * nextn,
            "attention.layer_norm_epsilon": 1e-5, "expert_weights_norm": True,
        }
    if arch == "jamba":
        more |= {"ssm.state_size": ssm[0], "ssm.time_step_rank": ssm[1], "ssm.conv_kernel": ssm[2],
                 "ssm.inner_size": 2 * s["n_embd"]}
    elif ssm:
        more |= {"ssm.state_size": ssm[0], "ssm.time_step_rank": ssm[1], "ssm.inner_size": ssm[1] * ssm[2],
                 "ssm.group_count": ssm[3], "ssm.conv_kernel": ssm[4]}
    else:
        more["shortconv.l_cache"] = options["taps"]
    b = Builder(name, arch, {**s, "n_layer": total}, {**more, **keys})
    e = s["n_embd"]
    if arch.startswith("lfm2"):
        b.matrix("token_embd.weight", b.s["n_vocab"], e, 3.0)
        b.norm("token_embd_norm.weight")
    else:
        b.ends(options.get("tied", False))
    for i, layer in enumerate(layers):
        at = f"blk.{i}."
        if layer in "*H":
            b.attention(i, options.get("bias", ""), qk_norm=arch.startswith("lfm2"))
        else:
            b.norm(at + "attn_norm.weight")
        if layer in "MH" and arch != "jamba":
            mamba2(b, i, ssm, options.get("norm", True))
        elif layer == "M":
            mamba1(b, i, ssm)
        elif layer == "C":
            b.matrix(at + "shortconv.conv.weight", e, options["taps"], 1.5)
            b.matrix(at + "shortconv.in_proj.weight", 3 * e, e, 1.2)
            b.matrix(at + "shortconv.out_proj.weight", e, e, 1.0)
        elif layer == "E":
            squared_experts(b, i, n, n_ff[i] if isinstance(n_ff, list) else n_ff, shared, latent)
        elif layer == "-":
            squared(b, i, s["n_ff"])
        if nemotron or arch == "mamba2":
            continue
        b.norm(at + ("ffn_norm" if arch == "falcon-h1" else "ffn_norm.weight"))
        if n and i >= options.get("dense", 0) and (arch != "jamba" or i % 2):
            b.experts(i, n, n_ff)
            if arch == "lfm2moe":
                b.vector(at + "exp_probs_b.bias", n, 0.0, 0.2)
            if shared:
                b.gated(i, shared, "_shexp")
        else:
            b.gated(i)
    for i in range(len(layers), total):
        b.attention(i, options.get("bias", ""))
        b.norm(f"blk.{i}.post_attention_norm.weight")
        squared_experts(b, i, n, n_ff, shared, latent)
        for part in ("enorm", "hnorm", "shared_head_norm"):
            b.norm(f"blk.{i}.nextn.{part}.weight")
        b.matrix(f"blk.{i}.nextn.eh_proj.weight", e, 2 * e, 1.0)
    b.save()
