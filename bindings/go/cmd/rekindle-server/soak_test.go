package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// soaking lets clients come, leave early, send nonsense and unload models for a while.
type soaking struct {
	*rig
	client *http.Client
	// rest is held by clients at work, and as a whole while what is left of them is looked at.
	rest sync.RWMutex

	mu       sync.Mutex
	statuses map[int]int
	left     int
	// goroutines at the beginning; the process's bytes and those of Go's objects at each look.
	goroutines     int
	resident, heap []int
}

// TestSoak looks again and again at what is left when all clients rest and all models are unloaded: no place of the
// queue, no sequence, no goroutine, and no more memory than before. REKINDLE_SOAK=10m makes it long.
func TestSoak(t *testing.T) {
	length, looks := 3*time.Second, 2
	if given := os.Getenv("REKINDLE_SOAK"); given != "" {
		var err error
		if length, err = time.ParseDuration(given); err != nil {
			t.Fatal(err)
		}
		looks = 20
	}
	second := filepath.Join(t.TempDir(), "second.gguf")
	text, err := os.ReadFile(modelPath())
	if err == nil {
		err = os.WriteFile(second, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	slots := t.TempDir()
	s := &soaking{
		rig:      start(t, func(o *options) { o.models, o.slotPath = append(o.models, second), slots }),
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		statuses: map[int]int{}, goroutines: runtime.NumGoroutine(),
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			rng := rand.New(rand.NewPCG(7, uint64(worker)))
			for ctx.Err() == nil {
				s.rest.RLock()
				s.visit(rng)
				s.rest.RUnlock()
			}
		}()
	}
	began := time.Now()
	for n := 1; n < looks; n++ {
		time.Sleep(time.Until(began.Add(length * time.Duration(n) / time.Duration(looks))))
		s.look()
	}
	all.Wait()
	s.look()
	s.verdict(length)
}

// visit is one client's: a request at random, which every third client does not see to its end.
func (s *soaking) visit(rng *rand.Rand) {
	if rng.IntN(12) == 0 {
		s.wild(rng)
		return
	}
	method, path, body := soakRequest(rng)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	leaves := rng.IntN(3) == 0
	if leaves {
		time.AfterFunc(time.Duration(rng.IntN(200))*time.Millisecond, cancel)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.http.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		s.Error(err)
		return
	}
	status := 0
	if answer, err := s.client.Do(request); err == nil {
		status = answer.StatusCode
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if status >= 500 {
			s.Errorf("%s %s %.200s: %d %.200s", method, path, body, status, text)
		}
		if err != nil {
			status = 0
		}
	} else if !leaves {
		s.Error(method, path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if status == 0 {
		s.left++
	} else {
		s.statuses[status]++
	}
}

// wild sends what is no proper request, or only a part of one, or does not read the answer.
func (s *soaking) wild(rng *rand.Rand) {
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.Error(err)
		return
	}
	defer c.Close()
	_, path, body := soakRequest(rng)
	whole := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	switch rng.IntN(3) {
	case 0:
		whole = whole[:rng.IntN(len(whole)+1)]
	case 1:
		b := []byte(whole)
		for range 8 {
			b[rng.IntN(len(b))] = byte(rng.IntN(256))
		}
		whole = string(b)
	}
	io.WriteString(c, whole)
	time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
}

// soakRequest is one at random: chats, streams, embeddings, plans, bad ones, slots, unloads.
func soakRequest(rng *rand.Rand) (method, path, body string) {
	n := rng.IntN(60) + 1
	said := strings.Repeat("And God said unto Moses, ", rng.IntN(12)+1)
	model := []string{bible, "second"}[rng.IntN(2)]
	of := func(m fields) string {
		m["model"] = model
		text, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	messages := []any{fields{"role": "user", "content": said}}
	tool := fields{"type": "function", "function": fields{"name": "f", "parameters": fields{"type": "object"}}}
	switch rng.IntN(16) {
	case 0, 1:
		return "POST", "/v1/chat/completions", of(fields{"messages": messages, "max_tokens": n, "stream": true})
	case 2:
		return "POST", "/v1/chat/completions", of(fields{"messages": messages, "max_tokens": n, "n": rng.IntN(3) + 1})
	case 3:
		return "POST", "/v1/chat/completions", of(fields{
			"messages": messages, "max_tokens": n, "tools": []any{tool}, "logprobs": true, "top_logprobs": 3, "stop": "Moses",
		})
	case 4, 5:
		return "POST", "/api/chat", of(fields{"messages": messages, "options": fields{"num_predict": n}})
	case 6:
		return "POST", "/v1/messages", of(fields{"messages": messages, "max_tokens": n, "stream": true})
	case 7:
		return "POST", "/v1/embeddings", of(fields{"input": []any{said, "a", "b"}})
	case 8:
		return "POST", "/v1/chat/completions", of(fields{
			"messages": messages, "max_tokens": 60, "response_format": fields{"type": "json_object"},
		})
	case 9:
		return "POST", "/v1/completions", `{"prompt":["a",` + strings.Repeat("[", rng.IntN(50))
	case 10:
		return "POST", "/api/generate", of(fields{"keep_alive": 0})
	case 11:
		// A larger context is a new load.
		return "POST", "/api/generate", of(fields{
			"prompt": said, "options": fields{"num_predict": n, "num_ctx": 256 + rng.IntN(512)},
		})
	case 12:
		action := []string{"save", "restore", "erase"}[rng.IntN(3)]
		return "POST", fmt.Sprintf("/slots/%d?action=%s&model=%s", rng.IntN(5), action, model), `{"filename":"soak"}`
	case 13:
		return "POST", "/plan", of(fields{"devices": "k80:2,cpu", "n_ctx": n * 100, "remedies": true})
	case 14:
		return "POST", "/v1/responses", of(fields{"input": said, "max_output_tokens": n, "stream": true})
	}
	return "GET", []string{"/api/tags", "/api/ps", "/metrics", "/slots?model=" + model, "/v1/models"}[rng.IntN(5)], ""
}

// look waits until all clients rest, unloads all models, and looks at what is left.
func (s *soaking) look() {
	s.rest.Lock()
	defer s.rest.Unlock()
	s.client.CloseIdleConnections()
	for _, model := range []string{bible, "second"} {
		s.ask("/api/generate", fields{"model": model, "keep_alive": 0})
	}
	http.DefaultClient.CloseIdleConnections()
	s.eventually("no place is taken", func() bool { return len(s.server.places) == 0 })
	s.eventually("no model is loaded", func() bool { return len(s.server.fleet.all()) == 0 })
	if err := s.server.fleet.settle(context.Background()); err != nil {
		s.Error(err)
	}
	s.eventually("all goroutines have ended", func() bool { return runtime.NumGoroutine() <= s.goroutines+8 })
	// Finalizers of the first collection free what the second one finds.
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.resident, s.heap = append(s.resident, resident(s.T)), append(s.heap, int(m.HeapAlloc))
}

// verdict tells what was seen. Memory must not grow from the middle fifth of the time to the last one: before that each
// of Go's threads, which are many, gets what the library and the system keep for a thread.
func (s *soaking) verdict(length time.Duration) {
	if n := runtime.NumGoroutine(); n > s.goroutines+8 {
		s.Error(n, "goroutines, at first there were", s.goroutines)
	}
	mib := func(list []int) (text []string) {
		for _, n := range list {
			text = append(text, fmt.Sprintf("%.1f", float64(n)/(1<<20)))
		}
		return
	}
	s.Logf("%v: statuses %v, %d clients left early; goroutines %d at first, %d at last; MiB %v, of Go's objects %v",
		length, s.statuses, s.left, s.goroutines, runtime.NumGoroutine(), mib(s.resident), mib(s.heap))
	n := len(s.resident)
	middle, last := median(s.resident[n*2/5:n*3/5]), median(s.resident[n*4/5:])
	if !raced && length >= 5*time.Minute && last > middle+middle/50 {
		s.Error("memory has grown from", middle, "to", last)
	}
}

// median of some numbers.
func median(list []int) int {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// resident is the process's memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		// Elsewhere than on Linux the rest is looked at.
		return 0
	}
	var all, pages int
	if _, err := fmt.Sscan(string(text), &all, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
