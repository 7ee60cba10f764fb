package rekindle

import (
	"path/filepath"
	"testing"
)

func TestSavedSequences(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64, SeqMax: 2})
	defer c.Close()
	defer m.Close()
	tokens, err := m.Tokenize("And God said")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Decode(tokens, 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sequence")
	if err := m.SaveSequence(0, path); err != nil {
		t.Fatal(err)
	}
	if err := m.LoadSequence(1, path); err != nil {
		t.Fatal(err)
	}
	if n, err := m.Length(1); err != nil || n != uint32(len(tokens)) {
		t.Error(n, err)
	}
	if err := m.SaveSequence(7, path); status(err) != InvalidArgument {
		t.Error(err)
	}
	if err := m.LoadSequence(1, path+".none"); status(err) != NotFound && status(err) != IO {
		t.Error(err)
	}
}
