package rekindle

import (
	"runtime"
	"slices"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// SamplerParams steer sampling; zero means off, and temperature 0 greedy.
type SamplerParams struct {
	Temperature                                      float32
	TopK                                             uint32
	TopP, MinP                                       float32
	RepeatPenalty, FrequencyPenalty, PresencePenalty float32
	// PenaltyLastN is the number of accepted tokens that are recent; 0 means 64.
	PenaltyLastN uint32
	Seed         uint64
	// DRY takes off what would make a repetition longer.
	DryMultiplier, DryBase     float32
	DryAllowedLength, DryLastN uint32
	// DryBreakers end a repetition, as texts or as sequences of tokens; neither means a line's end, a colon, a
	// quotation mark and an asterisk.
	DryBreakers                     []string
	DryBreakerTokens                [][]int32
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
	// HostStep goes where Steps has StepHost. It gets the candidates, in no certain order, may change their logits
	// (-Inf forbids one) and their order, and gives how many of the first ones stay; below 0 ends the sampling with
	// an Error of status Cancelled. It runs on a goroutine of its own, and its panic comes out of the call that
	// samples.
	HostStep func(candidates []Candidate) (kept int)
	// Logprobs is the number of most likely tokens whose log-probabilities are kept, at most 1000; 0 keeps none.
	Logprobs uint32
}

// LogitBias is a token and what is added to its logit.
type LogitBias struct {
	Token int32
	Bias  float32
}

// Candidate is a token that may still be drawn.
type Candidate struct {
	Token int32
	Logit float32
	// P is the softmax of the candidates' logits; what a step writes here means nothing.
	P float32
}

// Step is a step of a sampler.
type Step int32

// The steps of a sampler.
const (
	StepPenalties   Step = abi.STEP_PENALTIES
	StepDry         Step = abi.STEP_DRY
	StepTopNSigma   Step = abi.STEP_TOP_N_SIGMA
	StepTopK        Step = abi.STEP_TOP_K
	StepTypical     Step = abi.STEP_TYPICAL
	StepTopP        Step = abi.STEP_TOP_P
	StepMinP        Step = abi.STEP_MIN_P
	StepXtc         Step = abi.STEP_XTC
	StepTemperature Step = abi.STEP_TEMPERATURE
	StepInfill      Step = abi.STEP_INFILL
	StepHost        Step = abi.STEP_HOST
)

// c gives C the parameters. The vocabulary and what is pinned must live until the sampler is made.
func (p *SamplerParams) c(pin *runtime.Pinner, vocab abi.Handle, step *hostStep) *abi.SamplerParams {
	c := &abi.SamplerParams{
		StructSize: sizeof[abi.SamplerParams](), Temperature: p.Temperature, TopK: p.TopK, TopP: p.TopP, MinP: p.MinP,
		RepeatPenalty: p.RepeatPenalty, FrequencyPenalty: p.FrequencyPenalty, PresencePenalty: p.PresencePenalty,
		PenaltyLastN: p.PenaltyLastN, Seed: p.Seed, Vocab: vocab,
		DryMultiplier: p.DryMultiplier, DryBase: p.DryBase, DryAllowedLength: p.DryAllowedLength, DryLastN: p.DryLastN,
		TypicalP: p.TypicalP, TopNSigma: p.TopNSigma, XtcProbability: p.XtcProbability, XtcThreshold: p.XtcThreshold,
		DynatempRange: p.DynatempRange, DynatempExponent: p.DynatempExponent,
		Mirostat: p.Mirostat, MirostatTau: p.MirostatTau, MirostatEta: p.MirostatEta,
		AdaptiveTarget: p.AdaptiveTarget, AdaptiveDecay: p.AdaptiveDecay, MinKeep: p.MinKeep, NLogprobs: p.Logprobs,
	}
	c.LogitBias, c.NLogitBias = span[abi.LogitBias, uint32](pin, alike[abi.LogitBias](p.LogitBias))
	c.DryBreakers, c.NDryBreakers = span[abi.Text, uint32](pin, textViews(pin, p.DryBreakers))
	var breakers []int32
	for _, tokens := range p.DryBreakerTokens {
		breakers = append(append(breakers, tokens...), -1)
	}
	c.DryBreakerTokens, c.NDryBreakerTokens = span[int32, uint32](pin, breakers)
	steps := make([]int32, len(p.Steps))
	for i, s := range p.Steps {
		steps[i] = int32(s)
	}
	c.Steps, c.NSteps = span[int32, uint32](pin, steps)
	if step != nil {
		c.HostStep, c.HostData = abi.CandidatesFn, step.number
	}
	return c
}

// needsVocab tells if DRY or infill need the vocabulary.
func (p *SamplerParams) needsVocab() bool {
	return p.DryMultiplier != 0 || len(p.DryBreakers) > 0 || slices.Contains(p.Steps, StepInfill)
}
