"""Writes the trained model as GGUF: python export.py WORK_DIR OUT_DIR

It writes bible-5M-Q8_0.gguf, bible-5M-F32.gguf, heldout.txt and heldout.json (the perplexity of the F32 weights) to
OUT_DIR. The repository keeps models/bible-5M-Q8_0.gguf and tests/fixtures/heldout.*.
"""

import json
import os
import pickle
import sys

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece as spm

import corpus
import model

HELD_OUT_BYTES, WINDOW = 40_000, 255


def write(path, params, sp, quantised):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("bible-5M")
    w.add_description("Five million parameters trained on the King James Bible; a test model")
    w.add_license("mit")
    w.add_languages(["en"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.ALL_F32)
    if quantised:
        w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_vocab_size(model.N_VOCAB)
    w.add_context_length(model.N_CTX)
    w.add_embedding_length(model.N_EMBD)
    w.add_block_count(model.N_LAYER)
    w.add_feed_forward_length(model.N_FF)
    w.add_head_count(model.N_HEAD)
    w.add_head_count_kv(model.N_HEAD_KV)
    w.add_rope_dimension_count(model.HEAD_DIM)
    w.add_rope_freq_base(model.ROPE_BASE)
    w.add_layer_norm_rms_eps(model.EPS)

    ids = range(sp.get_piece_size())
    kinds = gguf.TokenType

    def kind(i):
        if sp.is_unknown(i):
            return kinds.UNKNOWN
        if sp.is_control(i):
            return kinds.CONTROL
        return kinds.BYTE if sp.is_byte(i) else kinds.NORMAL

    w.add_tokenizer_model("llama")
    w.add_token_list([sp.id_to_piece(i) for i in ids])
    w.add_token_scores([sp.get_score(i) for i in ids])
    w.add_token_types([kind(i) for i in ids])
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(True)

    def tensor(name, value):
        value = np.ascontiguousarray(value, np.float32)
        if quantised and value.ndim == 2:
            q8 = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(name, gguf.quants.quantize(value, q8), raw_dtype=q8)
        else:
            w.add_tensor(name, value)

    # No row is permuted: the training rotates neighbouring pairs, as GGUF's llama does.
    tensor("token_embd.weight", params["token_embd"])
    tensor("output_norm.weight", params["output_norm"])
    for i in range(model.N_LAYER):
        for name, stacked in params["layers"].items():
            tensor(f"blk.{i}.{name}.weight", stacked[i])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def held_out_text(chapters):
    """Whole held-out chapters, evenly chosen, up to HELD_OUT_BYTES."""
    text = ""
    for chapter in chapters[::2] + chapters[1::2]:
        if len((text + chapter).encode()) <= HELD_OUT_BYTES:
            text += chapter
    return text


def windows(tokens, bos):
    """[n, 1 + WINDOW]: BOS and WINDOW tokens each; the rest that fills no window is left out."""
    n = len(tokens) // WINDOW
    cut = np.array(tokens[: n * WINDOW], np.int32).reshape(n, WINDOW)
    return np.concatenate([np.full((n, 1), bos, np.int32), cut], 1)


def main():
    work, out = sys.argv[1:]
    sp = spm.SentencePieceProcessor(model_file=os.path.join(work, "tokenizer.model"))
    state = pickle.load(open(os.path.join(work, "state.pickle"), "rb"))
    params = jax.tree.map(np.asarray, state["params"])
    write(os.path.join(out, "bible-5M-Q8_0.gguf"), params, sp, True)
    write(os.path.join(out, "bible-5M-F32.gguf"), params, sp, False)

    text = held_out_text(corpus.split()[1])
    with open(os.path.join(out, "heldout.txt"), "w", newline="\n") as f:
        f.write(text)
    tokens = sp.encode(text)
    batch = windows(tokens, sp.bos_id())
    loss = jax.jit(model.loss)
    nll = float(np.mean([float(loss(params, jnp.asarray(w[None]))) for w in batch]))
    with open(os.path.join(out, "heldout.json"), "w") as f:
        json.dump(
            {
                "text": "heldout.txt",
                "definition": "The whole text is tokenised at once (with the space prefix, without BOS) and cut into "
                "windows of `window` tokens; a last part that fills no window is left out. Each window is run on its "
                "own as BOS + window from position 0, and every token of the window is predicted from BOS and the "
                "tokens before it in the window. "
                "perplexity = exp(mean over all windows and all `window` predicted tokens of -ln p).",
                "n_tokens": len(tokens),
                "window": WINDOW,
                "n_windows": len(batch),
                "n_predicted": len(batch) * WINDOW,
                "first_tokens": tokens[:16],
                "weights": "F32",
                "nll": nll,
                "perplexity": float(np.exp(nll)),
            },
            f,
            indent=2,
        )
        f.write("\n")
    print(f"step {state['step']}, {len(tokens)} tokens, {len(batch)} windows, perplexity {np.exp(nll):.4f}")


if __name__ == "__main__":
    main()
