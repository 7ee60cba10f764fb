"""Vocabularies, streams, chat templates, replies."""

from __future__ import annotations

from typing import Any, List

import rekindle
from rekindle import Message, ReplyKind

from .support import MODEL, PROMPT, Case

HERMES = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


class TestVocab(Case):
    def setUp(self) -> None:
        # Neither context nor file is needed afterwards.
        with rekindle.Context("cpu", 2) as context, context.open(MODEL) as file:
            self.vocab = file.vocab()
        self.addCleanup(self.vocab.close)

    def test_text_to_tokens_and_back(self) -> None:
        v = self.vocab
        tokens = v.tokenize(PROMPT)
        self.assertEqual(tokens[0], v.info.bos)
        self.assertEqual(v.tokenize(PROMPT, special=False), tokens[1:])
        self.assertEqual(v.detokenize(tokens), PROMPT)
        self.assertEqual(b"".join(v.piece(t) for t in tokens[1:]).decode().strip(), PROMPT)
        self.assertEqual(v.tokenize(""), [v.info.bos])
        self.assertEqual(v.detokenize([]), "")
        text = "ärger \0 🔥 " * 500
        self.assertEqual(v.detokenize(v.tokenize(text)), text)
        self.assertEqual(len(v), 2048)
        self.assertTrue(v.token(v.info.eos).is_eog)

    def test_tokens_that_are_none(self) -> None:
        self.fails(ValueError, lambda: self.vocab.token(2048), "2048")
        self.fails(ValueError, lambda: self.vocab.piece(2**32 + 5), "token")
        self.fails(ValueError, lambda: self.vocab.detokenize([5, 2**40]))
        self.fails(ValueError, lambda: self.vocab.detokenize(["a"]))  # type: ignore[list-item]
        self.fails(ValueError, lambda: self.vocab.tokenize("\udc80"), "UTF-8")

    def test_streams(self) -> None:
        text = "naïve 🔥 words"
        with self.vocab.stream() as stream:
            pieces = [stream.push(t) for t in self.vocab.tokenize(text, special=False)]
            self.assertEqual("".join(pieces).strip() + stream.flush(), text)
            fire = self.vocab.tokenize("🔥", special=False)
            for token in fire[:-1]:
                stream.push(token)
            self.assertEqual(stream.flush(), "\ufffd")

    def test_templates(self) -> None:
        self.assertEqual(self.vocab.templates, [])
        self.fails(rekindle.NotFoundError, self.vocab.template)
        self.fails(rekindle.NotFoundError, lambda: self.vocab.render([Message("user", "Hi")]))
        messages: List[Any] = [{"role": "system", "content": "Be brief."}, Message("user", "Häh?")]
        text = self.vocab.render(messages, template_text=HERMES, tools=TOOLS)
        self.assertTrue(text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHäh?<|im_end|>"))
        self.assertTrue(text.endswith("<|im_start|>assistant\n") and '"weather"' in text)
        plain = self.vocab.render(messages, template_text=HERMES, generation_prompt=False)
        self.assertFalse(plain.endswith("assistant\n"))
        with_fields = "{{ messages[0].more }}{{ v }}{{ strftime_now('%Y') }}"
        told = self.vocab.render(
            [{"role": "user", "more": 7}], template_text=with_fields, variables={"v": 1}, now=86400
        )
        self.assertEqual(told, "711970")
        self.fails(ValueError, lambda: self.vocab.render([{"content": "x"}], template_text="x"), "role")
        self.fails(ValueError, lambda: self.vocab.render([], template_text="{{ raise_exception('no!') }}"), "no!")
        self.fails(ValueError, lambda: self.vocab.render([], template_text="{% if"))
        self.fails(TypeError, lambda: self.vocab.render([], tool=[]), "tool")  # type: ignore[call-arg]

    def test_replies(self) -> None:
        with rekindle.Reply(self.vocab, tools=TOOLS, template_text=HERMES, seed=1) as reply:
            self.assertEqual(reply.format, "hermes")
            events = []
            for piece in (
                "Let me ",
                'see.<tool_call>\n{"name": "weather", "arguments": {"in"',
                ': "Ur"}}\n</tool_call>',
            ):
                reply.push(piece)
                events += list(reply.events())
            reply.finish()
            events += list(reply.events())
            kinds = [e.kind for e in events]
            self.assertEqual(kinds[-3:], [ReplyKind.ARGUMENTS, ReplyKind.CALL_ENDS, ReplyKind.END])
            said = "".join(e.text for e in events if e.kind == ReplyKind.CONTENT)
            self.assertEqual(said, "Let me see.")
            (begin,) = [e for e in events if e.kind == ReplyKind.CALL_BEGINS]
            self.assertEqual((begin.text, begin.index, bool(begin.id)), ("weather", 0, True))
            (call,) = reply.message["tool_calls"]
            self.assertEqual(call["function"], {"name": "weather", "arguments": '{"in": "Ur"}'})
            self.assertEqual(list(reply.events()), [])
            self.fails(ValueError, lambda: reply.push("more"), "finished")
        with rekindle.Reply(self.vocab, tools=TOOLS, template_text=HERMES, tool_choice="required") as reply:
            call = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
            for one_call, twice in ((False, rekindle.Verdict.COMPLETE), (True, rekindle.Verdict.REFUSED)):
                with reply.grammar(one_call=one_call) as grammar:
                    self.assertEqual(grammar.check(call).verdict, rekindle.Verdict.COMPLETE)
                    self.assertEqual(grammar.check(f"{call}\n{call}").verdict, twice)
                    self.assertEqual(grammar.check("Let me see").verdict, rekindle.Verdict.REFUSED)
        with rekindle.Reply(self.vocab) as reply:
            self.fails(ValueError, reply.grammar, "tools")
            for token in self.vocab.tokenize(PROMPT, special=False):
                reply.push_token(token)
            reply.finish()
            self.assertEqual(reply.message["content"].strip(), PROMPT)
        self.fails(ValueError, lambda: rekindle.Reply(self.vocab, tools="{"), "tools")
