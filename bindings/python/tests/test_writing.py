"""Text that a model writes: as an iterator, several at once, in one call; samplers and grammars."""

from __future__ import annotations

import math
from typing import Any, List, Tuple

import rekindle
from rekindle import Distribution, Phase, Sampler, StopReason, Verdict

from .support import PROMPT, Case, needs_numpy, numpy


def told(generation: rekindle.Generation) -> Tuple[str, int, StopReason]:
    """Text, number of tokens and end of a generation that has ended."""
    text, n = "", 0
    while True:
        event = generation.next()
        assert event is not None
        text += event.text
        if event.stop is not None:
            return text, n, event.stop
        n += 1


class TestGenerate(Case):
    def test_pieces(self) -> None:
        model = self.model()
        pieces = model.generate(PROMPT, max_tokens=8)
        self.assertIsNone(pieces.stop)
        text = "".join(pieces)
        self.assertTrue(text)
        self.assertEqual((len(pieces.tokens), pieces.stop), (8, StopReason.LIMIT))
        self.assertEqual(list(pieces), [])
        self.assertEqual("".join(model.generate(model.vocab.tokenize(PROMPT), max_tokens=8)), text)
        self.assertEqual(self.model().complete(PROMPT, max_tokens=8).text, text)
        stop = text[3:5]
        stopped = model.generate(PROMPT, stop=[stop, "never said"])
        self.assertEqual("".join(stopped), text[: text.index(stop)])
        self.assertEqual(stopped.stop, StopReason.TEXT)

    def test_to_break_off_frees_the_sequence(self) -> None:
        model = self.model(n_seq_max=1)
        for _ in range(3):
            for _ in model.generate(PROMPT):
                break
        with model.generate(PROMPT) as pieces:
            next(pieces)
            pieces.cancel()
            list(pieces)
            self.assertEqual(pieces.stop, StopReason.CANCELLED)
        self.assertTrue(pieces.generation.closed)
        closed = model.generate(PROMPT)
        closed.close()
        self.fails(rekindle.ClosedError, lambda: next(closed))

    def test_all_sequences_in_use(self) -> None:
        model = self.model(n_seq_max=1)
        model.decode([5])
        pieces = model.generate(PROMPT, max_tokens=2)
        self.fails(rekindle.BusyError, lambda: list(pieces), "in use")
        model.seq_leave(0)
        self.assertEqual(len(list(model.generate(PROMPT, max_tokens=2))), 2)

    def test_a_full_context(self) -> None:
        model = self.model(n_ctx=16)
        pieces = model.generate(PROMPT, ignore_eog=True)
        self.assertTrue("".join(pieces))
        self.assertEqual(pieces.stop, StopReason.CONTEXT_FULL)
        self.fails(rekindle.ContextFullError, lambda: model.generate([5] * 17))

    def test_several_at_once(self) -> None:
        model = self.model(n_ctx=128, n_seq_max=4)
        prompts = [PROMPT, "In the beginning", PROMPT]
        generations = [model.start(p, max_tokens=6) for p in prompts]
        self.assertIsNone(generations[0].next())
        self.assertEqual(generations[0].info.phase, Phase.WAITS)
        while model.step(generations).n_going:
            pass
        texts = [told(g) for g in generations]
        self.assertEqual([(n, stop) for _, n, stop in texts], [(6, StopReason.LIMIT)] * 3)
        self.assertEqual(texts[0], texts[2])
        self.assertNotEqual(texts[0], texts[1])
        self.assertEqual(generations[0].info.phase, Phase.ENDED)
        again = model.start(PROMPT + texts[0][0], max_tokens=1)
        list(again)
        self.assertGreater(again.info.n_reused, 4)
        other = self.model()
        self.fails(ValueError, lambda: other.step(generations))
        self.fails(ValueError, lambda: model.step([again, again]))

    def test_wishes_that_cannot_be(self) -> None:
        model = self.model()
        self.fails(ValueError, lambda: model.generate([]))
        self.fails(ValueError, lambda: model.generate([99999]), "99999")
        self.fails(ValueError, lambda: model.generate(PROMPT, stop="text"), "stop")
        self.fails(ValueError, lambda: model.generate(PROMPT, stop=[""]), "stop")
        self.fails(ValueError, lambda: model.generate(PROMPT, max_tokens=-1), "max_tokens")
        self.fails(ValueError, lambda: model.generate(PROMPT, adapters=[1.0]), "adapter_scales")
        self.fails(TypeError, lambda: model.generate(PROMPT, tokens=3), "tokens")  # type: ignore[call-arg]

    def test_complete(self) -> None:
        model = self.model()
        heard: List[Tuple[int, str]] = []
        first = model.complete(PROMPT, max_tokens=5, on_piece=lambda t, p: heard.append((t, p)))
        self.assertEqual((first.n_prompt, len(first.tokens), first.stop), (4, 5, StopReason.LIMIT))
        self.assertEqual("".join(p for _, p in heard), first.text)
        more = model.complete(first.tokens[-1:], max_tokens=5)
        model.seq_remove()
        self.assertEqual(model.complete(PROMPT, max_tokens=10).tokens, first.tokens + more.tokens)
        model.seq_remove()
        stopped = model.complete(PROMPT, on_piece=lambda token, piece: False)
        self.assertEqual((len(stopped.tokens), stopped.stop), (1, StopReason.CALLBACK))
        drafting = self.model(n_draft=4, draft_source="text")
        self.assertEqual(drafting.complete(PROMPT, max_tokens=10).tokens, first.tokens + more.tokens)


