package main

import (
	"encoding/json"
	"net/http"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// loadOnly answers requests without a prompt: they load a model, or unload it with keep_alive 0.
func (s *server) loadOnly(w http.ResponseWriter, r *http.Request, o *ollamaWishes, wrap func(map[string]any, *reply)) error {
	e, err := s.catalog.find(o.Model)
	if err != nil {
		return err
	}
	m := map[string]any{
		"model": e.tagged(), "created_at": time.Now().UTC().Format(time.RFC3339Nano), "done": true, "done_reason": "load",
	}
	wrap(m, &reply{})
	if o.KeepAlive.given && o.KeepAlive.value == 0 {
		s.fleet.dismiss(e.path)
		m["done_reason"] = "unload"
		return writeJSON(w, m)
	}
	l, err := s.useEntry(r.Context(), e, toWrite, o.KeepAlive, o.Options)
	if err != nil {
		return err
	}
	l.release()
	return writeJSON(w, m)
}

// generateRequest is that of /api/generate.
type generateRequest struct {
	ollamaWishes
	Prompt   string   `json:"prompt"`
	Suffix   string   `json:"suffix"`
	System   *string  `json:"system"`
	Template string   `json:"template"`
	Raw      bool     `json:"raw"`
	Images   []string `json:"images"`
	Context  []int32  `json:"context"`
}

func (s *server) ollamaGenerate(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	var g generateRequest
	if err := readJSON(r, &g); err != nil {
		return err
	}
	wrap := func(m map[string]any, r *reply) {
		m["response"] = r.content.String()
		if r.reasoning.Len() > 0 {
			m["thinking"] = r.reasoning.String()
		}
	}
	if g.Prompt == "" && g.Suffix == "" && len(g.Context) == 0 {
		return s.loadOnly(w, r, &g.ollamaWishes, wrap)
	}
	if len(g.Images) > 0 {
		return badRequest("images", "images are given; the models here read only text")
	}
	if g.Template != "" {
		return notThere("template is not there; the file's own template is used, or none with raw")
	}
	a := &ollamaAnswer{began: began, wrap: wrap}
	variables, err := g.variables()
	if err != nil {
		return err
	}
	params := chatParams{variables: variables}
	var made prompt
	a.last = func(m map[string]any, written []int32) {
		if !g.Raw {
			m["context"] = append(made.tokens, written...)
		}
	}
	stop, err := s.beginOllama(r, a, &g.ollamaWishes, params, func(l *lease) (_ prompt, err error) {
		if made, err = g.make(l, params); err == nil && g.truncates() {
			made.tokens = l.within(made.tokens, g.Options.over(l.entry.params).NumKeep)
		}
		return made, err
	})
	if err != nil {
		return err
	}
	defer stop()
	return a.send(w, g.Stream)
}

// make makes the prompt: as it stands (raw), around the place to fill in, or as a conversation of one message.
func (g *generateRequest) make(l *lease, p chatParams) (made prompt, err error) {
	if g.Suffix != "" {
		made.tokens, err = l.between(g.Prompt, g.Suffix, nil)
		return made, err
	}
	if g.Raw {
		made.text = g.Prompt
		made.tokens, err = l.model.TokenizeWith(g.Prompt, rekindle.TextOptions{Special: true, ParseSpecial: true})
		return made, err
	}
	var messages []chatMessage
	if g.System != nil && *g.System != "" {
		messages = append(messages, chatMessage{Role: "system", Content: content{*g.System}})
	}
	messages = append(messages, chatMessage{Role: "user", Content: content{g.Prompt}})
	var plain bool
	if made.text, plain, err = l.entry.render(l.model, messages, p); err != nil {
		return made, err
	}
	// What a former answer gave back goes before; it begins as a text does, so this does not.
	o := rekindle.TextOptions{Special: plain && len(g.Context) == 0, ParseSpecial: true}
	tokens, err := l.model.TokenizeWith(made.text, o)
	made.tokens = append(append([]int32{}, g.Context...), tokens...)
	return made, err
}

// beginOllama gets the model and begins to write. stop gives everything back.
func (s *server) beginOllama(
	r *http.Request, a *ollamaAnswer, o *ollamaWishes, p chatParams, make func(*lease) (prompt, error),
) (stop func(), err error) {
	if a.best, err = o.best(); err != nil {
		return nil, err
	}
	constraint, err := o.constraint()
	if err != nil {
		return nil, err
	}
	l, err := s.use(r.Context(), o.Model, toWrite, o.KeepAlive, o.Options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	made, err := make(l)
	if err != nil {
		return nil, err
	}
	steer := o.Options.over(l.entry.params).over(ollama.usualWishes())
	t, reader, err := l.answerTo(made, p, steer, constraint)
	if err != nil {
		return nil, err
	}
	if a.best >= 0 {
		t.logprobs = max(a.best, 1)
	}
	a.lease, a.reader = l, reader
	if t.wishes.writesNothing() {
		a.job = overAlready()
		return l.release, nil
	}
	jobs, end, err := l.begin(r.Context(), t, 1)
	if err != nil {
		return nil, err
	}
	a.job = jobs[0]
	return func() { end(); l.release() }, nil
}

func (s *server) ollamaChat(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	var c struct {
		ollamaWishes
		Messages []chatMessage   `json:"messages"`
		Tools    json.RawMessage `json:"tools"`
	}
	if err := readJSON(r, &c); err != nil {
		return err
	}
	wrap := func(m map[string]any, r *reply) { m["message"] = r.ollama() }
	if len(c.Messages) == 0 {
		return s.loadOnly(w, r, &c.ollamaWishes, wrap)
	}
	variables, err := c.variables()
	if err != nil {
		return err
	}
	params := chatParams{variables: variables}
	if given(c.Tools) {
		params.tools = c.Tools
	}
	a := &ollamaAnswer{began: began, wrap: wrap}
	stop, err := s.beginOllama(r, a, &c.ollamaWishes, params, func(l *lease) (prompt, error) {
		if c.truncates() {
			return l.chatWithin(c.Messages, params)
		}
		return l.chatPrompt(c.Messages, params)
	})
	if err != nil {
		return err
	}
	defer stop()
	return a.send(w, c.Stream)
}
