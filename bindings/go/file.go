package rekindle

// #include "rekindle.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// FileInfo is the description of a file. A number that its keys do not give is 0, and such a text is empty.
type FileInfo struct {
	// Version of GGUF.
	Version uint32
	// Keys and tensors it has.
	Keys, Tensors uint64
	// Bytes of all its files, elements of all its tensors.
	Bytes, Params uint64
	// Files that it is split into.
	Files  uint32
	Layers uint32
	// CtxTrain is the context that the model was trained for, in tokens.
	CtxTrain uint32
	// Embedding is the length of a token's row, Vocab the number of these rows.
	Embedding, Vocab   uint32
	Architecture, Name string
}

// Info tells what a file is.
func (f *File) Info() (FileInfo, error) {
	defer runtime.KeepAlive(f)
	i := C.rekindle_file_info{struct_size: C.sizeof_rekindle_file_info}
	err := call(func() C.rekindle_status { return C.rekindle_file_get_info(f.h, &i) })
	return FileInfo{
		Version: uint32(i.version), Keys: uint64(i.n_keys), Tensors: uint64(i.n_tensors), Bytes: uint64(i.n_bytes),
		Params: uint64(i.n_params), Files: uint32(i.n_files), Layers: uint32(i.n_layer), CtxTrain: uint32(i.n_ctx_train),
		Embedding: uint32(i.n_embd), Vocab: uint32(i.n_vocab),
		Architecture: C.GoString(&i.architecture[0]), Name: C.GoString(&i.name[0]),
	}, err
}

// Key is a key of a file with its value: an int64, a float64, a bool, a string, or nil for an array, whose elements
// File.Key gives as text.
type Key struct {
	Name  string
	Value any
}

// Keys gives all keys of a file, in its order. A number above the largest int64 comes as a float64.
func (f *File) Keys() ([]Key, error) {
	defer runtime.KeepAlive(f)
	info, err := f.Info()
	if err != nil {
		return nil, err
	}
	keys := make([]Key, int(info.Keys))
	for i := range keys {
		if keys[i], err = f.key(C.uint32_t(i)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (f *File) key(index C.uint32_t) (Key, error) {
	k := C.rekindle_key_info{struct_size: C.sizeof_rekindle_key_info}
	if err := call(func() C.rekindle_status { return C.rekindle_file_get_key(f.h, index, &k) }); err != nil {
		return Key{}, err
	}
	key := Key{Name: C.GoString(&k.name[0])}
	var err error
	switch k.value_type {
	case C.REKINDLE_VALUE_ARRAY:
	case C.REKINDLE_VALUE_STRING:
		key.Value, err = text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status {
			return C.rekindle_file_key_text(f.h, index, 0, b, c, n)
		})
	case C.REKINDLE_VALUE_F32, C.REKINDLE_VALUE_F64:
		key.Value, err = f.number(index)
	default:
		var v C.int64_t
		if call(func() C.rekindle_status { return C.rekindle_file_key_integer(f.h, index, &v) }) != nil {
			key.Value, err = f.number(index)
		} else if k.value_type == C.REKINDLE_VALUE_BOOL {
			key.Value = v != 0
		} else {
			key.Value = int64(v)
		}
	}
	return key, err
}

func (f *File) number(index C.uint32_t) (float64, error) {
	var v C.double
	err := call(func() C.rekindle_status { return C.rekindle_file_key_number(f.h, index, &v) })
	return float64(v), err
}

// Template is the text of a file's chat template; an empty name is the one without a name. An Error with status
// NotFound: the file has none.
func (f *File) Template(name string) (string, error) {
	var vocab *C.rekindle_vocab
	if err := call(func() C.rekindle_status { return C.rekindle_vocab_create(f.h, &vocab) }); err != nil {
		return "", err
	}
	defer C.rekindle_vocab_destroy(vocab)
	defer runtime.KeepAlive(f)
	return template(vocab, name)
}

// Template is as File's, of a loaded model.
func (m *Model) Template(name string) (string, error) {
	vocab, err := m.vocab()
	if err != nil {
		return "", err
	}
	defer C.rekindle_vocab_destroy(vocab)
	return template(vocab, name)
}

func template(vocab *C.rekindle_vocab, name string) (string, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, name)
	return text(func(b *C.char, c C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_chat_template(vocab, p, n, b, c, needed)
	})
}

// TextOptions say how text becomes tokens and tokens become text.
type TextOptions struct {
	// Special: to tokenise, add BOS and EOS if the file wants them; to detokenise, leave them away again.
	Special bool
	// ParseSpecial: to tokenise, read the texts of control tokens as these tokens; never use it for text from strangers.
	// To detokenise, show control tokens as their text.
	ParseSpecial bool
}

func (o TextOptions) flags() (flags C.uint32_t) {
	if o.Special {
		flags |= C.REKINDLE_TEXT_SPECIAL
	}
	if o.ParseSpecial {
		flags |= C.REKINDLE_TEXT_PARSE_SPECIAL
	}
	return
}

// TokenizeWith is Tokenize with options.
func (m *Model) TokenizeWith(s string, o TextOptions) ([]int32, error) {
	v, err := m.vocab()
	if err != nil {
		return nil, err
	}
	defer C.rekindle_vocab_destroy(v)
	p, n := bytes(s)
	// A token is at least a byte of the text, but for those that are added.
	tokens := make([]int32, len(s)+16)
	var needed C.size_t
	to := (*C.int32_t)(unsafe.Pointer(&tokens[0]))
	err = call(func() C.rekindle_status {
		return C.rekindle_tokenize(v, p, n, o.flags(), to, C.size_t(len(tokens)), &needed)
	})
	if err != nil {
		return nil, err
	}
	return tokens[:needed], nil
}

// Detokenize gives the text of tokens. Byte tokens come as they are, so it may be no UTF-8.
func (m *Model) Detokenize(tokens []int32, o TextOptions) (string, error) {
	v, err := m.vocab()
	if err != nil {
		return "", err
	}
	defer C.rekindle_vocab_destroy(v)
	first := (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(tokens)))
	return text(func(b *C.char, c C.size_t, needed *C.size_t) C.rekindle_status {
		return C.rekindle_detokenize(v, first, C.size_t(len(tokens)), o.flags(), b, c, needed)
	})
}

// Cancel ends the call that is computing with this model at this moment, with status Cancelled. Without such a call it
// does nothing. It may be called at any time.
func (m *Model) Cancel() {
	C.rekindle_cancel(m.h)
	runtime.KeepAlive(m)
}