class TestSamplers(Case):
    def test_draws(self) -> None:
        model = self.model()
        model.decode(model.vocab.tokenize(PROMPT))
        greedy = Sampler().sample(model)
        self.assertEqual(Sampler().sample_logits(model.logits()), greedy)
        self.assertEqual(Sampler(temperature=2.0, top_k=1).sample(model), greedy)
        drawing = Sampler(temperature=1.5, seed=3)
        copy = drawing.copy()
        draws = [drawing.sample(model) for _ in range(8)]
        self.assertEqual([copy.sample(model) for _ in range(8)], draws)
        drawing.reset()
        self.assertEqual([drawing.sample(model) for _ in range(8)], draws)
        self.assertGreater(len(set(draws)), 1)
        self.assertNotEqual(Sampler(logit_bias={greedy: -math.inf}).sample(model), greedy)
        self.assertEqual(Sampler(logit_bias={77: 1000.0}).sample(model), 77)
        penalized = Sampler(repeat_penalty=100.0)
        penalized.accept(greedy)
        self.assertNotEqual(penalized.sample(model), greedy)

    def test_all_settings(self) -> None:
        vocab = self.model().vocab
        settings: Any = dict(
            temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, frequency_penalty=0.1, presence_penalty=0.1,
            penalty_last_n=32, seed=2**63, dry_multiplier=0.8, dry_base=1.75, dry_allowed_length=2, dry_last_n=64,
            dry_breakers=["\n", "and"], dry_breaker_tokens=[[5, 6], [7]], vocab=vocab, typical_p=0.9, top_n_sigma=2,
            xtc_probability=0.5, xtc_threshold=0.1, dynatemp_range=0.2, dynatemp_exponent=1, min_keep=2,
            steps=["penalties", "dry", "top-k", rekindle.Step.TEMPERATURE], n_logprobs=3,
        )  # fmt: skip
        with Sampler(**settings) as sampler:
            self.assertIn(sampler.sample_logits([0.0, 1.0, 2.0]), (0, 1, 2))
        for bad in (
            {"top_p": 2.0}, {"temperature": "hot"}, {"top_k": -1}, {"steps": ["no-step"]}, {"mirostat": 3},
            {"dry_breakers": "text"}, {"logit_bias": {2**31: 1.0}},
        ):  # fmt: skip
            self.fails(ValueError, lambda: Sampler(**bad), next(iter(bad)))
        for name in ("no_such_setting", "struct_size", "host_data"):
            self.fails(TypeError, lambda: Sampler(**{name: 1}))  # type: ignore[arg-type]

    def test_logprobs(self) -> None:
        sampler = Sampler(temperature=1.0, seed=1, n_logprobs=2)
        self.fails(rekindle.NotFoundError, sampler.logprobs)
        token = sampler.sample_logits([0.0, 1.0, 2.0])
        chosen, likeliest = sampler.logprobs()
        self.assertEqual((chosen.token, [x.token for x in likeliest]), (token, [2, 1]))
        total = sum(math.exp(x) for x in (0, 1, 2))
        self.assertAlmostEqual(likeliest[0].logprob, 2 - math.log(total), places=5)
        self.assertEqual(sampler.logprobs(Distribution.DRAWN)[0].token, token)
        model = self.model()
        generation = model.start(PROMPT, sampler=sampler, max_tokens=3)
        for event in generation:
            if event.token is not None:
                self.assertEqual(generation.logprobs()[0].token, event.token)

    def test_a_step_of_the_host(self) -> None:
        def forbid_two(candidates: rekindle.Candidates) -> None:
            for candidate in candidates:
                if candidate.token == 2:
                    candidate.logit = -math.inf

        def first(candidates: rekindle.Candidates) -> None:
            candidates.sort()
            candidates.keep(1)
            self.assertEqual((len(candidates), candidates[-1].token), (1, 2))
            self.fails(IndexError, lambda: candidates[1])

        self.assertEqual(Sampler(steps=["host"], host_step=forbid_two).sample_logits([0.0, 1.0, 2.0]), 1)
        sampler = Sampler(steps=["host"], host_step=first, temperature=3.0)
        self.assertEqual(sampler.sample_logits([0.0, 1.0, 2.0]), 2)

        def fail(candidates: rekindle.Candidates) -> None:
            raise KeyError("mine")

        failing = Sampler(steps=["host"], host_step=fail)
        self.fails(KeyError, lambda: failing.sample_logits([0.0, 1.0]), "mine")
        # The generation keeps the step, also when its sampler is closed.
        pieces = self.model().generate(PROMPT, sampler=failing, max_tokens=2)
        failing.close()
        self.fails(KeyError, lambda: list(pieces), "mine")
        kept: List[rekindle.Candidates] = []
        Sampler(steps=["host"], host_step=kept.append).sample_logits([0.0, 1.0])
        # What a step keeps is its own.
        self.assertEqual(sorted(c.logit for c in kept[0]), [0.0, 1.0])

    @needs_numpy
    def test_a_step_of_the_host_in_numpy(self) -> None:
        def step(candidates: rekindle.Candidates) -> None:
            candidates.array["logit"][candidates.array["token"] != 1] = -numpy.inf

        self.assertEqual(Sampler(steps=["host"], host_step=step).sample_logits(numpy.zeros(4, numpy.float32)), 1)


