package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const bible = "bible-5M-Q8_0"

func modelPath() string {
	if p := os.Getenv("REKINDLE_MODEL"); p != "" {
		return p
	}
	return "../../../../models/bible-5M-Q8_0.gguf"
}

func templatesPath() string {
	return filepath.Join(filepath.Dir(modelPath()), "../tests/fixtures/chat/model.gguf")
}

// rig is a server under test.
type rig struct {
	*testing.T
	server *server
	http   *httptest.Server
}

// start serves the small model; change may set options.
func start(t *testing.T, change func(*options)) *rig {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	o := defaultOptions()
	o.models, o.devices, o.threads = []string{modelPath()}, "cpu", 2
	if change != nil {
		change(&o)
	}
	s, err := newServer(o)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		s.close()
	})
	return &rig{t, s, h}
}

// fields are a JSON object.
type fields = map[string]any

// do sends a request and gives status and body.
func (r *rig) do(method, path, body string, headers ...string) (int, []byte, http.Header) {
	r.Helper()
	request, err := http.NewRequest(method, r.http.URL+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.Fatal(err)
	}
	return answer.StatusCode, text, answer.Header
}

// ask posts an object and wants an object.
func (r *rig) ask(path string, body fields) fields {
	r.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		r.Fatal(err)
	}
	status, answer, _ := r.do("POST", path, string(text))
	if status != http.StatusOK {
		r.Fatalf("%s: %d %s", path, status, answer)
	}
	return r.object(answer)
}

func (r *rig) object(text []byte) (m fields) {
	r.Helper()
	if err := json.Unmarshal(text, &m); err != nil {
		r.Fatalf("%v: %s", err, text)
	}
	return m
}

// at follows names and numbers into a value.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(fields)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// events posts an object and gives the answer's events (SSE) or lines.
func (r *rig) events(path string, body fields) (all []fields) {
	r.Helper()
	text, _ := json.Marshal(body)
	answer, err := http.Post(r.http.URL+path, "application/json", bytes.NewReader(text))
	if err != nil {
		r.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	last := ""
	sse := strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream")
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, ":") {
			continue
		}
		data, is := strings.CutPrefix(line, "data: ")
		if is != sse {
			r.Fatal("a line of the wrong form:", line)
		}
		if last = data; data != "[DONE]" {
			all = append(all, r.object([]byte(data)))
		}
	}
	if sse && last != "[DONE]" {
		r.Error("the stream does not end with [DONE]")
	}
	return all
}

