"""qwen2vl, qwen3vl and qwen3vlmoe: rotation in sections, of text alone.

Text has one position in the first three sections and 0 in the fourth, so that pairs of the fourth are not rotated. With
interleaved sections (qwen3vl) those are the pairs that lie beyond three times their section's count.
"""

from builder import Builder

# name: (architecture, shape, sections, keys, options)
MODELS = {
    # Half of what the released models have, 16 + 24 + 24 of 64 pairs: all are rotated.
    "qwen2vl-plain": ("qwen2vl", dict(n_embd=32, n_head=2, n_head_kv=1, head_dim=16, n_ff=20), [2, 3, 3, 0], {}, {}),
    # The last quarter is the fourth section's.
    "qwen2vl-fourth": ("qwen2vl", dict(n_embd=32, n_head=4, n_head_kv=2, head_dim=8, n_ff=28), [1, 1, 1, 1], {},
                       dict(tied=True)),
    # Fewer than there are pairs: they start anew.
    "qwen2vl-again": ("qwen2vl", dict(n_embd=24, n_head=2, n_head_kv=2, head_dim=12, n_ff=20), [1, 1, 1, 1], {},
                      dict(tied=True)),
    # 24, 20 and 20 of 64 pairs: pairs 61 and 62 are not rotated.
    "qwen3vl-128": ("qwen3vl", dict(n_embd=16, n_head=1, n_head_kv=1, head_dim=128, n_ff=16), [24, 20, 20, 0],
                    {"rope.freq_base": 5e6}, dict(tied=True)),
    # Half of these: pair 31.
    "qwen3vl-64": ("qwen3vl", dict(n_embd=18, n_head=2, n_head_kv=1, head_dim=64, n_ff=20), [12, 10, 10, 0],
                   {"rope.freq_base": 5e6}, {}),
    # A first section so short that pairs at a high frequency are not rotated either.
    "qwen3vl-short": ("qwen3vl", dict(n_embd=20, n_head=4, n_head_kv=2, head_dim=16, n_ff=20), [1, 2, 2, 3], {}, {}),
    "qwen3vlmoe-64": ("qwen3vlmoe", dict(n_embd=16, n_head=2, n_head_kv=1, head_dim=64, n_ff=48), [12, 10, 10, 0],
                      {"rope.freq_base": 5e6}, dict(experts=(8, 2, 6))),
    "qwen3vlmoe-16": ("qwen3vlmoe", dict(n_embd=20, n_head=4, n_head_kv=2, head_dim=16, n_ff=40), [3, 2, 2, 1], {},
                      dict(experts=(6, 3, 16), tied=True)),
    "qwen3vlmoe-all": ("qwen3vlmoe", dict(n_embd=24, n_head=2, n_head_kv=2, head_dim=32, n_ff=24), [6, 5, 4, 1],
                       {"rope.freq_base": 1e6}, dict(experts=(3, 3, 8))),
}
ASIDE = ("qwen2vl-plain", "qwen2vl-fourth", "qwen3vlmoe-64", "qwen3vlmoe-16", "qwen3vlmoe-all")


def write(name):
    arch, s, sections, keys, options = MODELS[name]
    n, used, n_ff = options.get("experts", (None, None, None))
    counts = {"expert_count": n, "expert_used_count": used, "expert_feed_forward_length": n_ff}
    b = Builder(name, arch, s, {"rope.dimension_sections": sections, **counts, **keys})
    b.ends(options.get("tied", False))
    for i in range(b.s["n_layer"]):
        b.attention(i, "qkv" if arch == "qwen2vl" else "", qk_norm=arch != "qwen2vl")
        b.norm(f"blk.{i}.ffn_norm.weight")
        if n:
            b.experts(i, n, n_ff)
        else:
            b.gated(i)
    b.save()
