package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// chatRequest is that of /v1/chat/completions.
type chatRequest struct {
	openAIWishes
	Messages    []chatMessage   `json:"messages"`
	Tools       json.RawMessage `json:"tools"`
	ToolChoice  json.RawMessage `json:"tool_choice"`
	Logprobs    *bool           `json:"logprobs"`
	TopLogprobs *int64          `json:"top_logprobs"`
	// What templates are told besides.
	ChatTemplateKwargs map[string]any `json:"chat_template_kwargs"`
	ReasoningEffort    string         `json:"reasoning_effort"`
	ChatTemplate       string         `json:"chat_template"`
	ParallelToolCalls  *bool          `json:"parallel_tool_calls"`
}

// mostLogprobs is the number of likely tokens that a chat's client may ask for.
const mostLogprobs = 20

// best is the number of likely tokens to show; below zero: no probabilities at all.
func (c *chatRequest) best() (int, error) {
	if c.Logprobs == nil || !*c.Logprobs {
		return -1, nil
	}
	if c.TopLogprobs == nil {
		return 0, nil
	}
	if *c.TopLogprobs < 0 || *c.TopLogprobs > mostLogprobs {
		return 0, badRequest("top_logprobs", "top_logprobs is %d, 0 to %d are possible", *c.TopLogprobs, mostLogprobs)
	}
	return int(*c.TopLogprobs), nil
}

// chatParams makes those of the template.
func (c *chatRequest) chatParams() (chatParams, error) {
	p := chatParams{variables: c.ChatTemplateKwargs, template: c.ChatTemplate}
	p.oneCall = c.ParallelToolCalls != nil && !*c.ParallelToolCalls
	if c.ReasoningEffort != "" {
		variables := map[string]any{"reasoning_effort": c.ReasoningEffort}
		if c.ReasoningEffort == "none" {
			variables["enable_thinking"] = false
		}
		for k, v := range p.variables {
			variables[k] = v
		}
		p.variables = variables
	}
	if given(c.Tools) {
		p.tools = c.Tools
	}
	if given(c.ToolChoice) && json.Unmarshal(c.ToolChoice, &p.choice) != nil {
		var named struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}
		if json.Unmarshal(c.ToolChoice, &named) != nil || named.Function.Name == "" {
			return p, badRequest("tool_choice", "tool_choice is neither auto, none, required nor a function's name")
		}
		p.choice, p.function = "function", named.Function.Name
	}
	switch p.choice {
	case "", "auto", "none", "required", "function":
		return p, nil
	}
	return p, badRequest("tool_choice", "tool_choice is %q; auto, none, required and a function are known", p.choice)
}

func (s *server) openAIChat(w http.ResponseWriter, r *http.Request) error {
	var c chatRequest
	if err := readJSON(r, &c); err != nil {
		return err
	}
	if len(c.Messages) == 0 {
		return badRequest("messages", "messages is empty")
	}
	n, err := c.answers()
	if err != nil {
		return err
	}
	best, err := c.best()
	if err != nil {
		return err
	}
	params, err := c.chatParams()
	if err != nil {
		return err
	}
	constraint, err := c.constraint()
	if err != nil {
		return err
	}
	l, err := s.use(r.Context(), c.Model, toWrite, c.KeepAlive, c.wishes)
	if err != nil {
		return err
	}
	defer l.release()
	steer := c.over(l.entry.params).over(openAI.usualWishes())
	t, reader, err := l.chatTask(c.Messages, params, steer, constraint)
	if err != nil {
		return err
	}
	if best >= 0 {
		t.logprobs = max(best, 1)
	}
	if t.wishes.writesNothing() {
		return badRequest("max_tokens", "max_tokens is 0, at least 1 is wanted")
	}
	jobs, stop, err := l.begin(r.Context(), t, n)
	if err != nil {
		return err
	}
	defer stop()
	a := &chatAnswer{
		lease: l, request: &c, jobs: jobs, best: best, id: newID("chatcmpl-"), created: time.Now(),
		readers: make([]replyReader, n),
	}
	a.readers[0] = reader
	for i := range a.readers[1:] {
		if a.readers[i+1], err = l.reader(params, t.text, len(steer.Stop) > 0); err != nil {
			return err
		}
	}
	if c.Stream {
		return a.stream(newStream(w, true), s.options.comments)
	}
	return a.whole(w)
}

// chatAnswer is an answer on its way.
type chatAnswer struct {
	*lease
	request *chatRequest
	jobs    []*job
	readers []replyReader
	best    int
	id      string
	created time.Time
}

func (a *chatAnswer) infos() []jobInfo {
	infos := make([]jobInfo, len(a.jobs))
	for i, j := range a.jobs {
		infos[i] = j.facts()
	}
	return infos
}

// reason is OpenAI's word for the end of an answer.
func (a *chatAnswer) reason(n int, calls bool) string {
	reason := ended(a.jobs[n].facts().Stop)
	if calls && reason == "stop" {
		return "tool_calls"
	}
	return reason
}

