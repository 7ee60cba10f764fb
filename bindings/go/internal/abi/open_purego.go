//go:build !cgo || purego

package abi

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// The addresses of the callbacks, for C.
var (
	LogFn        = purego.NewCallback(onLog)
	ProgressFn   = purego.NewCallback(onProgress)
	PieceFn      = purego.NewCallback(onPiece)
	CandidatesFn = purego.NewCallback(onCandidates)
)

// Variable is the environment variable that may name the library's file; Soname is looked for otherwise.
const (
	Variable = "REKINDLE_LIBRARY"
	Soname   = "librekindle.so.1"
)

// Open opens the library, the first time that it is called. An error says what was tried and what would help.
var Open = sync.OnceValue(func() error {
	path := os.Getenv(Variable)
	if path == "" {
		path = Soname
	}
	library, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return fmt.Errorf("the rekindle library cannot be opened: %w; set %s to the path of librekindle.so, or "+
			"install it where the loader looks (LD_LIBRARY_PATH, ldconfig)", err, Variable)
	}
	for i, name := range names {
		if functions[i], err = purego.Dlsym(library, name); err != nil {
			return fmt.Errorf("%s is not rekindle, or one that is too old: %w", path, err)
		}
	}
	if version := AbiVersion(); version < ABI_VERSION {
		return fmt.Errorf("%s has version %d of the ABI, expected %d or newer", path, version, ABI_VERSION)
	}
	return nil
})

// address makes a pointer of an address in C's memory.
func address(r uintptr) *byte { return *(**byte)(unsafe.Pointer(&r)) }