class TestGrammars(Case):
    def test_texts_keep_to_a_grammar(self) -> None:
        model = self.model()
        vocab = model.vocab
        with rekindle.Grammar(vocab, "regex", "the generation of the heaven: (day|night)") as grammar:
            pieces = model.generate(PROMPT, grammar=grammar)
            text = "".join(pieces)
            self.assertEqual(grammar.check(text).verdict, Verdict.COMPLETE)
            self.assertGreater(len(pieces.tokens), 0)
            self.assertEqual(pieces.stop, StopReason.EOG)
            self.assertEqual(grammar.check("the gen").verdict, Verdict.PREFIX)
            self.assertEqual((grammar.check(b"thx").verdict, grammar.check(b"thx").at), (Verdict.REFUSED, 2))
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        json = rekindle.Grammar(vocab, "json_schema", schema)
        self.assertEqual(json.check('{"n": 12}').verdict, Verdict.COMPLETE)

    def test_tokens(self) -> None:
        vocab = self.model().vocab
        grammar = rekindle.Grammar(vocab, "gbnf", 'root ::= "ab" [0-9]+')
        allowed = grammar.allowed()
        self.assertTrue(allowed)
        self.assertTrue(all(b"ab1".startswith(vocab.piece(t)[:2]) for t in allowed))
        forced = grammar.forced()
        copy = grammar.copy()
        for token in forced or allowed[:1]:
            grammar.accept(token)
        self.assertNotEqual(grammar.allowed(), allowed)
        self.assertEqual(copy.allowed(), allowed)
        self.assertFalse(grammar.is_complete)
        grammar.reset()
        self.assertEqual(grammar.allowed(), allowed)
        self.fails(ValueError, lambda: grammar.accept(vocab.tokenize("z", special=False)[-1]))
        self.assertEqual(len(grammar.mask()), 64)

    def test_triggers(self) -> None:
        vocab = self.model().vocab
        grammar = rekindle.Grammar(vocab, "lark", "begin: /[0-9]+/", start="begin", triggers=["God", 77])
        self.assertGreater(len(grammar.allowed()), 1000)
        self.assertTrue(grammar.is_complete)
        grammar.accept(77)
        self.assertLess(len(grammar.allowed()), 100)

    def test_grammars_that_are_none(self) -> None:
        vocab = self.model().vocab
        self.fails(ValueError, lambda: rekindle.Grammar(vocab, "regex", "("))
        self.fails(ValueError, lambda: rekindle.Grammar(vocab, "yacc", "x"), "yacc")
        self.fails(ValueError, lambda: rekindle.Grammar(vocab, "gbnf", 'root ::= root "a"'))
        self.fails(rekindle.UnsupportedError, lambda: rekindle.Grammar(vocab, "json_schema", {"not": {}}), "not")
