package rekindle

// #include "rekindle.h"
import "C"

import "runtime"

// vocab is the model's vocabulary, which the caller destroys.
func (m *Model) vocab() (*C.rekindle_vocab, error) {
	defer runtime.KeepAlive(m)
	var v *C.rekindle_vocab
	err := call(func() C.rekindle_status { return C.rekindle_model_vocab(m.h, &v) })
	return v, err
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

// Vocab tells what the model's vocabulary has.
func (m *Model) Vocab() (VocabInfo, error) {
	v, err := m.vocab()
	if err != nil {
		return VocabInfo{}, err
	}
	defer C.rekindle_vocab_destroy(v)
	i := C.rekindle_vocab_info{struct_size: C.sizeof_rekindle_vocab_info}
	err = call(func() C.rekindle_status { return C.rekindle_vocab_get_info(v, &i) })
	return VocabInfo{
		Tokens: uint32(i.n_tokens),
		BOS:    int32(i.bos), EOS: int32(i.eos), EOT: int32(i.eot), EOM: int32(i.eom),
		Unk: int32(i.unk), Sep: int32(i.sep), Pad: int32(i.pad),
		AddBOS: i.add_bos != 0, AddEOS: i.add_eos != 0, AddSpacePrefix: i.add_space_prefix != 0,
		Model: C.GoString(&i.model[0]), Pre: C.GoString(&i.pre[0]),
		FIMPrefix: int32(i.fim_prefix), FIMSuffix: int32(i.fim_suffix), FIMMiddle: int32(i.fim_middle),
		FIMPad: int32(i.fim_pad), FIMRepository: int32(i.fim_repository), FIMSeparator: int32(i.fim_separator),
	}, err
}

// Tokenize gives the tokens of a text, with BOS and EOS where the model wants them.
func (m *Model) Tokenize(s string) ([]int32, error) {
	return m.TokenizeWith(s, TextOptions{Special: true})
}
