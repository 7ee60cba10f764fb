"""Mixtures of experts with plain attention: llama (Mixtral), qwen3moe, gpt-oss."""

from gguf import GGMLQuantizationType as T

from builder import Builder

# A salt is chosen for quantised files, so that no token's choice of experts hangs on the rounding of activations.
# name: (architecture, shape, experts, experts used, an expert's length, keys, options)
MODELS = {
    "llama-moe": ("llama", dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=6, n_ff=20), 4, 2, 20, {}, {}),
    "llama-moe-tied": ("llama", dict(n_embd=24, n_head=4, n_head_kv=1, head_dim=12, n_ff=10), 8, 3, 10, {},
                       dict(tied=True, bias="qkvo")),
    # One expert: its weight is 1.
    "llama-moe-one": ("llama", dict(n_embd=24, n_head=2, n_head_kv=2, head_dim=12, n_ff=24), 3, 1, 24,
                      {"rope.freq_base": 1e6}, {}),
    # Products scaled per expert, and those of attention.
    "llama-moe-scales": ("llama", dict(n_embd=16, n_head=2, n_head_kv=1, head_dim=8, n_ff=12), 4, 2, 12, {},
                         dict(tied=True, bias="qkvo", scales=True)),
    "qwen3moe-8x2": ("qwen3moe", dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=10, n_ff=64), 8, 2, 12,
                     {"rope.freq_base": 1e6}, {}),
    "qwen3moe-tied": ("qwen3moe", dict(n_embd=24, n_head=6, n_head_kv=1, head_dim=8, n_ff=48), 10, 5, 8,
                      {"rope.freq_base": 1e6}, dict(tied=True)),
    # No expert_feed_forward_length: feed_forward_length over the experts used. All experts used.
    "qwen3moe-all": ("qwen3moe", dict(n_embd=24, n_head=4, n_head_kv=4, head_dim=8, n_ff=48), 3, 3, 16,
                     {"expert_feed_forward_length": None}, {}),
    "qwen3moe-Q4_K": ("qwen3moe", dict(n_embd=256, n_head=4, n_head_kv=1, head_dim=16, n_ff=512, n_layer=1), 3, 2, 256,
                      {"rope.freq_base": 1e6}, dict(t=T.Q4_K, router=6.0, tied=True, salt="30")),
}

GPT = {
    "attention.sliding_window": 10, "rope.freq_base": 150000.0, "rope.scaling.type": "yarn",
    "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 32,
}
GPT_OSS = {
    # Gates and ups large enough that the clamps at 7 bind.
    "gpt-oss-yarn": (dict(n_embd=24, n_head=4, n_head_kv=2, head_dim=8, n_ff=16, n_layer=3), 4, 2, 16, GPT,
                     dict(bias="qkvo", gate=5.0)),
    "gpt-oss-8x4": (dict(n_embd=20, n_head=6, n_head_kv=1, head_dim=8, n_ff=20, n_layer=3), 8, 4, 8,
                    {"attention.sliding_window": 17}, dict(bias="qkvo")),
    # Biases only where the format demands them; the pattern as a number: two windowed layers, then a global one.
    "gpt-oss-bare": (dict(n_embd=24, n_head=4, n_head_kv=4, head_dim=6, n_ff=16, n_layer=3), 3, 1, 16,
                     {**GPT, "attention.sliding_window_pattern": 3}, dict(bias="o")),
    "gpt-oss-MXFP4": (dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=12, n_ff=32), 4, 2, 32, GPT,
                      dict(bias="qkvo", experts=T.MXFP4, router=6.0, salt="80")),
}
MODELS.update({name: ("gpt-oss", *rest) for name, rest in GPT_OSS.items()})


def write(name):
    arch, s, n, used, n_ff, keys, options = MODELS[name]
    counts = {"expert_count": n, "expert_used_count": used}
    if arch != "llama":
        counts["expert_feed_forward_length"] = n_ff
    b = Builder(name, arch, s, {**counts, **keys}, options.get("t", T.F32), options.get("salt", ""))
    e, gpt = s["n_embd"], arch == "gpt-oss"
    b.ends(options.get("tied", False))
    for i in range(b.s["n_layer"]):
        b.attention(i, options.get("bias", ""), arch == "qwen3moe")
        if gpt:
            b.vector(f"blk.{i}.attn_sinks.weight", s["n_head"], 1.0, 1.0)
        b.norm(f"blk.{i}.{'post_attention_norm' if gpt else 'ffn_norm'}.weight")
        whole, b.t = b.t, options.get("experts", b.t)
        b.experts(i, n, n_ff, router=options.get("router", 2.0), gate=options.get("gate", 1.5))
        b.t = whole
        if options.get("scales"):
            b.scales(i, ffn="gate_exps up_exps down_exps", n_expert=n)
        if gpt:
            b.vector(f"blk.{i}.ffn_gate_inp.bias", n)
            for part, length in (("gate", n_ff), ("up", n_ff), ("down", e)):
                b.vector(f"blk.{i}.ffn_{part}_exps.bias", (n, length))
    b.save()
