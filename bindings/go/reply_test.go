package rekindle

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const hermes = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

func TestReply(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	r, err := m.NewReply(ReplyParams{
		Tools:        []byte(`[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]`),
		TemplateText: hermes, Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f, err := r.Format(); f != "hermes" || err != nil {
		t.Error(f, err)
	}
	got := ""
	for _, piece := range []string{"Let me ", "see.<tool", "_call>\n{\"name\": \"weather\", \"arguments\": {\"in\": ", "\"Ur\"}}\n</tool_call>"} {
		if err := r.Push(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	for {
		e, some, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !some || e.Kind == ReplyEnd {
			break
		}
		if e.Kind == ReplyCallBegins && e.ID == "" {
			t.Error("a call without an id")
		}
		got += fmt.Sprintf("%d %s|", e.Kind, e.Text)
	}
	// Pieces that nobody took in between are one.
	if got != "2 Let me see.|3 weather|4 {\"in\": \"Ur\"}|5 |" {
		t.Error(got)
	}
	if text, err := r.JSON(); err != nil || !strings.Contains(text, `"name":"weather"`) {
		t.Error(text, err)
	}
	if _, err := m.NewReply(ReplyParams{Tools: []byte("{")}); status(err) != InvalidArgument {
		t.Error(err)
	}
	if p := os.Getenv("REKINDLE_HEADER"); p != "" {
		f, err := c.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		plain, err := f.NewReply(ReplyParams{})
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
	}
}

// A call that is required is all that the model can write.
func TestReplyGrammar(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	make := func(choice string) (*Grammar, error) {
		r, err := m.NewReply(ReplyParams{
			Tools:        []byte(`[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]`),
			TemplateText: hermes, ToolChoice: choice,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Grammar(true)
	}
	g, err := make("required")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for text, want := range map[string]Verdict{
		"<tool_call>{\"name\": \"weather\", \"arguments\": {}}</tool_call>": TextComplete,
		"<tool_call>{\"name\": \"wea":                                       TextPrefix, "<tool_call>{\"name\": \"other\"": TextRefused, "Let me see.": TextRefused,
	} {
		if v, _, err := g.Check(text); err != nil || v != want {
			t.Error(text, v, err)
		}
	}
	if _, err := make("none"); status(err) != InvalidArgument {
		t.Error(err)
	}
}
