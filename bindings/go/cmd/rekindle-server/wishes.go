package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// wishes are the fields that steer a generation, by the names of all dialects. Absent ones are nil. Unknown fields are
// ignored, as clients send what other servers know.
type wishes struct {
	Temperature      *float64 `json:"temperature"`
	TopP             *float64 `json:"top_p"`
	TopK             *int64   `json:"top_k"`
	MinP             *float64 `json:"min_p"`
	TypicalP         *float64 `json:"typical_p"`
	TopNSigma        *float64 `json:"top_n_sigma"`
	XTCProbability   *float64 `json:"xtc_probability"`
	XTCThreshold     *float64 `json:"xtc_threshold"`
	DynatempRange    *float64 `json:"dynatemp_range"`
	DynatempExponent *float64 `json:"dynatemp_exponent"`
	RepeatPenalty    *float64 `json:"repeat_penalty"`
	FrequencyPenalty *float64 `json:"frequency_penalty"`
	PresencePenalty  *float64 `json:"presence_penalty"`
	DryMultiplier    *float64 `json:"dry_multiplier"`
	DryBase          *float64 `json:"dry_base"`
	DryAllowedLength *int64   `json:"dry_allowed_length"`
	DryLastN         *int64   `json:"dry_penalty_last_n"`
	Mirostat         *int64   `json:"mirostat"`
	MirostatTau      *float64 `json:"mirostat_tau"`
	MirostatEta      *float64 `json:"mirostat_eta"`
	MinKeep          *int64   `json:"min_keep"`
	Seed             *int64   `json:"seed"`
	Stop             texts    `json:"stop"`
	LogitBias        biases   `json:"logit_bias"`
	IgnoreEOS        *bool    `json:"ignore_eos"`
	CachePrompt      *bool    `json:"cache_prompt"`
	// The most tokens to write, by its names. Below zero: no limit.
	MaxTokens           *int64 `json:"max_tokens"`
	MaxCompletionTokens *int64 `json:"max_completion_tokens"`
	NPredict            *int64 `json:"n_predict"`
	NumPredict          *int64 `json:"num_predict"`
	// NumCtx is the context, in tokens, that a model must be loaded for.
	NumCtx *int64 `json:"num_ctx"`
	// NumKeep is the number of tokens at the beginning of a prompt that stay if it must be cut.
	NumKeep *int64 `json:"num_keep"`
}

// over gives these wishes, and where they are absent those of another.
func (w wishes) over(usual wishes) wishes {
	mine, merged := reflect.ValueOf(w), reflect.ValueOf(&usual).Elem()
	for i := range mine.NumField() {
		// All fields are pointers or slices.
		if f := mine.Field(i); !f.IsNil() {
			merged.Field(i).Set(f)
		}
	}
	return usual
}

// limit is the number of tokens to write at most; 0 is no limit.
func (w *wishes) limit() uint32 {
	for _, n := range []*int64{w.MaxCompletionTokens, w.MaxTokens, w.NPredict, w.NumPredict} {
		if n != nil && *n >= 0 {
			return uint32(min(*n, math.MaxUint32))
		} else if n != nil {
			return 0
		}
	}
	return 0
}

// writesNothing tells that not one token is wanted.
func (w *wishes) writesNothing() bool {
	for _, n := range []*int64{w.MaxCompletionTokens, w.MaxTokens, w.NPredict, w.NumPredict} {
		if n != nil {
			return *n == 0
		}
	}
	return false
}

// usualWishes hold where neither the request nor the model's store says anything: those of llama.cpp's server and of
// Ollama.
func (d dialect) usualWishes() wishes {
	number := func(v float64) *float64 { return &v }
	k := int64(40)
	w := wishes{Temperature: number(0.8), TopK: &k, TopP: number(0.95), MinP: number(0.05)}
	if d == ollama {
		w.TopP, w.MinP, w.RepeatPenalty = number(0.9), nil, number(1.1)
	}
	return w
}

// number is a float64 field, checked to be one that float32 holds.
func number(to *float32, from *float64, name string, least float64) error {
	if from == nil {
		return nil
	}
	if math.IsNaN(*from) || math.Abs(*from) > math.MaxFloat32 || *from < least {
		return badRequest(name, "%s is %v, it must be a number of at least %v", name, *from, least)
	}
	*to = float32(*from)
	return nil
}

// count is an int64 field, checked to be one that uint32 holds. Below zero stands for 0, which is off or all.
func count(to *uint32, from *int64, name string) error {
	if from == nil {
		return nil
	}
	if *from > math.MaxUint32 {
		return badRequest(name, "%s is %d, %d at most is possible", name, *from, uint32(math.MaxUint32))
	}
	*to = uint32(max(*from, 0))
	return nil
}

