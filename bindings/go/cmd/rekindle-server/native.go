package main

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

func (s *server) tokenize(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model        string    `json:"model"`
		Content      string    `json:"content"`
		AddSpecial   bool      `json:"add_special"`
		ParseSpecial *bool     `json:"parse_special"`
		WithPieces   bool      `json:"with_pieces"`
		KeepAlive    keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	defer l.release()
	tokens, err := l.model.TokenizeWith(q.Content, rekindle.TextOptions{
		Special: q.AddSpecial, ParseSpecial: q.ParseSpecial == nil || *q.ParseSpecial,
	})
	if err != nil {
		return err
	}
	if !q.WithPieces {
		return writeJSON(w, map[string]any{"tokens": tokens})
	}
	list := make([]any, len(tokens))
	for i, id := range tokens {
		var piece any = l.tokenText(id)
		if text := piece.(string); !utf8.ValidString(text) {
			bytes := make([]int, len(text))
			for j := range text {
				bytes[j] = int(text[j])
			}
			piece = bytes
		}
		list[i] = map[string]any{"id": id, "piece": piece}
	}
	return writeJSON(w, map[string]any{"tokens": list})
}

func (s *server) detokenize(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model     string    `json:"model"`
		Tokens    []int32   `json:"tokens"`
		KeepAlive keepAlive `json:"keep_alive"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	defer l.release()
	text, err := l.model.Detokenize(q.Tokens, rekindle.TextOptions{ParseSpecial: true})
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"content": valid(text)})
}

func (s *server) applyTemplate(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model              string          `json:"model"`
		Messages           []chatMessage   `json:"messages"`
		Tools              json.RawMessage `json:"tools"`
		ChatTemplateKwargs map[string]any  `json:"chat_template_kwargs"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	e, err := s.catalog.find(q.Model)
	if err != nil {
		return err
	}
	// The header is enough, so nothing is loaded.
	file, err := s.context.Open(e.path)
	if err != nil {
		return err
	}
	defer file.Close()
	p := chatParams{variables: q.ChatTemplateKwargs}
	if given(q.Tools) {
		p.tools = q.Tools
	}
	prompt, _, err := e.render(file, q.Messages, p)
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"prompt": prompt})
}
