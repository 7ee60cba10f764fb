package rekindle

// #include "rekindle.h"
import "C"

import (
	"encoding/json"
	"runtime"
)

// ReplyParams are what the prompt of a reply was rendered with.
type ReplyParams struct {
	// Tools is an array of tools that may be called, Variables an object of further variables of the template.
	Tools, Variables json.RawMessage
	// TemplateName and TemplateText are those of ChatOptions.
	TemplateName, TemplateText string
	// ToolChoice is auto (also if empty), none, required, or a function's JSON.
	ToolChoice string
	// Prompt is the prompt, whose end tells if the reply begins within reasoning.
	Prompt string
	// Seed makes the ids of calls; 0: others each time.
	Seed uint64
}

// ReplyKind is what an event of a reply is.
type ReplyKind int32

// The kinds of events of a reply.
const (
	ReplyReasoning  ReplyKind = C.REKINDLE_REPLY_REASONING
	ReplyContent    ReplyKind = C.REKINDLE_REPLY_CONTENT
	ReplyCallBegins ReplyKind = C.REKINDLE_REPLY_CALL_BEGINS
	ReplyArguments  ReplyKind = C.REKINDLE_REPLY_ARGUMENTS
	ReplyCallEnds   ReplyKind = C.REKINDLE_REPLY_CALL_ENDS
	ReplyEnd        ReplyKind = C.REKINDLE_REPLY_END
)

// ReplyEvent is one thing that a reply says.
type ReplyEvent struct {
	Kind ReplyKind
	// Text is a piece of reasoning, content or arguments, or the name of the tool that a call begins with.
	Text string
	// Index is the number of the call, ID its id at its beginning.
	Index uint32
	ID    string
	// Broken tells at a call's end that its arguments are not whole.
	Broken bool
}

// Reply tells reasoning, content and calls of tools apart in what a model writes. One call at a time may use it.
type Reply struct{ h *C.rekindle_reply }

// NewReply creates a reader for one reply of the model. The chat template tells how the model writes.
func (m *Model) NewReply(params ReplyParams) (*Reply, error) {
	vocab, err := m.vocab()
	if err != nil {
		return nil, err
	}
	defer C.rekindle_vocab_destroy(vocab)
	return newReply(vocab, params)
}

// NewReply is as Model's, for a file that need not be loaded.
func (f *File) NewReply(params ReplyParams) (*Reply, error) {
	var vocab *C.rekindle_vocab
	if err := call(func() C.rekindle_status { return C.rekindle_vocab_create(f.h, &vocab) }); err != nil {
		return nil, err
	}
	defer C.rekindle_vocab_destroy(vocab)
	defer runtime.KeepAlive(f)
	return newReply(vocab, params)
}

func newReply(vocab *C.rekindle_vocab, params ReplyParams) (*Reply, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := C.rekindle_reply_params{struct_size: C.sizeof_rekindle_reply_params, seed: C.uint64_t(params.Seed)}
	p.tools, p.tools_len = view(&pin, string(params.Tools))
	p.variables, p.variables_len = view(&pin, string(params.Variables))
	p.template_name, p.template_name_len = view(&pin, params.TemplateName)
	p.template_text, p.template_text_len = view(&pin, params.TemplateText)
	p.tool_choice, p.tool_choice_len = view(&pin, params.ToolChoice)
	p.prompt, p.prompt_len = view(&pin, params.Prompt)
	r := &Reply{}
	if err := call(func() C.rekindle_status { return C.rekindle_reply_create(vocab, &p, &r.h) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(r, (*Reply).Close)
	return r, nil
}

// Close ends the reader.
func (r *Reply) Close() {
	runtime.SetFinalizer(r, nil)
	C.rekindle_reply_destroy(r.h)
	r.h = nil
}

// Grammar makes the grammar that holds the model to calls of tools as it writes them: names of the tools, arguments by
// their schemas. With the choice auto it waits until the model opens a call; otherwise it holds the reply from its
// beginning. one allows one call only.
func (r *Reply) Grammar(one bool) (*Grammar, error) {
	defer runtime.KeepAlive(r)
	var flags C.uint32_t
	if one {
		flags = C.REKINDLE_REPLY_ONE_CALL
	}
	g := &Grammar{}
	if err := call(func() C.rekindle_status { return C.rekindle_reply_grammar(r.h, flags, &g.h) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(g, (*Grammar).Close)
	return g, nil
}

// Push reads a piece of text that shows control tokens.
func (r *Reply) Push(s string) error {
	defer runtime.KeepAlive(r)
	p, n := bytes(s)
	return call(func() C.rekindle_status { return C.rekindle_reply_push(r.h, p, n) })
}

// PushToken reads a token.
func (r *Reply) PushToken(token int32) error {
	defer runtime.KeepAlive(r)
	return call(func() C.rekindle_status { return C.rekindle_reply_push_token(r.h, C.int32_t(token)) })
}

// Finish tells that nothing follows.
func (r *Reply) Finish() error {
	defer runtime.KeepAlive(r)
	return call(func() C.rekindle_status { return C.rekindle_reply_finish(r.h) })
}

// Next takes the next event; false if there is none now.
func (r *Reply) Next() (ReplyEvent, bool, error) {
	defer runtime.KeepAlive(r)
	e := C.rekindle_reply_event{struct_size: C.sizeof_rekindle_reply_event}
	err := call(func() C.rekindle_status { return C.rekindle_reply_next(r.h, &e) })
	if err != nil || e.kind == C.REKINDLE_REPLY_NONE {
		return ReplyEvent{}, false, err
	}
	return ReplyEvent{
		ReplyKind(e.kind), C.GoStringN(e.text, C.int(e.text_len)), uint32(e.index),
		C.GoStringN(e.id, C.int(e.id_len)), e.broken != 0,
	}, true, nil
}

// JSON is all that was read so far, as a message in OpenAI's form.
func (r *Reply) JSON() (string, error) {
	defer runtime.KeepAlive(r)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status { return C.rekindle_reply_json(r.h, b, c, n) })
}

// Format is the name of the format that the template told.
func (r *Reply) Format() (string, error) {
	defer runtime.KeepAlive(r)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status {
		return C.rekindle_reply_format(r.h, b, c, n)
	})
}
