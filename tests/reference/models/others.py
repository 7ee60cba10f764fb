"""A model each of groups of families: scores that fall with distance, bounds of queries, keys and values, squared
ReLUs, experts beside or before other blocks, gates by softplus, layers that run twice.
"""

from models.variants import LAYER_NORM, make


def embedding_norm(b):
    b.norm("token_embd_norm.weight")
    b.vector("token_embd_norm.bias", b.s["n_embd"], 0.0, 0.3)


def early_experts(b):
    for i in range(b.s["n_layer"]):
        b.gated(i, b.s["n_embd"])
        b.norm(f"blk.{i}.ffn_norm_exps.weight")


def dense_beside(b):
    for i in range(b.s["n_layer"]):
        b.gated(i)


def gates(b):
    for i in range(b.s["n_layer"]):
        n = b.s["n_head"] * (b.s["head_dim"] if i % 2 else 1)
        b.matrix(f"blk.{i}.attn_gate.weight", n, b.s["n_embd"], 1.5)


# name: (architecture, shape, keys, options), as in variants.py
MODELS = {
    # Six heads are no power of two, so slopes come from two rows of them.
    "bloom-six-heads": ("bloom", dict(n_embd=24, n_head=6, n_head_kv=6, head_dim=4, n_ff=28), LAYER_NORM,
                        dict(fused=True, norm_bias=True, plain=True, all_biases=True, more=embedding_norm)),
    "refact-mqa": ("refact", dict(n_embd=24, n_head=3, n_head_kv=1, head_dim=8, n_ff=20), {}, {}),
    "mpt-clamp": ("mpt", dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=8, n_ff=24),
                  {**LAYER_NORM, "attention.max_alibi_bias": 4.0, "attention.clamp_kqv": 0.7},
                  dict(fused=True, norm_bias=True, plain=True)),
    # A part of each head turns.
    "nemotron-gqa": ("nemotron", dict(n_embd=24, n_head=6, n_head_kv=2, head_dim=4, n_ff=20),
                     {**LAYER_NORM, "rope.dimension_count": 2}, dict(norm_bias=True, plain=True)),
    "dbrx-clamp": ("dbrx", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=12),
                   {**LAYER_NORM, "attention.clamp_kqv": 0.8},
                   dict(experts=(6, 2, 12), fused=True, before=("attn_output_norm",))),
    "arctic-gqa": ("arctic", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=12), {},
                   dict(experts=(6, 2, 12), more=early_experts)),
    "grok-beside": ("grok", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=12),
                    {"embedding_scale": 3.0, "logit_scale": 0.5, "attention.output_scale": 0.3,
                     "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
                    dict(experts=(6, 6, 12), after=("attn_output_norm", "post_ffw_norm"), post=0.3,
                         more=dense_beside)),
    # Four windowed layers, each with a gate by head or by element.
    "laguna-layers": ("laguna", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=8, n_ff=20, n_layer=5),
                      {"attention.sliding_window": 12, "rope.dimension_count": 4, "rope.dimension_count_swa": 8,
                       "rope.freq_base_swa": 500.0, "leading_dense_block_count": 1, "expert_weights_norm": True,
                       "expert_weights_scale": 1.5, "expert_gating_func": 2},
                      dict(experts=(8, 3, 6), shared=8, dense=1, choice=True, qk="head", more=gates)),
    "cohere2moe-layers": ("cohere2moe", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=20, n_layer=5),
                          {**LAYER_NORM, "attention.sliding_window": 12, "logit_scale": 0.5, "expert_gating_func": 2,
                           "leading_dense_block_count": 1, "expert_shared_count": 1,
                           "attention.sliding_window_pattern": [True, True, True, False, True]},
                          dict(experts=(8, 3, 6), shared=8, dense=1, before=(), tied=True)),
    # Every layer runs twice, with the output's norm between.
    "nanbeige-twice": ("nanbeige", dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=4, n_ff=20, n_layer=3),
                       {"num_loops": 2}, {}),
    "smallthinker-gqa": ("smallthinker", dict(n_embd=16, n_head=4, n_head_kv=2, head_dim=4, n_ff=6, n_layer=5),
                         {"attention.sliding_window": 4096, "expert_gating_func": 2}, dict(experts=(8, 3, 6))),
}
KEPT = ("bloom-six-heads", "mpt-clamp", "arctic-gqa", "grok-beside", "laguna-layers", "nanbeige-twice")
ASIDE = tuple(name for name in MODELS if name not in KEPT)


def write(name):
    make(name, *MODELS[name])
