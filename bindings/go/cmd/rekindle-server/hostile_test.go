package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Each bad request gets the dialect's own form of an error with the right status, and the server goes on.
func TestBadInput(t *testing.T) {
	r := start(t, func(o *options) { o.body = 100_000 })
	message := `"messages":[{"role":"user","content":"a"}]`
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/v1/chat/completions", ``, 400, "empty"},
		{"/v1/chat/completions", `{"model":`, 400, "no proper JSON"},
		{"/v1/chat/completions", `[]`, 400, "object"},
		{"/v1/chat/completions", `{} {}`, 400, "no proper JSON"},
		{"/v1/chat/completions", "{\"model\":\"\xff\"}", 400, "UTF-8"},
		{"/v1/chat/completions", `{"messages":[]}`, 400, "messages"},
		{"/v1/chat/completions", `{"messages":"a"}`, 400, "messages"},
		{"/v1/chat/completions", `{"messages":[{"content":"a"}]}`, 400, "role"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":5}]}`, 400, "content"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, 400, "image_url"},
		{"/v1/chat/completions", `{"model":"nobody",` + message + `}`, 404, "nobody"},
		{"/v1/chat/completions", `{"model":5,` + message + `}`, 400, "model"},
		{"/v1/chat/completions", `{"temperature":"hot",` + message + `}`, 400, "temperature"},
		{"/v1/chat/completions", `{"temperature":-1,` + message + `}`, 400, "temperature"},
		{"/v1/chat/completions", `{"temperature":1e300,` + message + `}`, 400, "temperature"},
		{"/v1/chat/completions", `{"top_k":9999999999,` + message + `}`, 400, "top_k"},
		{"/v1/chat/completions", `{"n":0,` + message + `}`, 400, "n is 0"},
		{"/v1/chat/completions", `{"n":1000,` + message + `}`, 400, "n is 1000"},
		{"/v1/chat/completions", `{"max_tokens":0,` + message + `}`, 400, "max_tokens"},
		{"/v1/chat/completions", `{"logprobs":true,"top_logprobs":21,` + message + `}`, 400, "top_logprobs"},
		{"/v1/chat/completions", `{"logit_bias":{"x":1},` + message + `}`, 400, "logit_bias"},
		{"/v1/chat/completions", `{"stop":5,` + message + `}`, 400, "text"},
		{"/v1/chat/completions", `{"grammar":"root ::=== oh",` + message + `}`, 400, ""},
		{"/v1/chat/completions", `{"response_format":{"type":"xml"},` + message + `}`, 400, "xml"},
		{"/v1/chat/completions", `{"response_format":{"type":"json_schema"},` + message + `}`, 400, "schema"},
		{"/v1/chat/completions", `{"response_format":{"type":"json_schema","json_schema":{"schema":{"type":7}}},` + message + `}`, 400, ""},
		{"/v1/chat/completions", `{"chat_template":"{% for %}",` + message + `}`, 400, ""},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 3000) + `"}]}`, 400, "context"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + strings.Repeat("a", 100_000) + `"}]}`, 413, "100000"},
		{"/v1/completions", `{}`, 400, "prompt"},
		{"/v1/completions", `{"prompt":[[1,2],"a"]}`, 400, "prompt"},
		{"/v1/completions", `{"prompt":[[-1]]}`, 400, ""},
		{"/v1/completions", `{"prompt":[1,2,99999999]}`, 400, ""},
		{"/v1/completions", `{"prompt":"a","suffix":"b"}`, 400, "fill in"},
		{"/v1/completions", `{"prompt":"a","logprobs":-1}`, 400, "logprobs"},
		{"/v1/embeddings", `{"input":[]}`, 400, "input"},
		{"/v1/embeddings", `{"input":"a","dimensions":9999}`, 400, "dimensions"},
		{"/v1/embeddings", `{"input":"` + strings.Repeat("word ", 3000) + `"}`, 400, "tokens"},
		{"/v1/embeddings", `{"input":"a","encoding_format":"hex"}`, 400, "hex"},
		{"/v1/nothing", `{}`, 404, "/v1/nothing"},
		{"/v1/audio/speech", `{}`, 501, "language models"},
		{"/detokenize", `{"tokens":[-5]}`, 400, ""},
		{"/api/chat", `{"model":"nobody","messages":[{"role":"user","content":"a"}]}`, 404, "nobody"},
		{"/api/chat", `{"messages":[{"role":"user","content":"a","images":["eA=="]}]}`, 400, "images"},
		{"/api/chat", `{"format":"yaml","messages":[{"role":"user","content":"a"}]}`, 400, "yaml"},
		{"/api/chat", `{"keep_alive":"soon","messages":[{"role":"user","content":"a"}]}`, 400, "soon"},
		{"/api/chat", `{"think":[],"messages":[{"role":"user","content":"a"}]}`, 400, "think"},
		{"/api/generate", `{"prompt":"a","options":{"num_ctx":-1}}`, 400, "num_ctx"},
		{"/api/generate", `{"prompt":"a","images":["eA=="]}`, 400, "images"},
		{"/api/show", `{"model":"nobody"}`, 404, "nobody"},
		{"/api/pull", `{"model":"x"}`, 501, "/api/pull"},
		{"/api/nothing", `{}`, 404, "/api/nothing"},
	} {
		status, body, _ := r.do("POST", c.path, c.body)
		shown := c.body
		if len(shown) > 100 {
			shown = shown[:100]
		}
		if status != c.status {
			t.Errorf("%s %s: %d %s", c.path, shown, status, body)
			continue
		}
		said := r.object(body)["error"]
		if strings.HasPrefix(c.path, "/api/") != func() bool { _, is := said.(string); return is }() {
			t.Errorf("%s %s: the other dialect's form: %s", c.path, shown, body)
		}
		text, is := said.(string)
		if !is {
			text, _ = at(said, "message").(string)
		}
		if text == "" || !strings.Contains(text, c.says) {
			t.Errorf("%s %s: %s", c.path, shown, body)
		}
	}
	r.ask("/v1/chat/completions", chat(nil))
}

