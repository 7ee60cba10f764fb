"""The scenario of tests/hosts/scenario.c in Python. It prints the same bytes. usage: scenario.py MODEL"""

import struct
import sys
from typing import Any, Callable

import rekindle
from rekindle import Generation, Grammar, Model, Sampler

MODEL = sys.argv[1]


def fails(what: str, call: Callable[[], Any]) -> None:
    """Prints an error with its particulars."""
    try:
        call()
        raise SystemExit(f"unexpected: {what} works")
    except rekindle.Error as e:
        device = -1 if e.device is None else e.device
        print(
            f"{what}: REKINDLE_{e.status.name}: {e.message} [{e.subject}] device {device}, needed {e.needed}, "
            f"available {e.available}"
        )


def plans(context: rekindle.Context, file: rekindle.File) -> None:
    with rekindle.Context("k80:2", 2) as dies, dies.plan(file, n_ctx=512, n_seq_max=2) as plan:
        s = plan.summary
        print(f"plan: fits {s.fits:d}, n_ctx {s.n_ctx}, n_batch {s.n_batch}, {s.architecture}, {s.name}")
        for d in plan.devices:
            print(f"device {d.device}: layers {d.n_layers}, weights {d.weights}, kv {d.kv}, compute {d.compute}")
        fails("load", lambda: dies.load(plan))


def likeliest(model: Model, row: int) -> int:
    """The likeliest token of a row; prints the bits of its logit."""
    logits = model.logits(row)
    most = max(range(len(logits)), key=lambda i: float(logits[i]))
    print(f"row {row}: token {most}, logit {struct.pack('>f', logits[most]).hex()}")
    return most


def lengths(model: Model, what: str) -> None:
    print(f"{what}: lengths", *map(model.seq_length, range(4)), end=f", free {model.n_free}\n")


def sequences(model: Model) -> None:
    first, second = map(model.vocab.tokenize, ("In the beginning God", "And God said"))
    model.decode(first + second, seqs=[0] * len(first) + [1] * len(second))
    following = [likeliest(model, 0), likeliest(model, 1)]
    model.decode(following, seqs=[0, 1])
    likeliest(model, 0), likeliest(model, 1)
    lengths(model, "decoded")
    model.seq_copy(0, 2)
    model.seq_cut(2, 3)
    model.seq_remove(1, 0, 2)
    model.seq_shift(1, 2, None, -2)
    lengths(model, "changed")
    model.decode(following[:1], seqs=2)
    likeliest(model, 0)


def save(model: Model) -> None:
    saved = bytearray(model.seq_save(0))
    digest = 0xCBF29CE484222325
    for byte in saved:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    print(f"saved: {len(saved)} bytes, {digest:016x}")
    model.seq_load(3, saved)
    lengths(model, "loaded")
    saved[-1] ^= 1
    fails("damaged", lambda: model.seq_load(3, saved))
    model.seq_remove()


def tell(generation: Generation) -> None:
    """Writes all that a generation has told."""
    for event in iter(generation.next, None):
        if event.stop is None:
            print(f"{event.token}:{event.text}|", end="")
        else:
            print(f"{event.text} stop {event.stop:d}")
    generation.close()


def generations(model: Model) -> None:
    sampler = Sampler(temperature=0.9, top_k=40, seed=7)
    all_three = [
        model.start("And God said", max_tokens=12, stop=["the LORD"]),
        model.start("In the beginning", max_tokens=12, sampler=sampler),
        model.start("And God said unto", max_tokens=12),
    ]
    steps, going = 0, 3
    while going:
        if steps == 4:
            all_three[2].cancel()
        going, steps = model.step(all_three).n_going, steps + 1
    for generation in all_three:
        tell(generation)


def grammars(model: Model) -> None:
    with Grammar(model.vocab, "regex", " the (day|night) of [0-9]{2}") as grammar:
        print(f"grammar: {len(grammar.allowed())} tokens may come first")
        generation = model.start("And God made", grammar=grammar)
        while model.step([generation]).n_going:
            pass
        tell(generation)
        for text in (" the day of 12", " the da", " the month"):
            verdict = grammar.check(text)
            print(f"check: {verdict.verdict:d} at {verdict.at}")
    fails("grammar", lambda: Grammar(model.vocab, "regex", "(day"))


def cancel(model: Model) -> None:
    heard = []

    def piece(token: int, text: str) -> None:
        print(f"piece {token}:{text}")
        heard.append(token)
        if len(heard) == 3:
            model.cancel()

    fails("cancel", lambda: model.complete("And God said", on_piece=piece))
    lengths(model, "cancelled")


def errors(context: rekindle.Context, model: Model) -> None:
    fails("decode", lambda: model.decode([5, 99999]))
    fails("decode", lambda: model.decode([0] * 128))
    fails("logits", lambda: model.logits(7))
    fails("open", lambda: context.open("/no/such/model.gguf"))
    fails("sampler", lambda: Sampler(top_p=2))
    fails("length", lambda: model.seq_remove(9, 0))


def main() -> None:
    with rekindle.Context("cpu", 2) as context, context.open(MODEL) as file:
        plans(context, file)
        with context.plan(file, n_ctx=128, n_seq_max=4) as plan, context.load(plan) as model:
            memory = model.memory(0)
            print(f"memory: mapped {memory.mapped}, kv {memory.kv}")
            sequences(model)
            save(model)
            generations(model)
            grammars(model)
            cancel(model)
            errors(context, model)


main()
