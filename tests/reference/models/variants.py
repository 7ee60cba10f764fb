"""One model each of families where the reference's generator shows one case alone: it has as many keys as queries, two
layers, two experts of which both are used, and neither parallel parts nor more norms than need be.
"""

from builder import Builder

LAYER_NORM = {"attention.layer_norm_epsilon": 1e-5, "attention.layer_norm_rms_epsilon": None}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
POST = dict(pre=False, before=(), after=("post_attention_norm", "post_ffw_norm"))

# `before` are the norms besides attention's, `after` those of results, whose mean is `post`: in deep models it is
# small, or else rounding grows from layer to layer. `qk` is the form of the norms of queries and keys: one for all
# heads, for each head, for the whole row.
# name: (architecture, shape, keys, options)
MODELS = {
    # The fourth layer does not rotate.
    "smollm3-layers": ("smollm3", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=20, n_layer=5), {},
                       dict(tied=True)),
    # Three windowed layers that rotate, then one of neither.
    "cohere2-layers": ("cohere2", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=20, n_layer=5),
                       {**LAYER_NORM, "attention.sliding_window": 12, "logit_scale": 0.25},
                       dict(tied=True, before=())),
    # 64 layers have norms of each head.
    "command-r-norms": ("command-r", dict(n_embd=8, n_head=2, n_head_kv=1, head_dim=4, n_ff=4, n_layer=64),
                        {**LAYER_NORM, "logit_scale": 0.8}, dict(tied=True, before=(), qk="heads")),
    # 12B: attention and feed-forward side by side, norms of each head, a quarter of it rotated.
    "stablelm-parallel": ("stablelm", dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=8, n_ff=20),
                          {**LAYER_NORM, "rope.dimension_count": 2}, dict(before=(), qk="heads", norm_bias=True)),
    "stablelm-biases": ("stablelm", dict(n_embd=24, n_head=3, n_head_kv=3, head_dim=8, n_ff=20),
                        {**LAYER_NORM, "rope.dimension_count": 4}, dict(bias="qkv", norm_bias=True)),
    "gptneox-parallel": ("gptneox", dict(n_embd=32, n_head=4, n_head_kv=4, head_dim=8, n_ff=24),
                         {**LAYER_NORM, "use_parallel_residual": True, "rope.dimension_count": 4},
                         dict(fused=True, norm_bias=True, plain=True, all_biases=True)),
    # 40B: a norm of its own for feed-forward, several keys.
    "falcon-norms": ("falcon", dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=8, n_ff=24), LAYER_NORM,
                     dict(fused=True, norm_bias=True, plain=True, before=("attn_norm_2",))),
    "falcon-mqa": ("falcon", dict(n_embd=32, n_head=4, n_head_kv=1, head_dim=8, n_ff=24), LAYER_NORM,
                   dict(fused=True, norm_bias=True, plain=True, before=(), tied=True)),
    # Olmo 3: three windowed layers and one that scales its rotation, norms over the whole row.
    "olmo2-windows": ("olmo2", dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=6, n_ff=20, n_layer=5),
                      {**YARN, "attention.sliding_window": 12, "rope.freq_base": 5e5}, dict(**POST, qk="row")),
    "exaone4-gqa": ("exaone4", dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=6, n_ff=20),
                    {"nextn_predict_layers": 1}, dict(**POST, qk="head", tied=True, nextn=1)),
    # 64 layers are the 32B model: windows and rotation in three of four.
    "exaone4-windows": ("exaone4", dict(n_embd=8, n_head=2, n_head_kv=1, head_dim=4, n_ff=4, n_layer=64),
                        {"attention.sliding_window": 12}, dict(**POST, qk="head", post=0.15)),
    # Values shorter than keys, more keys in windowed layers, sinks there, a third rotated.
    "mimo2-keys": ("mimo2", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=12, value_dim=8, n_ff=20, n_layer=5),
                   {"attention.sliding_window": 12,
                    "attention.sliding_window_pattern": [False, True, True, True, False],
                    "attention.head_count_kv": [1, 2, 2, 2, 1], "rope.dimension_count": 4, "rope.freq_base": 5e6,
                    "rope.freq_base_swa": 1e4, "attention.value_scale": 0.7, "expert_weights_norm": True,
                    "expert_gating_func": 2},
                   dict(experts=(6, 2, 6), dense=1, choice=True, sinks=True)),
    "minimax-m2-gqa": ("minimax-m2", dict(n_embd=16, n_head=6, n_head_kv=1, head_dim=8, n_ff=6),
                       {"rope.dimension_count": 4, "expert_gating_func": 2},
                       dict(experts=(8, 3, 6), choice=True, qk="row")),
    "granite-gqa": ("granite", dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=6, n_ff=20),
                    {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 4.0, "attention.scale": 0.2},
                    dict(tied=True)),
    "granitemoe-shared": ("granitemoe", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=8),
                          {"embedding_scale": 6.0, "residual_scale": 0.4, "logit_scale": 2.0, "attention.scale": 0.3},
                          dict(experts=(8, 3, 8), shared=12)),
    # Every second layer has experts, of which one is used; the fourth layer does not rotate.
    "llama4-layers": ("llama4", dict(n_embd=16, n_head=5, n_head_kv=1, head_dim=8, n_ff=24, n_layer=5),
                      {"interleave_moe_layer_step": 2}, dict(experts=(4, 1, 12), shared=12, step=2)),
    # 128 experts: no norms of queries and keys.
    "llama4-128": ("llama4", dict(n_embd=8, n_head=4, n_head_kv=2, head_dim=4, n_ff=12, n_layer=4),
                   {"interleave_moe_layer_step": 2}, dict(experts=(128, 1, 4), shared=4, step=2)),
    "glm4-gqa": ("glm4", dict(n_embd=24, n_head=6, n_head_kv=1, head_dim=8, n_ff=20),
                 {"rope.dimension_count": 4},
                 dict(bias="qkv", both=True, after=("post_attention_norm", "post_ffw_norm"))),
    "starcoder2-gqa": ("starcoder2", dict(n_embd=24, n_head=6, n_head_kv=1, head_dim=4, n_ff=28), LAYER_NORM,
                       dict(norm_bias=True, plain=True, all_biases=True, bias="qkvo", tied=True)),
    "hunyuan-moe-gqa": ("hunyuan-moe", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=8, n_ff=8), {},
                        dict(experts=(8, 3, 8), shared=12, qk="head")),
    # A leading dense layer, a bias of the choice.
    "ernie4_5-moe-lead": ("ernie4_5-moe", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=8, n_ff=24, n_layer=3),
                          {"interleave_moe_layer_step": 1, "leading_dense_block_count": 1, "expert_shared_count": 2},
                          dict(experts=(8, 3, 6), shared=12, dense=1, choice=True)),
    # Groups of experts: two of four; a prediction layer.
    "bailingmoe2-groups": ("bailingmoe2", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=24, n_layer=3),
                           {"leading_dense_block_count": 1, "expert_shared_count": 1, "expert_weights_norm": True,
                            "expert_weights_scale": 2.5, "expert_gating_func": 2, "expert_group_count": 4,
                            "expert_group_used_count": 2, "nextn_predict_layers": 1, "rope.dimension_count": 2},
                           dict(experts=(12, 3, 6), shared=6, dense=1, choice=True, fused=True, qk="head", nextn=1,
                                out_norm=True)),
    "phimoe-gqa": ("phimoe", dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=6, n_ff=12), {},
                   dict(experts=(5, 2, 12), bias="qkvo", norm_bias=True, output_bias=True)),
    "seed_oss-gqa": ("seed_oss", dict(n_embd=24, n_head=6, n_head_kv=2, head_dim=8, n_ff=20), {"rope.freq_base": 1e7},
                     dict(bias="qkv", before=("post_attention_norm",))),
}
KEPT = (
    "smollm3-layers", "cohere2-layers", "stablelm-parallel", "mimo2-keys", "minimax-m2-gqa", "llama4-layers",
)
ASIDE = tuple(name for name in MODELS if name not in KEPT)


