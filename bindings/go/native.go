package rekindle

import (
	"bytes"
	"errors"
	"runtime"
	"unsafe"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// sizeof is a struct's struct_size.
func sizeof[T any]() uint32 {
	var value T
	return uint32(unsafe.Sizeof(value))
}

// chars reads a text in a struct, which ends with a NUL.
func chars(field []byte) string {
	text, _, _ := bytes.Cut(field, []byte{0})
	return string(text)
}

// view gives C a view of a text, valid until the pinner unpins; nil if it is empty.
func view(pin *runtime.Pinner, s string) (*byte, uintptr) {
	if len(s) == 0 {
		return nil, 0
	}
	p := unsafe.StringData(s)
	pin.Pin(p)
	return p, uintptr(len(s))
}

// span gives C a view of a slice, valid until the pinner unpins; nil if it is empty.
func span[T any, N uintptr | uint32](pin *runtime.Pinner, s []T) (*T, N) {
	if len(s) == 0 {
		return nil, 0
	}
	pin.Pin(&s[0])
	return &s[0], N(len(s))
}

// alike gives a slice of structs as one of structs that have the same fields.
func alike[To, From any](s []From) []To {
	return unsafe.Slice((*To)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

// views gives C views of several texts: their addresses and their lengths.
func views(pin *runtime.Pinner, list []string) (addresses []*byte, lengths []uintptr) {
	addresses, lengths = make([]*byte, len(list)), make([]uintptr, len(list))
	for i, s := range list {
		addresses[i], lengths[i] = view(pin, s)
	}
	return
}

// text reads a text of unknown length.
func text(f func(buffer *byte, capacity uintptr, needed *uintptr) int32) (string, error) {
	var needed uintptr
	if err := call(func() int32 { return f(nil, 0, &needed) }); err != nil {
		return "", err
	}
	buffer := make([]byte, needed)
	if err := call(func() int32 { return f(&buffer[0], needed, &needed) }); err != nil {
		return "", err
	}
	return string(buffer[:needed-1]), nil
}

// texts reads texts by their numbers, until there is none.
func texts(f func(index uint32, buffer *byte, capacity uintptr, needed *uintptr) int32) ([]string, error) {
	var all []string
	for {
		i := uint32(len(all))
		s, err := text(func(b *byte, c uintptr, n *uintptr) int32 { return f(i, b, c, n) })
		if errors.Is(err, NotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
}

// array reads an array of unknown length.
func array[T any](f func(buffer *T, capacity uintptr, needed *uintptr) int32) ([]T, error) {
	var n uintptr
	if err := call(func() int32 { return f(nil, 0, &n) }); err != nil || n == 0 {
		return nil, err
	}
	all := make([]T, n)
	err := call(func() int32 { return f(&all[0], n, &n) })
	return all[:n], err
}

// flags adds up those that are set.
func flags(all ...flag) (sum uint32) {
	for _, f := range all {
		if f.set {
			sum |= f.bit
		}
	}
	return
}

type flag struct {
	set bool
	bit uint32
}

// number is 1 for true, as C has it.
func number(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// created makes a handle by a call of C.
func created(f func(handle *abi.Handle) int32) (abi.Handle, error) {
	var h abi.Handle
	err := call(func() int32 { return f(&h) })
	return h, err
}
