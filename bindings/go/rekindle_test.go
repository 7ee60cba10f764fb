package rekindle

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
)

func path() string {
	if p := os.Getenv("REKINDLE_MODEL"); p != "" {
		return p
	}
	return "../../models/bible-5M-Q8_0.gguf"
}

func load(t *testing.T, params PlanParams) (*Context, *Model) {
	t.Helper()
	c, err := NewContext("cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := c.Plan(f, params)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, err := c.LoadWith(p, nil, LoadOptions{Replan: true, NoCUDAGraphs: true})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := m.Plan()
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	given, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := loaded.JSON(); err != nil || text != given {
		t.Error("not the plan that was given", err)
	}
	return c, m
}

func status(err error) Status {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

func TestPlanAndErrors(t *testing.T) {
	c, err := NewContext("", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := NewContext("gpu:everything", 0); status(err) != InvalidArgument {
		t.Error(err)
	}
	if _, err := c.Open("/no/such/file.gguf"); status(err) != IO || !strings.Contains(err.Error(), "/no/such/file.gguf") {
		t.Error(err)
	}
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	if arch, err := f.Key("general.architecture", 0); arch != "llama" || err != nil {
		t.Error(arch, err)
	}
	if _, err := f.Key("no.such.key", 0); status(err) != NotFound {
		t.Error(err)
	}
	p, err := c.Plan(f, PlanParams{Ctx: 64})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := p.Text(); err != nil || !strings.Contains(s, "n_ctx 64") {
		t.Error(s, err)
	}
	if s, err := p.JSON(); err != nil || !strings.Contains(s, `"n_ctx": 64`) {
		t.Error(s, err)
	}
	if _, err := c.Load(p, func(float32) bool { return false }); status(err) != Cancelled {
		t.Error(err)
	}
	none, err := c.Plan(f, PlanParams{ReserveBytes: 1 << 60})
	if none == nil || status(err) != NotFit {
		t.Error(none, err)
	}
	if _, err := c.Load(none, nil); status(err) != NotFit {
		t.Error(err)
	}
}

func TestDecode(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64, SeqMax: 2})
	defer c.Close()
	defer m.Close()
	tokens, err := m.Tokenize("And God said")
	if err != nil || len(tokens) < 3 {
		t.Fatal(tokens, err)
	}
	a, err := m.Decode(tokens, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Decode(tokens, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatal("two sequences of the same tokens differ", i, a[i], b[i])
		}
	}
	if _, err := m.Decode([]int32{1 << 30}, 0); status(err) != InvalidArgument {
		t.Error(err)
	}
	if _, err := m.Decode(nil, 0); status(err) != InvalidArgument {
		t.Error(err)
	}
	if n, err := m.Length(1); int(n) != len(tokens) || err != nil {
		t.Error(n, err)
	}
	if err := m.Remove(-1, 0, -1); err != nil {
		t.Error(err)
	}
	if mem, err := m.Memory(0); err != nil || mem.KV == 0 || mem.Compute == 0 || mem.Mapped == 0 {
		t.Error(mem, err)
	}
}

func TestGenerate(t *testing.T) {
	c, m := load(t, PlanParams{})
	defer c.Close()
	defer m.Close()
	run := func(o Options, f func(string) bool) (string, int, error) {
		if err := m.Remove(-1, 0, -1); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		r, err := m.Generate(context.Background(), "And God said", o, func(p Piece) bool {
			text.WriteString(p.Text)
			return f == nil || f(p.Text)
		})
		return text.String(), len(r.Tokens), err
	}
	text, n, err := run(Options{MaxTokens: 20}, nil)
	if n != 20 || err != nil || text == "" {
		t.Fatal(text, n, err)
	}
	if again, _, _ := run(Options{MaxTokens: 20}, nil); again != text {
		t.Error("greedy text is not repeated:", again)
	}
	warm := Options{MaxTokens: 20, Sampler: SamplerParams{Temperature: 1, TopK: 40, Seed: 3}}
	one, _, _ := run(warm, nil)
	if two, _, _ := run(warm, nil); one != two {
		t.Error("a seed is not repeated")
	}
	steps := SamplerParams{Temperature: 1, TopK: 1, DryMultiplier: 1, Seed: 3, Steps: []Step{StepDry, StepTopK}}
	if _, n, err := run(Options{MaxTokens: 20, Sampler: steps}, nil); n != 20 || err != nil {
		t.Error(n, err)
	}
	steps.Steps = []Step{99}
	if _, _, err := run(Options{Sampler: steps}, nil); status(err) != InvalidArgument {
		t.Error("an unknown step was not refused:", err)
	}
	if _, n, err := run(Options{MaxTokens: 20}, func(string) bool { return false }); n != 1 || err != nil {
		t.Error(n, err)
	}
	if _, _, err := run(Options{MaxTokens: 5}, func(string) bool {
		if e := m.Remove(-1, 0, -1); status(e) != Busy {
			t.Error("expected Busy:", e)
		}
		return true
	}); err != nil {
		t.Error(err)
	}
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Error("the callback's panic did not come out:", r)
			}
		}()
		run(Options{MaxTokens: 5}, func(string) bool { panic("mine") })
	}()
}

func TestCancel(t *testing.T) {
	c, m := load(t, PlanParams{})
	defer c.Close()
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := m.Generate(ctx, "And God said", Options{}, func(Piece) bool {
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) || len(r.Tokens) < 1 {
		t.Error(r, err)
	}
	if err := m.Remove(-1, 0, -1); err != nil {
		t.Error(err)
	}
	r, err = m.Generate(context.Background(), "And God said", Options{MaxTokens: 3}, nil)
	if len(r.Tokens) != 3 || r.Stop != StopLimit || err != nil {
		t.Error(r, err)
	}
}

func TestContextsSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	texts := make([]string, 4)
	for i := range texts {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, m := load(t, PlanParams{Ctx: 64})
			defer c.Close()
			defer m.Close()
			_, err := m.Generate(context.Background(), "And God said", Options{MaxTokens: 20}, func(p Piece) bool {
				texts[i] += p.Text
				return true
			})
			if err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	for _, s := range texts[1:] {
		if s != texts[0] || s == "" {
			t.Error("contexts disturb each other:", s, texts[0])
		}
	}
}