def norms_of_heads(b, i, qk):
    s, at = b.s, f"blk.{i}."
    for part, n in (("q", s["n_head"]), ("k", s["n_head_kv"])):
        if qk == "heads":
            b.vector(f"{at}attn_{part}_norm.weight", (n, s["head_dim"]), 1.3, 0.26)
        else:
            b.norm(f"{at}attn_{part}_norm.weight", s["head_dim"] * (n if qk == "row" else 1), 1.3)


def feed_forward(b, i, options):
    s, at = b.s, f"blk.{i}."
    n, _, n_ff = options.get("experts", (0, 0, 0))
    trunk = s["n_layer"] - options.get("nextn", 0)
    if n and i >= options.get("dense", 0) and (i >= trunk or (i + 1) % options.get("step", 1) == 0):
        b.experts(i, n, n_ff)
        if options.get("choice"):
            b.vector(at + "exp_probs_b.bias", n, 0.0, 0.2)
        if "shared" in options:
            b.gated(i, options["shared"], "_shexp")
    elif options.get("plain"):
        b.matrix(at + "ffn_up.weight", s["n_ff"], s["n_embd"], 1.5)
        b.matrix(at + "ffn_down.weight", s["n_embd"], s["n_ff"], 1.0)
        if options.get("all_biases"):
            b.vector(at + "ffn_up.bias", s["n_ff"])
            b.vector(at + "ffn_down.bias", s["n_embd"])
    elif options.get("both"):
        b.matrix(at + "ffn_up.weight", 2 * s["n_ff"], s["n_embd"], 1.3)
        b.matrix(at + "ffn_down.weight", s["n_embd"], s["n_ff"], 1.0)
    else:
        b.gated(i)


