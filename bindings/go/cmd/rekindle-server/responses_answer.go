package main

import (
	"net/http"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// responseAnswer is an answer on its way. Its output is a list of items: reasoning, a message, calls, in the order in
// which the model writes them.
type responseAnswer struct {
	*lease
	request *responsesRequest
	job     *job
	reader  replyReader
	id      string
	created time.Time
	output  []*outputItem
	// tell sends an event; nil if the answer is not streamed.
	tell func(kind string, e map[string]any) error
}

// outputItem is an item of the output.
type outputItem struct {
	kind, id, text string
	// Of a call.
	callID, name string
	done         bool
}

// part is the part of a message or of reasoning that has its text.
func (i *outputItem) part() map[string]any {
	if i.kind == "reasoning" {
		return map[string]any{"type": "reasoning_text", "text": i.text}
	}
	return map[string]any{"type": "output_text", "text": i.text, "annotations": []any{}, "logprobs": []any{}}
}

func (i *outputItem) value() map[string]any {
	status := "in_progress"
	if i.done {
		status = "completed"
	}
	m := map[string]any{"type": i.kind, "id": i.id, "status": status}
	switch i.kind {
	case "function_call":
		m["call_id"], m["name"], m["arguments"] = i.callID, i.name, i.text
	case "reasoning":
		m["summary"], m["content"] = []any{}, []any{}
	default:
		m["role"], m["content"] = "assistant", []any{}
	}
	if i.done && i.kind != "function_call" {
		m["content"] = []any{i.part()}
	}
	return m
}

// send tells an event if someone listens.
func (a *responseAnswer) send(kind string, e map[string]any) error {
	if a.tell == nil {
		return nil
	}
	return a.tell(kind, e)
}

// of begins an event of the last item.
func (a *responseAnswer) of(more map[string]any) map[string]any {
	n := len(a.output) - 1
	more["item_id"], more["output_index"] = a.output[n].id, n
	if a.output[n].kind != "function_call" {
		more["content_index"] = 0
	}
	return more
}

// last is the item that goes on, if it is of that kind.
func (a *responseAnswer) last(kind string) *outputItem {
	if n := len(a.output); n > 0 && !a.output[n-1].done && a.output[n-1].kind == kind {
		return a.output[n-1]
	}
	return nil
}

func (a *responseAnswer) open(item *outputItem) error {
	if err := a.closeLast(); err != nil {
		return err
	}
	a.output = append(a.output, item)
	err := a.send("response.output_item.added", map[string]any{"output_index": len(a.output) - 1, "item": item.value()})
	if err != nil || item.kind == "function_call" {
		return err
	}
	return a.send("response.content_part.added", a.of(map[string]any{"part": item.part()}))
}

// closeLast ends the item that goes on.
func (a *responseAnswer) closeLast() error {
	n := len(a.output)
	if n == 0 || a.output[n-1].done {
		return nil
	}
	item := a.output[n-1]
	item.done = true
	var err error
	switch item.kind {
	case "function_call":
		err = a.send("response.function_call_arguments.done", a.of(map[string]any{"arguments": item.text, "name": item.name}))
	case "reasoning":
		err = a.send("response.reasoning_text.done", a.of(map[string]any{"text": item.text}))
	default:
		err = a.send("response.output_text.done", a.of(map[string]any{"text": item.text, "logprobs": []any{}}))
	}
	if err == nil && item.kind != "function_call" {
		err = a.send("response.content_part.done", a.of(map[string]any{"part": item.part()}))
	}
	if err != nil {
		return err
	}
	return a.send("response.output_item.done", map[string]any{"output_index": n - 1, "item": item.value()})
}

// take reads events of the reply into items.
func (a *responseAnswer) take(events []replyEvent) error {
	for _, e := range events {
		kind, delta, prefix := "message", "response.output_text.delta", "msg_"
		switch e.kind {
		case replyReasoning:
			kind, delta, prefix = "reasoning", "response.reasoning_text.delta", "rs_"
		case replyCallBegins:
			if err := a.open(&outputItem{kind: "function_call", id: newID("fc_"), callID: e.id, name: e.name}); err != nil {
				return err
			}
			continue
		case replyArguments:
			kind, delta = "function_call", "response.function_call_arguments.delta"
		case replyCallEnds:
			if err := a.closeLast(); err != nil {
				return err
			}
			continue
		}
		if a.last(kind) == nil {
			if err := a.open(&outputItem{kind: kind, id: newID(prefix)}); err != nil {
				return err
			}
		}
		a.output[len(a.output)-1].text += e.text
		more := map[string]any{"delta": e.text}
		if kind == "message" {
			more["logprobs"] = []any{}
		}
		if err := a.send(delta, a.of(more)); err != nil {
			return err
		}
	}
	return nil
}

// run reads the job to its end.
func (a *responseAnswer) run(interval time.Duration, idle func(jobInfo) error) error {
	err := a.job.read(func(t token) error { return a.take(a.reader.push(t)) }, interval, idle)
	if err == nil {
		err = a.take(a.reader.finish())
	}
	if err == nil && len(a.output) == 0 {
		err = a.open(&outputItem{kind: "message", id: newID("msg_")})
	}
	if err != nil {
		return err
	}
	return a.closeLast()
}

// value is the response as it is now.
func (a *responseAnswer) value(status string) map[string]any {
	output := make([]any, len(a.output))
	for i, item := range a.output {
		output[i] = item.value()
	}
	q := a.request
	var tools any = q.Tools
	if len(q.Tools) == 0 {
		tools = []any{}
	}
	var choice any = "auto"
	if given(q.ToolChoice) {
		choice = q.ToolChoice
	}
	m := map[string]any{
		"id": a.id, "object": "response", "created_at": a.created.Unix(), "status": status, "error": nil,
		"incomplete_details": nil, "instructions": nil, "max_output_tokens": q.MaxTokens, "model": a.entry.name,
		"output": output, "parallel_tool_calls": true, "previous_response_id": nil, "store": false,
		"temperature": q.Temperature, "top_p": q.TopP, "tools": tools, "tool_choice": choice,
		"text": map[string]any{"format": map[string]any{"type": "text"}}, "metadata": map[string]any{}, "usage": nil,
	}
	if q.Text != nil && q.Text.Format != nil {
		m["text"] = q.Text
	}
	if q.Instructions != "" {
		m["instructions"] = q.Instructions
	}
	if given(q.Metadata) {
		m["metadata"] = q.Metadata
	}
	if status == "in_progress" {
		return m
	}
	i := a.job.facts()
	if status == "incomplete" {
		m["incomplete_details"] = map[string]any{"reason": "max_output_tokens"}
	}
	m["usage"] = map[string]any{
		"input_tokens": i.Prompt, "input_tokens_details": map[string]any{"cached_tokens": i.Reused},
		"output_tokens": i.Generated, "output_tokens_details": map[string]any{"reasoning_tokens": 0},
		"total_tokens": i.Prompt + i.Generated,
	}
	return m
}

// status is that of the end.
func (a *responseAnswer) status() string {
	switch a.job.facts().Stop {
	case rekindle.StopLimit, rekindle.StopContextFull:
		return "incomplete"
	}
	return "completed"
}

func (a *responseAnswer) whole(w http.ResponseWriter) error {
	if err := a.run(0, nil); err != nil {
		return err
	}
	return writeJSON(w, a.value(a.status()))
}

func (a *responseAnswer) stream(out *stream, comments time.Duration) error {
	number := 0
	a.tell = func(kind string, e map[string]any) error {
		e["type"], e["sequence_number"] = kind, number
		number++
		return out.event(kind, e)
	}
	for _, kind := range []string{"response.created", "response.in_progress"} {
		if err := a.tell(kind, map[string]any{"response": a.value("in_progress")}); err != nil {
			return err
		}
	}
	if err := a.run(comments, func(i jobInfo) error { return out.comment(reading(i)) }); err != nil {
		return err
	}
	status := a.status()
	return a.tell("response."+status, map[string]any{"response": a.value(status)})
}
