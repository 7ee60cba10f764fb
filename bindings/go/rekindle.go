// Package rekindle runs GGUF language models: plan memory to the byte, load, decode.
//
// A [Context] finds the devices, [Context.Open] reads a file's header, [Context.Plan] decides what goes where, and
// [Context.Load] allocates just that. [Model.Text] writes a text, piece by piece; a [Generation] is one of several
// texts that are written together; [Model.Generate] continues a sequence of the host's, with drafts;
// [Model.DecodeBatch] gives rows of logits for whatever else a host has in mind.
//
// # Linking
//
// With cgo the package links librekindle, which pkg-config finds as "rekindle". Without cgo, or with the build tag
// purego, it opens the library when the first context is made: the file that the environment variable REKINDLE_LIBRARY
// names, else librekindle.so.1 on the loader's search path. Both are the same to a host.
//
// # Objects
//
// Close closes an object, or the garbage collector does at the latest. The things that an object needs in the library
// stay alive. A closed object's methods give an [Error] with status [BadHandle], and closing it again does nothing: the
// library never uses a handle twice. Methods may be called from several goroutines; of those that change one object one
// runs, and another gets an Error with status [Busy].
//
// # Errors
//
// Every error of the library is an [*Error]. errors.Is tells its status, as in errors.Is(err, rekindle.NotFit), and for
// files what the system said, as in errors.Is(err, os.ErrNotExist).
//
// # Functions of the host
//
// Those that are given pieces, or the progress of a load, run on the goroutine that made the call, and may panic or end
// that goroutine: the call is ended first. While one runs, its object is busy for whatever changes it.
//
// Sizes are in bytes, positions and lengths of sequences in tokens.
package rekindle

import "github.com/rekindle-llm/rekindle/bindings/go/internal/abi"

// Version is the library's version; empty if the library cannot be opened.
func Version() string {
	if abi.Open() != nil {
		return ""
	}
	return abi.GoString(abi.Version())
}

// Environment lists the environment variables that the library reads, each as "NAME: what it does".
func Environment() ([]string, error) {
	if err := abi.Open(); err != nil {
		return nil, err
	}
	return texts(abi.Environment)
}