def write(name):
    make(name, *MODELS[name])


def make(name, arch, s, keys, options):
    """`more` of the options adds what only this model has."""
    n, used, n_ff = options.get("experts", (None, None, None))
    nextn = options.get("nextn", 0)
    total = s.get("n_layer", 2) + nextn
    b = Builder(name, arch, {**s, "n_layer": total}, {
        "expert_count": n, "expert_used_count": used, "expert_feed_forward_length": n_ff, **keys,
        **({"expert_shared_feed_forward_length": options["shared"]} if "shared" in options else {}),
    })
    e, fused = s["n_embd"], options.get("fused", False)
    b.ends(options.get("tied", False))
    biased = ["output_norm"] if options.get("norm_bias") else []
    if options.get("output_bias"):
        b.vector("output.bias", b.s["n_vocab"])
    kv = keys.get("attention.head_count_kv", [s["n_head_kv"]] * total)
    for i in range(total):
        at = f"blk.{i}."
        b.attention(i, options.get("bias", ""), fused=fused, pre=options.get("pre", True), n_head_kv=kv[i])
        if fused and options.get("all_biases"):
            b.vector(at + "attn_qkv.bias", (s["n_head"] + 2 * s["n_head_kv"]) * s["head_dim"])
            b.vector(at + "attn_output.bias", e)
        if "qk" in options:
            norms_of_heads(b, i, options["qk"])
        if options.get("sinks") and keys["attention.sliding_window_pattern"][i]:
            b.vector(at + "attn_sinks.weight", s["n_head"], 1.0, 1.0)
        before = options.get("before", ("ffn_norm",))
        for part in before:
            b.norm(f"{at}{part}.weight")
        for part in options.get("after", ()):
            b.norm(f"{at}{part}.weight", mean=options.get("post", 1.0))
        if options.get("norm_bias"):
            biased += [f"{at}{part}" for part in ("attn_norm", *before)]
        feed_forward(b, i, options)
        if i >= total - nextn:
            b.matrix(at + "nextn.eh_proj.weight", e, 2 * e, 1.0)
            for part in ("nextn.enorm", "nextn.hnorm", *["layer_output_norm"] * options.get("out_norm", False)):
                b.norm(f"{at}{part}.weight")
    for part in biased:
        b.vector(f"{part}.bias", e, 0.0, 0.3)
    if "more" in options:
        options["more"](b)
    b.save()
