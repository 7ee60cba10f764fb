package rekindle

// #include "rekindle.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// GrammarKind is the language that a grammar is written in.
type GrammarKind int32

// The kinds of grammars.
const (
	JSONSchema GrammarKind = C.REKINDLE_GRAMMAR_JSON_SCHEMA
	Regex      GrammarKind = C.REKINDLE_GRAMMAR_REGEX
	Lark       GrammarKind = C.REKINDLE_GRAMMAR_LARK
	GBNF       GrammarKind = C.REKINDLE_GRAMMAR_GBNF
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

// Grammar says which tokens a text may go on with.
type Grammar struct{ h *C.rekindle_grammar }

// NewGrammar compiles a grammar for the tokens of the model.
func (m *Model) NewGrammar(kind GrammarKind, source string, o GrammarOptions) (*Grammar, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	vocab, err := m.vocab()
	if err != nil {
		return nil, err
	}
	defer C.rekindle_vocab_destroy(vocab)
	p := C.rekindle_grammar_params{struct_size: C.sizeof_rekindle_grammar_params}
	if o.FromTrigger {
		p.flags = C.REKINDLE_GRAMMAR_FROM_TRIGGER
	}
	p.start, p.start_len = view(&pin, o.Start)
	if n := len(o.TriggerTexts); n > 0 {
		texts := make([]C.rekindle_text, n)
		for i, t := range o.TriggerTexts {
			texts[i].text, texts[i].len = view(&pin, t)
		}
		pin.Pin(&texts[0])
		p.trigger_texts, p.n_trigger_texts = &texts[0], C.uint32_t(n)
	}
	if n := len(o.TriggerTokens); n > 0 {
		pin.Pin(&o.TriggerTokens[0])
		p.trigger_tokens = (*C.int32_t)(unsafe.Pointer(&o.TriggerTokens[0]))
		p.n_trigger_tokens = C.uint32_t(n)
	}
	g := &Grammar{}
	b, n := bytes(source)
	err = call(func() C.rekindle_status {
		return C.rekindle_grammar_create(vocab, C.int32_t(kind), b, n, &p, &g.h)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(g, (*Grammar).Close)
	return g, nil
}

// Close ends the grammar.
func (g *Grammar) Close() {
	runtime.SetFinalizer(g, nil)
	C.rekindle_grammar_destroy(g.h)
}

// Copy gives another grammar that stands where this one does.
func (g *Grammar) Copy() (*Grammar, error) {
	other := &Grammar{}
	if err := call(func() C.rekindle_status { return C.rekindle_grammar_copy(g.h, &other.h) }); err != nil {
		return nil, err
	}
	runtime.KeepAlive(g)
	runtime.SetFinalizer(other, (*Grammar).Close)
	return other, nil
}

// Reset goes back to the beginning.
func (g *Grammar) Reset() error {
	defer runtime.KeepAlive(g)
	return call(func() C.rekindle_status { return C.rekindle_grammar_reset(g.h) })
}

// Mask tells which tokens may come next: bit id%32 of word id/32 is 1 if token id may.
func (g *Grammar) Mask() ([]uint32, error) {
	defer runtime.KeepAlive(g)
	var n C.size_t
	if err := call(func() C.rekindle_status { return C.rekindle_grammar_mask(g.h, nil, 0, &n) }); err != nil {
		return nil, err
	}
	words := make([]uint32, int(n)+1)
	to := (*C.uint32_t)(unsafe.Pointer(&words[0]))
	err := call(func() C.rekindle_status { return C.rekindle_grammar_mask(g.h, to, n, &n) })
	return words[:n], err
}

// Accept goes on by a token.
func (g *Grammar) Accept(token int32) error {
	defer runtime.KeepAlive(g)
	return call(func() C.rekindle_status { return C.rekindle_grammar_accept(g.h, C.int32_t(token)) })
}

// Forced gives the tokens that must come next, often none. They are not accepted yet.
func (g *Grammar) Forced() ([]int32, error) {
	defer runtime.KeepAlive(g)
	var n C.size_t
	if err := call(func() C.rekindle_status { return C.rekindle_grammar_forced(g.h, nil, 0, &n) }); err != nil {
		return nil, err
	}
	tokens := make([]int32, int(n)+1)
	to := (*C.int32_t)(unsafe.Pointer(&tokens[0]))
	err := call(func() C.rekindle_status { return C.rekindle_grammar_forced(g.h, to, n, &n) })
	return tokens[:n], err
}

// Complete tells if the text may end here.
func (g *Grammar) Complete() (bool, error) {
	defer runtime.KeepAlive(g)
	var complete C.uint32_t
	err := call(func() C.rekindle_status { return C.rekindle_grammar_is_complete(g.h, &complete) })
	return complete != 0, err
}

// Verdict is what a grammar says of a text.
type Verdict uint32

// The verdicts.
const (
	// TextComplete: the text is one of the grammar's.
	TextComplete Verdict = C.REKINDLE_VERDICT_COMPLETE
	// TextPrefix: one of the grammar's texts begins with it.
	TextPrefix Verdict = C.REKINDLE_VERDICT_PREFIX
	// TextRefused: no text of the grammar begins so.
	TextRefused Verdict = C.REKINDLE_VERDICT_REFUSED
)

// Check holds a text against the grammar, from its beginning and without triggers. at is the first byte that does not
// fit, or the text's length.
func (g *Grammar) Check(s string) (verdict Verdict, at int, err error) {
	defer runtime.KeepAlive(g)
	v := C.rekindle_grammar_verdict{struct_size: C.sizeof_rekindle_grammar_verdict}
	p, n := bytes(s)
	err = call(func() C.rekindle_status { return C.rekindle_grammar_check(g.h, p, n, &v) })
	return Verdict(v.verdict), int(v.at), err
}
