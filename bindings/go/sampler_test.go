package rekindle

import (
	"context"
	"math"
	"slices"
	"testing"
)

func TestSampler(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	tokens, err := m.Tokenize("And God said")
	if err != nil {
		t.Fatal(err)
	}
	logits, err := m.Decode(tokens, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSampler(SamplerParams{Temperature: 1, Seed: 7, Logprobs: 3, RepeatPenalty: 1.2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Logprobs(ByModel); status(err) != NotFound {
		t.Error("probabilities before a token:", err)
	}
	draw := func(s *Sampler) int32 {
		token, err := s.Sample(logits)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Accept(token); err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := draw(s)
	other, err := s.Copy()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var one, two []int32
	for range 20 {
		one = append(one, draw(s))
	}
	for range 20 {
		two = append(two, draw(other))
	}
	if !slices.Equal(one, two) {
		t.Error("a copy draws something else", one, two)
	}
	if err := s.Reset(); err != nil || draw(s) != first {
		t.Error("a reset does not start over", err)
	}
	model, err := s.Logprobs(ByModel)
	if err != nil || model.Chosen.Token != first || len(model.Best) != 3 || model.Best[0].Logprob < model.Best[2].Logprob {
		t.Error(model, err)
	}
	best := slices.Index(logits, slices.Max(logits))
	if int(model.Best[0].Token) != best || model.Chosen.Logprob > 0 {
		t.Error(model, best)
	}
	if drawn, err := s.Logprobs(ByDraw); err != nil || drawn.Chosen.Token != first {
		t.Error(drawn, err)
	}
	// The most likely token is forbidden.
	no := SamplerParams{LogitBias: []LogitBias{{Token: int32(best), Bias: float32(math.Inf(-1))}}}
	without, err := m.NewSampler(no)
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	if token, err := without.Sample(logits); err != nil || int(token) == best {
		t.Error(token, err)
	}
	if _, err := without.Sample(nil); status(err) != InvalidArgument {
		t.Error("a token of no logits:", err)
	}
}

func TestGenerationLogprobs(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	p := GenerationParams{Prompt: "And God said", MaxTokens: 4, Sampler: SamplerParams{Logprobs: 2}}
	g := newGeneration(t, m, p)
	defer g.Close()
	n := 0
	for e, err := range g.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		l, err := g.Logprobs(ByModel)
		if err != nil || len(l.Best) != 2 || e.Token >= 0 && (l.Chosen.Token != e.Token || l.Best[0].Token != e.Token) {
			t.Error(e, l, err)
		}
		n++
	}
	if n != 5 {
		t.Error(n, "events")
	}
}

// Where a grammar leaves no choice, tokens come without sampling, and are the same.
func TestForcedTokens(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 128})
	defer c.Close()
	defer m.Close()
	grammar, err := m.NewGrammar(Regex, "the generation of the heaven: (day|night)", GrammarOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer grammar.Close()
	var texts []string
	var steps []int
	for _, logprobs := range []uint32{0, 1} {
		p := GenerationParams{Prompt: "And", Grammar: grammar, MaxTokens: 80, Sampler: SamplerParams{Logprobs: logprobs}}
		g := newGeneration(t, m, p)
		defer g.Close()
		n := 0
		for {
			r, err := m.Step(g)
			if err != nil {
				t.Fatal(err)
			}
			n++
			if r.Going == 0 {
				break
			}
		}
		info, err := g.Info()
		if err != nil || (info.Forced > 0) != (logprobs == 0) {
			t.Error(info, err)
		}
		text, _, stop := told(t, g)
		if stop != StopEOG {
			t.Error(text, stop)
		}
		texts, steps = append(texts, text), append(steps, n)
	}
	if texts[0] != texts[1] || steps[0] >= steps[1] {
		t.Error(texts, steps)
	}
}