func TestContextLength(t *testing.T) {
	r := start(t, nil)
	text, _ := json.Marshal(chat(fields{"messages": []any{fields{"role": "user", "content": strings.Repeat("word ", 3000)}}}))
	_, body, _ := r.do("POST", "/v1/chat/completions", string(text))
	if e := r.object(body); at(e, "error", "code") != "context_length_exceeded" || at(e, "error", "type") != "invalid_request_error" {
		t.Error(string(body))
	}
}

// Ollama's clients count on being cut, unless they ask for a refusal.
func TestTruncate(t *testing.T) {
	r := start(t, nil)
	long := strings.Repeat("word ", 3000)
	context := 512.0
	for _, path := range []string{"/api/generate", "/api/chat"} {
		body := fields{"prompt": long, "raw": true, "stream": false, "options": fields{"num_predict": 4}}
		if path == "/api/chat" {
			turn := func(role, text string) fields { return fields{"role": role, "content": text} }
			messages := []any{turn("system", "Be brief.")}
			for range 80 {
				messages = append(messages, turn("user", "word word word word"), turn("assistant", "word word word word"))
			}
			body["messages"] = append(messages, turn("user", "And God said"))
		}
		answer := r.ask(path, body)
		n, _ := answer["prompt_eval_count"].(float64)
		if n < context/2 || n > context*3/4 || at(answer, "eval_count") != 4.0 {
			t.Errorf("%s: %v", path, answer)
		}
		body["truncate"] = false
		text, _ := json.Marshal(body)
		if status, answer, _ := r.do("POST", path, string(text)); status != 400 {
			t.Errorf("%s without truncate: %d %s", path, status, answer)
		}
	}
}

// The beginning that num_keep names stays, and the end does.
func TestWithin(t *testing.T) {
	l := &lease{loaded: &loaded{}}
	l.summary.Ctx = 16
	tokens := make([]int32, 40)
	for i := range tokens {
		tokens[i] = int32(i)
	}
	number := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		keep       *int64
		kept, from int32
	}{{nil, 4, 32}, {number(0), 0, 28}, {number(7), 7, 35}, {number(-1), 11, 39}, {number(99), 11, 39}} {
		cut := l.within(tokens, c.keep)
		if len(cut) != 12 || cut[c.kept] != c.from || cut[11] != 39 || (c.kept > 0 && cut[c.kept-1] != c.kept-1) {
			t.Errorf("%v: %v", c, cut)
		}
	}
	if short := l.within(tokens[:15], nil); len(short) != 15 {
		t.Error(short)
	}
}

// A context that does not fit is answered in the plan's words.
func TestNotFit(t *testing.T) {
	r := start(t, nil)
	body := `{"prompt":"a","options":{"num_ctx":2000000000}}`
	status, answer, _ := r.do("POST", "/api/generate", body)
	if said, _ := r.object(answer)["error"].(string); status != 400 || !strings.Contains(said, "device 0") {
		t.Error(status, string(answer))
	}
}