// sampler makes the parameters of a sampler. Without a seed it gets one by chance.
func (w *wishes) sampler() (rekindle.SamplerParams, error) {
	var s rekindle.SamplerParams
	least := -math.MaxFloat32
	for _, err := range []error{
		number(&s.Temperature, w.Temperature, "temperature", 0),
		number(&s.TopP, w.TopP, "top_p", 0),
		number(&s.MinP, w.MinP, "min_p", 0),
		number(&s.TypicalP, w.TypicalP, "typical_p", 0),
		number(&s.TopNSigma, w.TopNSigma, "top_n_sigma", least),
		number(&s.XtcProbability, w.XTCProbability, "xtc_probability", 0),
		number(&s.XtcThreshold, w.XTCThreshold, "xtc_threshold", 0),
		number(&s.DynatempRange, w.DynatempRange, "dynatemp_range", 0),
		number(&s.DynatempExponent, w.DynatempExponent, "dynatemp_exponent", 0),
		number(&s.RepeatPenalty, w.RepeatPenalty, "repeat_penalty", 0),
		number(&s.FrequencyPenalty, w.FrequencyPenalty, "frequency_penalty", least),
		number(&s.PresencePenalty, w.PresencePenalty, "presence_penalty", least),
		number(&s.DryMultiplier, w.DryMultiplier, "dry_multiplier", 0),
		number(&s.DryBase, w.DryBase, "dry_base", 0),
		number(&s.MirostatTau, w.MirostatTau, "mirostat_tau", 0),
		number(&s.MirostatEta, w.MirostatEta, "mirostat_eta", 0),
		count(&s.TopK, w.TopK, "top_k"),
		count(&s.DryAllowedLength, w.DryAllowedLength, "dry_allowed_length"),
		count(&s.DryLastN, w.DryLastN, "dry_penalty_last_n"),
		count(&s.Mirostat, w.Mirostat, "mirostat"),
		count(&s.MinKeep, w.MinKeep, "min_keep"),
	} {
		if err != nil {
			return s, err
		}
	}
	if s.TopP >= 1 {
		s.TopP = 0
	}
	if s.TypicalP >= 1 {
		s.TypicalP = 0
	}
	s.LogitBias = w.LogitBias
	if w.Seed != nil && *w.Seed >= 0 {
		s.Seed = uint64(*w.Seed)
		return s, nil
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return s, err
	}
	s.Seed = binary.LittleEndian.Uint64(random[:])
	return s, nil
}

// generation makes the parameters of a generation, but for its prompt.
func (w *wishes) generation() (p rekindle.GenerationParams, err error) {
	if p.Sampler, err = w.sampler(); err != nil {
		return p, err
	}
	for _, s := range w.Stop {
		if s != "" {
			p.StopTexts = append(p.StopTexts, s)
		}
	}
	p.MaxTokens = w.limit()
	p.IgnoreEOG = w.IgnoreEOS != nil && *w.IgnoreEOS
	p.NoReuse = w.CachePrompt != nil && !*w.CachePrompt
	return p, nil
}

// texts is a field that is one text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	*t = nil
	if string(b) == "null" {
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) != nil {
		return fmt.Errorf("a text or a list of texts is wanted, not %.40s", b)
	}
	*t = many
	return nil
}

// biases are OpenAI's {"id": bias} or llama.cpp's [[id, bias]], whose bias may be false to forbid the token.
type biases []rekindle.LogitBias

func (l *biases) UnmarshalJSON(b []byte) error {
	*l = nil
	if string(b) == "null" {
		return nil
	}
	var byID map[string]float64
	if json.Unmarshal(b, &byID) == nil {
		for id, bias := range byID {
			n, err := strconv.ParseInt(id, 10, 32)
			if err != nil {
				return badRequest("logit_bias", "logit_bias has %q, which is no token id", id)
			}
			*l = append(*l, rekindle.LogitBias{Token: int32(n), Bias: float32(bias)})
		}
		return nil
	}
	var pairs [][2]any
	wrong := badRequest("logit_bias", "logit_bias is neither an object of ids and numbers nor a list of such pairs")
	if json.Unmarshal(b, &pairs) != nil {
		return wrong
	}
	for _, pair := range pairs {
		id, is := pair[0].(float64)
		if !is || id != math.Trunc(id) || math.Abs(id) > math.MaxInt32 {
			return wrong
		}
		switch bias := pair[1].(type) {
		case float64:
			*l = append(*l, rekindle.LogitBias{Token: int32(id), Bias: float32(bias)})
		case bool:
			*l = append(*l, rekindle.LogitBias{Token: int32(id), Bias: float32(math.Inf(-1))})
		default:
			return wrong
		}
	}
	return nil
}
