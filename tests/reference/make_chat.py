#!/usr/bin/env python3
"""Renders the cases of tests/fixtures/chat/cases.json with the templates beside it, as transformers does with jinja2.

    python3 -m venv target/chatvenv && target/chatvenv/bin/pip install jinja2==3.1.6
    target/chatvenv/bin/python tests/reference/make_chat.py

Writes cases.json, expected/TEMPLATE.json and model.gguf (a vocabulary without weights that has two templates).
With transformers installed, --check compares the texts with those of its own function.
With `-o DIR FOLDER` the templates are those of another folder, and DIR/templates and DIR/expected are written, nothing
else: REKINDLE_TEMPLATES_DIR=DIR cargo test --test chat prompts reads them, too.
"""

import json
import struct
import sys
from datetime import datetime, timezone
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parents[1] / "fixtures" / "chat"
NOW = 1721997296
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

ODD = "  \"Grüße\", said 'he'\\n: 你好 🦀 <b>&amp;</b>\t{{ x }} {% y %}\n\nlast line\\ \n"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, e.g. \"Zürich\".\nIn °C & more.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name"},
                "days": {"type": "integer", "description": "How many", "default": 1, "minimum": 1},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "places": {"type": "array", "items": {"type": "number"}, "description": "Offsets"},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


def message(role, content=None, reasoning=None, tool_calls=None, name=None, tool_call_id=None):
    """In the order in which the library builds it."""
    m = {"role": role, "content": content, "name": name, "thinking": reasoning, "reasoning_content": reasoning,
         "tool_call_id": tool_call_id, "tool_calls": tool_calls}
    return {k: v for k, v in m.items() if v is not None or k == "content"}


