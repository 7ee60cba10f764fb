"""Writes tests/fixtures/adapters: random adapters of models in tests/fixtures/models, and the reference's logits with
them.

    python make_adapters.py [NAME...]

A case is a model with some adapters and their scales. index.json has for each the token ids, which are decoded in one
batch from position 0, and NAME.bin has the logits of all of them: little-endian f32, [tokens, n_vocab].
"""

import ctypes
import fnmatch
import json
import pathlib
import sys
import zlib

import gguf
import llama_cpp as lc
import numpy as np

from reference import Reference

HERE = pathlib.Path(__file__).parent.parent / "fixtures"
OUT = HERE / "adapters"
N_TOKENS = 20

# Of each adapter: the model, tensors by pattern, rank, alpha, and the type of its numbers.
LORAS = {
    "llama-all": ("llama-F32", ["blk.*.attn_*.weight", "blk.*.ffn_*.weight", "output.weight", "token_embd.weight"], 4, 8.0, np.float32),
    "llama-some": ("llama-F32", ["blk.*.attn_q.weight", "blk.1.ffn_down.weight"], 3, 0.0, np.float32),
    "llama-F16": ("llama-F32", ["blk.0.attn_*.weight"], 16, 16.0, np.float16),
    "moe": ("llama-moe", ["blk.*.ffn_*_exps.weight", "blk.*.ffn_gate_inp.weight", "blk.*.attn_v.weight"], 2, 2.0, np.float32),
    "fused": ("qwen3-fused", ["blk.*.attn_qkv.weight"], 4, 4.0, np.float32),
    "phi3": ("phi3-plain", ["blk.*.attn_qkv.weight", "blk.*.ffn_up.weight", "blk.*.ffn_down.weight"], 5, 10.0, np.float32),
    "qwen35": ("qwen35-nextn", ["blk.[0-3].ssm_*.weight", "blk.[0-3].attn_*.weight", "blk.[0-3].ffn_*.weight"], 2, 2.0, np.float32),
}
# The last one is for tests that need a vocabulary.
# The graph multiplies each head by a matrix of its own there, so a LoRA is refused.
LORAS["unread"] = ("deepseek2-yarn", ["blk.1.attn_k_b.weight"], 2, 2.0, np.float32)
VECTORS = {"bible-steer": "../../../models/bible-5M-Q8_0", "llama-steer": "llama-F32", "gemma3-steer": "gemma3-default"}
CASES = {
    "llama-all": {"llama-all": 1.0},
    "llama-both": {"llama-all": 0.5, "llama-some": -1.5},
    "llama-F16": {"llama-F16": 0.7},
    "llama-steer": {"llama-steer": 2.0},
    "llama-mixed": {"llama-some": 1.0, "llama-steer": -1.0},
    "moe": {"moe": 1.0},
    "fused": {"fused": 0.8},
    "phi3": {"phi3": 1.0},
    "qwen35": {"qwen35": 1.0},
    "gemma3-steer": {"gemma3-steer": 1.0},
}
# The reference computes these without looking for adapters.
NOT_ADAPTED = ("_norm.weight", "conv1d.weight")


def seeded(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def write_lora(name):
    model, patterns, rank, alpha, ty = LORAS[name]
    reader = gguf.GGUFReader(HERE / "models" / f"{model}.gguf")
    w = gguf.GGUFWriter(OUT / f"{name}.gguf", reader.fields["general.architecture"].contents())
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", alpha)
    w.add_name(name)
    rng = seeded(name)
    for t in reader.tensors:
        if t.name.endswith(NOT_ADAPTED) or not any(fnmatch.fnmatchcase(t.name, p) for p in patterns):
            continue
        cols, rows, *stack = [int(n) for n in t.shape]
        shape = [rank, cols] if t.name != "token_embd.weight" else [rows, rank]
        # What is added is of the order of what is there.
        a = rng.standard_normal([*reversed(stack), *shape]) / np.sqrt(cols)
        b = rng.standard_normal([*reversed(stack), rows if t.name != "token_embd.weight" else cols, rank])
        w.add_tensor(f"{t.name}.lora_a", a.astype(ty))
        w.add_tensor(f"{t.name}.lora_b", (b * 0.5 / np.sqrt(rank)).astype(ty))
    finish(w)


def write_vector(name):
    reader = gguf.GGUFReader(HERE / "models" / f"{VECTORS[name]}.gguf")
    architecture = reader.fields["general.architecture"].contents()
    n_embd, n_layer = (reader.fields[f"{architecture}.{k}"].contents() for k in ("embedding_length", "block_count"))
    w = gguf.GGUFWriter(OUT / f"{name}.gguf", "controlvector")
    w.add_string("controlvector.model_hint", architecture)
    w.add_int32("controlvector.layer_count", n_layer)
    rng = seeded(name)
    # One layer has none.
    for layer in range(1, n_layer):
        if layer != 2:
            w.add_tensor(f"direction.{layer}", rng.standard_normal(n_embd).astype(np.float32))
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def direction(path, n_embd, n_layer, scale):
    """A control vector as the reference takes it: a row for each layer but the first, zeros where it has none."""
    rows = np.zeros((n_layer - 1, n_embd), np.float32)
    for t in gguf.GGUFReader(path).tensors:
        rows[int(t.name.split(".")[1]) - 1] = t.data * scale
    return rows


def logits(model, adapters, tokens):
    ref = Reference(HERE / "models" / f"{model}.gguf")
    loras, scales = [], []
    for name, scale in adapters.items():
        path = OUT / f"{name}.gguf"
        if name in LORAS:
            lora = lc.llama_adapter_lora_init(ref.model, str(path).encode())
            assert lora, name
            loras.append(lora)
            scales.append(scale)
            continue
        n_embd, n_layer = lc.llama_model_n_embd(ref.model), lc.llama_model_n_layer(ref.model)
        rows = direction(path, n_embd, n_layer, scale)
        data = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert lc.llama_set_adapter_cvec(ref.ctx, data, rows.size, n_embd, 1, n_layer) == 0
    handles = (lc.llama_adapter_lora_p_ctypes * len(loras))(*loras)
    assert lc.llama_set_adapters_lora(ref.ctx, handles, len(loras), (ctypes.c_float * len(scales))(*scales)) == 0
    out = ref.decode(tokens)
    ref.close()
    return out


OUT.mkdir(exist_ok=True)
for name in LORAS:
    write_lora(name)
for name in VECTORS:
    write_vector(name)
index = []
for name, adapters in CASES.items():
    if not any(fnmatch.fnmatchcase(name, p) for p in sys.argv[1:] or ["*"]):
        continue
    first = next(iter(adapters))
    model = LORAS[first][0] if first in LORAS else VECTORS[first]
    n_vocab = int(gguf.GGUFReader(HERE / "models" / f"{model}.gguf").tensors[0].shape[1])
    plain = Reference(HERE / "models" / f"{model}.gguf")
    tokens = seeded(name).integers(3, plain.n_vocab, N_TOKENS).tolist()
    without = plain.decode(tokens)
    plain.close()
    own = logits(model, adapters, tokens)
    (OUT / f"{name}.bin").write_bytes(np.ascontiguousarray(own, "<f4").tobytes())
    index.append({"name": name, "model": model, "adapters": list(adapters), "scales": list(adapters.values()), "tokens": tokens, "n_vocab": int(own.shape[1])})
    changed = ((own - without) ** 2).sum() / (without**2).sum()
    print(f"{name:14} {model:16} changed by NMSE {changed:.2g}", flush=True)
if len(sys.argv) == 1:
    (OUT / "index.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in index) + "\n]\n")
