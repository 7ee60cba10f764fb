package rekindle

import (
	"context"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Save gives what the model remembers of a sequence as bytes, for another time, another process, other devices and
// another context. It ends with ctx's error when ctx is done.
func (m *Model) Save(ctx context.Context, seq int32) ([]byte, error) {
	defer runtime.KeepAlive(m)
	var n uintptr
	if err := call(func() int32 { return abi.SeqSave(m.h, seq, nil, 0, &n) }); err != nil {
		return nil, err
	}
	saved := make([]byte, n)
	err := m.turn.run(ctx, m.h, func() int32 { return abi.SeqSave(m.h, seq, &saved[0], n, &n) })
	if err != nil {
		return nil, err
	}
	return saved[:n], nil
}

// Restore loads a sequence that Save gave, in place of what it has. An error leaves it as it was: an Error with status
// Unsupported if the bytes are of another model, BadFile if they are damaged.
func (m *Model) Restore(ctx context.Context, seq int32, saved []byte) error {
	defer runtime.KeepAlive(m)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := span[byte, uintptr](&pin, saved)
	return m.turn.run(ctx, m.h, func() int32 { return abi.SeqLoad(m.h, seq, p, n) })
}

// SaveSequence saves a sequence to a file; an error leaves what was there under that name. It can be loaded by another
// process, on other devices, and with another context.
func (m *Model) SaveSequence(seq int32, path string) error {
	return m.SaveSequenceWith(seq, path, nil)
}

// SaveSequenceWith is SaveSequence with a function that gets the share done; false cancels.
func (m *Model) SaveSequenceWith(seq int32, path string, progress func(done float32) bool) error {
	return m.withFile(path, progress, func(p *byte, n, function, data uintptr) int32 {
		return abi.SeqSaveFile(m.h, seq, p, n, function, data)
	})
}

// LoadSequence loads a sequence from a file, in place of what it has. An error leaves it as it was: an Error with
// status Unsupported if the file is of another model.
func (m *Model) LoadSequence(seq int32, path string) error {
	return m.LoadSequenceWith(seq, path, nil)
}

// LoadSequenceWith is LoadSequence with a function that gets the share done; false cancels.
func (m *Model) LoadSequenceWith(seq int32, path string, progress func(done float32) bool) error {
	return m.withFile(path, progress, func(p *byte, n, function, data uintptr) int32 {
		return abi.SeqLoadFile(m.h, seq, p, n, function, data)
	})
}

func (m *Model) withFile(
	path string, progress func(float32) bool, f func(p *byte, n, function, data uintptr) int32,
) error {
	defer runtime.KeepAlive(m)
	var pin runtime.Pinner
	defer pin.Unpin()
	p, n := view(&pin, path)
	return withProgress(progress, func(function, data uintptr) error {
		return m.turn.run(context.Background(), m.h, func() int32 { return f(p, n, function, data) })
	})
}

// Leave leaves a sequence that was filled by id to generations: they may go on from its tokens, and forget it when they
// need the room.
func (m *Model) Leave(seq int32) error {
	defer runtime.KeepAlive(m)
	return call(func() int32 { return abi.SeqLeave(m.h, seq) })
}
