"""Writes small vocabularies of further kinds to tests/fixtures/vocab, with texts and the reference's ids.

    python make_kinds.py REFERENCE_MODELS_DIR [-o DIR] [-n TEXTS]

rwkv, plamo2, hybriddna, whitespace and sarvam (BPE of characters) are made of words of ggml-vocab-gpt-2, since no real ones are at hand. NAME.json
has pairs of a text and its ids, without special tokens. pre.gguf is a part of GPT-2's vocabulary; pre.json has groups:
names of pre-tokenisers, and texts with the ids that they have with each of these names. `compare_vocab.py` says which
names have texts of their own.
"""

import argparse
import json
import pathlib
import random

import gguf

from compare_vocab import CHARACTERS, names, texts_for
from vocabs import Vocab, keys_of, mixed_texts, write

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "vocab"
STRING, INT, FLOAT = gguf.GGUFValueType.STRING, gguf.GGUFValueType.INT32, gguf.GGUFValueType.FLOAT32
ARRAY = gguf.GGUFValueType.ARRAY
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def byte_of():
    """The byte of each of GPT-2's characters."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in visible]
    return {**{chr(b): b for b in visible}, **{chr(256 + i): b for i, b in enumerate(hidden)}}


BYTES = byte_of()
CHARS = {b: c for c, b in BYTES.items()}


def plain(token):
    return bytes(BYTES[c] for c in token)


def file(base, model, tokens, types, **more):
    """`base` with another vocabulary."""
    keys = {k: v for k, v in base.items() if not k.startswith("tokenizer.")}
    new = {"model": (model, STRING, None), "tokens": (tokens, ARRAY, STRING), "token_type": (types, ARRAY, INT), **more}
    return {**keys, **{f"tokenizer.ggml.{k}": v for k, v in new.items()}}


def rwkv(base, words, rng):
    def escaped(raw):
        return "".join({9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}.get(b, chr(b) if 32 <= b < 127 else f"\\x{b:02x}")
                       for b in raw)

    raw = [bytes([b]) for b in range(256)] + [w for w in words if len(w) > 1]
    raw += ["日本".encode(), "日".encode()[:2], "é".encode(), b"\n\n", b"    "]
    tokens = ["<s>"] + [escaped(r) for r in dict.fromkeys(raw)]
    return file(base, "rwkv", tokens, [CONTROL] + [NORMAL] * (len(tokens) - 1))


def plamo2(base, words, rng):
    control = [f"<|plamo:{name}|>" for name in ("unk", "bos", "eos", "pad")]
    texts = dict.fromkeys(text for text in (w.decode(errors="replace") for w in words) if "\ufffd" not in text)
    for text in ("日", "本", "日本", "本語", "é", "\n\n", "  "):
        texts[text] = None
    tokens = control + [f"<0x{b:02X}>" for b in range(256)] + list(texts)
    scores = [-5000.0] * len(control) + [0.0] * 256 + [-round(rng.uniform(1, 12), 4) for _ in texts]
    types = [UNKNOWN] + [CONTROL] * 3 + [BYTE] * 256 + [NORMAL] * len(texts)
    return file(base, "plamo2", tokens, types, scores=(scores, ARRAY, FLOAT))


def bpe(base, merges, model, pre, more=()):
    tokens = list(dict.fromkeys([*CHARS.values(), *(m.replace(" ", "") for m in merges), *more]))
    strings = {"merges": (merges, ARRAY, STRING), "pre": (pre, STRING, None)}
    return file(base, model, tokens, [NORMAL] * len(tokens), **strings)


def hybriddna(base, merges, rng):
    letters = dict.fromkeys("".join(rng.choice("ACGT") for _ in range(6)) + "\ue000" for _ in range(600))
    return bpe(base, merges, "hybriddna", "gpt-2", ["<dna>", "</dna>", "<oov>", "AAAAAA\ue000", *letters])


def characters(base, merges, model, pre):
    merges = [m for m in merges if m.replace("▁", "").isascii()] + ["日 本", "日本 語"]
    parts = [p for m in merges for p in (*m.split(), m.replace(" ", ""))]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    tokens = list(dict.fromkeys([*parts, *(chr(c) for c in range(33, 127)), "▁", "\n", "\n\n", *bytes_]))
    types = [BYTE if t in bytes_ else NORMAL for t in tokens]
    strings = {"merges": (merges, ARRAY, STRING), "pre": (pre, STRING, None)}
    return file(base, model, tokens, types, **strings)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("models", type=pathlib.Path)
    args.add_argument("-o", type=pathlib.Path, default=OUT)
    args.add_argument("-n", type=int, default=60)
    args = args.parse_args()
    args.o.mkdir(parents=True, exist_ok=True)
    base, rng = keys_of(args.models / "ggml-vocab-gpt-2.gguf"), random.Random(3)
    all_tokens, merges = base["tokenizer.ggml.tokens"][0], base["tokenizer.ggml.merges"][0][:1500]
    words = [plain(t) for t in all_tokens[:1700]]
    made = {
        "rwkv": rwkv(base, words, rng),
        "plamo2": plamo2(base, words, rng),
        "hybriddna": hybriddna(base, merges, rng),
        "whitespace": characters(base, [m for m in merges if "Ġ" not in m], "whitespace", "whitespace"),
        "sarvam": characters(base, [m.replace("Ġ", "▁") for m in merges], "gpt2", "sarvam-moe"),
    }
    spoken = [w for w in (w.decode(errors="ignore") for w in words) if w]
    texts = ["", " ", "Hello world", "\ufeffmark"] + mixed_texts(args.n, spoken, [], 11)
    dna = ["<dna>ACGTACGTNNac</dna> and <dna>", "x</dna><dna></dna>y<dna>acgtac", "<dna>日本</dna>", "a<dna>A<dna>C</dna>"]
    for name, keys in made.items():
        path = args.o / f"{name}.gguf"
        write(path, keys)
        vocab = Vocab(path)
        own = dna + texts if name == "hybriddna" else texts
        lines = ",\n".join(json.dumps([t, vocab.ids(t)]) for t in own)
        (args.o / f"{name}.json").write_text(f"[\n{lines}\n]\n")
        vocab.close()
        print(f"{name}: {len(keys['tokenizer.ggml.tokens'][0])} tokens, {len(own)} texts")

    keys = bpe(base, merges, "gpt2", "gpt-2")
    path = args.o / "pre.gguf"
    texts, groups = mixed_texts(args.n * 2 // 3, spoken, [], 12), {}
    for name in sorted(set(names()) - CHARACTERS):
        write(path, {**keys, "tokenizer.ggml.pre": (name, STRING, None)})
        vocab = Vocab(path)
        own = texts_for(name, texts)
        # Names that have the same texts and the same ids stand together.
        ids = [[t, vocab.ids(t)] for t in own]
        groups.setdefault(json.dumps(ids), []).append(name)
        vocab.close()
    write(path, keys)
    lines = ",\n".join(f'{{"names":{json.dumps(names)},"texts":{ids}}}' for ids, names in groups.items())
    (args.o / "pre.json").write_text(f"[\n{lines}\n]\n")
    print(f"pre: {len(keys['tokenizer.ggml.tokens'][0])} tokens, {len(groups)} groups")


main()
