package rekindle

import (
	"runtime"
	"time"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Perf are counters since the load or the last ResetPerf.
type Perf struct {
	// PromptTokens came in batches of more than one, DecodeTokens singly.
	PromptTokens, DecodeTokens uint64
	// The time of the load, of prompts, of single tokens and of sampling.
	Load, Prompt, Decode, Sample time.Duration
	// Drafted tokens were guessed, DraftAgreed of them were right; DraftOff tokens came without a guess, because
	// guesses had lost time.
	Drafted, DraftAgreed, DraftOff uint64
}

// Perf gives the model's counters.
func (m *Model) Perf() (Perf, error) {
	defer runtime.KeepAlive(m)
	p := abi.Perf{StructSize: sizeof[abi.Perf]()}
	err := call(func() int32 { return abi.ModelGetPerf(m.h, &p) })
	us := func(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }
	return Perf{
		p.NPromptTokens, p.NDecodeTokens, us(p.LoadUs), us(p.PromptUs), us(p.DecodeUs), us(p.SampleUs),
		p.NDrafted, p.NDraftAgreed, p.NDraftOff,
	}, err
}

// ResetPerf sets the counters to zero, except for the time of the load.
func (m *Model) ResetPerf() error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.ModelResetPerf(m.h) })
}