def function(name, arguments, call_id="abcdef123"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def cases():
    system = message("system", "You are a careful assistant.")
    user = message("user", "What is a GPU?")
    answer = message("assistant", "A card.\nWith fans.")
    more = message("user", "And a CPU?")
    thought = message("assistant", "<think>\nA card?\n</think>\n\nA card.")
    ask = message("user", "How is the weather in Zürich?")
    call = [
        function("get_weather", {"city": "Zürich", "days": 2, "places": [1.5, -2, 1e21], "exact": True, "none": None})
    ]
    result = message("tool", "{\"celsius\": 21.5, \"sky\": \"klar ☀\"}", name="get_weather", tool_call_id="abcdef123")
    called = message("assistant", "", tool_calls=call)
    tools = [WEATHER, CLOCK]

    def case(name, messages, prompt, **rest):
        return {"name": name, "messages": messages, "add_generation_prompt": prompt, **rest}

    yield case("user", [user], True)
    yield case("user-closed", [user], False)
    yield case("system", [system, user], True)
    yield case("system-closed", [system, user], False)
    yield case("turns", [system, user, answer, more], True)
    yield case("turns-closed", [user, answer, more, answer], False)
    yield case(
        "odd", [message("system", ODD), message("user", ODD), message("assistant", ODD), message("user", ODD)], True
    )
    yield case("think-in-text", [user, thought, more], True)
    yield case("reasoning", [user, message("assistant", "A card.", reasoning="A card?\nYes."), more], True)
    yield case("variables", [system, user], True, variables={"enable_thinking": False, "reasoning_effort": "high"})
    yield case("tools", [system, ask], True, tools=tools)
    yield case("tools-alone", [ask], False, tools=[WEATHER])
    yield case("call", [system, ask, called, result], True, tools=tools)
    yield case(
        "call-text", [ask, message("assistant", "", tool_calls=[function("clock", "{}")]), result], True, tools=tools
    )
    yield case("call-none", [ask, message("assistant", tool_calls=call), result, answer, more], True, tools=tools)
    yield case(
        "two-calls",
        [
            ask, message("assistant", "Both.", tool_calls=call + [function("clock", {}, "bcdefg234")]), result,
            message("tool", "12:00", name="clock", tool_call_id="bcdefg234"),
        ],
        True,
        tools=tools,
    )
    yield case("assistant-first", [answer, user], True)


class Generation(jinja2.ext.Extension):
    """transformers' tags around the assistant's texts, for training; in a prompt they do nothing."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(lineno)

    def _support(self, caller):
        return caller()


class Raised(Exception):
    pass


def environment():
    def raise_exception(text):
        raise Raised(text)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(text):
        return datetime.fromtimestamp(NOW, timezone.utc).replace(tzinfo=None).strftime(text)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def context(case):
    return {
        **SPECIAL, "documents": None, **case.get("variables", {}), "messages": case["messages"],
        "tools": case.get("tools"), "add_generation_prompt": case["add_generation_prompt"],
    }


def render(template, case):
    try:
        return {"text": template.render(**context(case))}
    except Raised as e:
        return {"raised": str(e)}
    except Exception as e:
        return {"failed": f"{type(e).__name__}: {e}"}


def check(text, case, expected):
    """Against transformers itself, whose clock cannot be set: templates with a date are left out."""
    from transformers.utils.chat_template_utils import render_jinja_template

    if "strftime_now" in text or "text" not in expected:
        return 0
    (got,), _ = render_jinja_template(
        [case["messages"]], case.get("tools"), None, text, add_generation_prompt=case["add_generation_prompt"],
        **SPECIAL, **case.get("variables", {}),
    )
    assert got == expected["text"], (case["name"], got, expected["text"])
    return 1


def gguf(templates):
    """A file of keys alone: SentencePiece style, three special tokens, the bytes, two of ChatML."""
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["<|im_start|>", "<|im_end|>"]
    types = [2, 3, 3] + [6] * 256 + [3, 3]

    def text(s):
        s = s.encode()
        return struct.pack("<Q", len(s)) + s

    def array(kind, items):
        return struct.pack("<IQ", kind, len(items)) + b"".join(items)

    keys = [
        ("general.architecture", 8, text("llama")),
        ("tokenizer.ggml.model", 8, text("llama")),
        ("tokenizer.ggml.tokens", 9, array(8, [text(t) for t in texts])),
        ("tokenizer.ggml.scores", 9, array(6, [struct.pack("<f", 0) for _ in texts])),
        ("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", t) for t in types])),
    ] + [(key, 8, text(value)) for key, value in templates.items()]
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    return head + b"".join(text(k) + struct.pack("<I", kind) + value for k, kind, value in keys)


def expect(folder, all_cases):
    (folder / "expected").mkdir(exist_ok=True)
    texts = checked = 0
    for path in sorted((folder / "templates").glob("*.jinja")):
        text = path.read_text()
        template = environment().from_string(text)
        out = {case["name"]: render(template, case) for case in all_cases}
        texts += sum("text" in o for o in out.values())
        if "--check" in sys.argv:
            checked += sum(check(text, case, out[case["name"]]) for case in all_cases)
        (folder / "expected" / f"{path.stem}.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n")
    return texts, checked


def main():
    all_cases = list(cases())
    if "-o" in sys.argv:
        at = sys.argv.index("-o")
        out, folder = map(Path, sys.argv[at + 1:at + 3])
        (out / "templates").mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.jinja"):
            (out / "templates" / path.name).write_bytes(path.read_bytes())
        print(f"{expect(out, all_cases)[0]} texts")
        return
    wrap = {"now": NOW, "special": SPECIAL, "cases": all_cases}
    (ROOT / "cases.json").write_text(json.dumps(wrap, ensure_ascii=False, indent=1) + "\n")
    texts, checked = expect(ROOT, all_cases)
    chatml = (ROOT / "templates" / "Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
    tool_use = (
        "{{ bos_token }}{{ tools | tojson }}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ eos_token }}"
    )
    (ROOT / "model.gguf").write_bytes(
        gguf({"tokenizer.chat_template.tool_use": tool_use, "tokenizer.chat_template": chatml})
    )
    print(f"{texts} texts" + (f", {checked} equal to transformers'" if checked else ""))


main()
