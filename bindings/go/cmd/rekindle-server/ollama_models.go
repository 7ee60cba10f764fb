package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// ollamaVersion is what clients hold against the features they want: they read it as numbers with dots. It is the
// version of Ollama's protocol that this server speaks; rekindle's own stands beside it.
const ollamaVersion = "0.12.0"

func (s *server) ollamaVersion(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, map[string]any{"version": ollamaVersion, "rekindle": rekindle.Version()})
}

// ollamaEntry is a model in Ollama's lists; nil if its file cannot be read.
func (s *server) ollamaEntry(e *entry) map[string]any {
	f, err := s.facts.of(e.path)
	if err != nil {
		return nil
	}
	size := e.size
	if !e.stored {
		size = int64(f.info.Bytes)
	}
	return map[string]any{
		"name": e.tagged(), "model": e.tagged(), "modified_at": e.modified.Format(time.RFC3339Nano), "size": size,
		"digest": e.digest, "details": f.details(),
	}
}

func (s *server) ollamaTags(w http.ResponseWriter, r *http.Request) error {
	models := []any{}
	for _, e := range s.catalog.all() {
		if m := s.ollamaEntry(e); m != nil {
			models = append(models, m)
		}
	}
	return writeJSON(w, map[string]any{"models": models})
}

func (s *server) ollamaShow(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Model   string `json:"model"`
		Name    string `json:"name"`
		Verbose bool   `json:"verbose"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if q.Model == "" {
		q.Model = q.Name
	}
	e, err := s.catalog.find(q.Model)
	if err != nil {
		return err
	}
	f, err := s.facts.of(e.path)
	if err != nil {
		return err
	}
	info := map[string]any{"general.parameter_count": f.info.Params}
	for _, k := range f.keys {
		// Arrays are vocabularies and the like: long, and Ollama leaves them out as well.
		if k.Name != "tokenizer.chat_template" {
			info[k.Name] = k.Value
		}
	}
	m := map[string]any{
		"modelfile": e.modelfile(), "parameters": e.parameters(), "template": e.template, "details": f.details(),
		"model_info": info, "capabilities": f.capabilities(e.template), "modified_at": e.modified.Format(time.RFC3339Nano),
	}
	if e.template == "" {
		m["template"] = f.template
	}
	if e.system != "" {
		m["system"] = e.system
	}
	if e.license != "" {
		m["license"] = e.license
	}
	ignored := e.ignored
	if e.template != "" && !e.jinja() {
		ignored = append([]string{"template"}, ignored...)
	}
	if len(ignored) > 0 {
		m["rekindle_ignored_layers"] = ignored
	}
	return writeJSON(w, m)
}

// parameters are those of a store, a line each.
func (e *entry) parameters() string {
	var params map[string]any
	if json.Unmarshal(e.paramsText, &params) != nil {
		return ""
	}
	var lines []string
	for name, value := range params {
		values, many := value.([]any)
		if !many {
			values = []any{value}
		}
		for _, v := range values {
			if text, is := v.(string); is {
				v = fmt.Sprintf("%q", text)
			}
			lines = append(lines, fmt.Sprintf("%-30s %v", name, v))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// modelfile says in Ollama's words what the model is made of.
func (e *entry) modelfile() string {
	lines := []string{"FROM " + e.path}
	if e.system != "" {
		lines = append(lines, fmt.Sprintf("SYSTEM %q", e.system))
	}
	for _, line := range strings.Split(e.parameters(), "\n") {
		if line != "" {
			lines = append(lines, "PARAMETER "+line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *server) ollamaPs(w http.ResponseWriter, r *http.Request) error {
	models := []any{}
	loaded := s.fleet.all()
	sort.Slice(loaded, func(i, j int) bool { return loaded[i].entry.name < loaded[j].entry.name })
	for _, l := range loaded {
		m := s.ollamaEntry(l.entry)
		if m == nil {
			continue
		}
		delete(m, "modified_at")
		var all, cards uint64
		for i, d := range l.devices {
			all += planned(d)
			// The CPU is the last one.
			if i+1 < len(l.devices) {
				cards += planned(d)
			}
		}
		m["size"], m["size_vram"], m["context_length"] = all, cards, l.summary.Ctx
		m["expires_at"] = s.fleet.expires(l).Format(time.RFC3339Nano)
		models = append(models, m)
	}
	return writeJSON(w, map[string]any{"models": models})
}
