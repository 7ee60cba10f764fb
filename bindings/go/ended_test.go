package rekindle

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// late is a context that is done already, but whose Err says so only from the second time on: as one that is cancelled
// between a look at it and the call.
type late struct {
	context.Context
	asked bool
}

func (l *late) Err() error {
	if !l.asked {
		l.asked = true
		return nil
	}
	return l.Context.Err()
}

// A cancellation that comes before the library begins to compute is not lost: the prompt is not read to its end.
func TestCancelBeforeTheCall(t *testing.T) {
	c, m := load(t, PlanParams{})
	defer c.Close()
	defer m.Close()
	prompt := strings.Repeat("And God said unto them. ", 50)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for i := range 100 {
		if err := m.Remove(-1, -1, -1); err != nil {
			t.Fatal(err)
		}
		r, err := m.Generate(&late{Context: done}, prompt, Options{}, nil)
		n, lengthErr := m.Length(0)
		if !errors.Is(err, context.Canceled) || len(r.Tokens) > 0 || n > 0 || lengthErr != nil {
			t.Fatalf("call %d: %v, %d tokens came, the sequence has %d: %v", i, err, len(r.Tokens), n, lengthErr)
		}
	}
	// Nor does it hit the call after.
	if _, err := m.Generate(context.Background(), prompt, Options{MaxTokens: 1}, nil); err != nil {
		t.Error(err)
	}
	err := m.DecodeBatch(&late{Context: done}, Batch{Tokens: make([]int32, 256)})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A function of the host that ends its goroutine, as t.FailNow does, ends the call, and the model can be used again.
func TestGoexitInACallback(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	ended := make(chan bool, 1)
	go func() {
		defer func() { ended <- true }()
		m.Generate(context.Background(), "And God said", Options{}, func(Piece) bool {
			runtime.Goexit()
			return true
		})
		t.Error("the goroutine goes on")
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the goroutine does not end")
	}
	if err := m.Remove(-1, -1, -1); err != nil {
		t.Error("the model stays busy:", err)
	}
	f, err := c.Open(path())
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(f, PlanParams{Ctx: 64})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer func() { ended <- true }()
		c.Load(p, func(float32) bool {
			runtime.Goexit()
			return true
		})
		t.Error("the goroutine goes on")
	}()
	<-ended
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Error("the panic did not come out:", r)
			}
		}()
		c.Load(p, func(float32) bool { panic("mine") })
	}()
}

// A generation that has come to MaxTokens goes on, and its text is that of one call.
func TestGoOnAfterMaxTokens(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 128})
	defer c.Close()
	defer m.Close()
	ctx := context.Background()
	settings := SamplerParams{Temperature: 1, TopK: 40, Seed: 5}
	whole, err := m.Generate(ctx, "And God said", Options{MaxTokens: 24, Sampler: settings}, nil)
	if err != nil || len(whole.Tokens) != 24 || whole.Stop != StopLimit || whole.Prompt != 4 {
		t.Fatal(whole, err)
	}
	if err := m.Remove(-1, -1, -1); err != nil {
		t.Fatal(err)
	}
	sampler, err := m.NewSampler(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer sampler.Close()
	part, err := m.Generate(ctx, "And God said", Options{MaxTokens: 8, With: sampler}, nil)
	tokens := part.Tokens
	for err == nil && len(tokens) < 24 && len(part.Next) > 0 {
		part, err = m.Generate(ctx, "", Options{Tokens: part.Next, MaxTokens: 8, With: sampler}, nil)
		tokens = append(tokens, part.Tokens...)
	}
	if err != nil || !slices.Equal(tokens, whole.Tokens) {
		t.Error("cut:", tokens, "whole:", whole.Tokens, err)
	}
	// After the end of a text nothing is left to go on with, nor is there after an error.
	if r, err := m.Generate(ctx, "", Options{}, nil); len(r.Next) != 0 || status(err) != InvalidArgument {
		t.Error(r, err)
	}
}

// A call that is cancelled leaves those of other goroutines alone; the one beside it is told that the model is busy.
func TestBusyAndCancelled(t *testing.T) {
	c, m := load(t, PlanParams{Ctx: 64})
	defer c.Close()
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var second error
	_, err := m.Generate(ctx, "And God said", Options{IgnoreEOG: true}, func(Piece) bool {
		second = m.DecodeBatch(context.Background(), Batch{Tokens: []int32{5}})
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(second, Busy) {
		t.Error(err, second)
	}
	if _, err := m.Decode([]int32{5}, 0); err != nil {
		t.Error(err)
	}
	// A deadline, in the middle of a step of a long prompt.
	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	var last error
	for _, err := range m.Text(ctx, GenerationParams{Prompt: "And God said", IgnoreEOG: true, NoReuse: true}) {
		last = err
	}
	if last != nil && !errors.Is(last, context.DeadlineExceeded) {
		t.Error(last)
	}
}
