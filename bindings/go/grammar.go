package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// GrammarKind is the language that a grammar is written in.
type GrammarKind int32

// The kinds of grammars.
const (
	JSONSchema GrammarKind = abi.GRAMMAR_JSON_SCHEMA
	Regex      GrammarKind = abi.GRAMMAR_REGEX
	Lark       GrammarKind = abi.GRAMMAR_LARK
	GBNF       GrammarKind = abi.GRAMMAR_GBNF
)

// GrammarOptions are the things that a grammar may have besides its text. The zero value has none.
type GrammarOptions struct {
	// Start is the rule to begin with, for Lark and GBNF; empty is the usual one.
	Start string
	// With any of these the grammar waits, and allows everything, until one of them was written.
	TriggerTexts  []string
	TriggerTokens []int32
	// FromTrigger: the grammar describes the text from the trigger on, not only the text behind it.
	FromTrigger bool
}

// Grammar says which tokens a text may go on with. One call at a time may use it.
type Grammar struct{ h abi.Handle }

func newGrammar(h abi.Handle, err error) (*Grammar, error) {
	if err != nil {
		return nil, err
	}
	g := &Grammar{h}
	closes(g, (*Grammar).Close)
	return g, nil
}

// NewGrammar compiles a grammar for the tokens of the vocabulary.
func (v *Vocab) NewGrammar(kind GrammarKind, source string, o GrammarOptions) (*Grammar, error) {
	defer runtime.KeepAlive(v)
	var pin runtime.Pinner
	defer pin.Unpin()
	p := abi.GrammarParams{StructSize: sizeof[abi.GrammarParams]()}
	p.Flags = flags(flag{o.FromTrigger, abi.GRAMMAR_FROM_TRIGGER})
	p.Start, p.StartLen = view(&pin, o.Start)
	p.TriggerTexts, p.NTriggerTexts = span[abi.Text, uint32](&pin, textViews(&pin, o.TriggerTexts))
	p.TriggerTokens, p.NTriggerTokens = span[int32, uint32](&pin, o.TriggerTokens)
	s, n := view(&pin, source)
	return newGrammar(created(func(h *abi.Handle) int32 { return abi.GrammarCreate(v.h, int32(kind), s, n, &p, h) }))
}

// textViews are structs that C has for texts.
func textViews(pin *runtime.Pinner, list []string) []abi.Text {
	all := make([]abi.Text, len(list))
	for i, s := range list {
		all[i].Text, all[i].Len = view(pin, s)
	}
	return all
}

// NewGrammar is the vocabulary's.
func (m *Model) NewGrammar(kind GrammarKind, source string, o GrammarOptions) (*Grammar, error) {
	return with(m.Vocab, func(v *Vocab) (*Grammar, error) { return v.NewGrammar(kind, source, o) })
}

// Close ends the grammar.
func (g *Grammar) Close() {
	runtime.SetFinalizer(g, nil)
	abi.GrammarDestroy(g.h)
}

// Copy gives another grammar that stands where this one does.
func (g *Grammar) Copy() (*Grammar, error) {
	defer runtime.KeepAlive(g)
	return newGrammar(created(func(h *abi.Handle) int32 { return abi.GrammarCopy(g.h, h) }))
}

// Reset goes back to the beginning.
func (g *Grammar) Reset() error {
	defer runtime.KeepAlive(g)
	return call(func() int32 { return abi.GrammarReset(g.h) })
}

// Mask tells which tokens may come next: bit id%32 of word id/32 is 1 if token id may.
func (g *Grammar) Mask() ([]uint32, error) {
	defer runtime.KeepAlive(g)
	return array(func(b *uint32, c uintptr, n *uintptr) int32 { return abi.GrammarMask(g.h, b, c, n) })
}

// Accept goes on by a token.
func (g *Grammar) Accept(token int32) error {
	defer runtime.KeepAlive(g)
	return call(func() int32 { return abi.GrammarAccept(g.h, token) })
}

// Forced gives the tokens that must come next, often none. They are not accepted yet.
func (g *Grammar) Forced() ([]int32, error) {
	defer runtime.KeepAlive(g)
	return array(func(b *int32, c uintptr, n *uintptr) int32 { return abi.GrammarForced(g.h, b, c, n) })
}

// Complete tells if the text may end here.
func (g *Grammar) Complete() (bool, error) {
	defer runtime.KeepAlive(g)
	var complete uint32
	err := call(func() int32 { return abi.GrammarIsComplete(g.h, &complete) })
	return complete != 0, err
}

// Verdict is what a grammar says of a text.
type Verdict uint32

// The verdicts.
const (
	// TextComplete: the text is one of the grammar's.
	TextComplete Verdict = abi.VERDICT_COMPLETE
	// TextPrefix: one of the grammar's texts begins with it.
	TextPrefix Verdict = abi.VERDICT_PREFIX
	// TextRefused: no text of the grammar begins so.
	TextRefused Verdict = abi.VERDICT_REFUSED
)

// Check holds a text against the grammar, from its beginning and without triggers. at is the first byte that does not
// fit, or the text's length.
func (g *Grammar) Check(s string) (verdict Verdict, at int, err error) {
	defer runtime.KeepAlive(g)
	var pin runtime.Pinner
	defer pin.Unpin()
	v := abi.GrammarVerdict{StructSize: sizeof[abi.GrammarVerdict]()}
	p, n := view(&pin, s)
	err = call(func() int32 { return abi.GrammarCheck(g.h, p, n, &v) })
	return Verdict(v.Verdict), int(v.At), err
}
