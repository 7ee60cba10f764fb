package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// openAIWishes are the fields that completions and chats share.
type openAIWishes struct {
	wishes
	Model          string          `json:"model"`
	Stream         bool            `json:"stream"`
	N              *int64          `json:"n"`
	Grammar        string          `json:"grammar"`
	JSONSchema     json.RawMessage `json:"json_schema"`
	KeepAlive      keepAlive       `json:"keep_alive"`
	ResponseFormat *struct {
		Type string `json:"type"`
		// Schema is llama.cpp's short form.
		Schema     json.RawMessage `json:"schema"`
		JSONSchema *struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// most answers to one request.
const mostAnswers = 64

func (o *openAIWishes) answers() (int, error) {
	switch {
	case o.N == nil:
		return 1, nil
	case *o.N < 1 || *o.N > mostAnswers:
		return 0, badRequest("n", "n is %d, 1 to %d are possible", *o.N, mostAnswers)
	}
	return int(*o.N), nil
}

func (o *openAIWishes) constraint() (*constraint, error) {
	if o.Grammar != "" {
		return &constraint{kind: rekindle.GBNF, source: o.Grammar}, nil
	}
	if given(o.JSONSchema) {
		return bySchema(o.JSONSchema), nil
	}
	f := o.ResponseFormat
	if f == nil {
		return nil, nil
	}
	switch f.Type {
	case "text", "":
		return nil, nil
	case "json_object":
		if given(f.Schema) {
			return bySchema(f.Schema), nil
		}
		return bySchema(anyObject), nil
	case "json_schema":
		if f.JSONSchema != nil && given(f.JSONSchema.Schema) {
			return bySchema(f.JSONSchema.Schema), nil
		}
		if given(f.Schema) {
			return bySchema(f.Schema), nil
		}
		return nil, badRequest("response_format.json_schema.schema", "response_format has no schema")
	}
	return nil, badRequest("response_format.type", "response_format.type is %q; text, json_object and json_schema are known", f.Type)
}

// given tells if a field of any type is there.
func given(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }

// newID makes an id with a prefix.
func newID(prefix string) string {
	var b [12]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

// head has the fields that each answer and each piece of it begins with.
func head(id, object, model string, created time.Time) map[string]any {
	return map[string]any{
		"id": id, "object": object, "created": created.Unix(), "model": model,
		"system_fingerprint": "rekindle-" + rekindle.Version(),
	}
}

// usage counts tokens of the jobs of one request; their prompt is one.
func usage(infos []jobInfo) map[string]any {
	var written uint32
	for _, i := range infos {
		written += i.Generated
	}
	var first jobInfo
	if len(infos) > 0 {
		first = infos[0]
	}
	return map[string]any{
		"prompt_tokens": first.Prompt, "completion_tokens": written, "total_tokens": first.Prompt + written,
		"prompt_tokens_details": map[string]any{"cached_tokens": first.Reused},
	}
}

// timings are llama.cpp's, of one job.
func timings(i jobInfo) map[string]any {
	read := i.Prompt - min(i.Prompt, i.Reused)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	rate := func(n uint32, d time.Duration) float64 {
		if d <= 0 {
			return 0
		}
		return float64(n) / d.Seconds()
	}
	each := func(n uint32, d time.Duration) float64 { return ms(d) / float64(max(n, 1)) }
	return map[string]any{
		"cache_n": i.Reused, "prompt_n": read, "prompt_ms": ms(i.promptTime()),
		"prompt_per_token_ms": each(read, i.promptTime()), "prompt_per_second": rate(read, i.promptTime()),
		"predicted_n": i.Generated, "predicted_ms": ms(i.writeTime()),
		"predicted_per_token_ms": each(i.Generated, i.writeTime()), "predicted_per_second": rate(i.Generated, i.writeTime()),
	}
}

// readAll reads jobs at the same time. each gets the number of the job; its calls do not overlap. The first error ends
// all.
func readAll(jobs []*job, interval time.Duration, each func(n int, t token) error, idle func(jobInfo) error) error {
	var mu sync.Mutex
	errs := make(chan error, len(jobs))
	for n, j := range jobs {
		go func() {
			errs <- j.read(func(t token) error {
				mu.Lock()
				defer mu.Unlock()
				return each(n, t)
			}, interval, idle)
		}()
	}
	var first error
	for range jobs {
		if err := <-errs; err != nil && first == nil {
			first = err
			for _, j := range jobs {
				j.abandon()
			}
		}
	}
	return first
}

// chatLogprobs are the probabilities of tokens in the form of chats.
func (l *lease) chatLogprobs(t token, best int) map[string]any {
	one := func(p rekindle.Logprob) map[string]any {
		text := l.tokenText(p.Token)
		bytes := make([]int, len(text))
		for i := range text {
			bytes[i] = int(text[i])
		}
		return map[string]any{"id": p.Token, "token": valid(text), "logprob": finite(p.Logprob), "bytes": bytes}
	}
	m := one(t.logprobs.Chosen)
	top := []any{}
	for _, p := range t.logprobs.Best[:min(best, len(t.logprobs.Best))] {
		top = append(top, one(p))
	}
	m["top_logprobs"] = top
	return m
}

// finite makes a logarithm fit for JSON, which has no infinity.
func finite(v float32) float32 { return max(v, -9999) }
