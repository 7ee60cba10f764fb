package main

import (
	"encoding/json"
	"fmt"
	"strings"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// chatMessage is a message of a conversation, in the forms of all dialects.
type chatMessage struct {
	Role       string   `json:"role"`
	Content    content  `json:"content"`
	Name       string   `json:"name"`
	ToolCallID string   `json:"tool_call_id"`
	ToolName   string   `json:"tool_name"`
	Images     []string `json:"images"`
	ToolCalls  []call   `json:"tool_calls"`
	// What the model thought, by its names.
	ReasoningContent string `json:"reasoning_content"`
	Reasoning        string `json:"reasoning"`
	Thinking         string `json:"thinking"`
}

// call is a call of a tool. Its arguments are an object, or the JSON text of one.
type call struct {
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// content is a text, or a list of parts of which only texts are taken.
type content struct{ text string }

func (c *content) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &c.text) == nil {
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(b, &parts) != nil {
		return badRequest("content", "content is neither a text nor a list of parts")
	}
	var all []string
	for _, p := range parts {
		switch p.Type {
		case "text", "input_text", "output_text", "reasoning_text", "":
			all = append(all, p.Text)
		case "refusal", "thinking", "reasoning":
		default:
			return badRequest("content", "content has a part of type %q; the models here read only text", p.Type)
		}
	}
	c.text = strings.Join(all, "\n")
	return nil
}

// asMessages makes the library's messages.
func asMessages(list []chatMessage) ([]rekindle.Message, error) {
	messages := make([]rekindle.Message, len(list))
	for i, m := range list {
		if m.Role == "" {
			return nil, badRequest(fmt.Sprintf("messages[%d].role", i), "messages[%d] has no role", i)
		}
		if len(m.Images) > 0 {
			return nil, badRequest(fmt.Sprintf("messages[%d].images", i), "messages[%d] has images; the models here read only text", i)
		}
		role := m.Role
		if role == "developer" {
			role = "system"
		}
		out := rekindle.Message{Role: role, Content: m.Content.text, Name: m.Name, ToolCallID: m.ToolCallID}
		if out.Name == "" {
			out.Name = m.ToolName
		}
		for _, r := range []string{m.ReasoningContent, m.Reasoning, m.Thinking} {
			if out.Reasoning == "" {
				out.Reasoning = r
			}
		}
		var err error
		if out.ToolCalls, err = asCalls(m.ToolCalls); err != nil {
			return nil, badRequest(fmt.Sprintf("messages[%d].tool_calls", i), "messages[%d]: %v", i, err)
		}
		messages[i] = out
	}
	return messages, nil
}

// asCalls writes calls as templates want them: arguments as an object.
func asCalls(calls []call) (json.RawMessage, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	list := make([]map[string]any, len(calls))
	for i, c := range calls {
		arguments := c.Function.Arguments
		var text string
		if json.Unmarshal(arguments, &text) == nil {
			arguments = json.RawMessage(text)
		}
		if len(arguments) == 0 {
			arguments = json.RawMessage("{}")
		}
		if !json.Valid(arguments) {
			return nil, fmt.Errorf("the arguments of the call of %q are no JSON", c.Function.Name)
		}
		list[i] = map[string]any{
			"id": c.ID, "type": "function", "function": map[string]any{"name": c.Function.Name, "arguments": arguments},
		}
	}
	return json.Marshal(list)
}

// plainTemplate stands for the template of a file that has none, as files of models that were not made for
// conversations: such a model goes on where the last message ends.
const plainTemplate = `{% for m in messages %}{{ m.content }}{% if not loop.last %}` + "\n" + `{% endif %}{% endfor %}`
