package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// ollamaWishes are the fields that /api/generate and /api/chat share.
type ollamaWishes struct {
	Model       string          `json:"model"`
	Stream      *bool           `json:"stream"`
	Options     wishes          `json:"options"`
	Format      json.RawMessage `json:"format"`
	KeepAlive   keepAlive       `json:"keep_alive"`
	Think       json.RawMessage `json:"think"`
	Logprobs    bool            `json:"logprobs"`
	TopLogprobs *int64          `json:"top_logprobs"`
	// False refuses what is longer than the context. Else it is cut.
	Truncate *bool `json:"truncate"`
}

func (o *ollamaWishes) truncates() bool { return o.Truncate == nil || *o.Truncate }

func (o *ollamaWishes) constraint() (*constraint, error) {
	if !given(o.Format) || string(o.Format) == `""` {
		return nil, nil
	}
	var word string
	if json.Unmarshal(o.Format, &word) == nil {
		if word != "json" {
			return nil, badRequest("format", "format is %q; \"json\" and a JSON schema are known", word)
		}
		return bySchema(anyObject), nil
	}
	return bySchema(o.Format), nil
}

// best is the number of likely tokens to show; below zero: no probabilities at all.
func (o *ollamaWishes) best() (int, error) {
	if !o.Logprobs {
		return -1, nil
	}
	if o.TopLogprobs == nil {
		return 0, nil
	}
	if *o.TopLogprobs < 0 || *o.TopLogprobs > mostLogprobs {
		return 0, badRequest("top_logprobs", "top_logprobs is %d, 0 to %d are possible", *o.TopLogprobs, mostLogprobs)
	}
	return int(*o.TopLogprobs), nil
}

// variables tell the template if the model shall think: true, false, or how hard.
func (o *ollamaWishes) variables() (map[string]any, error) {
	if !given(o.Think) {
		return nil, nil
	}
	var thinks bool
	if json.Unmarshal(o.Think, &thinks) == nil {
		return map[string]any{"enable_thinking": thinks}, nil
	}
	var effort string
	if json.Unmarshal(o.Think, &effort) != nil {
		return nil, badRequest("think", "think is neither true, false nor a word")
	}
	return map[string]any{"enable_thinking": true, "reasoning_effort": effort}, nil
}

// ollamaAnswer is an answer on its way. wrap puts what has come into the endpoint's own fields.
type ollamaAnswer struct {
	*lease
	job    *job
	reader replyReader
	best   int
	began  time.Time
	wrap   func(m map[string]any, r *reply)
	// last may add to the end of the answer.
	last func(m map[string]any, written []int32)
}

func (a *ollamaAnswer) piece(r *reply) map[string]any {
	m := map[string]any{"model": a.entry.tagged(), "created_at": time.Now().UTC().Format(time.RFC3339Nano), "done": false}
	a.wrap(m, r)
	return m
}

// end adds what is told at the end; durations are nanoseconds.
func (a *ollamaAnswer) end(m map[string]any, written []int32) {
	i := a.job.facts()
	m["done"], m["done_reason"] = true, ended(i.Stop)
	m["total_duration"], m["load_duration"] = time.Since(a.began).Nanoseconds(), a.waited.Nanoseconds()
	m["prompt_eval_count"], m["prompt_eval_duration"] = i.Prompt, i.promptTime().Nanoseconds()
	m["eval_count"], m["eval_duration"] = i.Generated, i.writeTime().Nanoseconds()
	if a.last != nil {
		a.last(m, written)
	}
}

func (a *ollamaAnswer) whole(w http.ResponseWriter) error {
	var r reply
	var written []int32
	var logprobs []any
	err := a.job.read(func(t token) error {
		r.add(a.reader.push(t))
		written = append(written, t.id)
		if t.logprobs != nil {
			logprobs = append(logprobs, a.chatLogprobs(t, a.best))
		}
		return nil
	}, 0, nil)
	if err != nil {
		return err
	}
	r.add(a.reader.finish())
	m := a.piece(&r)
	if a.best >= 0 {
		m["logprobs"] = logprobs
	}
	a.end(m, written)
	return writeJSON(w, m)
}

func (a *ollamaAnswer) stream(out *stream) error {
	var written []int32
	var logprobs []any
	// gathered has a call until it is whole, as clients want its arguments as an object.
	var gathered reply
	tell := func(events []replyEvent) error {
		for _, e := range events {
			var r reply
			switch e.kind {
			case replyCallBegins, replyArguments:
				gathered.add([]replyEvent{e})
				continue
			case replyCallEnds:
				r, gathered = gathered, reply{}
			default:
				r.add([]replyEvent{e})
			}
			m := a.piece(&r)
			if len(logprobs) > 0 {
				m["logprobs"], logprobs = logprobs, nil
			}
			if err := out.send(m); err != nil {
				return err
			}
		}
		return nil
	}
	err := a.job.read(func(t token) error {
		if t.id >= 0 {
			written = append(written, t.id)
		}
		if t.logprobs != nil {
			logprobs = append(logprobs, a.chatLogprobs(t, a.best))
		}
		return tell(a.reader.push(t))
	}, 0, nil)
	if err != nil {
		return err
	}
	if err := tell(a.reader.finish()); err != nil {
		return err
	}
	m := a.piece(&reply{})
	if len(logprobs) > 0 {
		m["logprobs"] = logprobs
	}
	a.end(m, written)
	return out.send(m)
}

// send streams unless the request says otherwise: so does Ollama.
func (a *ollamaAnswer) send(w http.ResponseWriter, streams *bool) error {
	if streams != nil && !*streams {
		return a.whole(w)
	}
	return a.stream(newStream(w, false))
}

// ollama is the message as Ollama's clients read it: arguments of calls are objects.
func (r *reply) ollama() map[string]any {
	m := map[string]any{"role": "assistant", "content": r.content.String()}
	if r.reasoning.Len() > 0 {
		m["thinking"] = r.reasoning.String()
	}
	var calls []any
	for _, c := range r.calls {
		calls = append(calls, map[string]any{
			"id": c.id, "function": map[string]any{"index": c.index, "name": c.name, "arguments": c.object()},
		})
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	return m
}
