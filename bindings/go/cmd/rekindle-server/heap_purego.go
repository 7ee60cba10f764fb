//go:build !cgo || purego

package main

import "github.com/ebitengine/purego"

// mallopt's name for the largest number of heaps, and malloc_trim, both of glibc alone.
const arenaMax = -8

// See heap_cgo.go. Other C libraries than glibc have neither function, and nothing is done.
func init() { glibc("mallopt", uintptr(arenaMax&0xffffffff), 1) }

// giveBack gives the system what is free in C's heap, where a model was.
func giveBack() { glibc("malloc_trim", 0) }

func glibc(name string, arguments ...uintptr) {
	if f, err := purego.Dlsym(purego.RTLD_DEFAULT, name); err == nil && f != 0 {
		purego.SyscallN(f, arguments...)
	}
}