func (a *chatAnswer) whole(w http.ResponseWriter) error {
	replies := make([]reply, len(a.jobs))
	logprobs := make([][]any, len(a.jobs))
	err := readAll(a.jobs, 0, func(n int, t token) error {
		replies[n].add(a.readers[n].push(t))
		if t.logprobs != nil {
			logprobs[n] = append(logprobs[n], a.chatLogprobs(t, a.best))
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	choices := make([]any, len(a.jobs))
	for n := range a.jobs {
		replies[n].add(a.readers[n].finish())
		choice := map[string]any{
			"index": n, "message": replies[n].openAI(), "finish_reason": a.reason(n, len(replies[n].calls) > 0), "logprobs": nil,
		}
		if a.best >= 0 {
			choice["logprobs"] = map[string]any{"content": logprobs[n]}
		}
		choices[n] = choice
	}
	infos := a.infos()
	m := head(a.id, "chat.completion", a.entry.name, a.created)
	m["choices"], m["usage"], m["timings"] = choices, usage(infos), timings(infos[0])
	return writeJSON(w, m)
}

// openAI is the message as OpenAI's clients read it.
func (r *reply) openAI() map[string]any {
	m := map[string]any{"role": "assistant", "content": r.content.String()}
	if r.reasoning.Len() > 0 {
		m["reasoning_content"] = r.reasoning.String()
	}
	if len(r.calls) > 0 {
		calls := make([]any, len(r.calls))
		for i, c := range r.calls {
			calls[i] = map[string]any{
				"id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": c.arguments},
			}
		}
		m["tool_calls"] = calls
		if r.content.Len() == 0 {
			m["content"] = nil
		}
	}
	return m
}

func (a *chatAnswer) stream(out *stream, comments time.Duration) error {
	wantsUsage := a.request.StreamOptions != nil && a.request.StreamOptions.IncludeUsage
	chunk := func(choices []any) map[string]any {
		m := head(a.id, "chat.completion.chunk", a.entry.name, a.created)
		m["choices"] = choices
		if wantsUsage {
			m["usage"] = nil
		}
		return m
	}
	piece := func(n int, delta map[string]any, logprobs any) error {
		return out.send(chunk([]any{map[string]any{
			"index": n, "delta": delta, "logprobs": logprobs, "finish_reason": nil,
		}}))
	}
	for n := range a.jobs {
		if err := piece(n, map[string]any{"role": "assistant", "content": ""}, nil); err != nil {
			return err
		}
	}
	called := make([]bool, len(a.jobs))
	waiting := make([][]any, len(a.jobs))
	tell := func(n int, events []replyEvent) error {
		for _, e := range events {
			called[n] = called[n] || e.kind == replyCallBegins
			delta := e.delta()
			if delta == nil {
				continue
			}
			var logprobs any
			if len(waiting[n]) > 0 {
				logprobs = map[string]any{"content": waiting[n]}
				waiting[n] = nil
			}
			if err := piece(n, delta, logprobs); err != nil {
				return err
			}
		}
		return nil
	}
	err := readAll(a.jobs, comments, func(n int, t token) error {
		if t.logprobs != nil {
			waiting[n] = append(waiting[n], a.chatLogprobs(t, a.best))
		}
		return tell(n, a.readers[n].push(t))
	}, func(i jobInfo) error { return out.comment(reading(i)) })
	if err != nil {
		return err
	}
	for n := range a.jobs {
		if err := tell(n, a.readers[n].finish()); err != nil {
			return err
		}
		var logprobs any
		if len(waiting[n]) > 0 {
			logprobs = map[string]any{"content": waiting[n]}
		}
		m := chunk([]any{map[string]any{
			"index": n, "delta": map[string]any{}, "logprobs": logprobs, "finish_reason": a.reason(n, called[n]),
		}})
		if !wantsUsage {
			m["timings"] = timings(a.jobs[n].facts())
		}
		if err := out.send(m); err != nil {
			return err
		}
	}
	if wantsUsage {
		infos := a.infos()
		m := chunk([]any{})
		m["usage"], m["timings"] = usage(infos), timings(infos[0])
		if err := out.send(m); err != nil {
			return err
		}
	}
	return out.done()
}

// delta is an event as the change of a message; nil if there is nothing to tell.
func (e replyEvent) delta() map[string]any {
	switch e.kind {
	case replyContent:
		return map[string]any{"content": e.text}
	case replyReasoning:
		return map[string]any{"reasoning_content": e.text}
	case replyCallBegins:
		return map[string]any{"tool_calls": []any{map[string]any{
			"index": e.index, "id": e.id, "type": "function", "function": map[string]any{"name": e.name, "arguments": ""},
		}}}
	case replyArguments:
		return map[string]any{"tool_calls": []any{map[string]any{
			"index": e.index, "function": map[string]any{"arguments": e.text},
		}}}
	}
	return nil
}
