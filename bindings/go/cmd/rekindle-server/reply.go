package main

import (
	"encoding/json"
	"log/slog"
	"strings"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// replyKind is what a piece of a reply belongs to.
type replyKind int

const (
	replyContent replyKind = iota
	replyReasoning
	replyCallBegins
	replyArguments
	replyCallEnds
)

// replyEvent is a piece of a reply.
type replyEvent struct {
	kind replyKind
	text string
	// Of calls: their number from 0, and at their beginning id and name.
	index    int
	id, name string
}

// replyReader tells the parts of a reply apart while it is written.
type replyReader interface {
	push(t token) []replyEvent
	// finish gives what waited for more text.
	finish() []replyEvent
}

// reader makes the reader of replies to a prompt that was made with these parameters. stops tells that stop texts were
// asked for.
func (l *lease) reader(p chatParams, prompt string, stops bool) (replyReader, error) {
	params := rekindle.ReplyParams{Tools: boundedTools(p.tools), TemplateText: l.entry.templateFor(p), Prompt: prompt}
	switch p.choice {
	case "none", "required":
		params.ToolChoice = p.choice
	case "function":
		named := map[string]any{"type": "function", "function": map[string]any{"name": p.function}}
		text, err := json.Marshal(named)
		if err != nil {
			return nil, err
		}
		params.ToolChoice = string(text)
	}
	if len(p.variables) > 0 {
		var err error
		if params.Variables, err = json.Marshal(p.variables); err != nil {
			return nil, err
		}
	}
	r, err := l.model.NewReply(params)
	if err != nil {
		return nil, err
	}
	if format, err := r.Format(); err != nil || format == "plain" {
		r.Close()
		return plainReply{}, err
	} else {
		return &libraryReply{reply: r, lease: l, stops: stops, format: format}, nil
	}
}

// forced tells that a call must be made.
func (p *chatParams) forced() bool { return p.choice == "required" || p.choice == "function" }

// callGrammar makes the grammar of calls as the model writes them: from the beginning if a call is forced, else from
// where it opens one.
func callGrammar(r replyReader, p chatParams) (*rekindle.Grammar, error) {
	l, is := r.(*libraryReply)
	if !is {
		if p.forced() {
			return nil, badRequest("tool_choice", "the model's chat template has no form of calls that is known, so none can be forced")
		}
		return nil, nil
	}
	g, err := l.reply.Grammar(p.oneCall)
	if err != nil && !p.forced() {
		// The model may write what it likes, so the call can also be read without a grammar.
		slog.Debug("calls are not held to their schemas", "error", err)
		return nil, nil
	}
	return g, err
}

// libraryReply reads by the library, which knows from the chat template how the model writes.
type libraryReply struct {
	*lease
	reply  *rekindle.Reply
	format string
	stops  bool
}

// push gives the library the tokens, since control tokens are markers in many formats. Where stop texts were asked for,
// text waits until it is none of them, so the text is given, and of tokens only those that have none.
func (r *libraryReply) push(t token) []replyEvent {
	var err error
	switch {
	case r.stops && t.text != "":
		err = r.reply.Push(t.text)
	case t.id < 0:
	case !r.stops:
		err = r.reply.PushToken(t.id)
	case r.isControl(t.id):
		err = r.reply.PushToken(t.id)
	}
	return r.events(err)
}

func (r *libraryReply) finish() []replyEvent {
	events := r.events(r.reply.Finish())
	r.reply.Close()
	return events
}

// isControl tells that a token has a text only where control tokens are shown.
func (r *libraryReply) isControl(id int32) bool {
	hidden, err := r.model.Detokenize([]int32{id}, rekindle.TextOptions{})
	return err == nil && hidden == "" && r.tokenText(id) != ""
}

func (r *libraryReply) events(err error) (events []replyEvent) {
	for err == nil {
		var e rekindle.ReplyEvent
		var some bool
		if e, some, err = r.reply.Next(); !some || e.Kind == rekindle.ReplyEnd {
			break
		}
		kind := map[rekindle.ReplyKind]replyKind{
			rekindle.ReplyContent: replyContent, rekindle.ReplyReasoning: replyReasoning,
			rekindle.ReplyCallBegins: replyCallBegins, rekindle.ReplyArguments: replyArguments,
			rekindle.ReplyCallEnds: replyCallEnds,
		}[e.Kind]
		event := replyEvent{kind: kind, text: e.Text, index: int(e.Index), id: e.ID}
		if kind == replyCallBegins {
			event.name, event.text = e.Text, ""
		}
		events = append(events, event)
	}
	if err != nil {
		// The reader takes any text, so this is a fault of the server.
		slog.Error("a reply cannot be read", "error", err)
	}
	return events
}

// thoughtsEnd is the text behind which the answer proper begins, if the reply begins with thoughts; a grammar must wait
// for it. Empty: the answer begins at once.
func thoughtsEnd(prompt string, r replyReader) string {
	if l, is := r.(*libraryReply); is && l.format == "harmony" {
		return "<|channel|>final<|message|>"
	}
	for begin, end := range map[string]string{"<think>": "</think>", "[THINK]": "[/THINK]", "<seed:think>": "</seed:think>"} {
		if strings.HasSuffix(strings.TrimSpace(prompt), begin) {
			return end
		}
	}
	return ""
}

// plainReply takes all text as content.
type plainReply struct{}

func (plainReply) push(t token) []replyEvent {
	if t.text == "" {
		return nil
	}
	return []replyEvent{{kind: replyContent, text: t.text}}
}

func (plainReply) finish() []replyEvent { return nil }

// toolCall is a call that a reply makes; arguments are JSON text.
type toolCall struct {
	// index is its number in the reply.
	index               int
	id, name, arguments string
}

// reply is a whole message, gathered from its events.
type reply struct {
	content, reasoning strings.Builder
	calls              []toolCall
}

func (r *reply) add(events []replyEvent) {
	for _, e := range events {
		switch e.kind {
		case replyContent:
			r.content.WriteString(e.text)
		case replyReasoning:
			r.reasoning.WriteString(e.text)
		case replyCallBegins:
			r.calls = append(r.calls, toolCall{index: e.index, id: e.id, name: e.name})
		case replyArguments:
			if n := len(r.calls); n > 0 {
				r.calls[n-1].arguments += e.text
			}
		}
	}
}
