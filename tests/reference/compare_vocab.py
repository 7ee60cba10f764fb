"""Compares the ids of random texts with the reference's.

    python compare_vocab.py [-n 10000] [--seed 7] VOCABULARY.gguf...
    python compare_vocab.py --pre [NAME] VOCABULARY.gguf

It needs the Python package of this repository with a library (REKINDLE_LIBRARY, PYTHONPATH=bindings/python/src). Each
text is compared plain, and with special tokens added and parsed. With --pre the vocabulary is read once with each name
of a pre-tokeniser that the reference's source lists (or one of them) in place of its own.
"""

import argparse
import pathlib
import re
import sys
import tempfile
import unicodedata

import gguf
from vocabs import Vocab, keys_of, mixed_texts, write

# The names of pre-tokenisers whose expressions the reference has in another form, since its own engine lacks classes
# of capital and small letters. Here they are the models' own, so the texts are without capital letters and marks.
CASED = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2", "tekken", "granite-embed-multi-97m", "youtu", "kimi-k2",
         "tiny_aya", "cohere2moe"}
# Those that work on characters, not on bytes; they need another vocabulary, such as gemma-4's.
CHARACTERS = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"}
# Those that group a number's digits from its end. The models' own expressions ask what is around the number, and know
# digits of other scripts; the texts have ASCII digits between spaces.
GROUPED = {"tiny_aya", "cohere2moe", "superbpe"}
# Models that find control tokens in any text. Here they are found where the caller asks for them.
CONTROLLED = {"rwkv", "plamo2"}


def apart(text):
    text = "".join(c for c in text if c in "0123456789" or unicodedata.category(c)[0] != "N")
    return re.sub("[0-9]+", r" \g<0> ", text)


def without_case(text):
    return "".join(c for c in text.lower() if unicodedata.category(c) not in ("Lu", "Lt", "Mn", "Mc", "Me"))


def names():
    """The names in the reference's source beside the package."""
    import llama_cpp

    root = pathlib.Path(llama_cpp.__file__).parents[1]
    source = (root / "vendor/llama.cpp/src/llama-vocab.cpp").read_text()
    # White space in a word ends the reference, so `whitespace` goes with the model of that name alone.
    return sorted(set(re.findall(r'tokenizer_pre == "([^"]+)"', source)) - {"whitespace"})


def without_signs(text):
    """Without signs of Han script that are no ideographs, which the reference's kimi-k2 does not count as Han."""
    return re.sub("[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b]", "", text)


def texts_for(name, texts):
    texts = [without_signs(t) for t in texts] if name == "kimi-k2" else texts
    texts = [without_case(t) for t in texts] if name in CASED else texts
    return [apart(t) for t in texts] if name in GROUPED else texts


def compare(path, texts, shown, control=()):
    import rekindle

    theirs = Vocab(path)
    with rekindle.Context("cpu", 1) as context, context.open(str(path)) as file, file.vocab() as ours:
        wrong = []
        for special in (False, True):
            for text in texts:
                if not special and any(token in text for token in control):
                    continue
                try:
                    have = ours.tokenize(text, special=special, parse_special=special)
                except rekindle.Error as e:
                    have = str(e)
                want = theirs.ids(text, special, special)
                if have != want:
                    wrong.append((special, text, have, want))
    theirs.close()
    for special, text, have, want in wrong[:shown]:
        print(f"  special {special}: {text!r}\n    have {have}\n    want {want}")
    return len(wrong)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("files", nargs="+", type=pathlib.Path)
    args.add_argument("-n", type=int, default=10000)
    args.add_argument("--seed", type=int, default=7)
    args.add_argument("--pre", nargs="?", const="*")
    args.add_argument("--shown", type=int, default=3)
    args = args.parse_args()
    failed = 0
    for path in args.files:
        keys = keys_of(path)
        tokens = keys["tokenizer.ggml.tokens"][0]
        types = keys.get("tokenizer.ggml.token_type", ([1] * len(tokens),))[0]
        plain = [t for t, kind in zip(tokens, types) if kind == 1]
        words = [t.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n") for t in plain]
        special = [t for t, kind in zip(tokens, types) if kind in (2, 3, 4)][:64]
        texts = mixed_texts(args.n, words, special, args.seed)
        if not args.pre:
            control = special if keys["tokenizer.ggml.model"][0] in CONTROLLED else ()
            wrong = compare(path, texts, args.shown, control)
            print(f"{path.stem}: {2 * len(texts) - wrong} of {2 * len(texts)} equal", flush=True)
            failed += wrong
            continue
        # Without a key for BOS the reference takes token 11.
        bos = keys.get("tokenizer.ggml.bos_token_id", (0, gguf.GGUFValueType.UINT32, None))
        characters = keys["tokenizer.ggml.model"][0] == "gemma4"
        for name in names() if args.pre == "*" else [args.pre]:
            if (name in CHARACTERS) != characters:
                continue
            with tempfile.TemporaryDirectory() as folder:
                other = pathlib.Path(folder) / "vocab.gguf"
                kind = keys["tokenizer.ggml.model"][1]
                changes = {"tokenizer.ggml.pre": (name, kind, None), "tokenizer.ggml.model": ("gpt2", kind, None)}
                write(other, {**keys, **changes, "tokenizer.ggml.bos_token_id": bos})
                wrong = compare(other, texts_for(name, texts), args.shown)
            print(f"{name}: {2 * len(texts) - wrong} of {2 * len(texts)} equal", flush=True)
            failed += wrong
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
