package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// server answers requests. Its files: openai*.go, ollama*.go and anthropic*.go hold the dialects, native.go the endpoints of
// llama.cpp's server, run.go what all of them do with a model.
type server struct {
	options options
	context *rekindle.Context
	facts   *factsCache
	catalog *catalog
	state   *state
	fleet   *fleet
	metrics *metrics
	keys    *keyring
	origins *origins
	// places has one place per request that may be under way or wait for a model.
	places chan struct{}
	mux    *http.ServeMux
	bodies bodies
	// uploads has one place per file that clients may send at once.
	uploads chan struct{}
}

func newServer(o options) (*server, error) {
	c, err := rekindle.NewContext(o.devices, uint32(o.threads))
	if err != nil {
		return nil, err
	}
	s := &server{
		options: o, context: c, facts: &factsCache{context: c, known: map[string]*facts{}},
		keys: newKeyring(o.keys), origins: newOrigins(o.origins, o.host), places: make(chan struct{}, o.queue),
		uploads: make(chan struct{}, mostUploads), bodies: bodies{most: mostBodies},
	}
	if s.state, err = openState(o.state); err == nil {
		s.catalog, err = newCatalog(o, s.state, newDigests())
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	s.metrics = newMetrics()
	s.fleet = newFleet(o, c, s.facts, s.metrics)
	s.metrics.watch(s.fleet, s.places)
	s.routes()
	return s, nil
}

func (s *server) close() {
	s.fleet.close()
	s.context.Close()
}

// handler is what an endpoint does. An error becomes the dialect's form of it.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *server) routes() {
	s.mux = http.NewServeMux()
	open := func(pattern string, h http.HandlerFunc) { s.mux.HandleFunc(pattern, h) }
	quick := func(d dialect, pattern string, h handler) { s.mux.Handle(pattern, s.guard(d, h)) }
	// Those that use a model count for the queue's limit.
	work := func(d dialect, pattern string, h handler) { s.mux.Handle(pattern, s.guard(d, s.queued(h))) }

	open("GET /health", s.health)
	open("GET /v1/health", s.health)
	open("GET /{$}", s.root)
	open("GET /page/{name}", func(w http.ResponseWriter, r *http.Request) { s.pageFile(w, r, r.PathValue("name")) })
	quick(openAI, "POST /plan", s.planned)
	s.mux.Handle("GET /metrics", s.guard(openAI, func(w http.ResponseWriter, r *http.Request) error {
		s.metrics.handler.ServeHTTP(w, r)
		return nil
	}))

	quick(openAI, "GET /v1/models", s.openAIModels)
	quick(openAI, "GET /v1/models/{id...}", s.openAIModel)
	work(openAI, "POST /v1/completions", s.openAICompletions)
	work(openAI, "POST /v1/chat/completions", s.openAIChat)
	work(openAI, "POST /v1/responses", s.responses)
	work(openAI, "POST /v1/embeddings", s.openAIEmbeddings)

	work(anthropic, "POST /v1/messages", s.anthropicMessages)
	quick(anthropic, "POST /v1/messages/count_tokens", s.anthropicCount)

	quick(ollama, "GET /api/version", s.ollamaVersion)
	quick(ollama, "GET /api/tags", s.ollamaTags)
	quick(ollama, "POST /api/show", s.ollamaShow)
	quick(ollama, "GET /api/ps", s.ollamaPs)
	work(ollama, "POST /api/generate", s.ollamaGenerate)
	work(ollama, "POST /api/chat", s.ollamaChat)
	work(ollama, "POST /api/embed", s.ollamaEmbed)
	work(ollama, "POST /api/embeddings", s.ollamaEmbeddings)

	for _, p := range []string{"/v1/rerank", "/rerank", "/v1/reranking", "/reranking"} {
		work(openAI, "POST "+p, s.rerank)
	}
	work(openAI, "POST /completion", s.completion)
	work(openAI, "POST /infill", s.infill)
	work(openAI, "GET /slots", s.slots)
	work(openAI, "POST /slots/{id}", s.slot)
	work(openAI, "POST /tokenize", s.tokenize)
	work(openAI, "POST /detokenize", s.detokenize)
	work(openAI, "POST /apply-template", s.applyTemplate)

	quick(ollama, "POST /api/create", s.create)
	quick(ollama, "POST /api/copy", s.copyModel)
	quick(ollama, "DELETE /api/delete", s.deleteModel)
	quick(ollama, "HEAD /api/blobs/{digest}", s.blobHead)
	s.mux.Handle("POST /api/blobs/{digest}", s.limited(ollama, s.options.upload, s.blobPut))
	work(openAI, "POST /models/load", s.loadModel)
	quick(openAI, "POST /models/unload", s.unloadModel)
	for _, p := range []string{"pull", "push"} {
		quick(ollama, "/api/"+p, func(w http.ResponseWriter, r *http.Request) error {
			return notThere("%s is not there: this server asks nothing of other hosts; its models are those on its disk", r.URL.Path)
		})
	}
	for _, p := range []string{"audio/", "images/", "files", "fine_tuning/", "batches", "moderations"} {
		quick(openAI, "/v1/"+p, func(w http.ResponseWriter, r *http.Request) error {
			return notThere("%s is not there: this server runs language models on texts", r.URL.Path)
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dialectOf(r).refuse(w, notFound("not_found", "there is no %s %s", r.Method, r.URL.Path))
	})
}

// dialectOf tells the dialect of a path.
func dialectOf(r *http.Request) dialect {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		return ollama
	}
	if strings.HasPrefix(r.URL.Path, "/v1/messages") {
		return anthropic
	}
	return openAI
}

