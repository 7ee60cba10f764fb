package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// named gives the events of an Anthropic stream, by their names.
func (r *rig) named(path string, body fields) (names []string, all []fields) {
	r.Helper()
	text, _ := json.Marshal(body)
	status, answer, _ := r.do("POST", path, string(text))
	if status != http.StatusOK {
		r.Fatal(status, string(answer))
	}
	for _, block := range strings.Split(strings.TrimSpace(string(answer)), "\n\n") {
		name, data, is := strings.Cut(block, "\n")
		if !is {
			r.Fatal("no event:", block)
		}
		e := r.object([]byte(strings.TrimPrefix(data, "data: ")))
		if name = strings.TrimPrefix(name, "event: "); name != e["type"] {
			r.Error(name, e)
		}
		names, all = append(names, name), append(all, e)
	}
	return
}

func TestAnthropic(t *testing.T) {
	r := start(t, func(o *options) { o.aliases = map[string]string{"claude-x": bible} })
	body := fields{
		"model": "claude-x", "max_tokens": 6, "temperature": 0, "system": "And God said",
		"messages": []any{fields{"role": "user", "content": []any{fields{"type": "text", "text": "unto Moses"}}}},
	}
	whole := r.ask("/v1/messages", body)
	text, _ := at(whole, "content", 0, "text").(string)
	if text == "" || whole["stop_reason"] != "max_tokens" || at(whole, "usage", "output_tokens") != 6.0 || whole["model"] != "claude-x" {
		t.Fatal(whole)
	}
	n := r.ask("/v1/messages/count_tokens", body)["input_tokens"].(float64)
	again := r.ask("/v1/messages", body)
	if used := at(again, "usage", "input_tokens").(float64) + at(again, "usage", "cache_read_input_tokens").(float64); used != n {
		t.Error(n, again)
	}
	body["stream"] = true
	names, events := r.named("/v1/messages", body)
	streamed := ""
	for _, e := range events {
		if piece, is := at(e, "delta", "text").(string); is {
			streamed += piece
		}
	}
	order := "message_start content_block_start" + strings.Repeat(" content_block_delta", len(names)-5) +
		" content_block_stop message_delta message_stop"
	if streamed != text || strings.Join(names, " ") != order {
		t.Error(streamed, text, names)
	}
	delete(body, "stream")
	body["stop_sequences"] = []any{text[2:4]}
	if m := r.ask("/v1/messages", body); m["stop_reason"] != "stop_sequence" || m["stop_sequence"] != text[2:4] {
		t.Error(m)
	}
	status, answer, _ := r.do("POST", "/v1/messages", `{"messages":[{"role":"user","content":[{"type":"image"}]}]}`)
	if e := r.object(answer); status != 400 || e["type"] != "error" || at(e, "error", "type") != "invalid_request_error" {
		t.Error(status, string(answer))
	}
}

func TestResponses(t *testing.T) {
	r := start(t, nil)
	body := fields{"model": bible, "input": "And God said", "max_output_tokens": 6, "temperature": 0}
	whole := r.ask("/v1/responses", body)
	text, _ := at(whole, "output", 0, "content", 0, "text").(string)
	if text == "" || whole["status"] != "incomplete" || at(whole, "usage", "output_tokens") != 6.0 {
		t.Fatal(whole)
	}
	body["stream"] = true
	names, events := r.named("/v1/responses", body)
	streamed := ""
	for i, e := range events {
		if e["sequence_number"] != float64(i) {
			t.Error(e)
		}
		if e["type"] == "response.output_text.delta" {
			streamed += e["delta"].(string)
		}
	}
	last := events[len(events)-1]
	order := "response.created response.in_progress response.output_item.added response.content_part.added" +
		strings.Repeat(" response.output_text.delta", len(names)-8) + " response.output_text.done" +
		" response.content_part.done response.output_item.done response.incomplete"
	if streamed != text || strings.Join(names, " ") != order ||
		at(last, "response", "output", 0, "content", 0, "text") != text {
		t.Error(streamed, text, names)
	}
}

// Blocks become messages: answers of tools before the user's words, calls and thoughts of the assistant.
func TestAnthropicBlocks(t *testing.T) {
	var q anthropicRequest
	err := json.Unmarshal([]byte(`{"system":[{"type":"text","text":"Be."}],"messages":[
		{"role":"user","content":"a"},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"b"},
			{"type":"tool_use","id":"1","name":"f","input":{"x":1}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"c"}]},
			{"type":"text","text":"d"}]}]}`), &q)
	if err != nil {
		t.Fatal(err)
	}
	list, err := q.messages()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range list {
		got += fmt.Sprintf("%s(%s%s%s%d) ", m.Role, m.ReasoningContent, m.Content.text, m.ToolCallID, len(m.ToolCalls))
	}
	if got != "system(Be.0) user(a0) assistant(hmb1) tool(c10) user(d0) " {
		t.Error(got)
	}
}

func TestNative(t *testing.T) {
	r := start(t, nil)
	body := fields{"prompt": "And God said", "n_predict": 5, "temperature": 0}
	whole := r.ask("/completion", body)
	if whole["stop_type"] != "limit" || whole["tokens_predicted"] != 5.0 || whole["stop"] != true {
		t.Error(whole)
	}
	for path, says := range map[string]string{"/infill": "fill in", "/v1/rerank": "no head"} {
		status, answer, _ := r.do("POST", path, `{"input_prefix":"a","input_suffix":"b","query":"a","documents":["b",{"text":"c"}]}`)
		if text := at(r.object(answer), "error", "message"); status != 400 || !strings.Contains(fmt.Sprint(text), says) {
			t.Error(path, status, string(answer))
		}
	}
}

func TestPairs(t *testing.T) {
	bert := rekindle.VocabInfo{Model: "bert", BOS: 1, EOS: -1, Sep: 2}
	if got := fmt.Sprint(join(bert, []int32{1, 7, 2}, []int32{8})); got != "[1 7 2 8 2]" {
		t.Error(got)
	}
	roberta := rekindle.VocabInfo{Model: "t5", BOS: 0, EOS: 2, Sep: 2}
	if got := fmt.Sprint(join(roberta, []int32{0, 7, 2}, []int32{8})); got != "[0 7 2 2 8 2]" {
		t.Error(got)
	}
}
