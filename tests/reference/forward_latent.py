"""deepseek2 in float64: keys and values come from one compressed vector per token; a part of each head is rotated.

This is written without absorption, with whole keys and values. llama.cpp absorbs: its cache holds [normed compressed
vector, rotated key part] per token. It multiplies queries by attn_k_b before the scores, and the weighted sum of
compressed vectors by attn_v_b after them, which is the same sum.
"""

import numpy as np

from forward import Exact


class Latent(Exact):
    def __init__(self, path):
        super().__init__(path)
        self.length = self.key("attention.key_length_mla", self.key("attention.key_length"))
        # The multiplier is in the file as a tenth of what YaRN calls mscale_all_dim.
        m = self.key("rope.scaling.yarn_log_multiplier", 0.0) / 0.1
        self.multiplier = m
        log = np.log(self.key("rope.scaling.factor", 1.0) or 1.0) if self.key("rope.scaling.type") == "yarn" else 0.0
        # Without a multiplier the attention factor counts in the rotation and in the scale.
        self.scale = ((1 + 0.1 * m * log) * (1.0 if m else 1 + 0.1 * log)) ** 2 * self.length**-0.5
        self.scale *= self.key("rope.scaling.attn_factor", 1.0) ** 2

    def magnitude(self, factor):
        return 1.0 if self.multiplier else 1 + 0.1 * np.log(factor)

    def attention(self, n, i, at, last_at, gone):
        t, b, rank = len(n), f"blk.{i}.", self.key("attention.kv_lora_rank")
        nope = self.length - self.n_rot
        if b + "attn_q_a.weight" in self.w:
            q = self.linear(self.norm(self.linear(n, b + "attn_q_a"), b + "attn_q_a_norm"), b + "attn_q_b")
        else:
            q = self.linear(n, b + "attn_q")
        q = q.reshape(t, self.n_head, -1)
        both = self.linear(n, b + "attn_kv_a_mqa")
        compressed = self.norm(both[:, :rank], b + "attn_kv_a_norm")
        if b + "attn_kv_b.weight" in self.w:
            kv = self.w[b + "attn_kv_b.weight"].reshape(self.n_head, -1, rank)
            key, value = kv[:, :nope], kv[:, nope:]
        else:
            # With one head these have two dimensions in the file.
            key = self.w[b + "attn_k_b.weight"].reshape(self.n_head, rank, nope).transpose(0, 2, 1)
            value = self.w[b + "attn_v_b.weight"].reshape(self.n_head, -1, rank)
        k = np.einsum("hdr,tr->thd", key, compressed)
        v = np.einsum("hdr,tr->thd", value, compressed)
        s = np.einsum("qhd,khd->hqk", q[..., :nope], k)
        turned = [self.rotate(both[:, None, rank:], p)[:, 0] for p in (at, last_at)]
        rotated = np.einsum("qhd,kd->hqk", self.rotate(q[..., nope:], at), turned[0])
        rotated[:, -1] = np.einsum("hd,kd->hk", self.rotate(q[-1:, :, nope:], last_at[-1:])[0], turned[1])
        s = (s + rotated) * self.scale
        s[:, -1, gone] = -np.inf
        s = np.where(at[:, None] < at[None], -np.inf, s)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return self.linear(np.einsum("hqk,khd->qhd", p, v).reshape(t, -1), b + "attn_output")
