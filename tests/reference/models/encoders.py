"""Encoders, and decoders that leave rows of texts: small random models of each family.

Texts are longer than half a window. Each has what real files have in proportion, and optional tensors in one model with
them and one without.
"""

from builder import Builder

LAYER = {"attention.layer_norm_epsilon": 1e-6, "attention.layer_norm_rms_epsilon": None, "attention.causal": False}
RMS = {"attention.causal": False}
BERT = dict(n_embd=32, n_head=4, n_head_kv=4, n_ff=48)
MEAN, CLS, LAST, RANK = 1, 2, 3, 4

# `cls` is the head that scores: the rows of its two matrices, either may be missing. `up` is the factor of rows in
# ffn_up: 2 if it holds the gate, too.
# name: (architecture, shape, keys, options)
MODELS = {
    "bert-mean": ("bert", dict(BERT, n_layer=3), {**LAYER, "pooling_type": MEAN}, dict(positions=True, types=True)),
    "bert-cls": ("bert", dict(n_embd=30, n_head=5, n_head_kv=5, n_ff=40), {**LAYER, "pooling_type": CLS},
                 dict(positions=True, types=True, fused=True)),
    "bert-rank": ("bert", BERT, {**LAYER, "pooling_type": RANK}, dict(positions=True, types=True, cls=(32, 1))),
    "bert-labels": ("bert", BERT, {**LAYER, "pooling_type": RANK, "classifier.output_labels": ["a", "b", "c"]},
                    dict(positions=True, types=False, cls=(None, 3))),
    "nomic-bert": ("nomic-bert", dict(BERT, head_dim=8), {**LAYER, "pooling_type": MEAN, "rope.freq_base": 1000.0},
                   dict(types=True, bias=False, gate=True)),
    "nomic-bert-moe": ("nomic-bert-moe", dict(BERT, head_dim=8, n_layer=4),
                       {**LAYER, "pooling_type": MEAN, "moe_every_n_layers": 2, "expert_count": 6,
                        "expert_used_count": 2}, dict(types=True, moe=(2, 6))),
    "jina-bert-v2": ("jina-bert-v2", BERT, {**LAYER, "pooling_type": MEAN}, dict(types=True, gate=True, up_bias=False)),
    # The code model: norms of queries and keys, one more sum, gate and up in one matrix; a head of one matrix.
    "jina-bert-v2-code": ("jina-bert-v2", dict(n_embd=36, n_head=6, n_head_kv=6, n_ff=20),
                          {**LAYER, "pooling_type": MEAN}, dict(types=True, up=2, qk=True, second=True)),
    "jina-bert-v2-rank": ("jina-bert-v2", BERT, {**LAYER, "pooling_type": RANK},
                          dict(types=True, gate=True, up_bias=False, cls=(1, None))),
    "jina-bert-v3": ("jina-bert-v3", dict(BERT, head_dim=8), {**LAYER, "pooling_type": MEAN}, dict(types=True)),
    "modern-bert": ("modern-bert", dict(BERT, n_layer=5, head_dim=8),
                    {**LAYER, "pooling_type": MEAN, "attention.sliding_window": 12, "rope.freq_base": 160000.0,
                     "rope.freq_base_swa": 10000.0}, {}),
    "modern-bert-rank": ("modern-bert", dict(BERT, n_layer=4, head_dim=8),
                         {**LAYER, "pooling_type": RANK, "attention.sliding_window": 8, "hidden_activation": "silu",
                          "attention.sliding_window_pattern": 2}, dict(cls=(32, 1), cls_norm=True)),
    "neo-bert": ("neo-bert", dict(BERT, head_dim=8), {**RMS, "pooling_type": CLS}, {}),
    "eurobert": ("eurobert", dict(BERT, n_head_kv=2, head_dim=8), {**RMS, "pooling_type": MEAN}, {}),
    "gemma-embedding": ("gemma-embedding", dict(n_embd=24, n_head=3, n_head_kv=1, head_dim=16, n_ff=40, n_layer=7),
                        {**RMS, "pooling_type": MEAN, "attention.sliding_window": 10, "rope.freq_base": 1e6,
                         "rope.freq_base_swa": 1e4}, {}),
    "gemma-embedding-dense": ("gemma-embedding", dict(n_embd=24, n_head=2, n_head_kv=2, head_dim=12, n_ff=40),
                              {**RMS, "pooling_type": MEAN, "attention.sliding_window": 10,
                               "attention.sliding_window_pattern": 2, "dense_2_feat_in": 24, "dense_2_feat_out": 40,
                               "dense_3_feat_in": 40, "dense_3_feat_out": 24}, dict(dense=40)),
    "qwen3-last": ("qwen3", dict(BERT, n_head_kv=2, head_dim=8), {"pooling_type": LAST}, {}),
    "qwen3-rank": ("qwen3", dict(BERT, n_head_kv=2, head_dim=8),
                   {"pooling_type": RANK, "classifier.output_labels": ["yes", "no"]}, dict(cls=(None, 2))),
    "llama-mean": ("llama", dict(BERT, n_head_kv=2, head_dim=8), {"pooling_type": MEAN}, {}),
}


