package main

import (
	"encoding/json"
	"net/http"
	"strings"
)

// anthropicRequest is that of /v1/messages.
type anthropicRequest struct {
	Model     string             `json:"model"`
	MaxTokens *int64             `json:"max_tokens"`
	System    anthropicBlocks    `json:"system"`
	Messages  []anthropicMessage `json:"messages"`
	Stream    bool               `json:"stream"`
	Stops     texts              `json:"stop_sequences"`
	Tools     []anthropicTool    `json:"tools"`
	Choice    *struct {
		Type string `json:"type"`
		Name string `json:"name"`
		One  bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Thinking *struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Temperature *float64  `json:"temperature"`
	TopP        *float64  `json:"top_p"`
	TopK        *int64    `json:"top_k"`
	KeepAlive   keepAlive `json:"keep_alive"`
}

type anthropicMessage struct {
	Role    string          `json:"role"`
	Content anthropicBlocks `json:"content"`
}

type anthropicTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"input_schema"`
}

// anthropicBlocks are a text or a list of blocks.
type anthropicBlocks []anthropicBlock

type anthropicBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   anthropicBlocks `json:"content"`
}

func (b *anthropicBlocks) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*b = anthropicBlocks{{Type: "text", Text: one}}
		return nil
	}
	var list []anthropicBlock
	if err := json.Unmarshal(text, &list); err != nil {
		return badRequest("content", "content is neither a text nor a list of blocks")
	}
	*b = list
	return nil
}

// text joins the blocks' texts; other blocks are not allowed.
func (b anthropicBlocks) text() (string, error) {
	var all []string
	for _, block := range b {
		if block.Type != "text" {
			return "", badRequest("content", "a block has the type %q; the models here read only text", block.Type)
		}
		all = append(all, block.Text)
	}
	return strings.Join(all, "\n"), nil
}

// messages are those of the request in the common form.
func (q *anthropicRequest) messages() (list []chatMessage, err error) {
	if len(q.Messages) == 0 {
		return nil, badRequest("messages", "messages is empty")
	}
	if len(q.System) > 0 {
		system, err := q.System.text()
		if err != nil {
			return nil, err
		}
		list = append(list, chatMessage{Role: "system", Content: content{system}})
	}
	for i, m := range q.Messages {
		if m.Role != "user" && m.Role != "assistant" && m.Role != "system" {
			return nil, badRequest("messages", "messages[%d] has the role %q; user and assistant are known", i, m.Role)
		}
		own := chatMessage{Role: m.Role}
		var said []string
		for _, b := range m.Content {
			switch b.Type {
			case "text":
				said = append(said, b.Text)
			case "thinking":
				own.ReasoningContent += b.Thinking
			case "redacted_thinking":
			case "tool_use":
				c := call{ID: b.ID}
				c.Function.Name, c.Function.Arguments = b.Name, b.Input
				own.ToolCalls = append(own.ToolCalls, c)
			case "tool_result":
				// The answers of tools are messages of their own, before what the user says beside them.
				text, err := b.Content.text()
				if err != nil {
					return nil, err
				}
				list = append(list, chatMessage{Role: "tool", ToolCallID: b.ToolUseID, Content: content{text}})
			default:
				return nil, badRequest("messages", "messages[%d] has a block of type %q; the models here read only text", i, b.Type)
			}
		}
		own.Content.text = strings.Join(said, "\n")
		if len(said) > 0 || len(own.ToolCalls) > 0 || own.ReasoningContent != "" {
			list = append(list, own)
		}
	}
	return list, nil
}

// chatParams makes those of the template. Tools get OpenAI's form, which templates know.
func (q *anthropicRequest) chatParams() (p chatParams, err error) {
	if q.Thinking != nil {
		p.variables = map[string]any{"enable_thinking": q.Thinking.Type != "disabled"}
	}
	p.choice = "auto"
	if q.Choice != nil {
		p.oneCall = q.Choice.One
		switch q.Choice.Type {
		case "auto", "none":
			p.choice = q.Choice.Type
		case "any":
			p.choice = "required"
		case "tool":
			p.choice, p.function = "function", q.Choice.Name
		default:
			return p, badRequest("tool_choice", "tool_choice.type is %q; auto, any, tool and none are known", q.Choice.Type)
		}
	}
	var tools []any
	for _, t := range q.Tools {
		if t.Type != "" && t.Type != "custom" {
			return p, badRequest("tools", "the tool %q is of type %q; only tools of the client's own are known", t.Name, t.Type)
		}
		schema := t.Schema
		if !given(schema) {
			schema = anyObject
		}
		tools = append(tools, map[string]any{"type": "function", "function": map[string]any{
			"name": t.Name, "description": t.Description, "parameters": schema,
		}})
	}
	if len(tools) > 0 {
		p.tools, err = json.Marshal(tools)
	}
	return p, err
}

func (s *server) anthropicMessages(w http.ResponseWriter, r *http.Request) error {
	var q anthropicRequest
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if q.MaxTokens != nil && *q.MaxTokens < 1 {
		return badRequest("max_tokens", "max_tokens is %d, at least 1 is wanted", *q.MaxTokens)
	}
	messages, err := q.messages()
	if err != nil {
		return err
	}
	params, err := q.chatParams()
	if err != nil {
		return err
	}
	own := wishes{Temperature: q.Temperature, TopP: q.TopP, TopK: q.TopK, MaxTokens: q.MaxTokens, Stop: q.Stops}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, own)
	if err != nil {
		return err
	}
	defer l.release()
	t, reader, err := l.chatTask(messages, params, own.over(l.entry.params).over(anthropic.usualWishes()), nil)
	if err != nil {
		return err
	}
	jobs, stop, err := l.begin(r.Context(), t, 1)
	if err != nil {
		return err
	}
	defer stop()
	a := &anthropicAnswer{lease: l, job: jobs[0], reader: reader, id: newID("msg_"), stops: q.Stops, model: q.Model}
	if q.Stream {
		return a.stream(newStream(w, true), s.options.comments)
	}
	return a.whole(w)
}

func (s *server) anthropicCount(w http.ResponseWriter, r *http.Request) error {
	var q anthropicRequest
	if err := readJSON(r, &q); err != nil {
		return err
	}
	messages, err := q.messages()
	if err != nil {
		return err
	}
	params, err := q.chatParams()
	if err != nil {
		return err
	}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, wishes{})
	if err != nil {
		return err
	}
	defer l.release()
	made, err := l.chatPrompt(messages, params)
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"input_tokens": len(made.tokens)})
}
