"""Shape and forward pass of the shipped model, in JAX, in GGUF's conventions for llama (neighbouring pairs rotate)."""

import jax
import jax.numpy as jnp
import numpy as np

N_VOCAB, N_EMBD, N_LAYER, N_HEAD, N_HEAD_KV, HEAD_DIM, N_FF = 2048, 256, 6, 4, 2, 64, 768
N_CTX, EPS, ROPE_BASE = 512, 1e-5, 10000.0


def init(seed):
    """Weights as [out, in], stacked over layers; the token embedding is the output matrix as well."""
    rng = np.random.default_rng(seed)

    def normal(*shape, std):
        return jnp.asarray(rng.normal(0, std, shape), jnp.float32)

    deep = 0.02 / np.sqrt(2 * N_LAYER)
    return {
        "token_embd": normal(N_VOCAB, N_EMBD, std=0.02),
        "output_norm": jnp.ones(N_EMBD),
        "layers": {
            "attn_norm": jnp.ones((N_LAYER, N_EMBD)),
            "attn_q": normal(N_LAYER, N_HEAD * HEAD_DIM, N_EMBD, std=0.04),
            "attn_k": normal(N_LAYER, N_HEAD_KV * HEAD_DIM, N_EMBD, std=0.04),
            "attn_v": normal(N_LAYER, N_HEAD_KV * HEAD_DIM, N_EMBD, std=0.04),
            "attn_output": normal(N_LAYER, N_EMBD, N_HEAD * HEAD_DIM, std=deep),
            "ffn_norm": jnp.ones((N_LAYER, N_EMBD)),
            "ffn_gate": normal(N_LAYER, N_FF, N_EMBD, std=0.04),
            "ffn_up": normal(N_LAYER, N_FF, N_EMBD, std=0.04),
            "ffn_down": normal(N_LAYER, N_EMBD, N_FF, std=deep),
        },
    }


def rms_norm(x, w):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * w


def rotate(x, cos, sin):
    """x [batch, time, head, HEAD_DIM], pairs of neighbours."""
    a, b = x[..., 0::2], x[..., 1::2]
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)


def logits(params, tokens):
    """tokens [batch, time] -> logits [batch, time, N_VOCAB]"""
    b, t = tokens.shape
    angle = jnp.arange(t)[:, None] * ROPE_BASE ** (-jnp.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
    mask = jnp.where(jnp.tril(jnp.ones((t, t), bool)), 0.0, -jnp.inf)
    group = N_HEAD // N_HEAD_KV

    def layer(x, w):
        n = rms_norm(x, w["attn_norm"])
        q = rotate((n @ w["attn_q"].T).reshape(b, t, N_HEAD, HEAD_DIM), cos, sin).reshape(
            b, t, N_HEAD_KV, group, HEAD_DIM
        )
        k = rotate((n @ w["attn_k"].T).reshape(b, t, N_HEAD_KV, HEAD_DIM), cos, sin)
        v = (n @ w["attn_v"].T).reshape(b, t, N_HEAD_KV, HEAD_DIM)
        s = jnp.einsum("bqhgd,bkhd->bhgqk", q, k) / jnp.sqrt(HEAD_DIM) + mask
        a = jnp.einsum("bhgqk,bkhd->bqhgd", jax.nn.softmax(s, -1), v).reshape(b, t, N_HEAD * HEAD_DIM)
        x = x + a @ w["attn_output"].T
        n = rms_norm(x, w["ffn_norm"])
        return x + (jax.nn.silu(n @ w["ffn_gate"].T) * (n @ w["ffn_up"].T)) @ w["ffn_down"].T, None

    x, _ = jax.lax.scan(layer, params["token_embd"][tokens], params["layers"])
    return rms_norm(x, params["output_norm"]) @ params["token_embd"].T


def loss(params, tokens):
    """Mean negative log-likelihood of tokens[:, 1:], nats."""
    logp = jax.nn.log_softmax(logits(params, tokens[:, :-1]))
    return -jnp.mean(jnp.take_along_axis(logp, tokens[:, 1:, None], -1))