def bert(b, o):
    """A layer of those whose sums are normed."""
    s = b.s
    e, ff = s["n_embd"], s["n_ff"]

    def layer_norm(name):
        b.norm(name + ".weight")
        b.vector(name + ".bias", e)

    if o.get("positions"):
        b.matrix("position_embd.weight", 256, e, e**0.5)
    if o.get("types"):
        b.vector("token_types.weight", (2, e), 0.0, 1.0)
    layer_norm("token_embd_norm")
    for i in range(s["n_layer"]):
        p = f"blk.{i}."
        bias = o.get("bias", True)
        b.attention(i, bias="o" if bias and o.get("fused") else "qkvo" if bias else "", fused=o.get("fused", False),
                    pre=False, head_dim=e // s["n_head"])
        if o.get("fused"):
            b.vector(p + "attn_qkv.bias", 3 * e)
        if o.get("qk"):
            layer_norm(p + "attn_q_norm")
            layer_norm(p + "attn_k_norm")
        layer_norm(p + "attn_output_norm")
        if o.get("second"):
            layer_norm(p + "attn_norm_2")
        every, n = o.get("moe", (0, 0))
        if every and i % every == 1:
            b.matrix(p + "ffn_gate_inp.weight", n, e, 2.0)
            b.matrix(p + "ffn_up_exps.weight", ff, e, 1.5, n)
            b.matrix(p + "ffn_down_exps.weight", e, ff, 1.5, n)
        else:
            if o.get("gate"):
                b.matrix(p + "ffn_gate.weight", ff, e, 1.5)
            rows = ff * o.get("up", 1)
            b.matrix(p + "ffn_up.weight", rows, e, 1.5)
            if bias and o.get("up_bias", True):
                b.vector(p + "ffn_up.bias", rows)
            b.matrix(p + "ffn_down.weight", e, ff, 1.5)
            if bias:
                b.vector(p + "ffn_down.bias", e)
        layer_norm(p + "layer_output_norm")


def others(b, arch, o):
    s = b.s
    e, ff = s["n_embd"], s["n_ff"]
    fused = arch in ("modern-bert", "neo-bert")
    gemma = arch == "gemma-embedding"
    if arch == "modern-bert":
        b.norm("token_embd_norm.weight")
    b.norm("enc.output_norm.weight" if arch == "neo-bert" else "output_norm.weight")
    for i in range(s["n_layer"]):
        p = f"blk.{i}."
        b.attention(i, fused=fused, qk_norm=gemma or arch == "qwen3", pre=arch != "modern-bert" or i > 0)
        b.norm(p + "ffn_norm.weight")
        if gemma:
            b.norm(p + "post_attention_norm.weight")
            b.norm(p + "post_ffw_norm.weight")
        if fused:
            b.matrix(p + "ffn_up.weight", 2 * ff, e, 1.3)
            b.matrix(p + "ffn_down.weight", e, ff, 1.5)
        else:
            b.gated(i)
    if o.get("dense"):
        b.matrix("dense_2.weight", o["dense"], e, 1.0)
        b.matrix("dense_3.weight", e, o["dense"], 1.0)


def write(name):
    arch, shape, keys, o = MODELS[name]
    b = Builder(name, arch, shape, keys)
    e = b.s["n_embd"]
    if "bert" in arch:
        b.key("tokenizer.ggml.token_type_count", 2)
    b.matrix("token_embd.weight", b.s["n_vocab"], e, e**0.5)
    if arch in ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3"):
        bert(b, o)
    else:
        others(b, arch, o)
    first, last = o.get("cls", (None, None))
    if first:
        b.matrix("cls.weight", first, e, 1.5)
        if arch != "modern-bert":
            b.vector("cls.bias", first)
        if o.get("cls_norm"):
            b.norm("cls.norm.weight")
    if last:
        b.matrix("cls.output.weight", last, first or e, 2.0)
        if "bert" in arch:
            b.vector("cls.output.bias", last)
    b.save()
