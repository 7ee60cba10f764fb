package rekindle

/*
#include "rekindle.h"
*/
import "C"

import (
	"context"
	"iter"
	"runtime"
	"unsafe"
)

// GenerationParams are the wishes of a generation. The prompt is either Prompt or Tokens.
type GenerationParams struct {
	Prompt  string
	Tokens  []int32
	Sampler SamplerParams
	// Grammar says which texts may be written; copied. It is of the model's vocabulary. nil: all.
	Grammar *Grammar
	// StopTexts end the generation. Nothing of them is shown.
	StopTexts []string
	// MaxTokens of 0 is no limit.
	MaxTokens uint32
	// ParseSpecial reads special tokens in the prompt, NoSpecial adds none: both for what Chat gives.
	ParseSpecial, NoSpecial bool
	// IgnoreEOG goes on past tokens that end a generation.
	IgnoreEOG bool
	// Pin keeps the sequence until Close, also after the end.
	Pin bool
	// NoReuse reads the whole prompt, even if a sequence has its beginning already.
	NoReuse bool
	// AdapterScales are those of the file's adapters; the ones that are not given are 0.
	AdapterScales []float32
}

// StopReason tells why a generation ended.
type StopReason int32

// The reasons for the end of a generation.
const (
	StopEOG         StopReason = C.REKINDLE_STOP_EOG
	StopLimit       StopReason = C.REKINDLE_STOP_LIMIT
	StopContextFull StopReason = C.REKINDLE_STOP_CONTEXT_FULL
	StopText        StopReason = C.REKINDLE_STOP_TEXT
	StopCancelled   StopReason = C.REKINDLE_STOP_CANCELLED
	StopError       StopReason = C.REKINDLE_STOP_ERROR
)

// Event is one thing that a generation has to tell.
type Event struct {
	// Token is -1 at the end.
	Token int32
	// Text that can be shown by now: whole characters, often none.
	Text string
	// Stop is 0 before the end.
	Stop StopReason
}

// GenerationInfo are facts about a generation.
type GenerationInfo struct {
	// Prompt counts the prompt's tokens, Reused those that a sequence had already, Read those that have been read.
	Prompt, Reused, Read, Generated uint32
	// Forced counts those of Generated that were taken without sampling, because the grammar left no choice.
	Forced uint32
	// Seq is the sequence that it has; -1 if none.
	Seq  int32
	Stop StopReason
}

// Generation is a text that a model writes step by step, beside others. One call at a time may use it.
type Generation struct {
	h *C.rekindle_generation
	m *Model
}

// NewGeneration creates a generation. Nothing is computed before a step.
func (m *Model) NewGeneration(p GenerationParams) (*Generation, error) {
	s, err := p.Sampler.create(m)
	if err != nil {
		return nil, err
	}
	defer C.rekindle_sampler_destroy(s)
	var pin runtime.Pinner
	defer pin.Unpin()
	params := C.rekindle_generation_params{
		struct_size: C.sizeof_rekindle_generation_params, sampler: s, max_tokens: C.uint32_t(p.MaxTokens),
		n_stop_texts: C.uint32_t(len(p.StopTexts)),
	}
	if p.Grammar != nil {
		params.grammar = p.Grammar.h
		defer runtime.KeepAlive(p.Grammar)
	}
	for _, f := range []struct {
		set  bool
		flag C.uint32_t
	}{
		{p.ParseSpecial, C.REKINDLE_GENERATION_PARSE_SPECIAL},
		{p.NoSpecial, C.REKINDLE_GENERATION_NO_SPECIAL},
		{p.IgnoreEOG, C.REKINDLE_GENERATION_IGNORE_EOG},
		{p.Pin, C.REKINDLE_GENERATION_PIN},
		{p.NoReuse, C.REKINDLE_GENERATION_NO_REUSE},
	} {
		if f.set {
			params.flags |= f.flag
		}
	}
	if params.prompt, params.prompt_len = bytes(p.Prompt); len(p.Prompt) > 0 {
		pin.Pin(params.prompt)
	}
	if n := len(p.Tokens); n > 0 {
		pin.Pin(&p.Tokens[0])
		params.prompt_tokens, params.n_prompt_tokens = (*C.int32_t)(unsafe.Pointer(&p.Tokens[0])), C.size_t(n)
	}
	if n := len(p.AdapterScales); n > 0 {
		pin.Pin(&p.AdapterScales[0])
		params.adapter_scales, params.n_adapter_scales = (*C.float)(unsafe.Pointer(&p.AdapterScales[0])), C.size_t(n)
	}
	if n := len(p.StopTexts); n > 0 {
		texts, lens := make([]*C.char, n), make([]C.size_t, n)
		for i, t := range p.StopTexts {
			if texts[i], lens[i] = bytes(t); len(t) > 0 {
				pin.Pin(texts[i])
			}
		}
		pin.Pin(&texts[0])
		pin.Pin(&lens[0])
		params.stop_texts, params.stop_text_lens = &texts[0], &lens[0]
	}
	g := &Generation{m: m}
	err = call(func() C.rekindle_status { return C.rekindle_generation_create(m.h, &params, &g.h) })
	if err != nil {
		return nil, err
	}
	runtime.KeepAlive(m)
	runtime.SetFinalizer(g, (*Generation).Close)
	return g, nil
}

