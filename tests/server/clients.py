"""Drives a running rekindle-server with the clients that people use: PyPI's openai, ollama and anthropic.

    clients.py ADDRESS MODEL CALLER FILE

CALLER is a model whose template has tools, FILE that of MODEL. Each call is made, its answer checked, and its outcome printed. The exit status is 1 if one of them failed.
"""

import asyncio
import importlib.metadata
import json
import sys
import time

import anthropic
import ollama
import openai
import pydantic

ADDRESS, MODEL, CALLER, FILE = sys.argv[1:5]
USER = [{"role": "user", "content": "And God said"}]
calls = []


def call(name):
    """Registers a function that makes a call and returns what is worth telling of its answer."""

    def register(f):
        calls.append((name, f))
        return f

    return register


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    righteous: bool
    years: int = pydantic.Field(ge=1, le=969)


PARAMETERS = {
    "type": "object",
    "required": ["city"],
    "additionalProperties": False,
    "properties": {"city": {"type": "string", "enum": ["Ur", "Nineveh"]}},
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
# A call as the caller's template has it: the small model writes one only if it must.
WRITTEN = {
    "type": "object",
    "required": ["name", "parameters"],
    "additionalProperties": False,
    "properties": {"name": {"const": "weather"}, "parameters": PARAMETERS},
    "x-guidance": {"whitespace_flexible": False},
}

o = openai.OpenAI(base_url=ADDRESS + "/v1", api_key="none", max_retries=0, timeout=60)
c = anthropic.Anthropic(base_url=ADDRESS, api_key="none", max_retries=0, timeout=60)
l = ollama.Client(host=ADDRESS, timeout=60)


@call("openai models.list")
def _():
    ids = [m.id for m in o.models.list()]
    assert MODEL in ids, ids
    return f"{len(ids)} models"


@call("openai models.retrieve")
def _():
    assert o.models.retrieve(MODEL).id == MODEL
    return MODEL


@call("openai chat.completions.create")
def _():
    a = o.chat.completions.create(model=MODEL, messages=USER, max_tokens=10, seed=1)
    assert a.choices[0].finish_reason == "length" and a.usage.completion_tokens == 10, a
    return repr(a.choices[0].message.content)


@call("openai chat.completions.create, stream with usage")
def _():
    whole = o.chat.completions.create(model=MODEL, messages=USER, max_tokens=10, seed=1)
    chunks = list(
        o.chat.completions.create(
            model=MODEL, messages=USER, max_tokens=10, seed=1, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(a.choices[0].delta.content or "" for a in chunks if a.choices)
    assert text == whole.choices[0].message.content, text
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage.completion_tokens == 10, chunks
    return f"{len(chunks)} chunks, the text of the call without stream"


@call("openai chat.completions.stream, JSON schema")
def _():
    with o.chat.completions.stream(model=MODEL, messages=USER, max_tokens=100, response_format=Person) as s:
        kinds = {event.type for event in s}
        final = s.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Person) and "content.delta" in kinds, kinds
    return ", ".join(sorted(kinds))


@call("openai chat.completions.create, stop")
def _():
    text = o.chat.completions.create(model=MODEL, messages=USER, max_tokens=10, seed=1).choices[0].message.content
    a = o.chat.completions.create(model=MODEL, messages=USER, max_tokens=10, seed=1, stop=[text[3:6]])
    assert a.choices[0].message.content == text[:3] and a.choices[0].finish_reason == "stop", a
    return f"stopped before {text[3:6]!r}"


@call("openai chat.completions.parse, JSON schema")
def _():
    a = o.chat.completions.parse(model=MODEL, messages=USER, response_format=Person, max_tokens=100)
    assert isinstance(a.choices[0].message.parsed, Person), a
    return repr(a.choices[0].message.parsed)


@call("openai chat.completions.create, tools")
def _():
    written = {"type": "json_schema", "json_schema": {"name": "call", "schema": WRITTEN}}
    a = o.chat.completions.create(model=CALLER, messages=USER, tools=TOOLS, response_format=written, max_tokens=100)
    tool = a.choices[0].message.tool_calls[0]
    city = json.loads(tool.function.arguments)["city"]
    assert a.choices[0].finish_reason == "tool_calls" and tool.id and city in ("Ur", "Nineveh"), a
    told = [a.choices[0].message, {"role": "tool", "tool_call_id": tool.id, "content": "Dry."}]
    b = o.chat.completions.create(model=CALLER, messages=USER + told, tools=TOOLS, max_tokens=5)
    assert b.usage.completion_tokens == 5, b
    return f"{tool.function.name} {tool.function.arguments}, and its result taken"


@call("openai chat.completions.create, a tool is required, stream")
def _():
    with o.chat.completions.stream(
        model=CALLER, messages=USER, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=400
    ) as s:
        kinds = {event.type for event in s}
        final = s.get_final_completion()
    tool = final.choices[0].message.tool_calls[0].function
    assert final.choices[0].finish_reason == "tool_calls" and "tool_calls.function.arguments.done" in kinds, kinds
    assert json.loads(tool.arguments)["city"] in ("Ur", "Nineveh"), tool
    return f"{tool.name} {tool.arguments}"


@call("openai chat.completions.create, JSON object")
def _():
    a = o.chat.completions.create(
        model=MODEL, messages=USER, response_format={"type": "json_object"}, max_tokens=400, temperature=0.2
    )
    # An object may be as long as the model likes; one that came to its end must be one.
    if a.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(a.choices[0].message.content), dict), a
    else:
        assert a.choices[0].message.content.lstrip().startswith("{"), a
    return a.choices[0].finish_reason


@call("openai chat.completions.create, logprobs and n")
def _():
    a = o.chat.completions.create(
        model=MODEL, messages=USER, max_tokens=4, n=2, logprobs=True, top_logprobs=3, temperature=1
    )
    assert len(a.choices) == 2 and len(a.choices[1].logprobs.content[0].top_logprobs) == 3, a
    return "2 answers, 3 probabilities a token"


@call("openai chat.completions.create, logit_bias")
def _():
    a = o.chat.completions.create(model=MODEL, messages=USER, max_tokens=3, logit_bias={"391": 100}, temperature=0)
    assert a.choices[0].message.content.split() == ["God"] * 3, a
    return repr(a.choices[0].message.content)


@call("openai completions.create")
def _():
    a = o.completions.create(model=MODEL, prompt=["And God", "In the"], max_tokens=5, logprobs=2, echo=True)
    assert len(a.choices) == 2 and a.choices[1].text.startswith("In the"), a
    return repr(a.choices[0].text)


@call("openai completions.create, stream")
def _():
    text = "".join(a.choices[0].text for a in o.completions.create(model=MODEL, prompt="And God", max_tokens=5, stream=True))
    assert text
    return repr(text)


@call("openai embeddings.create")
def _():
    a = o.embeddings.create(model=MODEL, input=["And God said", "In the beginning"])
    assert len(a.data) == 2 and abs(sum(x * x for x in a.data[0].embedding) - 1) < 1e-3, a
    return f"{len(a.data)} rows of {len(a.data[0].embedding)}"


@call("openai responses.create")
def _():
    a = o.responses.create(model=MODEL, input="And God said", max_output_tokens=8, temperature=0)
    assert a.output_text and a.status == "incomplete" and a.usage.output_tokens == 8, a
    return repr(a.output_text)


@call("openai responses.create, stream")
def _():
    whole = o.responses.create(model=MODEL, input="And God said", max_output_tokens=8, temperature=0)
    events = list(o.responses.create(model=MODEL, input="And God said", max_output_tokens=8, temperature=0, stream=True))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == whole.output_text and events[-1].response.output_text == text, events
    return f"{len(events)} events, the text of the call without stream"


@call("openai responses.parse, JSON schema")
def _():
    a = o.responses.parse(model=MODEL, input="And God said", text_format=Person, max_output_tokens=100)
    assert isinstance(a.output_parsed, Person), a
    return repr(a.output_parsed)


@call("openai, an unknown model")
def _():
    try:
        o.chat.completions.create(model="nobody", messages=USER)
    except openai.NotFoundError as e:
        assert e.code == "model_not_found", e
        return "NotFoundError"
    raise AssertionError("no error")


@call("openai, a text longer than the context")
def _():
    try:
        o.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 5000}])
    except openai.BadRequestError as e:
        assert e.code == "context_length_exceeded", e
        return "BadRequestError, context_length_exceeded"
    raise AssertionError("no error")


