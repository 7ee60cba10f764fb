package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/ollama/ollama/api"
)

func ollamaCalls() []call {
	base, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	c := api.NewClient(base, http.DefaultClient)
	whole := false
	options := map[string]any{"num_predict": 8, "seed": 1}
	messages := []api.Message{{Role: "user", Content: said}}
	// ask gives the text of a chat and its last answer.
	ask := func(ctx context.Context, r *api.ChatRequest) (text string, last api.ChatResponse, err error) {
		err = c.Chat(ctx, r, func(a api.ChatResponse) error {
			text += a.Message.Content
			last = a
			return nil
		})
		return
	}
	return []call{
		{"ollama api Heartbeat, Version", func(ctx context.Context) (string, error) {
			if err := c.Heartbeat(ctx); err != nil {
				return "", err
			}
			return c.Version(ctx)
		}},
		{"ollama api List, Show", func(ctx context.Context) (string, error) {
			l, err := c.List(ctx)
			if err != nil || len(l.Models) < 2 {
				return "", fmt.Errorf("%v: %v", l, err)
			}
			s, err := c.Show(ctx, &api.ShowRequest{Model: caller})
			if err != nil || s.Details.Format != "gguf" || len(s.ModelInfo) == 0 {
				return "", fmt.Errorf("%v: %v", s, err)
			}
			return fmt.Sprint(len(l.Models), " models; ", s.Details.Family, ", ", s.Capabilities), nil
		}},
		{"ollama api Chat", func(ctx context.Context) (string, error) {
			text, last, err := ask(ctx, &api.ChatRequest{Model: model, Messages: messages, Options: options, Stream: &whole})
			if err != nil || last.EvalCount != 8 || last.DoneReason != "length" || last.EvalDuration <= 0 {
				return "", fmt.Errorf("%+v: %v", last, err)
			}
			streamed, _, err := ask(ctx, &api.ChatRequest{Model: model, Messages: messages, Options: options})
			if err != nil || streamed != text {
				return "", fmt.Errorf("%q, streamed %q: %v", text, streamed, err)
			}
			return fmt.Sprintf("%q, streamed as well", text), nil
		}},
		{"ollama api Chat, stop", func(ctx context.Context) (string, error) {
			text, _, err := ask(ctx, &api.ChatRequest{Model: model, Messages: messages, Options: options})
			if err != nil {
				return "", err
			}
			stop := map[string]any{"num_predict": 8, "seed": 1, "stop": []string{text[3:6]}}
			short, last, err := ask(ctx, &api.ChatRequest{Model: model, Messages: messages, Options: stop})
			if err != nil || short != text[:3] || last.DoneReason != "stop" {
				return "", fmt.Errorf("%q, %+v: %v", short, last, err)
			}
			return fmt.Sprintf("stopped before %q", text[3:6]), nil
		}},
		{"ollama api Chat, JSON schema", func(ctx context.Context) (string, error) {
			schema, _ := json.Marshal(person)
			text, _, err := ask(ctx, &api.ChatRequest{Model: model, Messages: messages, Format: schema})
			if err != nil {
				return "", err
			}
			return righteous(text)
		}},
		{"ollama api Chat, tools", func(ctx context.Context) (string, error) {
			schema, _ := json.Marshal(written)
			text, _ := json.Marshal([]any{map[string]any{
				"type": "function", "function": map[string]any{"name": "weather", "parameters": parameters},
			}})
			r := &api.ChatRequest{Model: caller, Messages: messages, Format: schema}
			if err := json.Unmarshal(text, &r.Tools); err != nil {
				return "", err
			}
			var calls []api.ToolCall
			err := c.Chat(ctx, r, func(a api.ChatResponse) error {
				calls = append(calls, a.Message.ToolCalls...)
				return nil
			})
			if err != nil || len(calls) != 1 || calls[0].Function.Name != "weather" {
				return "", fmt.Errorf("%v: %v", calls, err)
			}
			return calls[0].Function.Name + " " + calls[0].Function.Arguments.String(), nil
		}},
		{"ollama api Generate", func(ctx context.Context) (string, error) {
			var text string
			var last api.GenerateResponse
			err := c.Generate(ctx, &api.GenerateRequest{Model: model, Prompt: said, Options: options}, func(a api.GenerateResponse) error {
				text += a.Response
				last = a
				return nil
			})
			if err != nil || !last.Done || len(last.Context) == 0 {
				return "", fmt.Errorf("%+v: %v", last, err)
			}
			return fmt.Sprintf("%q", text), nil
		}},
		{"ollama api Embed, Embeddings", func(ctx context.Context) (string, error) {
			a, err := c.Embed(ctx, &api.EmbedRequest{Model: model, Input: []string{said, "a"}})
			if err != nil || len(a.Embeddings) != 2 {
				return "", fmt.Errorf("%v: %v", a, err)
			}
			b, err := c.Embeddings(ctx, &api.EmbeddingRequest{Model: model, Prompt: said})
			if err != nil || len(b.Embedding) != len(a.Embeddings[0]) {
				return "", fmt.Errorf("%v: %v", b, err)
			}
			return fmt.Sprint(len(a.Embeddings), " rows of ", len(b.Embedding)), nil
		}},
		{"ollama api ListRunning", func(ctx context.Context) (string, error) {
			a, err := c.ListRunning(ctx)
			if err != nil || len(a.Models) == 0 || a.Models[0].Size == 0 {
				return "", fmt.Errorf("%v: %v", a, err)
			}
			return fmt.Sprint(len(a.Models), " loaded"), nil
		}},
		{"ollama api Chat, cancelled", func(ctx context.Context) (string, error) {
			// This client's stream ends without an error then.
			ctx, cancel := context.WithCancel(ctx)
			var last api.ChatResponse
			err := c.Chat(ctx, &api.ChatRequest{Model: model, Messages: messages}, func(a api.ChatResponse) error {
				cancel()
				last = a
				return nil
			})
			if last.Done || err != nil && !errors.Is(err, context.Canceled) {
				return "", fmt.Errorf("not cancelled: %+v, %v", last, err)
			}
			return "cancelled", nil
		}},
		{"ollama api, an unknown model", func(ctx context.Context) (string, error) {
			_, _, err := ask(ctx, &api.ChatRequest{Model: "nobody", Messages: messages})
			var e api.StatusError
			if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound {
				return "", fmt.Errorf("another error: %v", err)
			}
			return "StatusError, " + e.ErrorMessage, nil
		}},
	}
}
