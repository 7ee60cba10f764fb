package main

import "strings"

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

// reader makes the reader of replies to a prompt that was made with these parameters.
func (l *lease) reader(chatParams) (replyReader, error) {
	return plainReply{}, nil
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
type toolCall struct{ id, name, arguments string }

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
			r.calls = append(r.calls, toolCall{id: e.id, name: e.name})
		case replyArguments:
			if n := len(r.calls); n > 0 {
				r.calls[n-1].arguments += e.text
			}
		}
	}
}