@call("openai, a stream that is closed early")
def _():
    s = o.chat.completions.create(model=MODEL, messages=USER, stream=True, extra_body={"ignore_eos": True})
    next(iter(s))
    s.close()
    return "closed"


@call("openai, eight chats at once")
def _():
    async def all_of_them():
        a = openai.AsyncOpenAI(base_url=ADDRESS + "/v1", api_key="none", max_retries=0, timeout=60)
        one = lambda n: a.chat.completions.create(model=MODEL, messages=USER, max_tokens=20, seed=n)
        return await asyncio.gather(*(one(n) for n in range(8)))

    began = time.monotonic()
    answers = asyncio.run(all_of_them())
    assert all(a.usage.completion_tokens > 0 for a in answers), answers
    return f"{sum(a.usage.completion_tokens for a in answers)} tokens in {time.monotonic() - began:.2f} s"


@call("anthropic messages.create")
def _():
    a = c.messages.create(model=MODEL, max_tokens=8, messages=USER, system="Speak.", extra_body={"temperature": 0})
    assert a.content[0].type == "text" and a.stop_reason == "max_tokens" and a.usage.output_tokens == 8, a
    return repr(a.content[0].text)


@call("anthropic messages.stream")
def _():
    whole = c.messages.create(model=MODEL, max_tokens=8, messages=USER, extra_body={"temperature": 0})
    with c.messages.stream(model=MODEL, max_tokens=8, messages=USER, extra_body={"temperature": 0}) as s:
        text = "".join(s.text_stream)
        final = s.get_final_message()
    assert text == whole.content[0].text and final.stop_reason == "max_tokens", final
    return "the text of the call without stream"


