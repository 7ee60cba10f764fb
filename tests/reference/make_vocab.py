"""Writes tests/fixtures/vocab: small vocabularies of encoders, with texts and the reference's ids.

    python make_vocab.py REFERENCE_MODELS_DIR [-o DIR] [--whole N]

REFERENCE_MODELS_DIR is `models` of the reference's sources. Of ggml-vocab-bert-bge (WordPiece) and
ggml-vocab-nomic-bert-moe (unigram) a part of the tokens is kept, and all other keys. NAME.json has pairs of a text and
its ids, without special tokens. With --whole the vocabularies stay whole, and N random texts are written to DIR.
"""

import argparse
import json
import pathlib

from vocabs import Vocab, keys_of, random_texts, write

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "vocab"
SOURCES = {"bert-bge": 1800, "nomic-bert-moe": 2600}
TEXTS = [
    "", " ", "Hello world", " Hello  world ", "hello\tworld\n", "HELLO, World!", "don't stop", "a-b_c", "x=1+2~3`4^5",
    "café naïve Ångström İstanbul", "e\u0301 decomposed", "北京 is Beijing", "東京に行く", "한국어", "привет мир", "مرحبا",
    "ﬁne ﬂow", "ＦＵＬＬ width", "a\u200bb", "tab\u0085next", "no\u00a0break",
    "🙂 smile", "¿qué?", "«q»", "$5 €6",
    "supercalifragilisticexpialidocious", "unaffable", "[CLS] x [SEP]", "<s> x </s>", "½ ² ㎏ Ⅳ", "१२३", "ǅ ß ẞ",
]


def small(source, path, keep):
    """The source with every so many of its tokens, the special ones and all short ones among them."""
    keys = keys_of(source)
    tokens = keys["tokenizer.ggml.tokens"][0]
    special = {value for k, (value, *_) in keys.items() if k.endswith("_token_id")}
    step = max(1, len(tokens) // keep)
    picked = sorted(special | {i for i, t in enumerate(tokens) if i in special or i % step == 0
                               or len(t.lstrip("▁")) == 1 and ord(t[-1]) < 0x500 or i < keep and keep > 2000})
    if len(tokens) <= keep:
        picked = range(len(tokens))
    new = {old: i for i, old in enumerate(picked)}
    for k, (value, *types) in keys.items():
        if k in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
            value = [value[i] for i in picked]
        elif k.endswith("_token_id"):
            value = new[value]
        elif k.endswith("vocab_size"):
            value = len(picked)
        keys[k] = (value, *types)
    write(path, keys)
    return [tokens[i].strip("▁#") for i in picked]


args = argparse.ArgumentParser()
args.add_argument("models", type=pathlib.Path)
args.add_argument("-o", type=pathlib.Path, default=OUT)
args.add_argument("--whole", type=int, default=0)
args = args.parse_args()
args.o.mkdir(parents=True, exist_ok=True)
for name, keep in SOURCES.items():
    path = args.o / f"{name}.gguf"
    words = [w for w in small(args.models / f"ggml-vocab-{name}.gguf", path, 10**9 if args.whole else keep) if w]
    vocab = Vocab(path)
    texts = TEXTS + random_texts(args.whole or 120, words)
    lines = ",\n".join(json.dumps([t, vocab.ids(t)]) for t in texts)
    (args.o / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    print(f"{name}: {len(words)} tokens, {len(texts)} texts, {path.stat().st_size} bytes")
