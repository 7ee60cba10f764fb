package rekindle

import (
	"context"
	"errors"
	"testing"
)

func newGeneration(t *testing.T, m *Model, p GenerationParams) *Generation {
	t.Helper()
	g, err := m.NewGeneration(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// told takes all events.
func told(t *testing.T, g *Generation) (text string, tokens int, stop StopReason) {
	t.Helper()
	for {
		e, some, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !some {
			return
		}
		text += e.Text
		stop = e.Stop
		if e.Token >= 0 {
			tokens++
		}
	}
}

func TestGenerations(t *testing.T) {
	_, m := load(t, PlanParams{Ctx: 128, SeqMax: 4})
	defer m.Close()
	prompts := []string{"And God said", "In the beginning", "And God said"}
	var all []*Generation
	for _, p := range prompts {
		g := newGeneration(t, m, GenerationParams{Prompt: p, MaxTokens: 6, StopTexts: []string{"never said"}})
		defer g.Close()
		all = append(all, g)
	}
	for {
		r, err := m.Step(all...)
		if err != nil {
			t.Fatal(err)
		}
		if r.Going == 0 {
			break
		}
	}
	var texts []string
	for _, g := range all {
		text, n, stop := told(t, g)
		if n != 6 || stop != StopLimit || text == "" {
			t.Error(text, n, stop)
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[2] || texts[0] == texts[1] {
		t.Error(texts)
	}
	// One alone, as an iterator: it goes on from what is there, and stops before its stop text.
	stop := texts[0][2:4]
	g := newGeneration(t, m, GenerationParams{Prompt: prompts[0], StopTexts: []string{stop}})
	defer g.Close()
	text := ""
	var last StopReason
	for e, err := range g.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		text += e.Text
		last = e.Stop
	}
	info, err := g.Info()
	if text != texts[0][:2] || last != StopText || err != nil || info.Reused == 0 || info.Stop != StopText {
		t.Error(text, last, err, info)
	}
}

func TestGenerationEnds(t *testing.T) {
	_, m := load(t, PlanParams{Ctx: 128, SeqMax: 2})
	defer m.Close()
	if _, err := m.NewGeneration(GenerationParams{NoSpecial: true}); err == nil {
		t.Error("a generation without a prompt")
	}
	if _, err := m.NewGeneration(GenerationParams{Prompt: "a", StopTexts: []string{""}}); err == nil {
		t.Error("an empty stop text")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g := newGeneration(t, m, GenerationParams{Prompt: "And God said"})
	defer g.Close()
	n := 0
	for e, err := range g.Events(ctx) {
		if n++; n == 3 {
			cancel()
		}
		if n > 3 && (!errors.Is(err, context.Canceled) || e.Stop != StopCancelled) {
			t.Error(e, err)
		}
	}
	other := newGeneration(t, m, GenerationParams{Tokens: []int32{40, 41}, MaxTokens: 2})
	defer other.Close()
	if _, err := m.Step(other, other); err == nil {
		t.Error("a generation twice in a step")
	}
	for range other.Events(context.Background()) {
	}
	if info, err := other.Info(); err != nil || info.Generated != 2 || info.Stop != StopLimit {
		t.Error(info, err)
	}
}
