package rekindle

import (
	"context"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Model is a loaded model with its KV cache.
type Model struct {
	h    abi.Handle
	turn turn
}

// LoadOptions are what a host may want of a load.
type LoadOptions struct {
	// Progress gets the share done, from 0 to 1; false cancels.
	Progress func(done float32) bool
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
	if progress != nil {
		options.Progress = progress
	}
	return c.LoadContext(context.Background(), p, options)
}

// LoadContext is Load with options; it ends with ctx's error when ctx is done.
func (c *Context) LoadContext(ctx context.Context, p *Plan, options LoadOptions) (*Model, error) {
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(p)
	params := &abi.LoadParams{
		StructSize: sizeof[abi.LoadParams](), CheckTensors: number(options.CheckTensors), Mlock: number(options.MLock),
		NoCudaGraphs: number(options.NoCUDAGraphs),
	}
	if options.Replan {
		params.OnOom = abi.ON_OOM_REPLAN
	}
	progress := options.Progress
	if ctx.Done() != nil {
		progress = func(done float32) bool {
			return ctx.Err() == nil && (options.Progress == nil || options.Progress(done))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &Model{}
	err := withProgress(progress, func(function, data uintptr) (err error) {
		params.Progress, params.ProgressUserData = function, data
		m.h, err = created(func(h *abi.Handle) int32 { return abi.Load(c.h, p.h, params, h) })
		return
	})
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	closes(m, (*Model).Close)
	return m, nil
}

// Plan is the plan that the model was loaded by: the one given to Load, or the one that Replan led to.
func (m *Model) Plan() (*Plan, error) {
	defer runtime.KeepAlive(m)
	h, err := created(func(h *abi.Handle) int32 { return abi.ModelPlan(m.h, h) })
	if err != nil {
		return nil, err
	}
	return newPlan(h), nil
}

// Close frees the model; if a call is still using it, at that call's end.
func (m *Model) Close() {
	runtime.SetFinalizer(m, nil)
	abi.ModelDestroy(m.h)
}

// ModelInfo is the description of a model, with the sizes that it was loaded with.
type ModelInfo struct {
	Architecture, Name string
	// Vocab is the number of logits of a row; Params counts the elements of the weights in use.
	Vocab, Embedding, Layers, Heads, HeadsKV uint32
	Params                                   uint64
	Ctx, CtxTrain                            uint32
	Batch, Ubatch, SeqMax, OutputsMax        uint32
	Checkpoints                              uint32
	// CanShift: Shift works, and Remove takes positions from the middle of a sequence.
	CanShift bool
	// Draft is the number of tokens that are guessed at most; 0: none.
	Draft   uint32
	Pooling Pooling
	// EmbeddingOut is the length of a row of Embeddings and Pooled.
	EmbeddingOut uint32
}

// Info tells what the model is.
func (m *Model) Info() (ModelInfo, error) {
	defer runtime.KeepAlive(m)
	i := abi.ModelInfo{StructSize: sizeof[abi.ModelInfo]()}
	err := call(func() int32 { return abi.ModelGetInfo(m.h, &i) })
	return ModelInfo{
		Architecture: chars(i.Architecture[:]), Name: chars(i.Name[:]),
		Vocab: i.NVocab, Embedding: i.NEmbd, Layers: i.NLayer, Heads: i.NHead, HeadsKV: i.NHeadKv, Params: i.NParams,
		Ctx: i.NCtx, CtxTrain: i.NCtxTrain, Batch: i.NBatch, Ubatch: i.NUbatch, SeqMax: i.NSeqMax,
		OutputsMax: i.NOutputsMax, Checkpoints: i.NCheckpoints, CanShift: i.CanShift != 0, Draft: i.NDraft,
		Pooling: Pooling(i.Pooling), EmbeddingOut: i.NEmbdOut,
	}, err
}

// Memory is what was really allocated on a device, bytes.
type Memory struct{ Weights, Mapped, KV, Compute, Driver uint64 }

// Memory tells what was really allocated on a device; it equals the plan.
func (m *Model) Memory(device uint32) (Memory, error) {
	defer runtime.KeepAlive(m)
	v := abi.Memory{StructSize: sizeof[abi.Memory]()}
	err := call(func() int32 { return abi.ModelMemory(m.h, device, &v) })
	return Memory{v.Weights, v.Mapped, v.Kv, v.Compute, v.Driver}, err
}

// Cancel ends the call that is computing with this model at this moment, with status Cancelled. Without such a call it
// does nothing, so a cancellation that must not come too early is that of a context.Context which a call was given. It
// may be called at any time.
func (m *Model) Cancel() {
	defer runtime.KeepAlive(m)
	abi.Cancel(m.h)
}

// SetDraft lets a smaller model with the same vocabulary make drafts; nil ends that. Plan the model with
// DraftFromModel.
func (m *Model) SetDraft(draft *Model) error {
	defer runtime.KeepAlive(m)
	defer runtime.KeepAlive(draft)
	var h abi.Handle
	if draft != nil {
		h = draft.h
	}
	return call(func() int32 { return abi.ModelSetDraft(m.h, h) })
}
