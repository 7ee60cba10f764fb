"""A mixture of experts in float64: which experts a token goes to, with what weights, and what they compute."""

import numpy as np

SOFTMAX, SIGMOID = 1, 2
# Constants of gpt-oss, not in its files.
ALPHA, LIMIT = 1.702, 7.0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def route(m, n, b):
    """(experts [time, used], their weights, the least distance between a chosen and a left-out one)"""
    logits = m.linear(n, b + "ffn_gate_inp")
    used = m.key("expert_used_count")
    kind = (m.key("expert_gating_func", 0) or SOFTMAX) if m.arch == "deepseek2" else SOFTMAX
    # gpt-oss chooses by logit and takes the softmax over the chosen alone.
    probs = logits if m.gpt else sigmoid(logits) if kind == SIGMOID else softmax(logits)
    # The bias is for choosing, the weights come from the scores without it.
    score = probs + m.w.get(b + "exp_probs_b.bias", 0.0)
    groups, gap = m.key("expert_group_count", 1), np.inf
    if groups > 1:
        # A group counts as the sum of its best two.
        by_group = score.reshape(len(n), groups, -1)
        best = np.sort(by_group, -1)[..., -2:].sum(-1)
        n_kept = m.key("expert_group_used_count")
        kept, ordered = np.argsort(-best, -1)[:, :n_kept], -np.sort(-best, -1)
        gap = float((ordered[:, n_kept - 1] - ordered[:, n_kept]).min())
        mask = np.zeros_like(best, bool)
        np.put_along_axis(mask, kept, True, -1)
        score = np.where(mask[..., None], by_group, -np.inf).reshape(len(n), -1)
    chosen = np.argsort(-score, -1, kind="stable")[:, :used]
    ordered = -np.sort(-score, -1)
    if kind == SOFTMAX and groups == 1:
        # The order of scores, and a distance that does not vanish where they do.
        ordered = -np.sort(-logits, -1)
    if used < score.shape[1]:
        gap = min(gap, float((ordered[:, used - 1] - ordered[:, used]).min()))
    weights = np.take_along_axis(probs, chosen, -1)
    if m.gpt:
        weights = softmax(weights)
    if not m.gpt and m.key("expert_weights_norm", m.arch != "deepseek2"):
        # The least number that F16 represents keeps a sum from being zero.
        weights = weights / np.maximum(weights.sum(-1, keepdims=True), 6.103515625e-5)
    scale = m.key("expert_weights_scale", 0.0) if m.arch == "deepseek2" else 0.0
    return chosen, weights * (scale or 1.0), gap


def expert(m, x, b, e):
    def part(name):
        bias = m.w.get(f"{b}ffn_{name}_exps.bias")
        scale = m.w.get(f"{b}ffn_{name}_exps.scale") if m.arch in ("llama", "qwen3moe", "mistral3") else None
        y = x @ m.w[f"{b}ffn_{name}_exps.weight"][e].T * (1.0 if scale is None else scale[e])
        return y + (0.0 if bias is None else bias[e])

    if b + "ffn_gate_up_exps.weight" in m.w:
        gate, up = np.split(part("gate_up"), 2, -1)
    else:
        gate, up = part("gate"), part("up")
    if m.gpt:
        gate, up = np.minimum(gate, LIMIT), np.clip(up, -LIMIT, LIMIT) + 1
        x = gate * sigmoid(ALPHA * gate) * up
    else:
        x = gate * sigmoid(gate) * up
    return part("down")


def mixture(m, n, b):
    chosen, weights, gap = route(m, n, b)
    y = np.zeros_like(n)
    for t in range(len(n)):
        for e, weight in zip(chosen[t], weights[t]):
            y[t] += weight * expert(m, n[t], b, e)
    return y, gap
