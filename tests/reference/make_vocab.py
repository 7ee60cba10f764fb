"""Writes tests/fixtures/vocab: small vocabularies of encoders, with texts and the reference's ids.

    python make_vocab.py REFERENCE_MODELS_DIR [-o DIR] [--whole N]

REFERENCE_MODELS_DIR is `models` of the reference's sources. Of ggml-vocab-bert-bge (WordPiece) and
ggml-vocab-nomic-bert-moe (unigram) a part of the tokens is kept, and all other keys. NAME.json has pairs of a text and
its ids, without special tokens. With --whole the vocabularies stay whole, and N random texts are written to DIR.
"""

import argparse
import ctypes
import json
import pathlib
import random
import unicodedata

import gguf
import llama_cpp as lc

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "vocab"
SOURCES = {"bert-bge": 1800, "nomic-bert-moe": 2600}
TEXTS = [
    "", " ", "Hello world", " Hello  world ", "hello\tworld\n", "HELLO, World!", "don't stop", "a-b_c", "x=1+2~3`4^5",
    "café naïve Ångström İstanbul", "e\u0301 decomposed", "北京 is Beijing", "東京に行く", "한국어", "привет мир", "مرحبا",
    "ﬁne ﬂow", "ＦＵＬＬ width", "a\u200bb", "tab\u0085next", "no\u00a0break",
    "🙂 smile", "¿qué?", "«q»", "$5 €6",
    "supercalifragilisticexpialidocious", "unaffable", "[CLS] x [SEP]", "<s> x </s>", "½ ² ㎏ Ⅳ", "१२३", "ǅ ß ẞ",
]


def random_texts(n, words):
    rng = random.Random(7)
    blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F),
              (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF),
              (0xFB00, 0xFFEF),
              (0x1F300, 0x1F6FF), (0x2F800, 0x2F8FF)]
    out = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 12)):
            if rng.random() < 0.6:
                parts.append(rng.choice(words) + rng.choice(["", " ", "  ", ", ", ".", "\n"]))
            else:
                first, last = rng.choice(blocks)
                chars = [chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4))]
                # The reference's tables and ours are of different years: unassigned characters are left out.
                parts.append("".join(c for c in chars if unicodedata.category(c) not in ("Cn", "Cs")))
        out.append("".join(parts))
    return out


def small(source, path, keep):
    """The source with every so many of its tokens, the special ones and all short ones among them."""
    reader = gguf.GGUFReader(source)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    arch = fields["general.architecture"].contents()
    tokens = fields["tokenizer.ggml.tokens"].contents()
    special = {f.contents() for k, f in fields.items() if k.endswith("_token_id")}
    step = max(1, len(tokens) // keep)
    picked = sorted(special | {i for i, t in enumerate(tokens) if i in special or i % step == 0
                               or len(t.lstrip("▁")) == 1 and ord(t[-1]) < 0x500 or i < keep and keep > 2000})
    if len(tokens) <= keep:
        picked = range(len(tokens))
    new = {old: i for i, old in enumerate(picked)}
    w = gguf.GGUFWriter(str(path), arch)
    for k, f in fields.items():
        if k == "general.architecture":
            continue
        value, kind = f.contents(), f.types[0]
        if k in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
            value = [value[i] for i in picked]
        elif k.endswith("_token_id"):
            value = new[value]
        elif k == "tokenizer.ggml.precompiled_charsmap":
            value = bytes(value)
        elif k.endswith("vocab_size"):
            value = len(picked)
        w.add_key_value(k, value, kind, f.types[1] if kind == gguf.GGUFValueType.ARRAY else None)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    return [tokens[i].strip("▁#") for i in picked]


class Vocab:
    def __init__(self, path):
        mp = lc.llama_model_default_params()
        mp.vocab_only = True
        self.model = lc.llama_model_load_from_file(str(path).encode(), mp)
        assert self.model, path
        self.vocab = lc.llama_model_get_vocab(self.model)

    def ids(self, text):
        raw = text.encode()
        ids = (lc.llama_token * (3 * len(raw) + 8))()
        n = lc.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), False, False)
        assert n >= 0, n
        return list(ids[:n])


@lc.llama_log_callback
def quiet(level, text, user_data):
    if level == 4:
        print(text.decode(errors="replace"), end="")


args = argparse.ArgumentParser()
args.add_argument("models", type=pathlib.Path)
args.add_argument("-o", type=pathlib.Path, default=OUT)
args.add_argument("--whole", type=int, default=0)
args = args.parse_args()
args.o.mkdir(parents=True, exist_ok=True)
lc.llama_log_set(quiet, ctypes.c_void_p(0))
lc.llama_backend_init()
for name, keep in SOURCES.items():
    path = args.o / f"{name}.gguf"
    words = [w for w in small(args.models / f"ggml-vocab-{name}.gguf", path, 10**9 if args.whole else keep) if w]
    vocab = Vocab(path)
    texts = TEXTS + random_texts(args.whole or 120, words)
    lines = ",\n".join(json.dumps([t, vocab.ids(t)]) for t in texts)
    (args.o / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    print(f"{name}: {len(words)} tokens, {len(texts)} texts, {path.stat().st_size} bytes")
