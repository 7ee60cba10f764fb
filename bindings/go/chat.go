package rekindle

import (
	"encoding/json"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Message is one message of a conversation. Empty texts are absent; an empty content is absent only beside ToolCalls.
type Message struct {
	Role, Content, Name string
	// Reasoning is what the model thought before its answer.
	Reasoning string
	// ToolCallID names the call that a tool's message answers.
	ToolCallID string
	// ToolCalls is an array, Fields an object of further fields.
	ToolCalls, Fields json.RawMessage
}

// ChatOptions are the things that a prompt is made with besides the messages. The zero value leaves the conversation
// open for an answer.
type ChatOptions struct {
	// Closed ends the prompt with the last message, without the beginning of an answer.
	Closed bool
	// Tools is an array of tools, Variables an object of further variables for the template.
	Tools, Variables json.RawMessage
	// TemplateName is which of the file's templates, TemplateText a Jinja template instead of them.
	TemplateName, TemplateText string
	// Now is the time for templates that write the date, in seconds since 1970 UTC; 0 is now.
	Now int64
}

// empty stands for a content that is there without a byte.
var empty = [1]byte{}

// Chat gives the prompt for a conversation by the file's chat template. The prompt holds the texts of special tokens:
// generate from it with ParseSpecial and NoSpecial.
func (v *Vocab) Chat(messages []Message, options ChatOptions) (string, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	list := make([]abi.ChatMessage, len(messages))
	for i, m := range messages {
		c := &list[i]
		c.Role, c.RoleLen = view(&pin, m.Role)
		c.Content, c.ContentLen = view(&pin, m.Content)
		if c.Content == nil && len(m.ToolCalls) == 0 {
			pin.Pin(&empty[0])
			c.Content = &empty[0]
		}
		c.Name, c.NameLen = view(&pin, m.Name)
		c.Reasoning, c.ReasoningLen = view(&pin, m.Reasoning)
		c.ToolCallId, c.ToolCallIdLen = view(&pin, m.ToolCallID)
		c.ToolCalls, c.ToolCallsLen = view(&pin, string(m.ToolCalls))
		c.Fields, c.FieldsLen = view(&pin, string(m.Fields))
	}
	p := abi.ChatParams{StructSize: sizeof[abi.ChatParams](), Now: options.Now}
	p.Flags = flags(flag{!options.Closed, abi.CHAT_GENERATION_PROMPT})
	p.Tools, p.ToolsLen = view(&pin, string(options.Tools))
	p.Variables, p.VariablesLen = view(&pin, string(options.Variables))
	p.TemplateName, p.TemplateNameLen = view(&pin, options.TemplateName)
	p.TemplateText, p.TemplateTextLen = view(&pin, options.TemplateText)
	first, n := span[abi.ChatMessage, uintptr](&pin, list)
	return text(func(b *byte, c uintptr, needed *uintptr) int32 {
		return abi.ChatRender(v.h, first, n, &p, b, c, needed)
	})
}

// Template is the text of the file's chat template of that name; an empty name is the one without a name. An Error with
// status NotFound: the file has none.
func (v *Vocab) Template(name string) (string, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, name)
	return text(func(b *byte, c uintptr, needed *uintptr) int32 { return abi.ChatTemplate(v.h, p, n, b, c, needed) })
}

// Templates are the names of the file's chat templates; if there is a default one, it is the first.
func (v *Vocab) Templates() ([]string, error) {
	defer runtime.KeepAlive(v)
	return texts(func(i uint32, b *byte, c uintptr, n *uintptr) int32 { return abi.ChatTemplateName(v.h, i, b, c, n) })
}

// Chat is the vocabulary's.
func (m *Model) Chat(messages []Message, options ChatOptions) (string, error) {
	return with(m.Vocab, func(v *Vocab) (string, error) { return v.Chat(messages, options) })
}

// Chat is the vocabulary's.
func (f *File) Chat(messages []Message, options ChatOptions) (string, error) {
	return with(f.Vocab, func(v *Vocab) (string, error) { return v.Chat(messages, options) })
}

// Template is the vocabulary's.
func (m *Model) Template(name string) (string, error) {
	return with(m.Vocab, func(v *Vocab) (string, error) { return v.Template(name) })
}

// Template is the vocabulary's.
func (f *File) Template(name string) (string, error) {
	return with(f.Vocab, func(v *Vocab) (string, error) { return v.Template(name) })
}
