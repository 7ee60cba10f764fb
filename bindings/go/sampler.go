package rekindle

// #include "rekindle.h"
import "C"

import (
	"runtime"
	"slices"
	"unsafe"
)

// SamplerParams steer sampling; zero means off, and temperature 0 greedy.
type SamplerParams struct {
	Temperature                                      float32
	TopK                                             uint32
	TopP, MinP                                       float32
	RepeatPenalty, FrequencyPenalty, PresencePenalty float32
	Seed                                             uint64
	// DRY takes off what would make a repetition longer.
	DryMultiplier, DryBase          float32
	DryAllowedLength, DryLastN      uint32
	TypicalP, TopNSigma             float32
	XtcProbability, XtcThreshold    float32
	DynatempRange, DynatempExponent float32
	// Mirostat is 1 or 2.
	Mirostat                      uint32
	MirostatTau, MirostatEta      float32
	AdaptiveTarget, AdaptiveDecay float32
	MinKeep                       uint32
	// Steps in their order; none means the usual one.
	Steps []Step
	// LogitBias is added to the logits of tokens; -Inf forbids one.
	LogitBias []LogitBias
	// Logprobs is the number of most likely tokens whose log-probabilities are kept, at most 1000; 0 keeps none.
	Logprobs uint32
}

// LogitBias is a token and what is added to its logit. It has the layout of C's struct.
type LogitBias struct {
	Token int32
	Bias  float32
}

// Step is a step of a sampler.
type Step int32

// The steps of a sampler, but for that of the host's own.
const (
	StepPenalties   Step = C.REKINDLE_STEP_PENALTIES
	StepDry         Step = C.REKINDLE_STEP_DRY
	StepTopNSigma   Step = C.REKINDLE_STEP_TOP_N_SIGMA
	StepTopK        Step = C.REKINDLE_STEP_TOP_K
	StepTypical     Step = C.REKINDLE_STEP_TYPICAL
	StepTopP        Step = C.REKINDLE_STEP_TOP_P
	StepMinP        Step = C.REKINDLE_STEP_MIN_P
	StepXtc         Step = C.REKINDLE_STEP_XTC
	StepTemperature Step = C.REKINDLE_STEP_TEMPERATURE
	StepInfill      Step = C.REKINDLE_STEP_INFILL
)

// params are those of C. The vocabulary and what is pinned must live until the sampler is made.
func (p *SamplerParams) params(vocab *C.rekindle_vocab, pin *runtime.Pinner) C.rekindle_sampler_params {
	c := C.rekindle_sampler_params{
		struct_size: C.sizeof_rekindle_sampler_params, temperature: C.float(p.Temperature),
		top_k: C.uint32_t(p.TopK), top_p: C.float(p.TopP), min_p: C.float(p.MinP),
		repeat_penalty:    C.float(p.RepeatPenalty),
		frequency_penalty: C.float(p.FrequencyPenalty), presence_penalty: C.float(p.PresencePenalty),
		seed:           C.uint64_t(p.Seed),
		dry_multiplier: C.float(p.DryMultiplier), dry_base: C.float(p.DryBase),
		dry_allowed_length: C.uint32_t(p.DryAllowedLength), dry_last_n: C.uint32_t(p.DryLastN), vocab: vocab,
		typical_p: C.float(p.TypicalP), top_n_sigma: C.float(p.TopNSigma),
		xtc_probability: C.float(p.XtcProbability), xtc_threshold: C.float(p.XtcThreshold),
		dynatemp_range: C.float(p.DynatempRange), dynatemp_exponent: C.float(p.DynatempExponent),
		mirostat: C.uint32_t(p.Mirostat), mirostat_tau: C.float(p.MirostatTau), mirostat_eta: C.float(p.MirostatEta),
		adaptive_target: C.float(p.AdaptiveTarget), adaptive_decay: C.float(p.AdaptiveDecay),
		min_keep: C.uint32_t(p.MinKeep), n_steps: C.uint32_t(len(p.Steps)),
	}
	c.n_logprobs = C.uint32_t(p.Logprobs)
	if len(p.LogitBias) > 0 {
		pin.Pin(&p.LogitBias[0])
		c.logit_bias = (*C.rekindle_logit_bias)(unsafe.Pointer(&p.LogitBias[0]))
		c.n_logit_bias = C.uint32_t(len(p.LogitBias))
	}
	if len(p.Steps) > 0 {
		pin.Pin(&p.Steps[0])
		c.steps = (*C.int32_t)(unsafe.Pointer(&p.Steps[0]))
	}
	return c
}

