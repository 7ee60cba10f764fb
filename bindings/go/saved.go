package rekindle

// #include "rekindle.h"
import "C"

import "runtime"

// SaveSequence saves a sequence to a file; an error leaves what was there under that name. It can be loaded by another
// process, on other devices, and with another context.
func (m *Model) SaveSequence(seq int32, path string) error {
	defer runtime.KeepAlive(m)
	p, n := bytes(path)
	return call(func() C.rekindle_status { return C.rekindle_seq_save_file(m.h, C.int32_t(seq), p, n, nil, nil) })
}

// Leave leaves a sequence that was filled by id to generations: they may go on from its tokens, and forget it when they
// need the room.
func (m *Model) Leave(seq int32) error {
	defer runtime.KeepAlive(m)
	return call(func() C.rekindle_status { return C.rekindle_seq_leave(m.h, C.int32_t(seq)) })
}

// LoadSequence loads a sequence from a file, in place of what it has. An error leaves it as it was: an Error with
// status Unsupported if the file is of another model.
func (m *Model) LoadSequence(seq int32, path string) error {
	defer runtime.KeepAlive(m)
	p, n := bytes(path)
	return call(func() C.rekindle_status { return C.rekindle_seq_load_file(m.h, C.int32_t(seq), p, n, nil, nil) })
}
