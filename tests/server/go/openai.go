package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"
)

func openAICalls() []call {
	c := openai.NewClient(option.WithBaseURL(address+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	chat := func(name string, most int64) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{
			Model: name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(said)},
			MaxTokens: openai.Int(most), Seed: openai.Int(1),
		}
	}
	format := func(schema any) openai.ChatCompletionNewParamsResponseFormatUnion {
		return openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &openai.ResponseFormatJSONSchemaParam{
			JSONSchema: openai.ResponseFormatJSONSchemaJSONSchemaParam{Name: "answer", Strict: openai.Bool(true), Schema: schema},
		}}
	}
	// text is that of a chat without stream.
	text := func(ctx context.Context) (string, error) {
		a, err := c.Chat.Completions.New(ctx, chat(model, 10))
		if err != nil {
			return "", err
		}
		if a.Choices[0].FinishReason != "length" || a.Usage.CompletionTokens != 10 {
			return "", fmt.Errorf("%s", a.RawJSON())
		}
		return a.Choices[0].Message.Content, nil
	}
	return []call{
		{"openai-go Models.List, Get", func(ctx context.Context) (string, error) {
			l, err := c.Models.List(ctx)
			if err != nil || len(l.Data) < 2 {
				return "", fmt.Errorf("%v: %v", l, err)
			}
			m, err := c.Models.Get(ctx, model)
			if err != nil || m.ID != model {
				return "", fmt.Errorf("%v: %v", m, err)
			}
			return fmt.Sprint(len(l.Data), " models"), nil
		}},
		{"openai-go Chat.Completions.New", func(ctx context.Context) (string, error) {
			t, err := text(ctx)
			return fmt.Sprintf("%q", t), err
		}},
		{"openai-go Chat.Completions.NewStreaming", func(ctx context.Context) (string, error) {
			whole, err := text(ctx)
			if err != nil {
				return "", err
			}
			p := chat(model, 10)
			p.StreamOptions.IncludeUsage = openai.Bool(true)
			s, a, n := c.Chat.Completions.NewStreaming(ctx, p), openai.ChatCompletionAccumulator{}, 0
			for ; s.Next(); n++ {
				if !a.AddChunk(s.Current()) {
					return "", fmt.Errorf("a chunk out of order: %s", s.Current().RawJSON())
				}
			}
			if s.Err() != nil || a.Choices[0].Message.Content != whole || a.Usage.CompletionTokens != 10 {
				return "", fmt.Errorf("%+v: %v", a.ChatCompletion, s.Err())
			}
			return fmt.Sprint(n, " chunks, the text of the call without stream"), nil
		}},
		{"openai-go Chat.Completions.New, stop", func(ctx context.Context) (string, error) {
			whole, err := text(ctx)
			if err != nil {
				return "", err
			}
			p := chat(model, 10)
			p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{whole[3:6]}}
			a, err := c.Chat.Completions.New(ctx, p)
			if err != nil || a.Choices[0].Message.Content != whole[:3] || a.Choices[0].FinishReason != "stop" {
				return "", fmt.Errorf("%v: %v", a, err)
			}
			return fmt.Sprintf("stopped before %q", whole[3:6]), nil
		}},
		{"openai-go Chat.Completions.New, JSON schema", func(ctx context.Context) (string, error) {
			p := chat(model, 100)
			p.ResponseFormat = format(person)
			a, err := c.Chat.Completions.New(ctx, p)
			if err != nil {
				return "", err
			}
			return righteous(a.Choices[0].Message.Content)
		}},
		{"openai-go Chat.Completions.NewStreaming, tools", func(ctx context.Context) (string, error) {
			p := chat(caller, 100)
			p.ResponseFormat = format(written)
			p.Tools = []openai.ChatCompletionToolParam{{Function: openai.FunctionDefinitionParam{
				Name: "weather", Parameters: openai.FunctionParameters(parameters),
			}}}
			s, a := c.Chat.Completions.NewStreaming(ctx, p), openai.ChatCompletionAccumulator{}
			finished := false
			for s.Next() {
				a.AddChunk(s.Current())
				_, is := a.JustFinishedToolCall()
				finished = finished || is
			}
			if s.Err() != nil || len(a.Choices[0].Message.ToolCalls) != 1 || a.Choices[0].FinishReason != "tool_calls" || !finished {
				return "", fmt.Errorf("%+v: %v", a.ChatCompletion, s.Err())
			}
			f := a.Choices[0].Message.ToolCalls[0].Function
			if f.Name != "weather" {
				return "", fmt.Errorf("the tool %q", f.Name)
			}
			return f.Name + " " + f.Arguments, nil
		}},
		{"openai-go Embeddings.New", func(ctx context.Context) (string, error) {
			a, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
				Model: model, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{said, "a"}},
			})
			if err != nil || len(a.Data) != 2 {
				return "", fmt.Errorf("%v: %v", a, err)
			}
			return fmt.Sprint(len(a.Data), " rows of ", len(a.Data[0].Embedding)), nil
		}},
		{"openai-go Chat.Completions.NewStreaming, cancelled", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			s := c.Chat.Completions.NewStreaming(ctx, chat(model, 500))
			for s.Next() {
				cancel()
			}
			if !errors.Is(s.Err(), context.Canceled) {
				return "", fmt.Errorf("not cancelled: %v", s.Err())
			}
			return "cancelled", nil
		}},
		{"openai-go, an unknown model", func(ctx context.Context) (string, error) {
			_, err := c.Chat.Completions.New(ctx, chat("nobody", 1))
			var e *openai.Error
			if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Code != "model_not_found" {
				return "", fmt.Errorf("another error: %v", err)
			}
			return "Error, " + e.Message, nil
		}},
	}
}
