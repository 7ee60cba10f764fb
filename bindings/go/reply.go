package rekindle

import (
	"encoding/json"
	"iter"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
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
	ReplyReasoning  ReplyKind = abi.REPLY_REASONING
	ReplyContent    ReplyKind = abi.REPLY_CONTENT
	ReplyCallBegins ReplyKind = abi.REPLY_CALL_BEGINS
	ReplyArguments  ReplyKind = abi.REPLY_ARGUMENTS
	ReplyCallEnds   ReplyKind = abi.REPLY_CALL_ENDS
	ReplyEnd        ReplyKind = abi.REPLY_END
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
type Reply struct{ h abi.Handle }

// NewReply creates a reader for one reply of a model. The chat template tells how the model writes.
func (v *Vocab) NewReply(params ReplyParams) (*Reply, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	p := abi.ReplyParams{StructSize: sizeof[abi.ReplyParams](), Seed: params.Seed}
	p.Tools, p.ToolsLen = view(&pin, string(params.Tools))
	p.Variables, p.VariablesLen = view(&pin, string(params.Variables))
	p.TemplateName, p.TemplateNameLen = view(&pin, params.TemplateName)
	p.TemplateText, p.TemplateTextLen = view(&pin, params.TemplateText)
	p.ToolChoice, p.ToolChoiceLen = view(&pin, params.ToolChoice)
	p.Prompt, p.PromptLen = view(&pin, params.Prompt)
	h, err := created(func(h *abi.Handle) int32 { return abi.ReplyCreate(v.h, &p, h) })
	if err != nil {
		return nil, err
	}
	r := &Reply{h}
	closes(r, (*Reply).Close)
	return r, nil
}

// NewReply is the vocabulary's.
func (m *Model) NewReply(params ReplyParams) (*Reply, error) {
	return with(m.Vocab, func(v *Vocab) (*Reply, error) { return v.NewReply(params) })
}

// NewReply is the vocabulary's.
func (f *File) NewReply(params ReplyParams) (*Reply, error) {
	return with(f.Vocab, func(v *Vocab) (*Reply, error) { return v.NewReply(params) })
}

// Close ends the reader.
func (r *Reply) Close() {
	runtime.SetFinalizer(r, nil)
	abi.ReplyDestroy(r.h)
}

// Grammar makes the grammar that holds the model to calls of tools as it writes them: names of the tools, arguments by
// their schemas. With the choice auto it waits until the model opens a call; otherwise it holds the reply from its
// beginning. one allows one call only.
func (r *Reply) Grammar(one bool) (*Grammar, error) {
	defer runtime.KeepAlive(r)
	bits := flags(flag{one, abi.REPLY_ONE_CALL})
	return newGrammar(created(func(h *abi.Handle) int32 { return abi.ReplyGrammar(r.h, bits, h) }))
}

// Push reads a piece of text that shows control tokens.
func (r *Reply) Push(s string) error {
	defer runtime.KeepAlive(r)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, s)
	return call(func() int32 { return abi.ReplyPush(r.h, p, n) })
}

// PushToken reads a token.
func (r *Reply) PushToken(token int32) error {
	defer runtime.KeepAlive(r)
	return call(func() int32 { return abi.ReplyPushToken(r.h, token) })
}

// Finish tells that nothing follows.
func (r *Reply) Finish() error {
	defer runtime.KeepAlive(r)
	return call(func() int32 { return abi.ReplyFinish(r.h) })
}

// Next takes the next event; false if there is none now.
func (r *Reply) Next() (ReplyEvent, bool, error) {
	defer runtime.KeepAlive(r)
	e := abi.ReplyEvent{StructSize: sizeof[abi.ReplyEvent]()}
	err := call(func() int32 { return abi.ReplyNext(r.h, &e) })
	if err != nil || e.Kind == abi.REPLY_NONE {
		return ReplyEvent{}, false, err
	}
	return ReplyEvent{
		ReplyKind(e.Kind), abi.GoStringN(e.Text, e.TextLen), e.Index, abi.GoStringN(e.Id, e.IdLen), e.Broken != 0,
	}, true, nil
}

// Events takes all events that there are now, one after the other.
func (r *Reply) Events() iter.Seq2[ReplyEvent, error] {
	return func(yield func(ReplyEvent, error) bool) {
		for {
			e, some, err := r.Next()
			if !some && err == nil || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// JSON is all that was read so far, as a message in OpenAI's form.
func (r *Reply) JSON() (string, error) {
	defer runtime.KeepAlive(r)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.ReplyJson(r.h, b, c, n) })
}

// Format is the name of the format that the template told.
func (r *Reply) Format() (string, error) {
	defer runtime.KeepAlive(r)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.ReplyFormat(r.h, b, c, n) })
}
