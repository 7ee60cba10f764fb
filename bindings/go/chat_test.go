package rekindle

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestChat(t *testing.T) {
	c, err := NewContext("auto", 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	talk := []Message{
		{Role: "user", Content: "Hi, “you”"},
		{Role: "assistant", ToolCalls: json.RawMessage(`[{"id": "1"}]`)},
		{Role: "tool"},
	}
	var failure *Error
	if _, err = file.Chat(talk, ChatOptions{}); !errors.As(err, &failure) || failure.Status != NotFound {
		t.Fatalf("a file without a template: %v", err)
	}
	options := ChatOptions{
		TemplateText: "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | tojson }}{{ m.tool_calls }}" +
			"{% endfor %}{{ tools }}{{ x }}{{ strftime_now('%F') }}{% if add_generation_prompt %}[go]{% endif %}",
		Tools: json.RawMessage(`[1]`), Variables: json.RawMessage(`{"x": 2}`), Now: 86400,
	}
	prompt, err := file.Chat(talk, options)
	want := `[user]"Hi, “you”"[assistant]null[{'id': '1'}][tool]""[1]21970-01-02[go]`
	if err != nil || !strings.HasSuffix(prompt, want) {
		t.Fatalf("%q, %v, want %q", prompt, err, want)
	}
	options.TemplateText, options.Closed = "{{ x", true
	if _, err = file.Chat(talk, options); !errors.As(err, &failure) || failure.Status != InvalidArgument {
		t.Fatalf("a bad template: %v", err)
	}
}
