//go:build cgo && !purego

package abi

/*
#include <stddef.h>
#include <stdint.h>
*/
import "C"

import "unsafe"

//export rekindleGoLog
func rekindleGoLog(data C.uintptr_t, level C.int32_t, message *C.char) {
	onLog(uintptr(data), int32(level), (*byte)(unsafe.Pointer(message)))
}

//export rekindleGoProgress
func rekindleGoProgress(data C.uintptr_t, done C.float) C.int32_t {
	return C.int32_t(onProgress(uintptr(data), float32(done)))
}

//export rekindleGoPiece
func rekindleGoPiece(data C.uintptr_t, token C.int32_t, piece *C.char, length C.size_t) C.int32_t {
	return C.int32_t(onPiece(uintptr(data), int32(token), (*byte)(unsafe.Pointer(piece)), uintptr(length)))
}

//export rekindleGoCandidates
func rekindleGoCandidates(data C.uintptr_t, candidates unsafe.Pointer, n *C.size_t) C.int32_t {
	return C.int32_t(onCandidates(uintptr(data), (*Candidate)(candidates), (*uintptr)(unsafe.Pointer(n))))
}
