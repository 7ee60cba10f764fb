package main

import (
	"encoding/json"
	"net/http"
	"time"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// anthropicAnswer is an answer on its way.
type anthropicAnswer struct {
	*lease
	job    *job
	reader replyReader
	id     string
	// model is the name that the client used.
	model string
	stops texts
}

// reason tells why the answer ended, and which stop text did it, if there was only one to choose from.
func (a *anthropicAnswer) reason(calls bool) (reason string, stop any) {
	switch a.job.facts().Stop {
	case rekindle.StopLimit:
		return "max_tokens", nil
	case rekindle.StopContextFull:
		return "model_context_window_exceeded", nil
	case rekindle.StopText:
		if len(a.stops) == 1 {
			stop = a.stops[0]
		}
		if len(a.stops) > 0 {
			return "stop_sequence", stop
		}
	}
	if calls {
		return "tool_use", nil
	}
	return "end_turn", nil
}

func (a *anthropicAnswer) usage() map[string]any {
	i := a.job.facts()
	return map[string]any{
		"input_tokens": i.Prompt - min(i.Reused, i.Prompt), "cache_read_input_tokens": i.Reused,
		"cache_creation_input_tokens": 0, "output_tokens": i.Generated,
	}
}

func (a *anthropicAnswer) message(blocks []any, reason, stop any) map[string]any {
	return map[string]any{
		"id": a.id, "type": "message", "role": "assistant", "model": a.model, "content": blocks, "stop_reason": reason,
		"stop_sequence": stop, "usage": a.usage(),
	}
}

func (a *anthropicAnswer) whole(w http.ResponseWriter) error {
	var r reply
	err := a.job.read(func(t token) error {
		r.add(a.reader.push(t))
		return nil
	}, 0, nil)
	if err != nil {
		return err
	}
	r.add(a.reader.finish())
	blocks := []any{}
	if r.reasoning.Len() > 0 {
		blocks = append(blocks, map[string]any{"type": "thinking", "thinking": r.reasoning.String(), "signature": ""})
	}
	if r.content.Len() > 0 || len(r.calls) == 0 {
		blocks = append(blocks, map[string]any{"type": "text", "text": r.content.String()})
	}
	for _, c := range r.calls {
		blocks = append(blocks, map[string]any{"type": "tool_use", "id": c.id, "name": c.name, "input": c.object()})
	}
	reason, stop := a.reason(len(r.calls) > 0)
	return writeJSON(w, a.message(blocks, reason, stop))
}

// object gives the arguments of a call as an object. What is no JSON still reaches the client, in a field.
func (c *toolCall) object() map[string]any {
	arguments := map[string]any{}
	if c.arguments != "" && json.Unmarshal([]byte(c.arguments), &arguments) != nil {
		return map[string]any{"arguments": c.arguments}
	}
	return arguments
}

// anthropicStream writes blocks one after the other.
type anthropicStream struct {
	*stream
	// index of the block that is open; kind is that of its deltas, empty if none is open.
	index  int
	kind   string
	called bool
}

// open begins a block, unless one of that kind is open already.
func (s *anthropicStream) open(kind string, block map[string]any) error {
	if s.kind == kind && block["type"] != "tool_use" {
		return nil
	}
	if err := s.closeBlock(); err != nil {
		return err
	}
	s.kind = kind
	return s.event("content_block_start", map[string]any{
		"type": "content_block_start", "index": s.index, "content_block": block,
	})
}

func (s *anthropicStream) closeBlock() error {
	if s.kind == "" {
		return nil
	}
	err := s.event("content_block_stop", map[string]any{"type": "content_block_stop", "index": s.index})
	s.kind = ""
	s.index++
	return err
}

func (s *anthropicStream) delta(field, text string) error {
	return s.event("content_block_delta", map[string]any{
		"type": "content_block_delta", "index": s.index, "delta": map[string]any{"type": s.kind, field: text},
	})
}

func (s *anthropicStream) tell(events []replyEvent) error {
	for _, e := range events {
		var err error
		switch e.kind {
		case replyContent:
			if err = s.open("text_delta", map[string]any{"type": "text", "text": ""}); err == nil {
				err = s.delta("text", e.text)
			}
		case replyReasoning:
			block := map[string]any{"type": "thinking", "thinking": "", "signature": ""}
			if err = s.open("thinking_delta", block); err == nil {
				err = s.delta("thinking", e.text)
			}
		case replyCallBegins:
			s.called = true
			err = s.open("input_json_delta", map[string]any{
				"type": "tool_use", "id": e.id, "name": e.name, "input": map[string]any{},
			})
		case replyArguments:
			err = s.delta("partial_json", e.text)
		case replyCallEnds:
			err = s.closeBlock()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *anthropicAnswer) stream(out *stream, pings time.Duration) error {
	s := &anthropicStream{stream: out}
	start := a.message([]any{}, nil, nil)
	err := s.event("message_start", map[string]any{"type": "message_start", "message": start})
	if err != nil {
		return err
	}
	ping := func(jobInfo) error { return s.event("ping", map[string]any{"type": "ping"}) }
	err = a.job.read(func(t token) error { return s.tell(a.reader.push(t)) }, pings, ping)
	if err != nil {
		return err
	}
	if err := s.tell(a.reader.finish()); err != nil {
		return err
	}
	if s.index == 0 && s.kind == "" {
		// An answer has at least one block.
		if err := s.open("text_delta", map[string]any{"type": "text", "text": ""}); err != nil {
			return err
		}
	}
	if err := s.closeBlock(); err != nil {
		return err
	}
	reason, stop := a.reason(s.called)
	err = s.event("message_delta", map[string]any{
		"type": "message_delta", "delta": map[string]any{"stop_reason": reason, "stop_sequence": stop}, "usage": a.usage(),
	})
	if err != nil {
		return err
	}
	return s.event("message_stop", map[string]any{"type": "message_stop"})
}
