"""The forward pass in float64 over a GGUF file's dequantised weights: the result of exact arithmetic.

Attention and dense feed-forward are here, mixtures of experts in forward_experts.py, deepseek2's attention in
forward_latent.py.
"""

import gguf
import numpy as np

from forward_experts import mixture, sigmoid

# The rotation of these pairs neighbours; that of the others pairs an element with the one half a rotated length on.
NEIGHBOURS = ("llama", "mistral3", "deepseek2")
# The feed-forward matrices of these may have a scale of their own; attention's matrices may have one in all.
SCALED = ("llama", "qwen3", "qwen3moe", "mistral3")


# The architectures that this file and its neighbours describe.
KNOWN = (
    "llama", "mistral3", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3", "gpt-oss", "deepseek2",
)


def exact(path):
    """None for an architecture that is not described here."""
    from forward_latent import Latent

    arch = gguf.GGUFReader(str(path)).fields["general.architecture"].contents()
    if arch not in KNOWN:
        return None
    return (Latent if arch == "deepseek2" else Exact)(path)


class Exact:
    def __init__(self, path):
        r = gguf.GGUFReader(str(path))
        self.arch = r.fields["general.architecture"].contents()
        self.keys = {k: f for k, f in r.fields.items()}
        self.types = {t.tensor_type.name for t in r.tensors}
        self.w = {}
        for t in r.tensors:
            x = gguf.quants.dequantize(t.data, t.tensor_type)
            self.w[t.name] = np.asarray(x, np.float64).reshape(tuple(reversed(t.shape.tolist())))
        self.n_layer = self.key("block_count")
        self.n_embd = self.key("embedding_length")
        self.n_head = self.key("attention.head_count")
        self.n_head_kv = self.key("attention.head_count_kv", self.n_head)
        self.head_dim = self.key("attention.key_length", self.n_embd // self.n_head)
        self.n_rot = self.key("rope.dimension_count", self.head_dim)
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.gemma, self.gpt = self.arch.startswith("gemma"), self.arch == "gpt-oss"
        self.smallest_gap = np.inf
        share = {"gemma2": 46, "gemma3": 62}.get(self.arch) == self.n_layer
        self.scale = (self.n_embd // self.n_head if share else self.head_dim) ** -0.5

    def key(self, name, default=None):
        f = self.keys.get(f"{self.arch}.{name}")
        return default if f is None else f.contents()

    def window(self, layer):
        """Of how many tokens, itself the last, a token of this layer sees; 0: all."""
        n = self.key("attention.sliding_window", 4096 if self.arch == "gemma2" else 0)
        if self.arch not in ("gemma2", "gemma3", "gpt-oss") or n == 0:
            return 0
        pattern = self.key("attention.sliding_window_pattern", 6 if self.arch == "gemma3" else 2)
        local = pattern[layer] if isinstance(pattern, list) else pattern == 0 or layer % pattern < pattern - 1
        return n if local else 0

    def angles(self, layer=0):
        """(radians per position of each pair, magnitude)"""
        i = np.arange(self.n_rot // 2)
        base = self.key("rope.freq_base", 10000.0)
        kind, factor = self.key("rope.scaling.type", "linear"), self.key("rope.scaling.factor", 1.0) or 1.0
        if self.window(layer):
            base = self.key("rope.freq_base_swa", 10000.0 if self.arch == "gemma3" else base)
            factor = 1.0 if self.arch == "gemma3" else factor
        plain = base ** (-2.0 * i / self.n_rot)
        n_orig = self.key("rope.scaling.original_context_length", self.key("context_length"))
        # 512 is the context of reference.py, which the choice depends on, not on how much of it is used.
        named = ["rope_freqs.weight", "rope_factors_long.weight" if n_orig < 512 else "rope_factors_short.weight"]
        for name in named:
            plain = plain / self.w.get(name, 1.0)
        attn_factor = self.key("rope.scaling.attn_factor", 1.0)
        if kind != "yarn":
            return plain / (1.0 if kind == "none" else factor), attn_factor
        # arXiv:2309.00071: pairs that turn more than beta_fast times over the original context stay as they are, those
        # that turn less than beta_slow times are interpolated.

        def pair(turns):
            return self.n_rot * np.log(n_orig / (turns * 2 * np.pi)) / (2 * np.log(base))

        fast, slow = 32.0, 1.0
        if self.arch == "mistral3":
            fast, slow = self.key("rope.scaling.yarn_beta_fast", fast), self.key("rope.scaling.yarn_beta_slow", slow)
        low, high = max(0, np.floor(pair(fast))), min(self.n_rot - 1, np.ceil(pair(slow)))
        keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
        return plain * keep + plain / factor * (1 - keep), attn_factor * self.magnitude(factor)

    def magnitude(self, factor):
        m = self.key("rope.scaling.yarn_log_multiplier", 0.0)
        return (1 + 0.1 * np.log(factor)) / (1 + 0.1 * m * np.log(factor))

    def rotate(self, x, positions, layer=0):
        """x [time, head, head_dim] at positions [time]"""
        freq, magnitude = self.angles(layer)
        angle = np.asarray(positions)[:, None] * freq
        cos, sin = np.cos(angle)[:, None] * magnitude, np.sin(angle)[:, None] * magnitude
        y, half = x.copy(), self.n_rot // 2
        if self.arch in NEIGHBOURS:
            one, two = np.s_[..., 0 : self.n_rot : 2], np.s_[..., 1 : self.n_rot : 2]
        else:
            one, two = np.s_[..., :half], np.s_[..., half : self.n_rot]
        y[one], y[two] = x[one] * cos - x[two] * sin, x[one] * sin + x[two] * cos
        return y

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T * self.w.get(name + ".scale", 1.0) + self.w.get(name + ".bias", 0.0)

    def ffn_linear(self, x, name):
        """The scale comes after the bias here, unlike everywhere else."""
        y = x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)
        return y * self.w.get(name + ".scale", 1.0) if self.arch in SCALED else y

    def norm(self, x, name):
        """x itself where the model has no such norm"""
        w = self.w.get(name + ".weight")
        return x if w is None else x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) * w

    def temperature(self, positions):
        """The factors by which mistral3 multiplies queries."""
        scale = self.key("attention.temperature_scale", 0.0) if self.arch == "mistral3" else 0.0
        return 1 + scale * np.log(1 + np.floor(positions / self.key("rope.scaling.original_context_length", np.inf)))

    def heads(self, n, i):
        """Queries, keys and values [time, head, length] of layer i, not rotated."""
        b, t = f"blk.{i}.", len(n)
        if b + "attn_qkv.weight" in self.w:
            q, kv = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
            q, k, v = np.split(self.linear(n, b + "attn_qkv"), [q, q + kv], -1)
        else:
            q, k, v = (self.linear(n, b + "attn_" + x) for x in "qkv")
        q, k, v = q.reshape(t, self.n_head, -1), k.reshape(t, self.n_head_kv, -1), v.reshape(t, self.n_head_kv, -1)
        return self.norm(q, b + "attn_q_norm"), self.norm(k, b + "attn_k_norm"), v

    def attention(self, n, i, at, last_at, gone):
        t, b = len(n), f"blk.{i}."
        q, k, v = self.heads(n, i)
        k, v = (x.repeat(self.n_head // self.n_head_kv, 1) for x in (k, v))
        q = q * self.temperature(np.append(at[:-1], last_at[-1]))[:, None, None]
        s = np.einsum("qhd,khd->hqk", self.rotate(q, at, i), self.rotate(k, at, i)) * self.scale
        last = np.einsum("hd,khd->hk", self.rotate(q[-1:], last_at[-1:], i)[0], self.rotate(k, last_at, i)) * self.scale
        s[:, -1] = np.where(gone, -np.inf, last)
        if self.arch == "gemma2":
            cap = self.key("attn_logit_softcapping", 50.0)
            s = cap * np.tanh(s / cap)
        distance = at[:, None] - at[None]
        window = self.window(i)
        assert not (window and gone.any())
        s = np.where((distance < 0) | ((distance >= window) if window else False), -np.inf, s)
        # A sink is one more score per head whose value is zero.
        sinks = self.w.get(b + "attn_sinks.weight", np.full(self.n_head, -np.inf))[:, None, None]
        most = np.maximum(s.max(-1, keepdims=True), sinks)
        p = np.exp(s - most)
        p /= p.sum(-1, keepdims=True) + np.exp(sinks - most)
        return self.linear(np.einsum("hqk,khd->qhd", p, v).reshape(t, -1), b + "attn_output")

    def dense(self, n, b, suffix=""):
        up = self.ffn_linear(n, f"{b}ffn_up{suffix}")
        if f"{b}ffn_gate{suffix}.weight" in self.w:
            gate = self.ffn_linear(n, f"{b}ffn_gate{suffix}")
        else:
            gate, up = np.split(up, 2, -1)
        if self.gemma:
            act = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            act = gate * sigmoid(gate)
        return self.ffn_linear(act * up, f"{b}ffn_down{suffix}")

    def feed_forward(self, n, b):
        if b + "ffn_gate_inp.weight" not in self.w:
            return self.dense(n, b)
        y, gap = mixture(self, n, b)
        self.smallest_gap = min(self.smallest_gap, gap)
        return y + self.dense(n, b, "_shexp") if b + "ffn_up_shexp.weight" in self.w else y

    def logits(self, tokens, cut=None):
        """[len(tokens), n_vocab]. With cut = (p0, p1) the last token comes after these positions left the cache and the
        later ones moved up; the cached values stay as they were computed."""
        at = last_at = np.arange(len(tokens))
        gone = np.zeros(len(tokens), bool)
        if cut:
            gone, last_at = (at >= cut[0]) & (at < cut[1]), np.where(at < cut[1], at, at - (cut[1] - cut[0]))
        x = self.w["token_embd.weight"][tokens] * (self.n_embd**0.5 if self.gemma else 1.0)
        for i in range(self.n_layer):
            b = f"blk.{i}."
            y = self.attention(self.norm(x, b + "attn_norm"), i, at, last_at, gone)
            x = x + (self.norm(y, b + "post_attention_norm") if self.gemma else y)
            y = self.feed_forward(self.norm(x, b + ("post_attention_norm" if self.gpt else "ffn_norm")), b)
            x = x + self.norm(y, b + "post_ffw_norm")
        x = self.norm(x, "output_norm")
        x = x @ self.w.get("output.weight", self.w["token_embd.weight"]).T + self.w.get("output.bias", 0.0)
        cap = self.key("final_logit_softcapping", {"gemma2": 30.0}.get(self.arch, 0.0)) if self.gemma else 0.0
        return cap * np.tanh(x / cap) if cap else x
