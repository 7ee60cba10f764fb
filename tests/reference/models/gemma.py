"""gemma2 and gemma3: a scale of the embedding, norms after attention and feed-forward, windows, soft caps, a
rotation per kind of layer."""

from gguf import GGMLQuantizationType as T

from builder import Builder

WINDOW = {"attention.sliding_window": 12}

# name: (shape, keys, options)
MODELS = {
    # No pattern in the file: every sixth layer is global, at base 1e6; the others turn at base 1e4.
    "gemma3-default": (
        dict(n_embd=20, n_head=4, n_head_kv=2, head_dim=8, n_ff=16, n_layer=7),
        {**WINDOW, "rope.freq_base": 1e6},
        {},
    ),
    # Linear scaling is for global layers only; pattern given as a number, the windowed layers' base as a key.
    "gemma3-linear": (
        dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=12, n_ff=28, n_layer=4),
        {
            **WINDOW, "attention.sliding_window_pattern": 2, "rope.freq_base": 1e6, "rope.freq_base_swa": 500.0,
            "rope.scaling.type": "linear", "rope.scaling.factor": 8.0,
        },
        {},
    ),
    # Pattern given per layer, an output matrix of its own and a final soft cap.
    "gemma3-pattern": (
        dict(n_embd=28, n_head=2, n_head_kv=2, head_dim=12, n_ff=24, n_layer=3),
        {
            "attention.sliding_window": 9, "attention.sliding_window_pattern": [False, True, False],
            "rope.freq_base": 1e5, "final_logit_softcapping": 6.0,
        },
        dict(tied=False),
    ),
    # No window: one base for all layers.
    "gemma3-global": (dict(n_embd=24, n_head=3, n_head_kv=1, head_dim=8, n_ff=24), {"rope.freq_base": 1e6}, {}),
    # 62 layers are the 27B model: scores are scaled by the embedding's share of a head, not by the head's length.
    "gemma3-62-layers": (
        dict(n_embd=8, n_head=2, n_head_kv=1, head_dim=8, n_ff=4, n_layer=62),
        {**WINDOW, "rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
        dict(post=0.15),
    ),
    "gemma3-Q4_K": (
        dict(n_embd=256, n_head=4, n_head_kv=2, head_dim=16, n_ff=256),
        {**WINDOW, "attention.sliding_window_pattern": 2, "rope.freq_base": 1e6},
        dict(t=T.Q4_K),
    ),
    # Caps low enough to bend every score and logit; even layers are windowed.
    "gemma2-caps": (
        dict(n_embd=28, n_head=4, n_head_kv=2, head_dim=10, n_ff=28, n_layer=3),
        {**WINDOW, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
        {},
    ),
    # Neither cap is in the file: 50 and 30.
    "gemma2-default": (dict(n_embd=24, n_head=3, n_head_kv=3, head_dim=8, n_ff=24, n_layer=4), WINDOW, {}),
    # No window in the file: 4096 then.
    "gemma2-no-window": (
        dict(n_embd=24, n_head=3, n_head_kv=1, head_dim=12, n_ff=29),
        {"attn_logit_softcapping": 10.0, "final_logit_softcapping": 12.0},
        {},
    ),
    # 46 layers are the 27B model.
    "gemma2-46-layers": (
        dict(n_embd=8, n_head=2, n_head_kv=1, head_dim=8, n_ff=4, n_layer=46),
        {**WINDOW, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        dict(post=0.15),
    ),
}


def write(name):
    s, keys, options = MODELS[name]
    arch = name.split("-")[0]
    b = Builder(name, arch, s, keys, options.get("t", T.F32))
    b.ends(options.get("tied", True))
    for i in range(b.s["n_layer"]):
        b.attention(i, qk_norm=arch == "gemma3")
        b.norm(f"blk.{i}.post_attention_norm.weight", mean=options.get("post", 1.0))
        b.norm(f"blk.{i}.ffn_norm.weight")
        b.gated(i)
        b.norm(f"blk.{i}.post_ffw_norm.weight", mean=options.get("post", 1.0))
    b.save()