func chat(more fields) fields {
	m := fields{"model": bible, "seed": 3, "max_tokens": 12, "messages": []any{fields{"role": "user", "content": "And God said"}}}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// eventually waits for a condition.
func (r *rig) eventually(what string, f func() bool) {
	r.Helper()
	for range 400 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Error("did not come true:", what)
}

func TestProbes(t *testing.T) {
	r := start(t, nil)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/", "Ollama is running"}, {"HEAD", "/", ""}, {"GET", "/health", `"ok"`}, {"GET", "/api/version", `"version"`},
		{"GET", "/api/tags", bible + ":latest"}, {"GET", "/api/ps", `"models":[]`}, {"GET", "/v1/models", `"id":"` + bible},
		{"GET", "/v1/models/" + bible, `"object":"model"`}, {"GET", "/metrics", "llamacpp:n_decode_total"},
	} {
		if status, body, _ := r.do(c.method, c.path, ""); status != 200 || !strings.Contains(string(body), c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
	}
	show := r.ask("/api/show", fields{"model": bible + ":latest"})
	if at(show, "details", "quantization_level") != "Q8_0" || at(show, "model_info", "llama.context_length") != 512.0 ||
		at(show, "capabilities", 0) != "completion" {
		t.Error(show)
	}
	// Nothing of this has loaded a model.
	if n := len(r.server.fleet.all()); n != 0 {
		t.Error(n, "models are loaded")
	}
}

func TestOpenAIChat(t *testing.T) {
	r := start(t, nil)
	whole := r.ask("/v1/chat/completions", chat(nil))
	text, _ := at(whole, "choices", 0, "message", "content").(string)
	if text == "" || at(whole, "choices", 0, "finish_reason") != "length" || at(whole, "usage", "completion_tokens") != 12.0 {
		t.Fatal(whole)
	}
	// The stream has the same text, a role first, a reason last, and usage behind that.
	events := r.events("/v1/chat/completions", chat(fields{"stream": true, "stream_options": fields{"include_usage": true}}))
	streamed := ""
	for _, e := range events {
		if piece, is := at(e, "choices", 0, "delta", "content").(string); is {
			streamed += piece
		}
	}
	n := len(events)
	if streamed != text || at(events[0], "choices", 0, "delta", "role") != "assistant" ||
		at(events[n-2], "choices", 0, "finish_reason") != "length" || at(events[n-1], "usage", "completion_tokens") != 12.0 {
		t.Error(streamed, text, events)
	}
	// It ends before a stop text, wherever tokens begin.
	stop := text[2:5]
	stopped := r.ask("/v1/chat/completions", chat(fields{"stop": []any{stop}}))
	if at(stopped, "choices", 0, "message", "content") != text[:2] || at(stopped, "choices", 0, "finish_reason") != "stop" {
		t.Error(stopped)
	}
	several := r.ask("/v1/chat/completions", chat(fields{"n": 3, "temperature": 1.5, "logprobs": true, "top_logprobs": 2}))
	if at(several, "choices", 0, "message", "content") == at(several, "choices", 1, "message", "content") ||
		at(several, "choices", 2, "index") != 2.0 || at(several, "usage", "completion_tokens") != 36.0 {
		t.Error(several)
	}
	content, _ := at(several, "choices", 1, "logprobs", "content").([]any)
	if top, _ := at(content, 0, "top_logprobs").([]any); len(content) != 12 || len(top) != 2 {
		t.Error(content)
	}
	parts := []any{fields{"role": "user", "content": []any{fields{"type": "text", "text": "And God said"}}}}
	if m := r.ask("/v1/chat/completions", chat(fields{"messages": parts})); at(m, "choices", 0, "message", "content") != text {
		t.Error("content in parts", m)
	}
}

func TestOpenAICompletions(t *testing.T) {
	r := start(t, nil)
	body := fields{"model": bible, "prompt": "And God said", "max_tokens": 6, "seed": 1, "logprobs": 2, "echo": true}
	whole := r.ask("/v1/completions", body)
	text, _ := at(whole, "choices", 0, "text").(string)
	tokens, _ := at(whole, "choices", 0, "logprobs", "tokens").([]any)
	if !strings.HasPrefix(text, "And God said") || len(tokens) != 6 {
		t.Fatal(whole)
	}
	body["stream"] = true
	streamed := ""
	for _, e := range r.events("/v1/completions", body) {
		piece, _ := at(e, "choices", 0, "text").(string)
		streamed += piece
	}
	if streamed != text {
		t.Error(streamed, text)
	}
	// Tokens in place of texts, two prompts in one request.
	ids := r.ask("/tokenize", fields{"content": "And God said", "add_special": true})["tokens"]
	two := r.ask("/v1/completions", fields{"prompt": []any{ids, ids}, "max_tokens": 6, "seed": 1})
	for n := range 2 {
		if got, _ := at(two, "choices", n, "text").(string); "And God said"+got != text {
			t.Error(got, text)
		}
	}
	if back := r.ask("/detokenize", fields{"tokens": ids}); !strings.Contains(fmt.Sprint(back["content"]), "And God said") {
		t.Error(back)
	}
	none := r.ask("/v1/completions", fields{"prompt": "And", "max_tokens": 0, "echo": true})
	if at(none, "choices", 0, "text") != "And" || at(none, "choices", 0, "finish_reason") != "length" {
		t.Error(none)
	}
}

func TestOllama(t *testing.T) {
	r := start(t, nil)
	options := fields{"seed": 5, "num_predict": 8}
	lines := r.events("/api/chat", fields{
		"model": bible, "options": options, "messages": []any{fields{"role": "user", "content": "And God said"}},
	})
	text := ""
	for _, l := range lines {
		piece, _ := at(l, "message", "content").(string)
		text += piece
	}
	last := lines[len(lines)-1]
	if last["done"] != true || last["done_reason"] != "length" || last["eval_count"] != 8.0 || text == "" {
		t.Fatal(lines)
	}
	for _, name := range []string{"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"} {
		if v, is := last[name].(float64); !is || v <= 0 {
			t.Error(name, last[name])
		}
	}
	whole := r.ask("/api/generate", fields{"model": bible, "options": options, "prompt": "And God said", "stream": false})
	if whole["response"] != text {
		t.Error(whole, text)
	}
	// It goes on from the context that came back.
	more := r.ask("/api/generate", fields{"model": bible, "options": options, "prompt": "?", "context": whole["context"], "stream": false})
	before, _ := whole["context"].([]any)
	if after, _ := more["context"].([]any); len(after) <= len(before)+8 {
		t.Error(more)
	}
	ps := r.object(func() []byte { _, b, _ := r.do("GET", "/api/ps", ""); return b }())
	if at(ps, "models", 0, "name") != bible+":latest" || at(ps, "models", 0, "context_length") != 512.0 {
		t.Error(ps)
	}
	// Without a prompt: load, and unload.
	if m := r.ask("/api/generate", fields{"model": bible}); m["done_reason"] != "load" {
		t.Error(m)
	}
	if m := r.ask("/api/generate", fields{"model": bible, "keep_alive": 0}); m["done_reason"] != "unload" {
		t.Error(m)
	}
	r.eventually("unloaded", func() bool { return len(r.server.fleet.all()) == 0 })
	r.ask("/api/generate", fields{"model": bible, "prompt": "a", "stream": false, "keep_alive": "30ms", "options": options})
	r.eventually("unloaded by itself", func() bool { return len(r.server.fleet.all()) == 0 })
}

func TestGrammars(t *testing.T) {
	r := start(t, nil)
	schema := fields{
		"type": "object", "required": []any{"zeal", "age"}, "additionalProperties": false,
		"properties": fields{"zeal": fields{"type": "boolean"}, "age": fields{"type": "integer", "minimum": 1, "maximum": 99}},
	}
	check := func(text any) {
		t.Helper()
		m := r.object([]byte(fmt.Sprint(text)))
		if _, is := m["zeal"].(bool); !is || len(m) != 2 {
			t.Error(text)
		}
	}
	format := fields{"type": "json_schema", "json_schema": fields{"name": "x", "strict": true, "schema": schema}}
	for seed := range 4 {
		m := r.ask("/v1/chat/completions", chat(fields{"response_format": format, "max_tokens": 200, "seed": seed}))
		check(at(m, "choices", 0, "message", "content"))
	}
	check(r.ask("/api/generate", fields{"model": bible, "prompt": "a", "stream": false, "format": schema})["response"])
	for _, f := range []struct{ path, key string }{{"/v1/completions", "text"}} {
		m := r.ask(f.path, fields{"prompt": "a", "grammar": `root ::= "yes" | "no"`, "max_tokens": 20})
		if text := at(m, "choices", 0, f.key); text != "yes" && text != "no" {
			t.Error(m)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	r := start(t, nil)
	m := r.ask("/v1/embeddings", fields{"model": bible, "input": []any{"And God said", "a", "b", "c", "d", "And God said"}})
	first, last := at(m, "data", 0, "embedding"), at(m, "data", 5, "embedding")
	if row, _ := first.([]any); len(row) != 256 || at(m, "data", 5, "index") != 5.0 {
		t.Fatal(m)
	}
	for i, v := range first.([]any) {
		if w := at(last, i).(float64); v.(float64)-w > 1e-4 || w-v.(float64) > 1e-4 {
			t.Fatal("the same text has another row", v, w)
		}
	}
	if packed := r.ask("/v1/embeddings", fields{"input": "a", "encoding_format": "base64"}); len(at(packed, "data", 0, "embedding").(string)) != (256*4+2)/3*4 {
		t.Error(packed)
	}
	o := r.ask("/api/embed", fields{"model": bible, "input": []any{"And God said", strings.Repeat("word ", 2000)}})
	if rows, _ := o["embeddings"].([]any); len(rows) != 2 {
		t.Error(o)
	}
	if row, _ := r.ask("/api/embeddings", fields{"model": bible, "prompt": "a"})["embedding"].([]any); len(row) != 256 {
		t.Error(row)
	}
}

func TestTemplates(t *testing.T) {
	r := start(t, func(o *options) { o.models = append(o.models, templatesPath()) })
	m := r.ask("/apply-template", fields{"model": "model", "messages": []any{fields{"role": "user", "content": "Hello there"}}})
	if !strings.Contains(fmt.Sprint(m["prompt"]), "Hello there") || m["prompt"] == "Hello there" {
		t.Error(m)
	}
	show := r.ask("/api/show", fields{"model": "model"})
	if show["template"] == "" {
		t.Error(show)
	}
	// A file without weights is listed and cannot be loaded: an answer, and others go on.
	text, _ := json.Marshal(chat(fields{"model": "model"}))
	if status, body, _ := r.do("POST", "/v1/chat/completions", string(text)); status < 400 {
		t.Error(status, string(body))
	}
	r.ask("/v1/chat/completions", chat(nil))
}

func TestManyAtOnce(t *testing.T) {
	r := start(t, nil)
	alone := make([]any, 8)
	for i := range alone {
		alone[i] = at(r.ask("/v1/chat/completions", chat(fields{"seed": i, "temperature": 1})), "choices", 0, "message", "content")
	}
	together := make([]any, 8)
	done := make(chan int)
	for i := range together {
		go func() {
			m := r.ask("/v1/chat/completions", chat(fields{"seed": i, "temperature": 1}))
			together[i] = at(m, "choices", 0, "message", "content")
			done <- i
		}()
	}
	for range together {
		<-done
	}
	for i := range alone {
		if alone[i] != together[i] {
			t.Error("another text beside others:", alone[i], together[i])
		}
	}
}

func TestCancel(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	text, _ := json.Marshal(chat(fields{"stream": true, "max_tokens": 100000, "ignore_eos": true, "n": 16}))
	request, _ := http.NewRequestWithContext(ctx, "POST", r.http.URL+"/v1/chat/completions", bytes.NewReader(text))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(answer.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	l := r.server.fleet.all()[0]
	busy := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.busy
	}
	if busy() != 16 {
		t.Error(busy(), "generations are under way")
	}
	cancel()
	answer.Body.Close()
	r.eventually("the sequence is free", func() bool { return busy() == 0 })
	r.eventually("the place is free", func() bool { return len(r.server.places) == 0 })
}
