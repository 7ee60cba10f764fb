"""Sends the same requests to llama.cpp's server and to rekindle-server, and compares fields, types, the order of
chunks, reasons of ends, statuses, and the texts of greedy answers.

    compare.py LLAMA-SERVER REKINDLE-SERVER MODEL.gguf

MODEL has a chat template with tools, as tests/server.rs makes one. Differences are printed with their reasons, which
docs/server.md has as well. The exit status is 1 if one has no reason.
"""

import contextlib
import fnmatch
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

USER = [{"role": "user", "content": "And God said"}]
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 12}
SCHEMA = {
    "type": "object",
    "required": ["righteous"],
    "additionalProperties": False,
    "properties": {"righteous": {"type": "boolean"}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Ur"]}},
                "required": ["city"],
            },
        },
    }
]


def chat(**more):
    return {"messages": USER, **GREEDY, **more}


RESPONSE = {"input": "And God said", "temperature": 0, "max_output_tokens": 8}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}

# A name, a path, and a body; None is a GET.
REQUESTS = [
    ("health", "/health", None),
    ("models", "/v1/models", None),
    ("slots", "/slots", None),
    ("chat", "/v1/chat/completions", chat()),
    ("chat, stream", "/v1/chat/completions", chat(stream=True)),
    ("chat, stream with usage", "/v1/chat/completions", chat(**USAGE)),
    ("chat, stop", "/v1/chat/completions", chat(stop=["e"])),
    ("chat, stop, stream", "/v1/chat/completions", chat(stop=["e"], stream=True)),
    ("chat, two answers", "/v1/chat/completions", chat(n=2)),
    ("chat, logprobs", "/v1/chat/completions", chat(logprobs=True, top_logprobs=2)),
    ("chat, logprobs, stream", "/v1/chat/completions", chat(logprobs=True, top_logprobs=2, stream=True)),
    ("chat, schema", "/v1/chat/completions", chat(response_format=FORMAT, max_tokens=100)),
    ("chat, schema, stream", "/v1/chat/completions", chat(response_format=FORMAT, max_tokens=100, stream=True)),
    ("chat, tools", "/v1/chat/completions", chat(tools=TOOLS, max_tokens=8)),
    ("chat, a tool is required", "/v1/chat/completions", chat(tools=TOOLS, tool_choice="required", max_tokens=200)),
    (
        "chat, a tool is required, stream",
        "/v1/chat/completions",
        chat(tools=TOOLS, tool_choice="required", max_tokens=200, stream=True),
    ),
    ("chat, without messages", "/v1/chat/completions", {"max_tokens": 3}),
    ("chat, messages of another type", "/v1/chat/completions", {"messages": 3}),
    ("chat, broken JSON", "/v1/chat/completions", "{"),
    ("chat, too long", "/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 2000}]}),
    ("chat, a wrong grammar", "/v1/chat/completions", chat(grammar="root ::= (")),
    ("completions", "/v1/completions", {"prompt": "And God", **GREEDY}),
    ("completions, stream", "/v1/completions", {"prompt": "And God", **GREEDY, "stream": True}),
    ("completions, logprobs", "/v1/completions", {"prompt": "And God", **GREEDY, "logprobs": 2}),
    ("completions, two prompts", "/v1/completions", {"prompt": ["And God", "In the"], **GREEDY}),
    ("completion", "/completion", {"prompt": "And God", "temperature": 0, "n_predict": 8}),
    ("completion, stream", "/completion", {"prompt": "And God", "temperature": 0, "n_predict": 8, "stream": True}),
    ("completion, stop", "/completion", {"prompt": "And God", "temperature": 0, "n_predict": 8, "stop": ["e"]}),
    ("responses", "/v1/responses", RESPONSE),
    ("responses, stream", "/v1/responses", {**RESPONSE, "stream": True}),
    ("messages", "/v1/messages", {"messages": USER, "temperature": 0, "max_tokens": 8}),
    ("messages, stream", "/v1/messages", {"messages": USER, "temperature": 0, "max_tokens": 8, "stream": True}),
    ("count_tokens", "/v1/messages/count_tokens", {"messages": USER}),
    ("tokenize", "/tokenize", {"content": "And God said", "add_special": True}),
    ("tokenize, pieces", "/tokenize", {"content": "And God said", "with_pieces": True}),
    ("detokenize", "/detokenize", {"tokens": [391, 391]}),
    ("apply-template", "/apply-template", {"messages": USER}),
    ("infill", "/infill", {"input_prefix": "a", "input_suffix": "b"}),
    ("rerank", "/v1/rerank", {"query": "a", "documents": ["b"]}),
    ("nothing", "/v1/nothing", {}),
    ("metrics", "/metrics", None),
]

# Of the server that is started for embeddings.
EMBEDDINGS = [
    ("embeddings", "/v1/embeddings", {"input": ["And God said", "a"]}),
    ("embeddings, base64", "/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("embeddings, nothing", "/v1/embeddings", {}),
]

# Reasons for differences: a pattern for "request: difference", and why it is so. docs/server.md has them.
REASONS = [
    ("*: besides .choices[[]].logprobs null", "OpenAI's form: the field is there, and null"),
    ("*: without .choices[[]].delta.content null", "OpenAI's form: the first content is an empty text"),
    ("chat, stream with usage: besides .usage null", "OpenAI's form: chunks before the last have a usage of null"),
    ("chat, a tool is required*: *", "with this template the reference forces no call: it writes text until the limit"),
    ("completions, stream: without .usage.*", "OpenAI's form: usage only where stream_options asks for it"),
    ("completions, logprobs: *.logprobs.*", "OpenAI's form for completions, where the reference has that of chats"),
    ("*: without .error.code number", "OpenAI's form: a code is a word; the number is the status"),
    ("*: besides .error.code text", "OpenAI's form: a code is a word; the number is the status"),
    ("*: besides .error.param *", "OpenAI's form: the field at fault"),
    ("chat, too long: without .error.n_*", "the message says both numbers"),
    ("chat, broken JSON: status 500, ours 400", "the request is at fault, not the server"),
    ("infill: status 501, ours 400", "the model is at fault; another one of the server can do it"),
    ("rerank: status 501, ours 400", "the model is at fault; another one of the server can do it"),
    ("*: text *", "greedy texts part where two tokens are nearly as likely: the reference rounds to 8 bits"),
    ("detokenize: text *", "a text does not begin with the space that the tokeniser put before it"),
    ("models: without .models*", "Ollama's list, which is at /api/tags"),
    ("models: without .data*", "/api/show tells it"),
    ("slots: *", "other fields of a state that is the server's own"),
    ("completion*: without .generation_settings.*", "what the request asked for is not repeated"),
    ("completion*: without .prompt text", "what the request asked for is not repeated"),
    ("completion*: without .*", "fields for the reference's own page"),
    ("responses*: without .completed_at number", "newer than OpenAI's clients want it"),
    ("responses*: without *.timings.*", "not OpenAI's form"),
    ("responses*: besides *", "OpenAI's form: the whole object"),
    ("responses*: ends *", "OpenAI's form: what the limit has cut is incomplete"),
    ("responses, stream: order *", "OpenAI's form: what the limit has cut is incomplete"),
    ("messages*: besides *usage.*", "Anthropic's form: the whole usage"),
    ("metrics: without .llamacpp:spec_decode_*", "the server makes no drafts"),
    ("metrics: without .llamacpp:n_tokens_max *", "contexts are shared by sequences, so no single one is the longest"),
    ("metrics: besides .rekindle:*", "bytes of devices, planned, used and free"),
]


def ask(base, path, body):
    """Gives the status and the text of an answer."""
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def shape(value, at=""):
    """The paths of a value with the types that stand there."""
    if isinstance(value, dict):
        return {p for k, v in value.items() for p in shape(v, f"{at}.{k}")} or {f"{at} object"}
    if isinstance(value, list):
        return {p for v in value for p in shape(v, f"{at}[]")} or {f"{at} list"}
    if isinstance(value, bool):
        return {f"{at} bool"}
    if isinstance(value, (int, float)):
        return {f"{at} number"}
    return {f"{at} {'null' if value is None else 'text'}"}


def chunks(text):
    """The chunks of an event stream: (name, value)."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data.append(line[6:])
        if data:
            raw = "\n".join(data)
            found.append((name, raw if raw == "[DONE]" else json.loads(raw)))
    return found


def at(value, *path):
    for p in path:
        try:
            value = value[p]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def kind(name, value):
    """What a chunk is for, so that the order of chunks can be compared however a text is cut."""
    if isinstance(value, str):
        return value
    if name:
        return name
    delta = at(value, "choices", 0, "delta")
    if delta is not None:
        keys = [k for k, v in sorted(delta.items()) if v not in (None, "")]
        reason = at(value, "choices", 0, "finish_reason")
        return "+".join(keys) + (f" finish={reason}" if reason else "") or "empty delta"
    if "choices" in value and not value["choices"]:
        return "usage"
    reason = at(value, "choices", 0, "finish_reason")
    return "finish" if reason or value.get("stop") else "text"


def squeezed(kinds):
    return [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k]


def ends(values):
    """The reasons of ends."""
    return [
        r
        for v in values
        for r in (
            *(c.get("finish_reason") for c in (at(v, "choices") or []) if isinstance(c, dict)),
            at(v, "stop_reason"), at(v, "delta", "stop_reason"), at(v, "stop_type"), at(v, "status"),
            at(v, "response", "status"),
        )
        if isinstance(r, str)
    ]


def written(values):
    """The text of an answer."""
    pieces = []
    for v in values:
        for c in at(v, "choices") or []:
            pieces += [at(c, "message", "content"), at(c, "text"), at(c, "delta", "content")]
        pieces.append(at(v, "content") if isinstance(at(v, "content"), str) else at(v, "content", 0, "text"))
        pieces.append(at(v, "delta", "text"))
        for item in at(v, "output") or []:
            pieces += [at(item, "content", 0, "text")]
        if at(v, "type") == "response.output_text.delta":
            pieces.append(v["delta"])
    return "".join(p for p in pieces if isinstance(p, str))


def differences(reference, ours):
    """What differs between two answers."""
    (s1, t1), (s2, t2) = reference, ours
    if s1 != s2:
        yield f"status {s1}, ours {s2}"
    if (s1 < 400) != (s2 < 400):
        return
    if t1.startswith("data: ") or t1.startswith("event: "):
        c1, c2 = chunks(t1), chunks(t2)
        k1, k2 = (squeezed([kind(*c) for c in c]) for c in (c1, c2))
        if k1 != k2:
            yield f"order {' | '.join(k1)}, ours {' | '.join(k2)}"
        v1, v2 = ([v for _, v in c if not isinstance(v, str)] for c in (c1, c2))
    elif t1.startswith("{") or t1.startswith("["):
        v1, v2 = [json.loads(t1)], [json.loads(t2)]
    else:
        names = [set(re.findall(r"^# TYPE (\S+ \S+)", t, re.M)) for t in (t1, t2)]
        v1, v2 = ([{n: 1 for n in some}] for some in names)
    f1, f2 = ({p for v in values for p in shape(v)} for values in (v1, v2))
    for p in sorted(f1 - f2):
        yield f"without {p}"
    for p in sorted(f2 - f1):
        yield f"besides {p}"
    if ends(v1) != ends(v2):
        yield f"ends {ends(v1)}, ours {ends(v2)}"
    if written(v1) != written(v2):
        yield f"text {written(v1)!r}, ours {written(v2)!r}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(*command):
    """A server on a port of its own, as long as the context lasts."""
    port = free_port()
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if ask(base, "/health", None)[0] == 200:
                    break
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} has ended with {process.returncode}")
            time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait()


def reason(difference):
    return next((why for pattern, why in REASONS if fnmatch.fnmatchcase(difference, pattern)), None)


def main():
    reference, ours, model = sys.argv[1:4]
    common = ["--host", "127.0.0.1", "-m", model, "-c", "512", "-np", "2", "--jinja", "--slots", "--metrics"]
    unknown = same = 0
    with contextlib.ExitStack() as stack:
        theirs = stack.enter_context(serving(reference, *common))
        rows = stack.enter_context(serving(reference, *common, "--embeddings", "--pooling", "mean"))
        mine = stack.enter_context(serving(ours, "--ctx", "512", "--parallel", "2", "--devices", "cpu", model))
        for base, requests in ((theirs, REQUESTS), (rows, EMBEDDINGS)):
            for name, path, body in requests:
                found = list(differences(ask(base, path, body), ask(mine, path, body)))
                same += not found
                print(f"{name}: {'the same' if not found else ''}")
                for d in found:
                    why = reason(f"{name}: {d}")
                    unknown += why is None
                    print(f"    {d}\n        {why or 'NO REASON IS KNOWN'}")
    print(f"{same} of {len(REQUESTS) + len(EMBEDDINGS)} answers are the same; {unknown} differences have no reason")
    return unknown > 0


if __name__ == "__main__":
    sys.exit(main())
