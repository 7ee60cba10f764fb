package main

import (
	"bytes"
	"encoding/json"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// constraint is a grammar that a text must follow.
type constraint struct {
	kind   rekindle.GrammarKind
	source string
	// after is the text that it waits for; it allows everything before. Empty: it begins at once.
	after string
}

// anyObject is the schema of "some JSON object".
var anyObject = json.RawMessage(`{"type":"object"}`)

// whitespace bounds the spaces between the parts of a JSON text. Without it a small model may write spaces until the
// context is full.
const whitespace = `"x-guidance":{"whitespace_pattern":"( |\\n{1,2}[ \\t]{0,20})?"}`

// bySchema is the constraint of a JSON schema. Its keys keep their order, in which the text has them as well.
func bySchema(schema json.RawMessage) *constraint {
	c := &constraint{kind: rekindle.JSONSchema, source: string(schema)}
	var fields map[string]json.RawMessage
	if json.Unmarshal(schema, &fields) != nil {
		// true and false are schemas, too; what is none is refused by the library.
		return c
	}
	if _, own := fields["x-guidance"]; own {
		return c
	}
	rest := bytes.TrimSpace(schema)[1:]
	c.source = "{" + whitespace
	if len(fields) > 0 {
		c.source += ","
	}
	c.source += string(rest)
	return c
}

// boundedTools gives the parameters of tools the bound of spaces as well. What is no list of tools is for the library
// to refuse.
func boundedTools(tools json.RawMessage) json.RawMessage {
	var list []map[string]json.RawMessage
	if json.Unmarshal(tools, &list) != nil {
		return tools
	}
	for _, tool := range list {
		var function map[string]json.RawMessage
		var parameters map[string]json.RawMessage
		if json.Unmarshal(tool["function"], &function) != nil || json.Unmarshal(function["parameters"], &parameters) != nil ||
			parameters == nil {
			continue
		}
		function["parameters"] = json.RawMessage(bySchema(function["parameters"]).source)
		text, err := json.Marshal(function)
		if err != nil {
			return tools
		}
		tool["function"] = text
	}
	text, err := json.Marshal(list)
	if err != nil {
		return tools
	}
	return text
}
