package rekindle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	missing := filepath.Join(t.TempDir(), "no.gguf")
	_, err := c.Open(missing)
	if !errors.Is(err, IO) || !errors.Is(err, os.ErrNotExist) || errors.Is(err, NotFound) ||
		errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	if wrapped := fmt.Errorf("opening: %w", err); !errors.Is(wrapped, IO) || !errors.Is(wrapped, fs.ErrNotExist) {
		t.Error(wrapped)
	}
	if err := m.LoadSequence(0, missing); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := m.SaveSequence(0, filepath.Join(missing, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Key("no.such.key", 0); !errors.Is(err, NotFound) || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	var e *Error
	if _, err := m.Decode(make([]int32, 65), 0); !errors.As(err, &e) || e.Device != -1 || e.Message == "" {
		t.Error(e)
	}
	if NotFit.String() != "REKINDLE_NOT_FIT" || Status(99).String() != "REKINDLE_UNKNOWN(99)" ||
		IO.Error() != "REKINDLE_IO" {
		t.Error(NotFit, Status(99), IO.Error())
	}
	for s := InvalidArgument; s <= Device; s++ {
		if !strings.HasPrefix(s.String(), "REKINDLE_") || strings.Contains(s.String(), "(") {
			t.Error(s)
		}
	}
	if StopText.String() != "stop text" || StopReason(99).String() != "unknown" {
		t.Error(StopText, StopReason(99))
	}
	err = m.DecodeBatch(context.Background(), Batch{Tokens: []int32{5}, Seqs: []int32{0, 0}})
	if !errors.Is(err, InvalidArgument) {
		t.Error(err)
	}
}

// A closed object says so, however often it is closed.
func TestClosed(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	v, err := m.Vocab()
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.NewGeneration(GenerationParams{Prompt: "And God said"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.Close()
		m.Close()
	}
	if _, err := m.Decode([]int32{5}, 0); !errors.Is(err, BadHandle) {
		t.Error(err)
	}
	if _, err := c.Open(path()); !errors.Is(err, BadHandle) {
		t.Error(err)
	}
	// What was made of them lives.
	if tokens, err := v.Tokenize("And God", TextOptions{}); len(tokens) == 0 || err != nil {
		t.Error(err)
	}
	if info, err := g.Info(); err != nil || info.Phase != PhaseWaits {
		t.Error(info, err)
	}
	g.Close()
	v.Close()
	g.Close()
	if _, _, err := g.Next(); !errors.Is(err, BadHandle) {
		t.Error(err)
	}
}

func TestVersionAndEnvironment(t *testing.T) {
	if v := Version(); strings.Count(v, ".") != 2 {
		t.Error(v)
	}
	variables, err := Environment()
	if err != nil || len(variables) == 0 || !strings.HasPrefix(variables[0], "REKINDLE_") {
		t.Error(variables, err)
	}
}