@call("anthropic messages.create, a tool is required")
def _():
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    a = c.messages.create(model=CALLER, max_tokens=400, messages=USER, tools=tools, tool_choice=choice)
    assert a.stop_reason == "tool_use" and a.content[-1].input["city"] in ("Ur", "Nineveh"), a
    return f"{a.content[-1].name} {a.content[-1].input}"


@call("anthropic messages.count_tokens")
def _():
    n = c.messages.count_tokens(model=MODEL, messages=USER).input_tokens
    assert n > 2, n
    return f"{n} tokens"


@call("anthropic, an unknown model")
def _():
    try:
        c.messages.create(model="nobody", max_tokens=8, messages=USER)
    except anthropic.NotFoundError as e:
        return f"NotFoundError, {e.body['error']['type']}"
    raise AssertionError("no error")


@call("ollama list")
def _():
    names = [m.model for m in l.list().models]
    assert MODEL + ":latest" in names, names
    return f"{len(names)} models"


@call("ollama show")
def _():
    a = l.show(MODEL)
    assert a.details.format == "gguf" and "completion" in a.capabilities and a.modelinfo, a
    return f"{a.details.family}, {a.details.quantization_level}, {a.capabilities}"


@call("ollama chat")
def _():
    a = l.chat(MODEL, messages=USER, options={"num_predict": 8, "seed": 1})
    assert a.message.content and a.eval_count == 8 and a.eval_duration > 0 and a.done_reason == "length", a
    return repr(a.message.content)


@call("ollama chat, stream")
def _():
    whole = l.chat(MODEL, messages=USER, options={"num_predict": 8, "seed": 1})
    pieces = list(l.chat(MODEL, messages=USER, options={"num_predict": 8, "seed": 1}, stream=True))
    assert "".join(p.message.content for p in pieces) == whole.message.content and pieces[-1].done, pieces
    return f"{len(pieces)} lines, the text of the call without stream"


