"""gemma3n: four streams (AltUp) with a router, low-rank residuals (LAuReL), sparse gates in the first ten layers,
per-layer embeddings; the layers from the twentieth on read the caches of the two before it.

Many of its lengths are constants of the reference: 256 for a layer's embedding, 64 for LAuReL, four streams. So these
files are large, and only the first is in the repository.
"""

from gguf import GGMLQuantizationType as T

from builder import Builder

LAYER, RANK, STREAMS = 256, 64, 4
# name: (shape, keys)
MODELS = {
    # One key for two heads. Of the two layers that share, one is of either kind.
    "gemma3n-mqa": (
        dict(n_embd=5, n_head=2, n_head_kv=1, head_dim=6, n_ff=10, n_layer=22, n_vocab=24),
        {"attention.sliding_window_pattern": [i % 5 != 4 and i != 21 for i in range(22)]},
    ),
    # E2B has 30 layers; a pattern by layer and another base for the windowed ones.
    "gemma3n-30-layers": (
        dict(n_embd=16, n_head=4, n_head_kv=1, head_dim=8, n_ff=64, n_layer=30),
        {"rope.freq_base": 1e6, "rope.freq_base_swa": 500.0,
         "attention.sliding_window_pattern": [i % 5 != 4 for i in range(30)]},
    ),
    # E4B has 35 layers and twice the feed-forward length.
    "gemma3n-35-layers": (
        dict(n_embd=20, n_head=4, n_head_kv=2, head_dim=12, n_ff=80, n_layer=35, n_vocab=128),
        {"rope.freq_base": 1e6, "attention.sliding_window": 20},
    ),
}
ASIDE = ("gemma3n-mqa", "gemma3n-30-layers", "gemma3n-35-layers")


def write(name):
    s, keys = MODELS[name]
    b = Builder(name, "gemma3n", s, {
        "attention.sliding_window": 12, "final_logit_softcapping": 30.0, "altup.num_inputs": STREAMS,
        "embedding_length_per_layer_input": LAYER, **keys,
    })
    e, n = s["n_embd"], s["n_layer"]
    b.ends(True)
    for part in ("altup_proj", "altup_unembd_proj"):
        b.matrix(f"{part}.weight", e, e, 1.0, STREAMS - 1)
    b.matrix("per_layer_token_embd.weight", b.s["n_vocab"], n * LAYER, n**0.5, t=T.Q4_0)
    b.matrix("per_layer_model_proj.weight", n * LAYER, e, e**0.5)
    b.norm("per_layer_proj_norm.weight", LAYER)
    for i in range(n):
        at = f"blk.{i}."
        b.attention(i, qk_norm=True, qk_mean=0.8)
        for part in ("post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm", "laurel_post_norm"):
            b.norm(f"{at}{part}.weight", mean=0.5 if "post" in part else 1.0)
        b.gated(i)
        b.matrix(at + "inp_gate.weight", LAYER, e, 1.5)
        b.matrix(at + "proj.weight", e, LAYER, 1.0)
        b.matrix(at + "altup_correct_coef.weight", STREAMS, STREAMS, 0.3)
        b.norm(at + "altup_correct_scale.weight")
        b.matrix(at + "altup_predict_coef.weight", STREAMS * STREAMS, STREAMS, 0.3)
        # The router's input is divided by the embedding's length.
        b.matrix(at + "altup_router.weight", STREAMS, e, float(e))
        b.norm(at + "altup_router_norm.weight")
        b.matrix(at + "laurel_l.weight", RANK, e, 1.0)
        b.matrix(at + "laurel_r.weight", e, RANK, 1.0)
    b.save()
