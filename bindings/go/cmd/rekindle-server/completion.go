package main

import (
	"encoding/json"
	"net/http"
	"strings"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// nativeRequest is that of llama.cpp's own /completion and /infill.
type nativeRequest struct {
	wishes
	Model       string          `json:"model"`
	Stream      bool            `json:"stream"`
	Grammar     string          `json:"grammar"`
	JSONSchema  json.RawMessage `json:"json_schema"`
	KeepAlive   keepAlive       `json:"keep_alive"`
	InputPrefix string          `json:"input_prefix"`
	InputSuffix string          `json:"input_suffix"`
	InputExtra  []extraFile     `json:"input_extra"`
}

// extraFile is a file beside the one that is filled in.
type extraFile struct {
	Filename string `json:"filename"`
	Text     string `json:"text"`
}

func (q *nativeRequest) constraint() *constraint {
	if q.Grammar != "" {
		return &constraint{kind: rekindle.GBNF, source: q.Grammar}
	}
	if given(q.JSONSchema) {
		return bySchema(q.JSONSchema)
	}
	return nil
}

func (s *server) completion(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		nativeRequest
		Prompt prompts `json:"prompt"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if len(q.Prompt) != 1 {
		return badRequest("prompt", "there are %d prompts, one is wanted", len(q.Prompt))
	}
	return s.native(w, r, &q.nativeRequest, func(*lease) (task, error) {
		return task{text: q.Prompt[0].text, tokens: q.Prompt[0].tokens}, nil
	})
}

func (s *server) infill(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		nativeRequest
		Prompt string `json:"prompt"`
	}
	if err := readJSON(r, &q); err != nil {
		return err
	}
	return s.native(w, r, &q.nativeRequest, func(l *lease) (task, error) {
		// prompt is what the user has typed behind the prefix.
		tokens, err := l.between(q.InputPrefix+q.Prompt, q.InputSuffix, q.InputExtra)
		return task{tokens: tokens}, err
	})
}

// native answers in the form of llama.cpp's own endpoints.
func (s *server) native(w http.ResponseWriter, r *http.Request, q *nativeRequest, prompt func(*lease) (task, error)) error {
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, q.wishes)
	if err != nil {
		return err
	}
	defer l.release()
	t, err := prompt(l)
	if err != nil {
		return err
	}
	t.wishes, t.constraint = q.over(l.entry.params).over(openAI.usualWishes()), q.constraint()
	var j *job
	if t.wishes.writesNothing() {
		j = overAlready()
	} else {
		jobs, stop, err := l.begin(r.Context(), t, 1)
		if err != nil {
			return err
		}
		defer stop()
		j = jobs[0]
	}
	end := func(text string) map[string]any {
		i := j.facts()
		kind := map[rekindle.StopReason]string{
			rekindle.StopEOG: "eos", rekindle.StopText: "word", rekindle.StopLimit: "limit", rekindle.StopContextFull: "limit",
		}[i.Stop]
		return map[string]any{
			"index": 0, "content": text, "stop": true, "stop_type": kind, "model": l.entry.name, "tokens_predicted": i.Generated,
			"tokens_evaluated": i.Prompt, "tokens_cached": i.Reused, "truncated": false, "timings": timings(i),
		}
	}
	if !q.Stream {
		var text strings.Builder
		err := j.read(func(t token) error { text.WriteString(t.text); return nil }, 0, nil)
		if err != nil {
			return err
		}
		return writeJSON(w, end(text.String()))
	}
	out := newStream(w, true)
	err = j.read(func(t token) error {
		if t.text == "" {
			return nil
		}
		return out.send(map[string]any{"index": 0, "content": t.text, "tokens": []int32{t.id}, "stop": false})
	}, s.options.comments, func(i jobInfo) error { return out.comment(reading(i)) })
	if err != nil {
		return err
	}
	return out.send(end(""))
}
