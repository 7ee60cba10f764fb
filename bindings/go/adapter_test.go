package rekindle

import (
	"path/filepath"
	"slices"
	"testing"
)

// A control vector and a second model, on the shipped one.
func TestAdaptersAndSecondModel(t *testing.T) {
	c, small := load(t, PlanParams{Ctx: 64})
	defer small.Close()
	plain, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	steer := filepath.Join(filepath.Dir(path()), "..", "tests", "fixtures", "adapters", "bible-steer.gguf")
	if _, err := c.Adapt(plain, steer, "missing.gguf"); status(err) != IO {
		t.Error(err)
	}
	f, err := c.Adapt(plain, steer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := c.Plan(f, PlanParams{Ctx: 64, SeqMax: 2, Draft: 3, DraftFromModel: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, err := c.Load(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	logits := func(scales ...float32) []float32 {
		if err := m.Remove(0, -1, -1); err != nil {
			t.Fatal(err)
		}
		if err := m.SetAdapters(0, scales); err != nil {
			t.Fatal(err)
		}
		row, err := m.Decode([]int32{5, 9, 23}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(row)
	}
	without, steered := logits(), logits(3)
	if slices.Equal(without, steered) || !slices.Equal(without, logits(0)) {
		t.Error("the scale makes no difference, or 0 does")
	}
	if err := m.SetAdapters(0, []float32{3}); status(err) != InvalidArgument {
		t.Error(err)
	}
	if _, err := m.NewGeneration(GenerationParams{Tokens: []int32{5}, AdapterScales: []float32{1, 2}}); status(err) != InvalidArgument {
		t.Error(err)
	}
	if err := m.SetDraft(m); status(err) != InvalidArgument {
		t.Error(err)
	}
	if err := m.SetDraft(small); err != nil {
		t.Error(err)
	}
	if err := m.SetDraft(nil); err != nil {
		t.Error(err)
	}
}