// Close ends the generation. Other generations may go on from its tokens, until the room is needed.
func (g *Generation) Close() {
	runtime.SetFinalizer(g, nil)
	C.rekindle_generation_destroy(g.h)
	g.h = nil
}

// Cancel ends it at the next step. It may be called at any time.
func (g *Generation) Cancel() {
	C.rekindle_generation_cancel(g.h)
	runtime.KeepAlive(g)
}

// Next takes the next event; false if there is none now. An error of this generation alone comes with the event of its
// end.
func (g *Generation) Next() (Event, bool, error) {
	e := C.rekindle_event{struct_size: C.sizeof_rekindle_event}
	err := call(func() C.rekindle_status { return C.rekindle_generation_next(g.h, &e) })
	event := Event{Token: int32(e.token), Text: C.GoStringN(e.text, C.int(e.text_len)), Stop: StopReason(e.stop)}
	runtime.KeepAlive(g)
	return event, e.kind != C.REKINDLE_EVENT_NONE, err
}

// Logprobs tells how probable the last token was that Next gave. Without SamplerParams.Logprobs it gives an Error with
// status NotFound.
func (g *Generation) Logprobs(by Distribution) (Logprobs, error) {
	defer runtime.KeepAlive(g)
	return logprobs(func(chosen, best *C.rekindle_logprob, n C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_generation_logprobs(g.h, C.int32_t(by), chosen, best, n, needed)
	})
}

// Info tells about the generation.
func (g *Generation) Info() (GenerationInfo, error) {
	i := C.rekindle_generation_info{struct_size: C.sizeof_rekindle_generation_info}
	err := call(func() C.rekindle_status { return C.rekindle_generation_get_info(g.h, &i) })
	runtime.KeepAlive(g)
	return GenerationInfo{
		uint32(i.n_prompt), uint32(i.n_reused), uint32(i.n_read), uint32(i.n_generated), uint32(i.n_forced),
		int32(i.seq_id), StopReason(i.stop),
	}, err
}

// StepResult is the result of a step.
type StepResult struct {
	// Tokens that were computed; generations that are not at their end, and those of them that wait for a sequence.
	Tokens, Going, Waiting uint32
}

// Step computes one micro-batch for generations of this model: a token of each that talks, then pieces of prompts.
func (m *Model) Step(generations ...*Generation) (StepResult, error) {
	handles := make([]*C.rekindle_generation, len(generations)+1)
	for i, g := range generations {
		handles[i] = g.h
	}
	r := C.rekindle_step_result{struct_size: C.sizeof_rekindle_step_result}
	err := call(func() C.rekindle_status {
		return C.rekindle_step(m.h, &handles[0], C.size_t(len(generations)), &r)
	})
	runtime.KeepAlive(generations)
	runtime.KeepAlive(m)
	return StepResult{uint32(r.n_tokens), uint32(r.n_going), uint32(r.n_waiting)}, err
}

// Events steps this generation alone until its end, and gives its events; the last one tells why it ended. Leaving the
// loop leaves the generation where it is. When ctx is done, ctx's error comes and the generation is cancelled.
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
			if err := ctx.Err(); err != nil {
				g.Cancel()
				g.m.Step(g)
				yield(Event{Token: -1, Stop: StopCancelled}, err)
				return
			}
			if _, err := g.m.Step(g); err != nil {
				yield(Event{Token: -1}, err)
				return
			}
		}
	}
}
