package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// responsesRequest is that of /v1/responses. Nothing is kept from one request to the next.
type responsesRequest struct {
	Model        string          `json:"model"`
	Input        responseItems   `json:"input"`
	Instructions string          `json:"instructions"`
	Stream       bool            `json:"stream"`
	MaxTokens    *int64          `json:"max_output_tokens"`
	Temperature  *float64        `json:"temperature"`
	TopP         *float64        `json:"top_p"`
	Tools        []responseTool  `json:"tools"`
	ToolChoice   json.RawMessage `json:"tool_choice"`
	Parallel     *bool           `json:"parallel_tool_calls"`
	Previous     *string         `json:"previous_response_id"`
	Metadata     json.RawMessage `json:"metadata"`
	KeepAlive    keepAlive       `json:"keep_alive"`
	Reasoning    *struct {
		Effort string `json:"effort"`
	} `json:"reasoning"`
	Text *struct {
		Format *struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"text"`
}

type responseTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

// responseItems are a text or a list of items.
type responseItems []responseItem

type responseItem struct {
	Type      string          `json:"type"`
	Role      string          `json:"role"`
	Content   content         `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Output    content         `json:"output"`
}

func (r *responseItems) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*r = responseItems{{Role: "user", Content: content{one}}}
		return nil
	}
	var list []responseItem
	if err := json.Unmarshal(b, &list); err != nil {
		return badRequest("input", "input is neither a text nor a list of items: %v", err)
	}
	*r = list
	return nil
}

// messages are the items in the common form. What the assistant thought, said and called in a row is one message.
func (q *responsesRequest) messages() (list []chatMessage, err error) {
	if q.Previous != nil {
		return nil, notThere("previous_response_id is not there: nothing is kept; send the whole conversation as input")
	}
	if q.Instructions != "" {
		list = append(list, chatMessage{Role: "system", Content: content{q.Instructions}})
	}
	// own is the assistant's message that goes on.
	own := func() *chatMessage {
		if n := len(list); n == 0 || list[n-1].Role != "assistant" {
			list = append(list, chatMessage{Role: "assistant"})
		}
		return &list[len(list)-1]
	}
	for i, item := range q.Input {
		switch item.Type {
		case "message", "":
			if item.Role == "assistant" {
				m := own()
				m.Content.text += item.Content.text
				continue
			}
			list = append(list, chatMessage{Role: item.Role, Content: item.Content})
		case "function_call":
			c := call{ID: item.CallID}
			c.Function.Name, c.Function.Arguments = item.Name, item.Arguments
			m := own()
			m.ToolCalls = append(m.ToolCalls, c)
		case "function_call_output":
			list = append(list, chatMessage{Role: "tool", ToolCallID: item.CallID, Content: item.Output})
		case "reasoning":
			own().ReasoningContent += item.Content.text
		default:
			return nil, badRequest("input", "input[%d] has the type %q; messages, calls, their outputs and reasoning are known",
				i, item.Type)
		}
	}
	if len(list) == 0 {
		return nil, badRequest("input", "input is missing")
	}
	return list, nil
}

// chatParams makes those of the template. Tools get the form of chats, which templates know.
func (q *responsesRequest) chatParams() (chatParams, error) {
	c := chatRequest{}
	if q.Reasoning != nil {
		c.ReasoningEffort = q.Reasoning.Effort
	}
	var tools []any
	for _, t := range q.Tools {
		// Tools that a server would run itself are left out: the model shall not call what nobody answers.
		if t.Type != "function" {
			continue
		}
		schema := t.Parameters
		if !given(schema) {
			schema = anyObject
		}
		tools = append(tools, map[string]any{"type": "function", "function": map[string]any{
			"name": t.Name, "description": t.Description, "parameters": schema,
		}})
	}
	if len(tools) > 0 {
		text, err := json.Marshal(tools)
		if err != nil {
			return chatParams{}, err
		}
		c.Tools = text
	}
	c.ToolChoice, c.ParallelToolCalls = q.ToolChoice, q.Parallel
	var named struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if given(q.ToolChoice) && json.Unmarshal(q.ToolChoice, &named) == nil && named.Name != "" {
		choice, err := json.Marshal(map[string]any{"function": map[string]any{"name": named.Name}})
		if err != nil {
			return chatParams{}, err
		}
		c.ToolChoice = choice
	}
	return c.chatParams()
}

func (q *responsesRequest) constraint() (*constraint, error) {
	if q.Text == nil || q.Text.Format == nil {
		return nil, nil
	}
	f := q.Text.Format
	switch {
	case f.Type == "" || f.Type == "text":
		return nil, nil
	case f.Type == "json_object":
		return bySchema(anyObject), nil
	case f.Type == "json_schema" && given(f.Schema):
		return bySchema(f.Schema), nil
	}
	return nil, badRequest("text.format", "text.format is %q; text, json_object and json_schema with a schema are known",
		f.Type)
}

func (s *server) responses(w http.ResponseWriter, r *http.Request) error {
	var q responsesRequest
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
	constraint, err := q.constraint()
	if err != nil {
		return err
	}
	if q.MaxTokens != nil && *q.MaxTokens < 1 {
		return badRequest("max_output_tokens", "max_output_tokens is %d, at least 1 is wanted", *q.MaxTokens)
	}
	own := wishes{Temperature: q.Temperature, TopP: q.TopP, MaxTokens: q.MaxTokens}
	l, err := s.use(r.Context(), q.Model, toWrite, q.KeepAlive, own)
	if err != nil {
		return err
	}
	defer l.release()
	t, reader, err := l.chatTask(messages, params, own.over(l.entry.params).over(openAI.usualWishes()), constraint)
	if err != nil {
		return err
	}
	jobs, stop, err := l.begin(r.Context(), t, 1)
	if err != nil {
		return err
	}
	defer stop()
	a := &responseAnswer{lease: l, request: &q, job: jobs[0], reader: reader, id: newID("resp_"), created: time.Now()}
	if q.Stream {
		return a.stream(newStream(w, true), s.options.comments)
	}
	return a.whole(w)
}
