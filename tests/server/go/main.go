// Command clients drives a running rekindle-server with the Go clients of OpenAI and Ollama.
//
//	clients ADDRESS MODEL CALLER
//
// CALLER is a model whose template has tools. Each call is made, its answer checked, and its outcome printed. The exit
// status is 1 if one of them failed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// address of the server, a model, and one whose template has tools.
var address, model, caller string

const said = "And God said"

// call is a call of a client; do returns what is worth telling of the answer.
type call struct {
	name string
	do   func(context.Context) (string, error)
}

// person is a schema for answers.
var person = map[string]any{
	"type": "object", "required": []string{"righteous", "years"}, "additionalProperties": false,
	"properties": map[string]any{
		"righteous": map[string]any{"type": "boolean"}, "years": map[string]any{"type": "integer", "minimum": 1, "maximum": 969},
	},
}

// parameters are those of the tool "weather".
var parameters = map[string]any{
	"type": "object", "required": []string{"city"}, "additionalProperties": false,
	"properties": map[string]any{"city": map[string]any{"type": "string", "enum": []string{"Ur", "Nineveh"}}},
}

// written is a call as the caller's template has it: the small model writes one only if it must.
var written = map[string]any{
	"type": "object", "required": []string{"name", "parameters"}, "additionalProperties": false,
	"properties": map[string]any{"name": map[string]any{"const": "weather"}, "parameters": parameters},
	"x-guidance": map[string]any{"whitespace_flexible": false},
}

// righteous checks an answer by the schema of a person.
func righteous(text string) (string, error) {
	var p struct {
		Righteous *bool
		Years     int
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.Righteous == nil || p.Years < 1 {
		return "", fmt.Errorf("no person: %s (%v)", text, err)
	}
	return text, nil
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "clients ADDRESS MODEL CALLER")
		os.Exit(2)
	}
	address, model, caller = os.Args[1], os.Args[2], os.Args[3]
	if info, is := debug.ReadBuildInfo(); is {
		for _, m := range info.Deps {
			if m.Path == "github.com/openai/openai-go" || m.Path == "github.com/ollama/ollama" {
				fmt.Println(m.Path, m.Version)
			}
		}
	}
	all := append(openAICalls(), ollamaCalls()...)
	failed := 0
	for _, c := range all {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		outcome, err := c.do(ctx)
		cancel()
		if err != nil {
			failed++
			fmt.Printf("%s: FAILED, %v\n", c.name, err)
			continue
		}
		fmt.Printf("%s: ok, %s\n", c.name, outcome)
	}
	fmt.Printf("%d of %d calls are as they should be\n", len(all)-failed, len(all))
	if failed > 0 {
		os.Exit(1)
	}
}
