package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// impatient has the server wait a short time for readers.
func impatient(t *testing.T, d time.Duration) {
	before := writeTimeout
	writeTimeout = d
	t.Cleanup(func() { writeTimeout = before })
}

// raw opens a connection and posts a body of a length, of which it may send less.
func (r *rig) raw(path string, length int, body string) net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", r.http.Listener.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, length, body)
	return c
}

// Who asks for much and reads nothing is left after a while.
func TestSlowReader(t *testing.T) {
	impatient(t, 300*time.Millisecond)
	r := start(t, nil)
	body, _ := json.Marshal(fields{"content": strings.Repeat("a b ", 250_000), "with_pieces": true})
	c := r.raw("/tokenize", len(body), string(body))
	r.eventually("the request is under way", func() bool { return len(r.server.places) == 1 })
	for range 3000 {
		if len(r.server.places) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := len(r.server.places); n != 0 {
		t.Error(n, "places are taken by who does not read")
	}
	c.Close()
	r.ask("/v1/chat/completions", chat(nil))
}

// The time that a reader has does not count against the next request of the connection.
func TestConnectionGoesOn(t *testing.T) {
	impatient(t, 100*time.Millisecond)
	r := start(t, nil)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	reused := false
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	ask := func(method, path, body string) {
		t.Helper()
		ctx := httptrace.WithClientTrace(context.Background(), trace)
		request, _ := http.NewRequestWithContext(ctx, method, r.http.URL+path, strings.NewReader(body))
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
			t.Error(answer.Status, err)
		}
	}
	text, _ := json.Marshal(chat(fields{"stream": true}))
	ask("POST", "/v1/chat/completions", string(text))
	for _, path := range []string{"/api/tags", "/", "/metrics", "/health"} {
		time.Sleep(150 * time.Millisecond)
		ask("GET", path, "")
		if !reused {
			t.Error(path, "got a connection of its own")
		}
	}
}

// Bodies that come slowly take no places from others.
func TestSlowBodies(t *testing.T) {
	r := start(t, func(o *options) { o.queue = 1 })
	for range 8 {
		r.raw("/v1/chat/completions", 1000, `{"messages":`)
	}
	for range 3 {
		r.ask("/v1/chat/completions", chat(nil))
	}
}

// All bodies together have a limit as well, and what was counted is given back.
func TestManyLargeBodies(t *testing.T) {
	r := start(t, nil)
	r.server.bodies.most = 10_000
	waiting := r.raw("/v1/chat/completions", 9000, strings.Repeat(" ", 8000))
	r.eventually("it counts", func() bool { return r.server.bodies.bytes.Load() == 8000 })
	if said := r.wants(503, "POST", "/tokenize", strings.Repeat(" ", 3000)); !strings.Contains(said, "10000") {
		t.Error(said)
	}
	r.ask("/v1/chat/completions", chat(nil))
	waiting.Close()
	r.eventually("it does not count any more", func() bool { return r.server.bodies.bytes.Load() == 0 })
}

// Hundreds of connections that say nothing keep nobody from being served.
func TestIdleConnections(t *testing.T) {
	r := start(t, nil)
	for range 300 {
		c, err := net.Dial("tcp", r.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	r.ask("/v1/chat/completions", chat(nil))
}

// What is no file is left out, and nobody waits for it.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	store := lay(t)
	at := filepath.Join(store, "manifests", "registry.ollama.ai", "library", "bad", "pipe")
	for _, p := range []string{filepath.Join(dir, "pipe.gguf"), at} {
		if err := syscall.Mkfifo(p, 0o600); err != nil {
			t.Skip("there are no pipes:", err)
		}
	}
	many := `{"layers":[` + strings.Repeat(`{},`, 100) + `{}]}`
	if err := os.WriteFile(filepath.Join(filepath.Dir(at), "many"), []byte(many), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, func(o *options) { o.models, o.store = append(o.models, dir), store })
	if got := r.names(); !strings.Contains(got, "bible:5m") || strings.Contains(got, "bad") || strings.Contains(got, "pipe") {
		t.Error(got)
	}
}

// A request for rows that nobody waits for any more ends before its last text.
func TestCancelledRows(t *testing.T) {
	r := start(t, nil)
	texts := make([]string, 2000)
	for i := range texts {
		texts[i] = strings.Repeat("And God said unto Moses ", 20)
	}
	body, _ := json.Marshal(fields{"input": texts})
	c := r.raw("/v1/embeddings", len(body), string(body))
	r.eventually("the model is there", func() bool { return len(r.server.fleet.all()) == 1 })
	c.Close()
	r.eventually("the request has ended", func() bool { return len(r.server.places) == 0 })
	r.ask("/v1/embeddings", fields{"input": "a"})
}

// A field of a wrong type is named as the client knows it.
func TestFieldNames(t *testing.T) {
	r := start(t, nil)
	for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/completion"} {
		said := r.wants(400, "POST", path, `{"temperature":"hot","prompt":"a","messages":[]}`)
		if !strings.Contains(said, `"temperature has`) {
			t.Error(path, said)
		}
	}
	if said := r.wants(400, "POST", "/api/chat", `{"options":{"top_k":[]}}`); !strings.Contains(said, `"options.top_k has`) {
		t.Error(said)
	}
}

// Comments of a stream come while its reader waits, and it goes on afterwards.
func TestLateReader(t *testing.T) {
	r := start(t, nil)
	body, _ := json.Marshal(chat(fields{"stream": true, "max_tokens": 200}))
	c := r.raw("/v1/chat/completions", len(body), string(body))
	time.Sleep(300 * time.Millisecond)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: [DONE]") {
			return
		}
	}
	t.Error("the stream has no end:", lines.Err())
}
