"""Vocabularies of the reference, files with other keys, and random texts: what the programs about tokenisers share."""

import ctypes
import random
import unicodedata

import gguf
import llama_cpp as lc

from reference import quiet

BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F),
          (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0xFB00, 0xFFEF),
          (0x1F300, 0x1F6FF), (0x2F800, 0x2F8FF)]
ODD = ["'s", "'LL", "don't", "I'VE", "12345678", "3.14159", "1,000,000", "x1y22z333", "\r\n", "\n\n\n", " \n ", "\t\t",
       "     ", " " * 19, "!?...", "--", "://", "/\n", "()[]{}", "HelloWorld", "camelCaseWORD", "_x_", "#$%", "\u00a0",
       "\u3000", "\u0085", "½²", "१२३४", "e\u0301", "日本語", "한국어", "👩‍👩‍👧", "ไทย", "\u200b", "\ufeff", "$5", "`a`",
       "~^|<=>+"]


def assigned(text):
    """Without characters that have no meaning yet: the reference's tables and ours are of different years."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cn", "Cs"))


def random_texts(n, words):
    rng = random.Random(7)
    out = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 12)):
            if rng.random() < 0.6:
                parts.append(rng.choice(words) + rng.choice(["", " ", "  ", ", ", ".", "\n"]))
            else:
                first, last = rng.choice(BLOCKS)
                chars = [chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4))]
                parts.append(assigned("".join(chars)))
        out.append("".join(parts))
    return out


def mixed_texts(n, words, special, seed):
    """Words of the vocabulary, odd ones, characters of all blocks, and special tokens written out."""
    rng = random.Random(seed)

    def part():
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(words) + rng.choice(["", "", " ", "  ", ", ", ".", "\n"])
        if kind < 0.65:
            return rng.choice(ODD)
        if kind < 0.7 and special:
            return rng.choice(["", " ", "\n"]) + rng.choice(special) + rng.choice(["", " ", " \n"])
        if kind < 0.8:
            return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 9)))
        first, last = rng.choice(BLOCKS)
        return assigned("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4))))

    return ["".join(part() for _ in range(rng.randint(1, 14))) for _ in range(n)]


def keys_of(path):
    """The keys of a file: name to (value, type, type of elements)."""
    fields = {k: f for k, f in gguf.GGUFReader(path).fields.items() if not k.startswith("GGUF.")}
    array = gguf.GGUFValueType.ARRAY
    return {k: (f.contents(), f.types[0], f.types[1] if f.types[0] == array else None) for k, f in fields.items()}


def write(path, keys):
    """A file of keys alone."""
    w = gguf.GGUFWriter(str(path), keys["general.architecture"][0])
    for k, (value, kind, sub) in keys.items():
        if k != "general.architecture":
            w.add_key_value(k, bytes(value) if k.endswith("charsmap") else value, kind, sub)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


class Vocab:
    """A file's vocabulary in the reference."""

    def __init__(self, path):
        lc.llama_log_set(quiet, ctypes.c_void_p(0))
        lc.llama_backend_init()
        mp = lc.llama_model_default_params()
        mp.vocab_only = True
        self.model = lc.llama_model_load_from_file(str(path).encode(), mp)
        assert self.model, path
        self.vocab = lc.llama_model_get_vocab(self.model)

    def ids(self, text, add_special=False, parse_special=False):
        raw = text.encode()
        ids = (lc.llama_token * (3 * len(raw) + 8))()
        n = lc.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), add_special, parse_special)
        assert n >= 0, n
        return list(ids[:n])

    def close(self):
        lc.llama_model_free(self.model)
