package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// hermes is a template of the kind that many models have: thoughts and calls in tags.
const hermes = `{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

const written = "<think>\nHm.\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"in\": \"Ur\"}}\n" +
	"</tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>"

var tools = []any{
	fields{"type": "function", "function": fields{"name": "weather", "parameters": fields{"type": "object"}}},
	fields{"type": "function", "function": fields{"name": "time", "parameters": fields{"type": "object"}}},
}

// gbnf is a grammar that has one text.
func gbnf(text string) string {
	quoted, _ := json.Marshal(text)
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(quoted))
	return "root ::= " + plain
}

func TestToolCalls(t *testing.T) {
	r := start(t, nil)
	body := chat(fields{"chat_template": hermes, "tools": tools, "grammar": gbnf(written), "max_tokens": 300, "temperature": 0})
	for _, stops := range [][]any{nil, {"never written"}} {
		body["stop"] = stops
		delete(body, "stream")
		whole := at(r.ask("/v1/chat/completions", body), "choices", 0)
		if at(whole, "message", "reasoning_content") != "Hm." || at(whole, "message", "content") != "Let me see." ||
			at(whole, "message", "tool_calls", 0, "function", "name") != "weather" ||
			at(whole, "message", "tool_calls", 1, "function", "name") != "time" ||
			at(whole, "message", "tool_calls", 0, "id") == "" || at(whole, "finish_reason") != "tool_calls" {
			t.Fatal(whole)
		}
		var arguments fields
		text, _ := at(whole, "message", "tool_calls", 0, "function", "arguments").(string)
		if json.Unmarshal([]byte(text), &arguments) != nil || arguments["in"] != "Ur" {
			t.Error(text)
		}
		// The stream tells the same, and calls have numbers.
		body["stream"] = true
		var content, thought, reason string
		calls := map[float64]string{}
		for _, e := range r.events("/v1/chat/completions", body) {
			delta := at(e, "choices", 0, "delta")
			piece, _ := at(delta, "content").(string)
			content += piece
			piece, _ = at(delta, "reasoning_content").(string)
			thought += piece
			if index, is := at(delta, "tool_calls", 0, "index").(float64); is {
				name, _ := at(delta, "tool_calls", 0, "function", "name").(string)
				piece, _ = at(delta, "tool_calls", 0, "function", "arguments").(string)
				calls[index] += name + piece
			}
			if text, is := at(e, "choices", 0, "finish_reason").(string); is {
				reason = text
			}
		}
		if content != "Let me see." || thought != "Hm." || calls[0] != "weather"+text || !strings.HasPrefix(calls[1], "time") ||
			reason != "tool_calls" {
			t.Error(content, thought, calls, reason)
		}
	}
	// Without tools nothing is a call.
	delete(body, "stream")
	body["tool_choice"] = "none"
	if m := r.ask("/v1/chat/completions", body); at(m, "choices", 0, "finish_reason") != "stop" ||
		at(m, "choices", 0, "message", "tool_calls") != nil {
		t.Error(m)
	}
}

// calling is hermes without thoughts, which the small model would not end.
var calling = regexp.MustCompile(`(?s)\{% if m.reasoning_content %\}.*?\{% endif %\}`).ReplaceAllString(hermes, "")

// A call that is forced is made, by the tool's schema, in each dialect; one that the model opens itself is held to it.
func TestForcedCalls(t *testing.T) {
	r := start(t, nil)
	schema := fields{"type": "object", "required": []any{"in"}, "properties": fields{"in": fields{"enum": []any{"Ur", "Tyre"}}}}
	tools := []any{
		fields{"type": "function", "function": fields{"name": "weather", "parameters": schema}},
		fields{"type": "function", "function": fields{"name": "time", "parameters": schema}},
	}
	check := func(name, arguments any) {
		t.Helper()
		object, is := arguments.(fields)
		if text, written := arguments.(string); written {
			object, is = r.object([]byte(text)), true
		}
		if in := object["in"]; !is || in != "Ur" && in != "Tyre" || name != "weather" && name != "time" {
			t.Error(name, arguments)
		}
	}
	named := fields{"type": "function", "function": fields{"name": "time"}}
	for seed := range 3 {
		for _, choice := range []any{"required", named} {
			m := r.ask("/v1/chat/completions", chat(fields{
				"chat_template": calling, "tools": tools, "tool_choice": choice, "parallel_tool_calls": false, "seed": seed,
				"max_tokens": 400, "temperature": 1,
			}))
			call := at(m, "choices", 0, "message", "tool_calls", 0, "function")
			check(at(call, "name"), at(call, "arguments"))
			if choice != "required" && at(call, "name") != "time" || at(m, "choices", 0, "finish_reason") != "tool_calls" {
				t.Error(m)
			}
		}
	}
	// Without a known form of calls, or without tools, or beside a schema, none can be forced.
	for _, more := range []fields{
		{"tools": tools, "tool_choice": "required"},
		{"chat_template": calling, "tool_choice": "required"},
		{"chat_template": calling, "tools": tools, "tool_choice": fields{"function": fields{"name": "nobody"}}},
		{"chat_template": calling, "tools": tools, "tool_choice": "required", "response_format": fields{"type": "json_object"}},
	} {
		if said := r.wants(400, "POST", "/v1/chat/completions", chat(more)); !strings.Contains(said, "tool") {
			t.Error(said)
		}
	}
}

// Anthropic's and OpenAI's newer form of the same, with a model whose own template has tools.
func TestForcedCallsOfTemplates(t *testing.T) {
	r := start(t, func(o *options) { o.state = t.TempDir() })
	r.wants(200, "POST", "/api/create", fields{"model": "caller", "from": bible, "template": calling})
	schema := fields{"type": "object", "required": []any{"in"}, "properties": fields{"in": fields{"enum": []any{"Ur"}}}}
	m := r.ask("/v1/messages", fields{
		"model": "caller", "max_tokens": 400, "messages": []any{fields{"role": "user", "content": "And"}},
		"tools":       []any{fields{"name": "weather", "input_schema": schema}},
		"tool_choice": fields{"type": "any", "disable_parallel_tool_use": true},
	})
	content, _ := m["content"].([]any)
	if m["stop_reason"] != "tool_use" || at(content, len(content)-1, "input", "in") != "Ur" {
		t.Error(m)
	}
	m = r.ask("/v1/responses", fields{
		"model": "caller", "input": "And", "max_output_tokens": 400, "parallel_tool_calls": false,
		"tools":       []any{fields{"type": "function", "name": "weather", "parameters": schema}},
		"tool_choice": fields{"type": "function", "name": "weather"},
	})
	output, _ := m["output"].([]any)
	if at(output, len(output)-1, "name") != "weather" || m["status"] != "completed" {
		t.Error(m)
	}
}

// said is a job that wrote a text, and a reader for it.
func (r *rig) said(text string) (*lease, *job, replyReader) {
	r.Helper()
	l, err := r.server.use(context.Background(), bible, toWrite, keepAlive{}, wishes{})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(l.release)
	tools, _ := json.Marshal(tools)
	reader, err := l.reader(chatParams{tools: tools, template: hermes}, "", false)
	if err != nil {
		r.Fatal(err)
	}
	tokens, err := l.model.TokenizeWith(text, rekindle.TextOptions{ParseSpecial: true})
	if err != nil {
		r.Fatal(err)
	}
	j := newJob(context.Background(), rekindle.GenerationParams{})
	for _, id := range tokens {
		j.tokens = append(j.tokens, token{id: id, text: l.tokenText(id)})
	}
	j.info.Stop = rekindle.StopEOG
	j.end(nil)
	return l, j, reader
}

func TestOllamaCalls(t *testing.T) {
	r := start(t, nil)
	answer := func() *ollamaAnswer {
		l, j, reader := r.said(written)
		return &ollamaAnswer{lease: l, job: j, reader: reader, best: -1, wrap: func(m map[string]any, r *reply) { m["message"] = r.ollama() }}
	}
	w := httptest.NewRecorder()
	if err := answer().whole(w); err != nil {
		t.Fatal(err)
	}
	m := at(r.object(w.Body.Bytes()), "message")
	if at(m, "thinking") != "Hm." || at(m, "tool_calls", 0, "function", "arguments", "in") != "Ur" ||
		at(m, "tool_calls", 1, "function", "index") != 1.0 || at(m, "tool_calls", 1, "function", "name") != "time" {
		t.Error(m)
	}
	w = httptest.NewRecorder()
	if err := answer().stream(newStream(w, false)); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, line := range strings.Split(strings.TrimSpace(w.Body.String()), "\n") {
		m := at(r.object([]byte(line)), "message")
		if calls, is := at(m, "tool_calls").([]any); is {
			got += fmt.Sprint(at(calls, 0, "function", "name"), at(calls, 0, "function", "index"), at(calls, 0, "function", "arguments"))
		}
	}
	if got != "weather0 map[in:Ur]time1 map[]" {
		t.Error(got)
	}
}

func TestAnthropicCalls(t *testing.T) {
	r := start(t, nil)
	answer := func() *anthropicAnswer {
		l, j, reader := r.said(written)
		return &anthropicAnswer{lease: l, job: j, reader: reader, id: "msg_1", model: bible}
	}
	w := httptest.NewRecorder()
	if err := answer().whole(w); err != nil {
		t.Fatal(err)
	}
	m := r.object(w.Body.Bytes())
	if at(m, "content", 0, "thinking") != "Hm." || at(m, "content", 1, "text") != "Let me see." ||
		at(m, "content", 2, "input", "in") != "Ur" || at(m, "content", 3, "name") != "time" || m["stop_reason"] != "tool_use" {
		t.Error(m)
	}
	w = httptest.NewRecorder()
	if err := answer().stream(newStream(w, true), 0); err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for _, line := range strings.Split(w.Body.String(), "\n") {
		if data, is := strings.CutPrefix(line, "data: "); is {
			if kind, is := at(r.object([]byte(data)), "content_block", "type").(string); is {
				kinds += kind + " "
			}
		}
	}
	if kinds != "thinking text tool_use tool_use " {
		t.Error(kinds)
	}
}

func TestResponsesCalls(t *testing.T) {
	r := start(t, nil)
	l, j, reader := r.said(written)
	a := &responseAnswer{lease: l, request: &responsesRequest{}, job: j, reader: reader, id: "resp_1"}
	w := httptest.NewRecorder()
	if err := a.whole(w); err != nil {
		t.Fatal(err)
	}
	m := r.object(w.Body.Bytes())
	if at(m, "output", 0, "type") != "reasoning" || at(m, "output", 1, "content", 0, "text") != "Let me see." ||
		at(m, "output", 2, "name") != "weather" || at(m, "output", 3, "type") != "function_call" || m["status"] != "completed" {
		t.Error(m)
	}
}

// A grammar waits for the end of thoughts that the prompt has begun.
func TestThoughtsBeforeJSON(t *testing.T) {
	r := start(t, nil)
	body := chat(fields{
		"chat_template": hermes + "<think>\n", "max_tokens": 60, "temperature": 0, "logit_bias": fields{"391": 5},
		"response_format": fields{"type": "json_object"},
	})
	m := at(r.ask("/v1/chat/completions", body), "choices", 0, "message")
	if text, _ := at(m, "reasoning_content").(string); text == "" || strings.HasPrefix(text, "{") {
		t.Error(m)
	}
}