// ServeHTTP lets a request in: its host, its origin, then its endpoint.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if s.options.verbose {
		defer func() {
			slog.Info("request", "method", r.Method, "path", r.URL.Path, "seconds", time.Since(began).Seconds())
		}()
	}
	forbidden := func(format string, args ...any) {
		dialectOf(r).refuse(w, &failure{http.StatusForbidden, fmt.Sprintf(format, args...), "invalid_request_error", "forbidden", ""})
	}
	if !s.origins.knowsHost(r) {
		forbidden("the host %q is no name of this machine", r.Host)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		h := w.Header()
		h.Add("Vary", "Origin")
		if !s.origins.allows(r, origin) {
			forbidden("pages of %q may not call this server; --origins allows more", origin)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS")
			headers := "Authorization, Content-Type, X-Api-Key"
			if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
				headers = wanted
			}
			h.Set("Access-Control-Allow-Headers", headers)
			h.Set("Access-Control-Max-Age", "3600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// guard checks the key, limits body and time, and turns errors into the dialect's answers.
func (s *server) guard(d dialect, h handler) http.Handler {
	return s.limited(d, s.options.body, s.whole(h))
}

// limited is guard with another limit of the body.
func (s *server) limited(d dialect, most int64, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.keys.allows(r) {
			d.refuse(w, &failure{http.StatusUnauthorized, "a key is missing or wrong", "authentication_error", "invalid_api_key", ""})
			return
		}
		if s.options.requestTimeout > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), s.options.requestTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		t := &tracked{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				slog.Error("a request has failed", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.answerError(t, d, errors.New("the request has failed inside of the server"))
			}
		}()
		if err := h(t, r); err != nil {
			s.answerError(t, d, err)
		}
	})
}

func (s *server) answerError(t *tracked, d dialect, err error) {
	f := asFailure(err)
	if f.status == statusGone {
		return
	}
	switch f.status {
	case http.StatusInternalServerError:
		slog.Error("a request has failed", "error", f.message)
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		slog.Warn("a request was not answered", "error", f.message)
	}
	switch {
	case t.stream != nil:
		t.stream.fail(d, d.body(f))
	case !t.begun:
		d.refuse(t, f)
	}
}

// tracked remembers how far an answer is.
type tracked struct {
	http.ResponseWriter
	begun  bool
	stream *stream
}

func (t *tracked) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracked) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// queued takes a place of the queue, or answers that there is none.
func (s *server) queued(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		select {
		case s.places <- struct{}{}:
			defer func() { <-s.places }()
			return h(w, r)
		default:
			return unavailable("queue_full", "the queue is full: %d requests are under way or wait", cap(s.places))
		}
	}
}

// whole has the body read before anything else, so that who sends it slowly takes no place from others.
func (s *server) whole(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		give, err := s.bodies.read(w, r)
		if err != nil {
			return err
		}
		defer give()
		return h(w, r)
	}
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, map[string]any{"status": "ok"})
}
