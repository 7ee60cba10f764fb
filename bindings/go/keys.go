package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

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
	keys := make([]Key, info.Keys)
	for i := range keys {
		if keys[i], err = f.key(uint32(i)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Key gives a key's value as text, of an array at most max elements.
func (f *File) Key(name string, max uint32) (string, error) {
	defer runtime.KeepAlive(f)
	var pin runtime.Pinner
	defer pin.Unpin()
	var index uint32
	p, n := view(&pin, name)
	if err := call(func() int32 { return abi.FileFindKey(f.h, p, n, &index) }); err != nil {
		return "", err
	}
	return f.keyText(index, max)
}

func (f *File) keyText(index, max uint32) (string, error) {
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.FileKeyText(f.h, index, max, b, c, n) })
}

func (f *File) key(index uint32) (Key, error) {
	k := abi.KeyInfo{StructSize: sizeof[abi.KeyInfo]()}
	if err := call(func() int32 { return abi.FileGetKey(f.h, index, &k) }); err != nil {
		return Key{}, err
	}
	key := Key{Name: chars(k.Name[:])}
	var err error
	switch k.ValueType {
	case abi.VALUE_ARRAY:
	case abi.VALUE_STRING:
		key.Value, err = f.keyText(index, 0)
	case abi.VALUE_F32, abi.VALUE_F64:
		key.Value, err = f.number(index)
	default:
		var v int64
		if call(func() int32 { return abi.FileKeyInteger(f.h, index, &v) }) != nil {
			key.Value, err = f.number(index)
		} else if k.ValueType == abi.VALUE_BOOL {
			key.Value = v != 0
		} else {
			key.Value = v
		}
	}
	return key, err
}

func (f *File) number(index uint32) (v float64, err error) {
	err = call(func() int32 { return abi.FileKeyNumber(f.h, index, &v) })
	return
}
