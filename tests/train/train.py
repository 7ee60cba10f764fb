"""Trains the shipped model: python train.py WORK_DIR [--steps N]

It needs numpy, jax, sentencepiece, and the Debian packages bible-kjv and bible-kjv-text. It writes tokenizer.model and,
every 50 steps, weights.npz to WORK_DIR; a run that was stopped goes on where it was. It takes about an hour on 2 cores.
"""

import argparse
import os
import pickle
import time

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece as spm

import corpus
import model

SEED, BATCH, TIME = 1611, 16, 256
PEAK_RATE, WARM_UP, DECAY, BETA1, BETA2, CLIP = 2.5e-3, 60, 0.1, 0.9, 0.98, 1.0


def tokenizer(path, train):
    if not os.path.exists(path + ".model"):
        # Byte-pair merges with byte fallback and no normalisation: what GGUF's "llama" tokeniser repeats exactly.
        spm.SentencePieceTrainer.train(
            sentence_iterator=(line for chapter in train for line in chapter.splitlines()),
            model_prefix=path, model_type="bpe", vocab_size=model.N_VOCAB, byte_fallback=True, character_coverage=1.0,
            normalization_rule_name="identity", remove_extra_whitespaces=False, max_sentence_length=16384,
            num_threads=2, input_sentence_size=0)
    return spm.SentencePieceProcessor(model_file=path + ".model")


def stream(sp, chapters):
    out = []
    for chapter in chapters:
        out += [sp.bos_id()] + sp.encode(chapter)
    return np.array(out + [sp.eos_id()], np.int32)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("work")
    args.add_argument("--steps", type=int, default=1600)
    args = args.parse_args()
    os.makedirs(args.work, exist_ok=True)
    train, held = corpus.split()
    sp = tokenizer(os.path.join(args.work, "tokenizer"), train)
    data, test = stream(sp, train), stream(sp, held)
    print(f"{len(data)} training tokens, {len(test)} held out", flush=True)
    test = jnp.asarray(test[: len(test) // (TIME + 1) * (TIME + 1)].reshape(-1, TIME + 1)[:64])

    params = model.init(SEED)
    state = {
        "step": 0, "params": params, "m": jax.tree.map(jnp.zeros_like, params),
        "v": jax.tree.map(jnp.zeros_like, params),
    }
    saved = os.path.join(args.work, "state.pickle")
    if os.path.exists(saved):
        state = pickle.load(open(saved, "rb"))

    @jax.jit
    def step(params, m, v, i, tokens):
        l, g = jax.value_and_grad(model.loss)(params, tokens)
        norm = jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(g)))
        g = jax.tree.map(lambda x: x * jnp.minimum(1.0, CLIP / norm), g)
        rate = PEAK_RATE * jnp.minimum(i / WARM_UP, 0.02 + 0.98 * 0.5 * (1 + jnp.cos(jnp.pi * i / args.steps)))
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)

        def update(p, m, v):
            u = (m / (1 - BETA1 ** i)) / (jnp.sqrt(v / (1 - BETA2 ** i)) + 1e-8)
            return p - rate * (u + (DECAY * p if p.ndim > 1 else 0.0))

        return jax.tree.map(update, params, m, v), m, v, l

    evaluate = jax.jit(model.loss)
    params, m, v = state["params"], state["m"], state["v"]
    start = time.time()
    for i in range(state["step"] + 1, args.steps + 1):
        # Seeded by the step, so that a run that goes on draws what one run would have drawn.
        at = np.random.default_rng([SEED, i]).integers(0, len(data) - TIME - 1, BATCH)
        tokens = jnp.asarray(np.stack([data[a : a + TIME + 1] for a in at]))
        params, m, v, l = step(params, m, v, jnp.float32(i), tokens)
        if i % 10 == 0:
            print(f"step {i} loss {float(l):.4f} {(time.time() - start):.0f} s", flush=True)
        if i % 50 == 0 or i == args.steps:
            held_loss = np.mean([float(evaluate(params, test[j : j + 16])) for j in range(0, len(test), 16)])
            print(f"step {i} held-out loss {held_loss:.4f} perplexity {np.exp(held_loss):.3f}", flush=True)
            pickle.dump({"step": i, "params": params, "m": m, "v": v}, open(saved + ".new", "wb"))
            os.replace(saved + ".new", saved)


if __name__ == "__main__":
    main()
