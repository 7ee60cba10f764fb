package rekindle

import (
	"context"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Options of Generate. The prompt is a text or Tokens.
type Options struct {
	// Tokens are the prompt if its text is empty; with Result.Next, a generation goes on where one has ended.
	Tokens []int32
	// MaxTokens of 0 is no limit.
	MaxTokens uint32
	// Seq is the sequence that prompt and text are added to.
	Seq int32
	// Sampler has the settings of a sampler for this call alone; With is one that goes on from call to call, instead.
	Sampler SamplerParams
	With    *Sampler
	// ParseSpecial reads special tokens in the prompt, NoSpecial adds none: both for what Chat gives.
	ParseSpecial, NoSpecial bool
	// IgnoreEOG goes on past tokens that end a generation.
	IgnoreEOG bool
	// AllDrafts makes drafts even while they lose time; for measurements.
	AllDrafts bool
}

// Piece is a token with the text that it completes: whole characters, often none. Text that is left over at the end
// comes with token -1.
type Piece struct {
	Token int32
	Text  string
}

// Result is the outcome of a generation.
type Result struct {
	// Prompt counts the tokens of the prompt.
	Prompt uint32
	// Tokens were generated.
	Tokens []int32
	// Stop tells why it ended; 0 if an error ended it.
	Stop StopReason
	// Next are the tokens that the sequence does not have yet, the last one mostly: a call with these Options.Tokens
	// goes on as if there had been no end.
	Next []int32
}

// Generate decodes a prompt, then samples and decodes token after token. piece (may be nil) gets each and returns false
// to stop. Drafts are made if the plan has some. It ends with ctx's error when ctx is done, also within the prompt; the
// sequence then holds what was decoded. The result tells what came, also beside an error.
func (m *Model) Generate(ctx context.Context, prompt string, o Options, piece func(Piece) bool) (Result, error) {
	defer runtime.KeepAlive(m)
	sampler := o.With
	if sampler == nil {
		var err error
		if sampler, err = m.NewSampler(o.Sampler); err != nil {
			return Result{}, err
		}
		defer sampler.Close()
	}
	defer runtime.KeepAlive(sampler)
	var pin runtime.Pinner
	defer pin.Unpin()
	p := &abi.GenerateParams{StructSize: sizeof[abi.GenerateParams](), SeqId: o.Seq, MaxTokens: o.MaxTokens}
	p.Flags = flags(
		flag{o.ParseSpecial, abi.GENERATE_PARSE_SPECIAL}, flag{o.NoSpecial, abi.GENERATE_NO_SPECIAL},
		flag{o.IgnoreEOG, abi.GENERATE_IGNORE_EOG}, flag{o.AllDrafts, abi.GENERATE_ALL_DRAFTS},
	)
	p.Prompt, p.PromptLen = view(&pin, prompt)
	p.PromptTokens, p.NPromptTokens = span[int32, uintptr](&pin, o.Tokens)
	result := Result{}
	r := &abi.GenerateResult{StructSize: sizeof[abi.GenerateResult]()}
	err := hosted(func(h *host) error {
		data := abi.Register(abi.PieceFunc(func(token int32, text string) int32 {
			return h.ask(func() int32 {
				if token >= 0 {
					result.Tokens = append(result.Tokens, token)
				}
				return int32(number(ctx.Err() != nil || piece != nil && !piece(Piece{token, text})))
			})
		}))
		defer abi.Release(data)
		return m.turn.run(ctx, m.h, func() int32 { return abi.Generate(m.h, sampler.h, p, abi.PieceFn, data, r) })
	})
	if err == nil {
		err = ctx.Err()
		result.Prompt, result.Stop = r.NPrompt, StopReason(r.Stop)
	}
	if n := len(result.Tokens); n > 0 && result.Stop != StopEOG && result.Stop != 0 {
		result.Next = result.Tokens[n-1 : n : n]
	}
	return result, sampler.step.after(err)
}
