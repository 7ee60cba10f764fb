package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Stream makes text from tokens as they come: whole characters only. One call at a time may use it.
type Stream struct{ h abi.Handle }

// NewStream creates a stream for the vocabulary's tokens; showSpecial shows control tokens as their text.
func (v *Vocab) NewStream(showSpecial bool) (*Stream, error) {
	defer runtime.KeepAlive(v)
	o := TextOptions{ParseSpecial: showSpecial}
	h, err := created(func(h *abi.Handle) int32 { return abi.StreamCreate(v.h, o.flags(), h) })
	if err != nil {
		return nil, err
	}
	s := &Stream{h}
	closes(s, (*Stream).Close)
	return s, nil
}

// Close ends the stream.
func (s *Stream) Close() {
	runtime.SetFinalizer(s, nil)
	abi.StreamDestroy(s.h)
}

// Push adds a token and gives the characters that are complete by now, often none.
func (s *Stream) Push(token int32) (string, error) {
	defer runtime.KeepAlive(s)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.StreamPush(s.h, token, b, c, n) })
}

// Flush gives the rest, U+FFFD for a character that never came to its end, and makes the stream empty.
func (s *Stream) Flush() (string, error) {
	defer runtime.KeepAlive(s)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.StreamFlush(s.h, b, c, n) })
}