@call("ollama chat, JSON schema")
def _():
    a = l.chat(MODEL, messages=USER, format=Person.model_json_schema(), options={"num_predict": 100})
    return repr(Person.model_validate_json(a.message.content))


@call("ollama generate")
def _():
    a = l.generate(MODEL, "And God said", options={"num_predict": 8, "stop": ["Selah"]})
    b = l.generate(MODEL, " and", context=a.context, options={"num_predict": 4})
    assert a.response and len(b.context) > len(a.context), b
    return repr(a.response)


@call("ollama chat, tools")
def _():
    a = l.chat(CALLER, messages=USER, tools=TOOLS, format=WRITTEN, options={"num_predict": 100})
    tool = a.message.tool_calls[0].function
    assert tool.name == "weather" and tool.arguments["city"] in ("Ur", "Nineveh"), a
    return f"{tool.name} {dict(tool.arguments)}"


@call("ollama create, copy, delete")
def _():
    a = l.create("prophet", from_=MODEL, system="Speak.", parameters={"num_predict": 3})
    assert a.status == "success", a
    l.copy("prophet", "prophet:second")
    said = l.generate("prophet:second", "And God said")
    assert said.eval_count == 3, said
    l.delete("prophet")
    l.delete("prophet:second")
    names = [m.model for m in l.list().models]
    assert not any(n.startswith("prophet") for n in names), names
    return "made, copied, asked and deleted"


@call("ollama create_blob")
def _():
    # It is here already, so nothing is sent.
    digest = l.create_blob(FILE)
    assert l.create("of-file", files={"model.gguf": digest}).status == "success"
    l.delete("of-file")
    return digest[:17]


@call("ollama, a model that is only read")
def _():
    try:
        l.delete(MODEL)
    except ollama.ResponseError as e:
        assert e.status_code == 403, e
        return "ResponseError, 403"
    raise AssertionError("no error")


@call("ollama generate, raw, stream")
def _():
    pieces = list(l.generate(MODEL, "And God said", raw=True, stream=True, options={"num_predict": 5}))
    assert pieces[-1].eval_count == 5, pieces
    return repr("".join(p.response for p in pieces))


@call("ollama embed")
def _():
    a = l.embed(MODEL, ["And God said", "In the beginning"])
    assert len(a.embeddings) == 2 and a.prompt_eval_count > 4, a
    return f"{len(a.embeddings)} rows of {len(a.embeddings[0])}"


@call("ollama embeddings")
def _():
    a = l.embeddings(MODEL, "And God said")
    return f"a row of {len(a.embedding)}"


@call("ollama ps")
def _():
    a = l.ps().models
    assert a and a[0].expires_at and a[0].size > 0, a
    return f"{len(a)} loaded"


@call("ollama, an unknown model")
def _():
    try:
        l.chat("nobody", messages=USER)
    except ollama.ResponseError as e:
        assert e.status_code == 404, e
        return f"ResponseError, {e.error}"
    raise AssertionError("no error")


@call("ollama generate, unload")
def _():
    a = l.generate(MODEL, keep_alive=0)
    assert a.done_reason == "unload", a
    for _ in range(100):
        if all(m.model != MODEL + ":latest" for m in l.ps().models):
            return "it is not loaded any more"
        time.sleep(0.05)
    raise AssertionError("the model is still there")


def main():
    for package in ("openai", "anthropic", "ollama"):
        print(f"{package} {importlib.metadata.version(package)}")
    failed = 0
    for name, f in calls:
        try:
            outcome = "ok, " + f()
        except Exception as e:  # Any trouble of a client is a finding.
            outcome = f"FAILED, {type(e).__name__}: {e}"
            failed += 1
        print(f"{name}: {outcome}", flush=True)
    print(f"{len(calls) - failed} of {len(calls)} calls are as they should be")
    return failed > 0


sys.exit(main())
