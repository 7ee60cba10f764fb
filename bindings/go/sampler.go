package rekindle

import (
	"runtime"
	"unsafe"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Sampler chooses tokens from logits. One call at a time may use it.
type Sampler struct {
	h    abi.Handle
	step *hostStep
}

func newSampler(h abi.Handle, step *hostStep) *Sampler {
	s := &Sampler{h, step}
	closes(s, (*Sampler).Close)
	return s
}

// NewSampler creates a sampler for the tokens of the vocabulary.
func (v *Vocab) NewSampler(p SamplerParams) (*Sampler, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	step := newHostStep(p.HostStep)
	c := p.c(&pin, v.h, step)
	h, err := created(func(h *abi.Handle) int32 { return abi.SamplerCreate(c, h) })
	if err != nil {
		return nil, err
	}
	return newSampler(h, step), nil
}

// NewSampler creates a sampler for the tokens of the model.
func (m *Model) NewSampler(p SamplerParams) (*Sampler, error) {
	// Parameters that need no vocabulary serve models without a tokeniser, too.
	if !p.needsVocab() {
		return (&Vocab{}).NewSampler(p)
	}
	return with(m.Vocab, func(v *Vocab) (*Sampler, error) { return v.NewSampler(p) })
}

// Close ends the sampler.
func (s *Sampler) Close() {
	runtime.SetFinalizer(s, nil)
	abi.SamplerDestroy(s.h)
}

// Copy gives another sampler in the same state; both go on alone.
func (s *Sampler) Copy() (*Sampler, error) {
	defer runtime.KeepAlive(s)
	h, err := created(func(h *abi.Handle) int32 { return abi.SamplerCopy(s.h, h) })
	if err != nil {
		return nil, err
	}
	return newSampler(h, s.step), nil
}

// Sample chooses a token from a row of logits, as Decode gives it. It is not accepted yet.
func (s *Sampler) Sample(logits []float32) (token int32, err error) {
	defer runtime.KeepAlive(s)
	row, n := unsafe.SliceData(logits), uintptr(len(logits))
	err = s.step.after(call(func() int32 { return abi.SamplerSampleLogits(s.h, row, n, &token) }))
	return
}

// SampleRow chooses a token from a row that the model's last batch left, without a copy of the row.
func (s *Sampler) SampleRow(m *Model, row uint32) (token int32, err error) {
	defer runtime.KeepAlive(s)
	defer runtime.KeepAlive(m)
	err = s.step.after(call(func() int32 { return abi.SamplerSample(s.h, m.h, row, &token) }))
	return
}

// Accept counts a token, sampled or given, as the most recent one.
func (s *Sampler) Accept(token int32) error {
	defer runtime.KeepAlive(s)
	return call(func() int32 { return abi.SamplerAccept(s.h, token) })
}

// Reset forgets the accepted tokens and starts the seed's draws over.
func (s *Sampler) Reset() error {
	defer runtime.KeepAlive(s)
	return call(func() int32 { return abi.SamplerReset(s.h) })
}

// Distribution is one of those that a token's probability is told by.
type Distribution int32

// The distributions: the model's own, and the one behind all steps, from which the token was drawn.
const (
	ByModel Distribution = abi.LOGPROBS_MODEL
	ByDraw  Distribution = abi.LOGPROBS_DRAWN
)

// Logprob is a token and the natural logarithm of its probability.
type Logprob struct {
	Token   int32
	Logprob float32
}

// Logprobs are the probabilities of a sampling: of the chosen token, and of the most likely ones.
type Logprobs struct {
	Chosen Logprob
	Best   []Logprob
}

// Logprobs tells how probable the last token was that Sample gave. Without SamplerParams.Logprobs it gives an Error
// with status NotFound.
func (s *Sampler) Logprobs(by Distribution) (Logprobs, error) {
	defer runtime.KeepAlive(s)
	return logprobs(func(chosen, best *abi.Logprob, n uintptr, needed *uintptr) int32 {
		return abi.SamplerLogprobs(s.h, int32(by), chosen, best, n, needed)
	})
}

// logprobs asks for the chosen token and the number of the best ones, then for those.
func logprobs(get func(chosen, best *abi.Logprob, capacity uintptr, needed *uintptr) int32) (Logprobs, error) {
	var chosen abi.Logprob
	best, err := array(func(best *abi.Logprob, n uintptr, needed *uintptr) int32 {
		return get(&chosen, best, n, needed)
	})
	return Logprobs{Logprob(chosen), alike[Logprob](best)}, err
}