// vocabulary is the model's, if DRY or infill need it, or nil.
func (p *SamplerParams) vocabulary(m *Model) (*C.rekindle_vocab, error) {
	if p.DryMultiplier == 0 && !slices.Contains(p.Steps, StepInfill) {
		return nil, nil
	}
	return m.vocab()
}

// create makes a sampler for a model.
func (p *SamplerParams) create(m *Model) (*C.rekindle_sampler, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	vocab, err := p.vocabulary(m)
	if err != nil {
		return nil, err
	}
	defer C.rekindle_vocab_destroy(vocab)
	c := p.params(vocab, &pin)
	var s *C.rekindle_sampler
	err = call(func() C.rekindle_status { return C.rekindle_sampler_create(&c, &s) })
	return s, err
}

// Sampler chooses tokens from logits. One call at a time may use it.
type Sampler struct{ h *C.rekindle_sampler }

// NewSampler creates a sampler for the tokens of the model.
func (m *Model) NewSampler(p SamplerParams) (*Sampler, error) {
	h, err := p.create(m)
	runtime.KeepAlive(m)
	if err != nil {
		return nil, err
	}
	return newSampler(h), nil
}

func newSampler(h *C.rekindle_sampler) *Sampler {
	s := &Sampler{h}
	runtime.SetFinalizer(s, (*Sampler).Close)
	return s
}

// Close ends the sampler.
func (s *Sampler) Close() {
	runtime.SetFinalizer(s, nil)
	C.rekindle_sampler_destroy(s.h)
	s.h = nil
}

// Copy gives another sampler in the same state; both go on alone.
func (s *Sampler) Copy() (*Sampler, error) {
	defer runtime.KeepAlive(s)
	var h *C.rekindle_sampler
	if err := call(func() C.rekindle_status { return C.rekindle_sampler_copy(s.h, &h) }); err != nil {
		return nil, err
	}
	return newSampler(h), nil
}

// Sample chooses a token from a row of logits, as Decode gives it. It is not accepted yet.
func (s *Sampler) Sample(logits []float32) (int32, error) {
	defer runtime.KeepAlive(s)
	var token C.int32_t
	err := call(func() C.rekindle_status {
		row := (*C.float)(unsafe.Pointer(unsafe.SliceData(logits)))
		return C.rekindle_sampler_sample_logits(s.h, row, C.size_t(len(logits)), &token)
	})
	return int32(token), err
}

// Accept counts a token, sampled or given, as the most recent one.
func (s *Sampler) Accept(token int32) error {
	defer runtime.KeepAlive(s)
	return call(func() C.rekindle_status { return C.rekindle_sampler_accept(s.h, C.int32_t(token)) })
}

// Reset forgets the accepted tokens and starts the seed's draws over.
func (s *Sampler) Reset() error {
	defer runtime.KeepAlive(s)
	return call(func() C.rekindle_status { return C.rekindle_sampler_reset(s.h) })
}

// Distribution is one of those that a token's probability is told by.
type Distribution int32

// The distributions: the model's own, and the one behind all steps, from which the token was drawn.
const (
	ByModel Distribution = C.REKINDLE_LOGPROBS_MODEL
	ByDraw  Distribution = C.REKINDLE_LOGPROBS_DRAWN
)

// Logprob is a token and the natural logarithm of its probability. It has the layout of C's struct.
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
	return logprobs(func(chosen, best *C.rekindle_logprob, n C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_sampler_logprobs(s.h, C.int32_t(by), chosen, best, n, needed)
	})
}

// logprobs asks for the number of tokens, then for all of them.
func logprobs(
	get func(chosen, best *C.rekindle_logprob, capacity C.size_t, needed *C.size_t) C.rekindle_status,
) (Logprobs, error) {
	var chosen C.rekindle_logprob
	var n C.size_t
	if err := call(func() C.rekindle_status { return get(&chosen, nil, 0, &n) }); err != nil {
		return Logprobs{}, err
	}
	l := Logprobs{Logprob{int32(chosen.token), float32(chosen.logprob)}, make([]Logprob, int(n))}
	if n == 0 {
		return l, nil
	}
	best := (*C.rekindle_logprob)(unsafe.Pointer(&l.Best[0]))
	err := call(func() C.rekindle_status { return get(nil, best, n, &n) })
	return l, err
}
