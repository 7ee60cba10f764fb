"""The forward pass of llama and qwen2 in float64 over a GGUF file's dequantised weights: what exact arithmetic gives."""

import gguf
import numpy as np


class Exact:
    def __init__(self, path):
        r = gguf.GGUFReader(str(path))
        self.arch = r.fields["general.architecture"].contents()
        self.keys = {k: f for k, f in r.fields.items()}
        self.w = {}
        for t in r.tensors:
            x = gguf.quants.dequantize(t.data, t.tensor_type)
            self.w[t.name] = np.asarray(x, np.float64).reshape(tuple(reversed(t.shape.tolist())))
        self.n_layer = self.key("block_count")
        self.n_head = self.key("attention.head_count")
        self.n_head_kv = self.key("attention.head_count_kv", self.n_head)
        self.head_dim = self.key("attention.key_length", self.key("embedding_length") // self.n_head)
        self.n_rot = self.key("rope.dimension_count", self.head_dim)
        self.eps = self.key("attention.layer_norm_rms_epsilon")

    def key(self, name, default=None):
        f = self.keys.get(f"{self.arch}.{name}")
        return default if f is None else f.contents()

    def angles(self):
        """(radians per position of each pair, magnitude)"""
        i = np.arange(self.n_rot // 2)
        base = self.key("rope.freq_base", 10000.0)
        plain = base ** (-2.0 * i / self.n_rot)
        if "rope_freqs.weight" in self.w:
            plain = plain / self.w["rope_freqs.weight"]
        kind, factor = self.key("rope.scaling.type", "linear"), self.key("rope.scaling.factor", 1.0)
        if kind == "none" or factor == 0:
            return plain, 1.0
        if kind == "linear":
            return plain / factor, 1.0
        assert kind == "yarn"
        # arXiv:2309.00071: pairs that turn more than 32 times over the original context stay, below 1 are interpolated.
        n_orig = self.key("rope.scaling.original_context_length", self.key("context_length"))

        def pair(turns):
            return self.n_rot * np.log(n_orig / (turns * 2 * np.pi)) / (2 * np.log(base))

        low, high = max(0, np.floor(pair(32.0))), min(self.n_rot - 1, np.ceil(pair(1.0)))
        keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
        return plain * keep + plain / factor * (1 - keep), self.key("rope.scaling.attn_factor", 1.0) * (1 + 0.1 * np.log(factor))

    def rotate(self, x, positions):
        """x [time, head, head_dim] at positions [time]"""
        freq, magnitude = self.angles()
        angle = np.asarray(positions)[:, None] * freq
        cos, sin = np.cos(angle)[:, None] * magnitude, np.sin(angle)[:, None] * magnitude
        y, half = x.copy(), self.n_rot // 2
        if self.arch == "qwen2":
            one, two = np.s_[..., :half], np.s_[..., half : self.n_rot]
        else:
            one, two = np.s_[..., 0 : self.n_rot : 2], np.s_[..., 1 : self.n_rot : 2]
        y[one], y[two] = x[one] * cos - x[two] * sin, x[one] * sin + x[two] * cos
        return y

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) * self.w[name + ".weight"]

    def logits(self, tokens, cut=None):
        """[len(tokens), n_vocab]; with cut = (p0, p1) the last token comes after these positions left the cache and the later
        ones moved up, the cached values staying as they were computed."""
        t, group = len(tokens), self.n_head // self.n_head_kv
        at = last_at = np.arange(t)
        gone = np.zeros(t, bool)
        if cut:
            gone, last_at = (at >= cut[0]) & (at < cut[1]), np.where(at < cut[1], at, at - (cut[1] - cut[0]))
        x = self.w["token_embd.weight"][tokens]
        future = np.triu(np.full((t, t), -np.inf), 1)
        for i in range(self.n_layer):
            b = f"blk.{i}."
            n = self.norm(x, b + "attn_norm")
            q = self.linear(n, b + "attn_q").reshape(t, self.n_head, -1)
            k = self.linear(n, b + "attn_k").reshape(t, self.n_head_kv, -1).repeat(group, 1)
            v = self.linear(n, b + "attn_v").reshape(t, self.n_head_kv, -1).repeat(group, 1)
            s = np.einsum("qhd,khd->hqk", self.rotate(q, at), self.rotate(k, at)) / np.sqrt(self.head_dim) + future
            last = np.einsum("hd,khd->hk", self.rotate(q[-1:], last_at[-1:])[0], self.rotate(k, last_at))
            s[:, -1] = np.where(gone, -np.inf, last / np.sqrt(self.head_dim))
            p = np.exp(s - s.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            x = x + self.linear(np.einsum("hqk,khd->qhd", p, v).reshape(t, -1), b + "attn_output")
            n = self.norm(x, b + "ffn_norm")
            gate = self.linear(n, b + "ffn_gate")
            x = x + self.linear(gate / (1 + np.exp(-gate)) * self.linear(n, b + "ffn_up"), b + "ffn_down")
        x = self.norm(x, "output_norm")
        return x @ self.w.get("output.weight", self.w["token_embd.weight"]).T
