package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stream sends an answer piece by piece: as server-sent events, or as lines of JSON.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	events  bool
	mu      sync.Mutex
}

// Who does not read for this long is gone. Tests have less patience.
var writeTimeout = 60 * time.Second

// newStream begins the answer.
func newStream(w http.ResponseWriter, events bool) *stream {
	s := &stream{w: w, control: http.NewResponseController(w), events: events}
	h := w.Header()
	if events {
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		// Proxies must not hold pieces back.
		h.Set("X-Accel-Buffering", "no")
	} else {
		h.Set("Content-Type", "application/x-ndjson")
	}
	if t, is := w.(*tracked); is {
		t.stream = s
	}
	w.WriteHeader(http.StatusOK)
	return s
}

// send sends a value.
func (s *stream) send(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if s.events {
		return s.raw("data: %s\n\n", text)
	}
	return s.raw("%s\n", text)
}

// event sends a value under a name.
func (s *stream) event(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.raw("event: %s\ndata: %s\n\n", name, text)
}

// comment sends something that clients skip. Lines of JSON have no such thing.
func (s *stream) comment(text string) error {
	if !s.events {
		return nil
	}
	return s.raw(": %s\n\n", text)
}

// done ends OpenAI's streams.
func (s *stream) done() error { return s.raw("data: [DONE]\n\n") }

// fail sends an error in place of the rest.
func (s *stream) fail(d dialect, body []byte) {
	if d == anthropic {
		s.raw("event: error\ndata: %s\n\n", body)
	} else if s.events {
		s.raw("data: %s\n\n", body)
	} else {
		s.raw("%s\n", body)
	}
}

func (s *stream) raw(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Not every connection has deadlines.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}
