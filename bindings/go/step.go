package rekindle

import (
	"context"
	"errors"
	"iter"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// StepResult is the result of a step.
type StepResult struct {
	// Tokens that were computed; generations that are not at their end, and those of them that wait for a sequence.
	Tokens, Going, Waiting uint32
}

// Step computes one micro-batch for generations of this model: a token of each that talks, then pieces of prompts.
func (m *Model) Step(generations ...*Generation) (StepResult, error) {
	return m.StepContext(context.Background(), generations...)
}

// StepContext is Step; it ends with ctx's error when ctx is done, and can be taken again.
func (m *Model) StepContext(ctx context.Context, generations ...*Generation) (StepResult, error) {
	defer runtime.KeepAlive(m)
	defer runtime.KeepAlive(generations)
	var pin runtime.Pinner
	defer pin.Unpin()
	handles := make([]abi.Handle, len(generations))
	for i, g := range generations {
		handles[i] = g.h
	}
	first, n := span[abi.Handle, uintptr](&pin, handles)
	r := &abi.StepResult{StructSize: sizeof[abi.StepResult]()}
	err := m.turn.run(ctx, m.h, func() int32 { return abi.Step(m.h, first, n, r) })
	for _, g := range generations {
		g.step.after(nil)
	}
	return StepResult{r.NTokens, r.NGoing, r.NWaiting}, err
}

// Events steps this generation alone until its end, and gives its events; the last one tells why it ended. Leaving the
// loop leaves the generation where it is. When ctx is done, the generation ends: ctx's error comes with StopCancelled.
func (g *Generation) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, some, err := g.Next()
			if some || err != nil {
				if !yield(e, err) || e.Stop != 0 || err != nil {
					return
				}
				continue
			}
			if _, err = g.m.StepContext(ctx, g); err == nil {
				continue
			}
			e = Event{Token: -1}
			if errors.Is(err, ctx.Err()) {
				// A step more, which computes nothing, gives its sequence back.
				g.Cancel()
				g.m.Step(g)
				e.Stop = StopCancelled
			}
			yield(e, err)
			return
		}
	}
}

// Text writes a text: it makes a generation, gives its pieces as they come, whole characters, and closes it. Leaving
// the loop ends it. When ctx is done, ctx's error comes.
func (m *Model) Text(ctx context.Context, p GenerationParams) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		g, err := m.NewGeneration(p)
		if err != nil {
			yield("", err)
			return
		}
		defer g.Close()
		for e, err := range g.Events(ctx) {
			if e.Text == "" && err == nil {
				continue
			}
			if !yield(e.Text, err) || err != nil {
				return
			}
		}
	}
}
