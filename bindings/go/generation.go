package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// GenerationParams are the wishes of a generation. The prompt is either Prompt or Tokens.
type GenerationParams struct {
	Prompt string
	Tokens []int32
	// Sampler has the settings of a sampler; With is one whose settings and state are copied, instead.
	Sampler SamplerParams
	With    *Sampler
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
	StopEOG         StopReason = abi.STOP_EOG
	StopLimit       StopReason = abi.STOP_LIMIT
	StopCallback    StopReason = abi.STOP_CALLBACK
	StopContextFull StopReason = abi.STOP_CONTEXT_FULL
	StopText        StopReason = abi.STOP_TEXT
	StopCancelled   StopReason = abi.STOP_CANCELLED
	StopError       StopReason = abi.STOP_ERROR
)

// String is a word for the reason.
func (s StopReason) String() string {
	names := [...]string{"none", "end of text", "limit", "callback", "context full", "stop text", "cancelled", "error"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Phase is what a generation is about.
type Phase int32

// A generation waits for a sequence, reads its prompt, talks, or has ended.
const (
	PhaseWaits Phase = abi.PHASE_WAITS
	PhaseReads Phase = abi.PHASE_READS
	PhaseTalks Phase = abi.PHASE_TALKS
	PhaseEnded Phase = abi.PHASE_ENDED
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
	Phase Phase
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
	h    abi.Handle
	m    *Model
	step *hostStep
}

// NewGeneration creates a generation. Nothing is computed before a step.
func (m *Model) NewGeneration(p GenerationParams) (*Generation, error) {
	defer runtime.KeepAlive(m)
	sampler := p.With
	if sampler == nil {
		var err error
		if sampler, err = m.NewSampler(p.Sampler); err != nil {
			return nil, err
		}
		defer sampler.Close()
	}
	defer runtime.KeepAlive(sampler)
	var pin runtime.Pinner
	defer pin.Unpin()
	params := &abi.GenerationParams{
		StructSize: sizeof[abi.GenerationParams](), Sampler: sampler.h, MaxTokens: p.MaxTokens,
	}
	if p.Grammar != nil {
		params.Grammar = p.Grammar.h
		defer runtime.KeepAlive(p.Grammar)
	}
	params.Flags = flags(
		flag{p.ParseSpecial, abi.GENERATION_PARSE_SPECIAL}, flag{p.NoSpecial, abi.GENERATION_NO_SPECIAL},
		flag{p.IgnoreEOG, abi.GENERATION_IGNORE_EOG}, flag{p.Pin, abi.GENERATION_PIN},
		flag{p.NoReuse, abi.GENERATION_NO_REUSE},
	)
	params.Prompt, params.PromptLen = view(&pin, p.Prompt)
	params.PromptTokens, params.NPromptTokens = span[int32, uintptr](&pin, p.Tokens)
	params.AdapterScales, params.NAdapterScales = span[float32, uintptr](&pin, p.AdapterScales)
	texts, lengths := views(&pin, p.StopTexts)
	params.StopTexts, params.NStopTexts = span[*byte, uint32](&pin, texts)
	params.StopTextLens, _ = span[uintptr, uint32](&pin, lengths)
	h, err := created(func(h *abi.Handle) int32 { return abi.GenerationCreate(m.h, params, h) })
	if err != nil {
		return nil, err
	}
	g := &Generation{h, m, sampler.step}
	closes(g, (*Generation).Close)
	return g, nil
}

// Close ends the generation. Other generations may go on from its tokens, until the room is needed.
func (g *Generation) Close() {
	runtime.SetFinalizer(g, nil)
	abi.GenerationDestroy(g.h)
}

// Cancel ends it at the next step. It may be called at any time.
func (g *Generation) Cancel() {
	defer runtime.KeepAlive(g)
	abi.GenerationCancel(g.h)
}

// Next takes the next event; false if there is none now. An error of this generation alone comes with the event of its
// end.
func (g *Generation) Next() (Event, bool, error) {
	defer runtime.KeepAlive(g)
	e := abi.Event{StructSize: sizeof[abi.Event]()}
	err := call(func() int32 { return abi.GenerationNext(g.h, &e) })
	event := Event{Token: e.Token, Text: abi.GoStringN(e.Text, e.TextLen), Stop: StopReason(e.Stop)}
	return event, e.Kind != abi.EVENT_NONE, err
}

// Logprobs tells how probable the last token was that Next gave. Without SamplerParams.Logprobs it gives an Error with
// status NotFound.
func (g *Generation) Logprobs(by Distribution) (Logprobs, error) {
	defer runtime.KeepAlive(g)
	return logprobs(func(chosen, best *abi.Logprob, n uintptr, needed *uintptr) int32 {
		return abi.GenerationLogprobs(g.h, int32(by), chosen, best, n, needed)
	})
}

// Info tells about the generation.
func (g *Generation) Info() (GenerationInfo, error) {
	defer runtime.KeepAlive(g)
	i := abi.GenerationInfo{StructSize: sizeof[abi.GenerationInfo]()}
	err := call(func() int32 { return abi.GenerationGetInfo(g.h, &i) })
	return GenerationInfo{
		Phase: Phase(i.Phase), Prompt: i.NPrompt, Reused: i.NReused, Read: i.NRead, Generated: i.NGenerated,
		Forced: i.NForced, Seq: i.SeqId, Stop: StopReason(i.Stop),
	}, err
}
