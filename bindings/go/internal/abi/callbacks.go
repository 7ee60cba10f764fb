// Package abi has the C ABI for Go: constants and structs of include/rekindle.h, and its calls, by cgo or, without
// a C compiler, by opening the library at run time. Names are those of the header.
package abi

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// The callbacks that C may call. They get the number that Register gave, by which they find what they are for.
type (
	// LogFunc gets a message.
	LogFunc func(level int32, message string)
	// ProgressFunc gets the share done; 0 goes on.
	ProgressFunc func(done float32) int32
	// PieceFunc gets a token and the text that it completes; 0 goes on.
	PieceFunc func(token int32, piece string) int32
	// CandidatesFunc gets the candidates and gives how many of the first ones stay; below 0 ends the sampling.
	CandidatesFunc func(candidates []Candidate) int
)

var (
	registered sync.Map
	last       atomic.Uintptr
)

// Register gives a function the number that stands for it as user_data, until Release.
func Register(function any) uintptr {
	n := last.Add(1)
	registered.Store(n, function)
	return n
}

// Release ends a number.
func Release(n uintptr) { registered.Delete(n) }

// find gives the function of a number. A number that is not known is a defect.
func find[F any](n uintptr) F {
	f, _ := registered.Load(n)
	return f.(F)
}

func onLog(data uintptr, level int32, message *byte) { find[LogFunc](data)(level, GoString(message)) }

func onProgress(data uintptr, done float32) int32 { return find[ProgressFunc](data)(done) }

func onPiece(data uintptr, token int32, piece *byte, length uintptr) int32 {
	return find[PieceFunc](data)(token, GoStringN(piece, length))
}

func onCandidates(data uintptr, candidates *Candidate, n *uintptr) int32 {
	kept := find[CandidatesFunc](data)(unsafe.Slice(candidates, *n))
	if kept < 0 {
		return 1
	}
	*n = uintptr(kept)
	return 0
}

// GoString copies a text that ends with a NUL; nil is empty.
func GoString(p *byte) string {
	if p == nil {
		return ""
	}
	n := uintptr(0)
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return GoStringN(p, n)
}

// GoStringN copies a text of n bytes.
func GoStringN(p *byte, n uintptr) string {
	if p == nil || n == 0 {
		return ""
	}
	return string(unsafe.Slice(p, n))
}