func TestKeys(t *testing.T) {
	r := start(t, func(o *options) { o.keys = []string{"first", "second"} })
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Authorization", "Bearer first", 200}, {"Authorization", "Bearer second", 200}, {"X-Api-Key", "second", 200},
		{"Authorization", "Bearer firs", 401}, {"Authorization", "first", 401}, {"Authorization", "Bearer ", 401}, {"X-Other", "first", 401},
	} {
		if status, body, _ := r.do("GET", "/v1/models", "", c.header, c.value); status != c.status {
			t.Error(c, status, string(body))
		}
	}
	for path, status := range map[string]int{"/health": 200, "/": 200, "/api/tags": 401, "/metrics": 401} {
		if got, _, _ := r.do("GET", path, ""); got != status {
			t.Error(path, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	r := start(t, func(o *options) { o.origins = append(o.origins, "https://chat.example") })
	for _, c := range []struct {
		origin string
		status int
	}{
		{"http://localhost:3000", 200}, {"https://chat.example", 200}, {"app://obsidian", 200}, {r.http.URL, 200},
		{"https://evil.example", 403}, {"https://chat.example.evil", 403}, {"null", 403}, {"http://localhost.evil", 403},
	} {
		status, _, h := r.do("GET", "/v1/models", "", "Origin", c.origin)
		if status != c.status || (h.Get("Access-Control-Allow-Origin") == c.origin) != (status == 200) {
			t.Error(c, status, h)
		}
	}
	status, _, h := r.do("OPTIONS", "/v1/chat/completions", "", "Origin", "https://chat.example",
		"Access-Control-Request-Headers", "x-stainless-os")
	if status != 204 || h.Get("Access-Control-Allow-Headers") != "x-stainless-os" {
		t.Error(status, h)
	}
	// A page whose name was made to point here.
	if status, _, _ := r.do("GET", "/v1/models", "", "Host", "evil.example"); status != 403 {
		t.Error("a foreign host's name:", status)
	}
}

func TestQueueIsFull(t *testing.T) {
	r := start(t, func(o *options) { o.queue = 1 })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	text, _ := json.Marshal(chat(fields{"stream": true, "max_tokens": 100000, "ignore_eos": true, "n": 16}))
	request, _ := http.NewRequestWithContext(ctx, "POST", r.http.URL+"/v1/chat/completions", bytes.NewReader(text))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	status, body, h := r.do("POST", "/api/generate", `{"prompt":"a"}`)
	if status != 503 || h.Get("Retry-After") == "" || !strings.Contains(string(body), "queue") {
		t.Error(status, string(body))
	}
	if status, _, _ := r.do("GET", "/health", ""); status != 200 {
		t.Error("health is behind the queue")
	}
	cancel()
	r.eventually("a place is free", func() bool { return len(r.server.places) == 0 })
	r.ask("/api/generate", fields{"prompt": "a", "stream": false, "options": fields{"num_predict": 2}})
}

// While a prompt is read, comments keep the connection alive.
func TestComments(t *testing.T) {
	j := newJob(context.Background(), overAlready().params)
	go func() {
		time.Sleep(50 * time.Millisecond)
		j.tell(func() { j.tokens = append(j.tokens, token{id: 1, text: "a"}) })
		j.end(nil)
	}()
	comments, tokens := 0, 0
	err := j.read(func(token) error { tokens++; return nil }, 10*time.Millisecond, func(jobInfo) error { comments++; return nil })
	if err != nil || comments < 2 || tokens != 1 {
		t.Error(comments, tokens, err)
	}
}

func TestRequestTimeout(t *testing.T) {
	r := start(t, func(o *options) { o.requestTimeout = 50 * time.Millisecond })
	text, _ := json.Marshal(chat(fields{"max_tokens": 100000, "ignore_eos": true, "n": 16}))
	if status, body, _ := r.do("POST", "/v1/chat/completions", string(text)); status != 504 || !strings.Contains(string(body), "timeout") {
		t.Error(status, string(body))
	}
}

// Connections beyond the limit wait; they are taken when others leave.
func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, nil)
	h := &http.Server{Handler: r.server}
	go h.Serve(narrow(l, 2))
	defer h.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	answers := func(c net.Conn) bool {
		io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.Contains(line, "200")
	}
	first, second, third := dial(), dial(), dial()
	defer second.Close()
	defer third.Close()
	if !answers(first) || !answers(second) || answers(third) {
		t.Error("not two connections at once")
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(2 * time.Second))
	if line, _ := bufio.NewReader(third).ReadString('\n'); !strings.Contains(line, "200") {
		t.Error("a connection that waited got", line)
	}
}
