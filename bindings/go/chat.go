package rekindle

// #include "rekindle.h"
import "C"

import (
	"encoding/json"
	"runtime"
	"unsafe"
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

// view pins a text and gives C a view of it; NULL if it is empty.
func view(pin *runtime.Pinner, s string) (*C.char, C.size_t) {
	if len(s) == 0 {
		return nil, 0
	}
	p, n := bytes(s)
	pin.Pin(p)
	return p, n
}

// empty stands for a content that is there without a byte.
var empty = [1]byte{}

// Chat gives the prompt for a conversation by the file's chat template. The prompt holds the texts of special tokens:
// generate from it with Options.ParseSpecial and Options.NoSpecial.
func (m *Model) Chat(messages []Message, options ChatOptions) (string, error) {
	vocab, err := m.vocab()
	if err != nil {
		return "", err
	}
	defer C.rekindle_vocab_destroy(vocab)
	return chat(vocab, messages, options)
}

// Chat is as Model's, for a file that need not be loaded.
func (f *File) Chat(messages []Message, options ChatOptions) (string, error) {
	var vocab *C.rekindle_vocab
	if err := call(func() C.rekindle_status { return C.rekindle_vocab_create(f.h, &vocab) }); err != nil {
		return "", err
	}
	defer C.rekindle_vocab_destroy(vocab)
	defer runtime.KeepAlive(f)
	return chat(vocab, messages, options)
}

func chat(vocab *C.rekindle_vocab, messages []Message, options ChatOptions) (string, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	list := make([]C.rekindle_chat_message, len(messages)+1)
	for i, m := range messages {
		c := &list[i]
		c.role, c.role_len = view(&pin, m.Role)
		c.content, c.content_len = view(&pin, m.Content)
		if c.content == nil && len(m.ToolCalls) == 0 {
			pin.Pin(&empty[0])
			c.content = (*C.char)(unsafe.Pointer(&empty[0]))
		}
		c.name, c.name_len = view(&pin, m.Name)
		c.reasoning, c.reasoning_len = view(&pin, m.Reasoning)
		c.tool_call_id, c.tool_call_id_len = view(&pin, m.ToolCallID)
		c.tool_calls, c.tool_calls_len = view(&pin, string(m.ToolCalls))
		c.fields, c.fields_len = view(&pin, string(m.Fields))
	}
	p := C.rekindle_chat_params{struct_size: C.sizeof_rekindle_chat_params, now: C.int64_t(options.Now)}
	if !options.Closed {
		p.flags = C.REKINDLE_CHAT_GENERATION_PROMPT
	}
	p.tools, p.tools_len = view(&pin, string(options.Tools))
	p.variables, p.variables_len = view(&pin, string(options.Variables))
	p.template_name, p.template_name_len = view(&pin, options.TemplateName)
	p.template_text, p.template_text_len = view(&pin, options.TemplateText)
	return text(func(b *C.char, c C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_chat_render(vocab, &list[0], C.size_t(len(messages)), &p, b, c, needed)
	})
}
