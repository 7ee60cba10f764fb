package rekindle

/*
#include "rekindle.h"

rekindle_status go_generate(rekindle_model *, rekindle_sampler *, const rekindle_generate_params *, uintptr_t);
rekindle_status go_load(const rekindle_context *, const rekindle_plan_t *, rekindle_load_params *, uintptr_t,
                        rekindle_model **);
*/
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// Model is a loaded model with its KV cache.
type Model struct{ h *C.rekindle_model }

// LoadOptions are what a host may want of a load.
type LoadOptions struct {
	// CheckTensors refuses weights that are no finite numbers.
	CheckTensors bool
	// MLock keeps weights and arenas from being swapped out.
	MLock bool
	// Replan makes a new plan where a CUDA device turns out to have less memory than it reported.
	Replan bool
	// NoCUDAGraphs switches recording and replaying of short steps off.
	NoCUDAGraphs bool
}

// Load allocates just what the plan says. progress (may be nil) gets the share done; false cancels.
func (c *Context) Load(p *Plan, progress func(done float32) bool) (*Model, error) {
	return c.LoadWith(p, progress, LoadOptions{})
}

// LoadWith is Load with options.
func (c *Context) LoadWith(p *Plan, progress func(done float32) bool, options LoadOptions) (*Model, error) {
	params := C.rekindle_load_params{struct_size: C.sizeof_rekindle_load_params}
	for _, o := range []struct {
		set   bool
		field *C.uint32_t
	}{
		{options.CheckTensors, &params.check_tensors},
		{options.MLock, &params.mlock},
		{options.NoCUDAGraphs, &params.no_cuda_graphs},
	} {
		if o.set {
			*o.field = 1
		}
	}
	if options.Replan {
		params.on_oom = C.REKINDLE_ON_OOM_REPLAN
	}
	var handle cgo.Handle
	if progress != nil {
		handle = cgo.NewHandle(progress)
		defer handle.Delete()
	}
	m := &Model{}
	err := call(func() C.rekindle_status { return C.go_load(c.h, p.h, &params, C.uintptr_t(handle), &m.h) })
	if err != nil {
		return nil, err
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(p)
	runtime.SetFinalizer(m, (*Model).Close)
	return m, nil
}

//export rekindleGoProgress
func rekindleGoProgress(data unsafe.Pointer, done C.float) C.int32_t {
	if cgo.Handle(uintptr(data)).Value().(func(float32) bool)(float32(done)) {
		return 0
	}
	return 1
}

// Plan is the plan that the model was loaded by: the one given to Load, or the one that Replan led to.
func (m *Model) Plan() (*Plan, error) {
	p := &Plan{}
	if err := call(func() C.rekindle_status { return C.rekindle_model_plan(m.h, &p.h) }); err != nil {
		return nil, err
	}
	runtime.KeepAlive(m)
	runtime.SetFinalizer(p, (*Plan).Close)
	return p, nil
}

// Close frees the model; if a call is still using it, at that call's end.
func (m *Model) Close() {
	runtime.SetFinalizer(m, nil)
	C.rekindle_model_destroy(m.h)
}

// Memory is what was really allocated on a device, bytes.
type Memory struct{ Weights, Mapped, KV, Compute, Driver uint64 }

// Memory tells what was really allocated on a device; it equals the plan.
func (m *Model) Memory(device uint32) (Memory, error) {
	v := C.rekindle_memory{struct_size: C.sizeof_rekindle_memory}
	err := call(func() C.rekindle_status { return C.rekindle_model_memory(m.h, C.uint32_t(device), &v) })
	runtime.KeepAlive(m)
	return Memory{uint64(v.weights), uint64(v.mapped), uint64(v.kv), uint64(v.compute), uint64(v.driver)}, err
}

// Decode continues sequence seq by tokens and returns a copy of the last one's logits.
func (m *Model) Decode(tokens []int32, seq int32) ([]float32, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	b := C.rekindle_batch{struct_size: C.sizeof_rekindle_batch, n_tokens: C.uint32_t(len(tokens))}
	seqs := make([]int32, len(tokens))
	for i := range seqs {
		seqs[i] = seq
	}
	if len(tokens) > 0 {
		pin.Pin(&tokens[0])
		pin.Pin(&seqs[0])
		b.tokens = (*C.int32_t)(unsafe.Pointer(&tokens[0]))
		b.seq_ids = (*C.int32_t)(unsafe.Pointer(&seqs[0]))
	}
	if err := call(func() C.rekindle_status { return C.rekindle_decode(m.h, &b) }); err != nil {
		return nil, err
	}
	var p *C.float
	var n C.uint32_t
	if err := call(func() C.rekindle_status { return C.rekindle_logits(m.h, 0, &p, &n) }); err != nil {
		return nil, err
	}
	out := make([]float32, int(n))
	copy(out, unsafe.Slice((*float32)(unsafe.Pointer(p)), int(n)))
	runtime.KeepAlive(m)
	return out, nil
}

// Embed decodes texts, each as a sequence of its own, in one batch, and returns what the plan's pooling makes of each.
// The sequences are forgotten first. With normalize, rows have the length 1.
func (m *Model) Embed(texts [][]int32, normalize bool) ([][]float32, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	defer runtime.KeepAlive(m)
	var tokens, seqs []int32
	for seq, text := range texts {
		tokens = append(tokens, text...)
		for range text {
			seqs = append(seqs, int32(seq))
		}
	}
	b := C.rekindle_batch{struct_size: C.sizeof_rekindle_batch, n_tokens: C.uint32_t(len(tokens))}
	if len(tokens) > 0 {
		pin.Pin(&tokens[0])
		pin.Pin(&seqs[0])
		b.tokens = (*C.int32_t)(unsafe.Pointer(&tokens[0]))
		b.seq_ids = (*C.int32_t)(unsafe.Pointer(&seqs[0]))
	}
	if err := m.Remove(-1, 0, -1); err != nil {
		return nil, err
	}
	if err := call(func() C.rekindle_status { return C.rekindle_decode(m.h, &b) }); err != nil {
		return nil, err
	}
	var flags C.uint32_t
	if normalize {
		flags = C.REKINDLE_POOLED_NORMALIZE
	}
	rows := make([][]float32, len(texts))
	for seq := range texts {
		seq := C.int32_t(seq)
		var n C.size_t
		if err := call(func() C.rekindle_status { return C.rekindle_pooled(m.h, seq, flags, nil, 0, &n) }); err != nil {
			return nil, err
		}
		row := make([]float32, int(n))
		err := call(func() C.rekindle_status {
			return C.rekindle_pooled(m.h, seq, flags, (*C.float)(unsafe.Pointer(&row[0])), n, &n)
		})
		if err != nil {
			return nil, err
		}
		rows[seq] = row
	}
	return rows, nil
}

// Remove forgets positions p0 to p1-1 of a sequence; p1 below 0 is the end, seq below 0 every sequence.
func (m *Model) Remove(seq, p0, p1 int32) error {
	defer runtime.KeepAlive(m)
	return call(func() C.rekindle_status {
		return C.rekindle_seq_remove(m.h, C.int32_t(seq), C.int32_t(p0), C.int32_t(p1))
	})
}

// Cut cuts a sequence to the longest part of its first length positions from whose end it can go on, and gives the
// length of that.
func (m *Model) Cut(seq int32, length uint32) (uint32, error) {
	var n C.uint32_t
	err := call(func() C.rekindle_status { return C.rekindle_seq_cut(m.h, C.int32_t(seq), C.uint32_t(length), &n) })
	runtime.KeepAlive(m)
	return uint32(n), err
}

// Checkpoint keeps the state of a sequence at its end, to which Cut can go back.
func (m *Model) Checkpoint(seq int32) error {
	defer runtime.KeepAlive(m)
	return call(func() C.rekindle_status { return C.rekindle_seq_checkpoint(m.h, C.int32_t(seq)) })
}

// SetDraft lets a smaller model with the same vocabulary make drafts; nil ends that. Plan the model with DraftFromModel.
func (m *Model) SetDraft(draft *Model) error {
	defer runtime.KeepAlive(m)
	var h *C.rekindle_model
	if draft != nil {
		h = draft.h
		defer runtime.KeepAlive(draft)
	}
	return call(func() C.rekindle_status { return C.rekindle_model_set_draft(m.h, h) })
}

// SetAdapters sets the scales of the file's adapters for the tokens of an empty sequence.
func (m *Model) SetAdapters(seq int32, scales []float32) error {
	defer runtime.KeepAlive(m)
	var first *C.float
	if len(scales) > 0 {
		first = (*C.float)(unsafe.Pointer(&scales[0]))
	}
	return call(func() C.rekindle_status {
		return C.rekindle_seq_set_adapters(m.h, C.int32_t(seq), first, C.size_t(len(scales)))
	})
}

// Length is a sequence's last position plus one.
func (m *Model) Length(seq int32) (uint32, error) {
	var n C.uint32_t
	err := call(func() C.rekindle_status { return C.rekindle_seq_length(m.h, C.int32_t(seq), &n) })
	runtime.KeepAlive(m)
	return uint32(n), err
}

// Options of Generate.
type Options struct {
	MaxTokens uint32
	Seq       int32
	Sampler   SamplerParams
	// ParseSpecial reads special tokens in the prompt, NoSpecial adds none: both for what Chat gives.
	ParseSpecial, NoSpecial bool
}

type generation struct {
	piece    func(string) bool
	tokens   int
	panicked any
}

// Generate continues a text. piece gets whole characters as they come and returns false to stop. Cancelling ctx ends
// the generation with ctx's error. It returns how many tokens came.
func (m *Model) Generate(ctx context.Context, prompt string, o Options, piece func(string) bool) (int, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s, err := o.Sampler.create(m)
	if err != nil {
		return 0, err
	}
	defer C.rekindle_sampler_destroy(s)
	p := C.rekindle_generate_params{
		struct_size: C.sizeof_rekindle_generate_params, seq_id: C.int32_t(o.Seq), max_tokens: C.uint32_t(o.MaxTokens),
	}
	if o.ParseSpecial {
		p.flags |= C.REKINDLE_GENERATE_PARSE_SPECIAL
	}
	if o.NoSpecial {
		p.flags |= C.REKINDLE_GENERATE_NO_SPECIAL
	}
	p.prompt, p.prompt_len = bytes(prompt)
	if len(prompt) > 0 {
		pin.Pin(p.prompt)
	}
	g := &generation{piece: func(text string) bool { return ctx.Err() == nil && piece(text) }}
	handle := cgo.NewHandle(g)
	defer handle.Delete()
	// Between tokens the callback sees the cancellation; in the middle of one, the library is told.
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		C.rekindle_cancel(m.h)
	})
	defer func() {
		// A cancellation on its way must not reach a later call.
		if !stop() {
			<-told
		}
	}()
	err = call(func() C.rekindle_status { return C.go_generate(m.h, s, &p, C.uintptr_t(handle)) })
	runtime.KeepAlive(m)
	if g.panicked != nil {
		panic(g.panicked)
	}
	if cause := ctx.Err(); cause != nil {
		return g.tokens, cause
	}
	return g.tokens, err
}

//export rekindleGoPiece
func rekindleGoPiece(data unsafe.Pointer, token C.int32_t, piece *C.char, n C.size_t) (result C.int32_t) {
	g := cgo.Handle(uintptr(data)).Value().(*generation)
	// Text that is left over at the end belongs to no token.
	if token >= 0 {
		g.tokens++
	}
	// A panic must not unwind through C: it goes on when the call is over.
	defer func() {
		if r := recover(); r != nil {
			g.panicked = r
			result = 1
		}
	}()
	if g.piece(C.GoStringN(piece, C.int(n))) {
		return 0
	}
	return 1
}
