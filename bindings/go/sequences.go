package rekindle

import (
	"runtime"
	"unsafe"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Remove forgets positions p0 to p1-1 of a sequence; p0 below 0 is the start and p1 below 0 the end, here and below;
// seq below 0 is every sequence.
func (m *Model) Remove(seq, p0, p1 int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqRemove(m.h, seq, p0, p1) })
}

// Copy makes sequence dst the same as positions p0 to p1-1 of src. Both share the cells, so it costs no memory.
func (m *Model) Copy(src, dst, p0, p1 int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqCopy(m.h, src, dst, p0, p1) })
}

// Keep forgets every sequence but this one.
func (m *Model) Keep(seq int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqKeep(m.h, seq) })
}

// Shift adds delta to positions p0 to p1-1 of a sequence. To drop the oldest n tokens of a full context, Remove(seq, 0,
// n) and then Shift(seq, n, -1, -n). ModelInfo.CanShift tells if it works.
func (m *Model) Shift(seq, p0, p1, delta int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqShift(m.h, seq, p0, p1, delta) })
}

// Cut cuts a sequence to the longest part of its first length positions from whose end it can go on, and gives the
// length of that.
func (m *Model) Cut(seq int32, length uint32) (reached uint32, err error) {
	defer runtime.KeepAlive(m)
	err = call(func() int32 { return abi.SeqCut(m.h, seq, length, &reached) })
	return
}

// Checkpoint keeps the state of a sequence at its end, to which Cut can go back.
func (m *Model) Checkpoint(seq int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqCheckpoint(m.h, seq) })
}

// SetAdapters sets the scales of the file's adapters for the tokens of an empty sequence.
func (m *Model) SetAdapters(seq int32, scales []float32) error {
	defer runtime.KeepAlive(m)
	first, n := unsafe.SliceData(scales), uintptr(len(scales))
	return call(func() int32 { return abi.SeqSetAdapters(m.h, seq, first, n) })
}

// Length is a sequence's last position plus one.
func (m *Model) Length(seq int32) (n uint32, err error) {
	defer runtime.KeepAlive(m)
	err = call(func() int32 { return abi.SeqLength(m.h, seq, &n) })
	return
}

// Free counts the tokens that the KV cache still has room for, of all sequences together.
func (m *Model) Free() (n uint32, err error) {
	defer runtime.KeepAlive(m)
	err = call(func() int32 { return abi.NFree(m.h, &n) })
	return
}
