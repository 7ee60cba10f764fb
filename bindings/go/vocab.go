package rekindle

import (
	"runtime"
	"unsafe"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Vocab is a vocabulary with its tokeniser and chat templates. It never changes, and outlives its model and file.
type Vocab struct{ h abi.Handle }

func newVocab(h abi.Handle, err error) (*Vocab, error) {
	if err != nil {
		return nil, err
	}
	v := &Vocab{h}
	closes(v, (*Vocab).Close)
	return v, nil
}

// Vocab is the model's vocabulary.
func (m *Model) Vocab() (*Vocab, error) {
	defer runtime.KeepAlive(m)
	return newVocab(created(func(h *abi.Handle) int32 { return abi.ModelVocab(m.h, h) }))
}

// Vocab is the file's vocabulary; no model needs to be loaded.
func (f *File) Vocab() (*Vocab, error) {
	defer runtime.KeepAlive(f)
	return newVocab(created(func(h *abi.Handle) int32 { return abi.VocabCreate(f.h, h) }))
}

// with gives a function the vocabulary of a model or file for the time of its call.
func with[T any](vocab func() (*Vocab, error), f func(v *Vocab) (T, error)) (T, error) {
	v, err := vocab()
	if err != nil {
		var none T
		return none, err
	}
	defer v.Close()
	return f(v)
}

// Close ends the vocabulary's handle.
func (v *Vocab) Close() {
	runtime.SetFinalizer(v, nil)
	abi.VocabDestroy(v.h)
}

// VocabInfo is a vocabulary. Ids are -1 where there is no such token.
type VocabInfo struct {
	Tokens uint32
	// The tokens that begin a text, end one, end a turn of a chat and end a message; those for unknown text, separation
	// and padding.
	BOS, EOS, EOT, EOM, Unk, Sep, Pad int32
	// AddBOS, AddEOS and AddSpacePrefix: tokenising adds BOS, EOS, and a space before the text.
	AddBOS, AddEOS, AddSpacePrefix bool
	// Model and Pre are the keys tokenizer.ggml.model and tokenizer.ggml.pre.
	Model, Pre string
	// To fill in the middle of a text: the tokens before the part that precedes it, before the part that follows, and
	// before the middle; padding; those before a repository's and a file's name.
	FIMPrefix, FIMSuffix, FIMMiddle, FIMPad, FIMRepository, FIMSeparator int32
}

// Info tells what the vocabulary has.
func (v *Vocab) Info() (VocabInfo, error) {
	defer runtime.KeepAlive(v)
	i := abi.VocabInfo{StructSize: sizeof[abi.VocabInfo]()}
	err := call(func() int32 { return abi.VocabGetInfo(v.h, &i) })
	return VocabInfo{
		Tokens: i.NTokens, BOS: i.Bos, EOS: i.Eos, EOT: i.Eot, EOM: i.Eom, Unk: i.Unk, Sep: i.Sep, Pad: i.Pad,
		AddBOS: i.AddBos != 0, AddEOS: i.AddEos != 0, AddSpacePrefix: i.AddSpacePrefix != 0,
		Model: chars(i.Model[:]), Pre: chars(i.Pre[:]),
		FIMPrefix: i.FimPrefix, FIMSuffix: i.FimSuffix, FIMMiddle: i.FimMiddle, FIMPad: i.FimPad,
		FIMRepository: i.FimRepository, FIMSeparator: i.FimSeparator,
	}, err
}

// TokenType is the use of a token.
type TokenType int32

// The uses of tokens, by GGUF's numbers.
const (
	TokenUndefined   TokenType = abi.TOKEN_UNDEFINED
	TokenNormal      TokenType = abi.TOKEN_NORMAL
	TokenUnknown     TokenType = abi.TOKEN_UNKNOWN
	TokenControl     TokenType = abi.TOKEN_CONTROL
	TokenUserDefined TokenType = abi.TOKEN_USER_DEFINED
	TokenUnused      TokenType = abi.TOKEN_UNUSED
	TokenByte        TokenType = abi.TOKEN_BYTE
)

// TokenInfo is a token.
type TokenInfo struct {
	Type TokenType
	// Score is 0 if the file has no scores.
	Score float32
	// Ends: it ends a generation.
	Ends bool
}

// Token tells what a token is.
func (v *Vocab) Token(token int32) (TokenInfo, error) {
	defer runtime.KeepAlive(v)
	i := abi.TokenInfo{StructSize: sizeof[abi.TokenInfo]()}
	err := call(func() int32 { return abi.VocabGetToken(v.h, token, &i) })
	return TokenInfo{TokenType(i.TokenType), i.Score, i.IsEog != 0}, err
}

// TextOptions say how text becomes tokens and tokens become text.
type TextOptions struct {
	// Special: to tokenise, add BOS and EOS if the file wants them; to detokenise, leave them away again.
	Special bool
	// ParseSpecial: to tokenise, read the texts of control tokens as these tokens; never use it for text from
	// strangers. To detokenise, show control tokens as their text.
	ParseSpecial bool
}

func (o TextOptions) flags() uint32 {
	return flags(flag{o.Special, abi.TEXT_SPECIAL}, flag{o.ParseSpecial, abi.TEXT_PARSE_SPECIAL})
}

// Tokenize gives the tokens of a text.
func (v *Vocab) Tokenize(s string, o TextOptions) ([]int32, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, s)
	// A token is at least a byte of the text, but for those that are added.
	tokens := make([]int32, len(s)+16)
	var needed uintptr
	err := call(func() int32 {
		return abi.Tokenize(v.h, p, n, o.flags(), &tokens[0], uintptr(len(tokens)), &needed)
	})
	if err != nil {
		return nil, err
	}
	return tokens[:needed], nil
}

// Detokenize gives the text of tokens. Byte tokens come as they are, so it may be no UTF-8.
func (v *Vocab) Detokenize(tokens []int32, o TextOptions) (string, error) {
	defer runtime.KeepAlive(v)
	first, n := unsafe.SliceData(tokens), uintptr(len(tokens))
	return text(func(b *byte, c uintptr, needed *uintptr) int32 {
		return abi.Detokenize(v.h, first, n, o.flags(), b, c, needed)
	})
}

// Piece gives the bytes that one token adds to a text. They may end inside a character; those of a Stream do not.
func (v *Vocab) Piece(token int32, o TextOptions) (string, error) {
	defer runtime.KeepAlive(v)
	return text(func(b *byte, c uintptr, needed *uintptr) int32 {
		return abi.TokenPiece(v.h, token, o.flags(), b, c, needed)
	})
}

// Tokenize gives the tokens of a text, with BOS and EOS where the model wants them.
func (m *Model) Tokenize(s string) ([]int32, error) {
	return m.TokenizeWith(s, TextOptions{Special: true})
}

// TokenizeWith is Tokenize with options.
func (m *Model) TokenizeWith(s string, o TextOptions) ([]int32, error) {
	return with(m.Vocab, func(v *Vocab) ([]int32, error) { return v.Tokenize(s, o) })
}

// Detokenize is the vocabulary's.
func (m *Model) Detokenize(tokens []int32, o TextOptions) (string, error) {
	return with(m.Vocab, func(v *Vocab) (string, error) { return v.Detokenize(tokens, o) })
}

// VocabInfo tells what the model's vocabulary has.
func (m *Model) VocabInfo() (VocabInfo, error) {
	return with(m.Vocab, (*Vocab).Info)
}
