package rekindle

import (
	"errors"
	"slices"
	"testing"
)

func TestGrammar(t *testing.T) {
	c, err := NewContext("auto", 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := c.Plan(file, PlanParams{Ctx: 64})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Load(plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	schema := `{"type": "object", "properties": {"name": {"enum": ["Adam", "Eve"]}}, "required": ["name"]}`
	g, err := m.NewGrammar(JSONSchema, schema, GrammarOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Verdict{
		`{"name": "Eve"}`: TextComplete, `{"name": "E`: TextPrefix, `{"name": "Cain"}`: TextRefused,
	} {
		if got, at, err := g.Check(text); err != nil || got != want || want == TextRefused && at != 10 {
			t.Errorf("%s: %v at %d, %v", text, got, at, err)
		}
	}
	// The first token that the mask allows, until the text is complete.
	names, err := m.NewGrammar(GBNF, `root ::= ("Adam" | "Eve") "!"`, GrammarOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := names.Copy()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		complete, err := other.Complete()
		if err != nil || n > 100 {
			t.Fatal(n, err)
		}
		if complete {
			break
		}
		mask, err := other.Mask()
		if err != nil {
			t.Fatal(err)
		}
		word := slices.IndexFunc(mask, func(w uint32) bool { return w != 0 })
		for bit := 31; bit >= 0; bit-- {
			if mask[word]>>bit&1 == 1 {
				if err := other.Accept(int32(word*32 + bit)); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
	if complete, err := names.Complete(); complete || err != nil {
		t.Fatal("the copy moved the original", err)
	}
	var failure *Error
	if _, err := m.NewGrammar(GBNF, "root ::= nothing", GrammarOptions{}); !errors.As(err, &failure) {
		t.Fatal("a rule that is not there", err)
	}
	waits, err := m.NewGrammar(Regex, "a", GrammarOptions{TriggerTexts: []string{"In", "And"}})
	if err != nil {
		t.Fatal(err)
	}
	if forced, err := waits.Forced(); len(forced) != 0 || err != nil {
		t.Fatal(forced, err)
	}
}
