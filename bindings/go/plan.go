package rekindle

import (
	"errors"
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Plan says what goes where.
type Plan struct{ h abi.Handle }

func newPlan(h abi.Handle) *Plan {
	p := &Plan{h}
	closes(p, (*Plan).Close)
	return p
}

// Plan plans a file. A model that does not fit gives both a plan to read and an Error with status NotFit.
func (c *Context) Plan(f *File, params PlanParams) (*Plan, error) {
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(f)
	var pin runtime.Pinner
	defer pin.Unpin()
	p := params.c(&pin)
	h, err := created(func(h *abi.Handle) int32 { return abi.Plan(c.h, f.h, p, h) })
	if h == 0 {
		return nil, err
	}
	return newPlan(h), err
}

// Ask answers a question about a file on the context's devices. If the file does not fit in any way, the Error's status
// is NotFit.
func (c *Context) Ask(f *File, question Question, params PlanParams) (answer uint32, err error) {
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(f)
	var pin runtime.Pinner
	defer pin.Unpin()
	p := params.c(&pin)
	err = call(func() int32 { return abi.PlanAsk(c.h, f.h, p, int32(question), &answer) })
	return
}

// Close ends the plan; models loaded with it go on.
func (p *Plan) Close() {
	runtime.SetFinalizer(p, nil)
	abi.PlanDestroy(p.h)
}

// PlanSummary holds the decisions of a plan. Its speeds are predicted, not measured, in tokens per second; they are 0
// if there is no prediction.
type PlanSummary struct {
	Name, Architecture string
	// Estimator is "measured", or "family" for an estimate that cannot be loaded.
	Estimator                   string
	Objective                   Objective
	Fits                        bool
	Layers                      uint32
	Ctx, CtxTrain               uint32
	CtxSource, BatchSource      Source
	Batch, Ubatch               uint32
	SeqMax, OutputsMax, Threads uint32
	KeyType, ValueType          KVType
	PredictedDecode             float64
	PredictedDecodeFull         float64
	PredictedPrompt             float64
	PredictedPipelined          float64
	// TightestDevice is in use and has the least bytes left, TightestBytes; -1 if none is.
	TightestDevice int32
	TightestBytes  uint64
	// CPULayers are computed by the CPU as a whole, beside dies or alone.
	CPULayers uint32
	// RecurrentLayers keep a state per sequence; Checkpoints is the room for checkpoints of these states.
	RecurrentLayers, Checkpoints uint32
	// Draft is the number of tokens of a draft at most, 0 if the model makes none.
	Draft uint32
	// Remedies that were worked out by now; Plan.Remedies works out all.
	Remedies uint32
	// Pooling is what a batch leaves; PoolingDefault: logits.
	Pooling Pooling
}

func (p *Plan) summary() (abi.PlanSummary, error) {
	defer runtime.KeepAlive(p)
	s := abi.PlanSummary{StructSize: sizeof[abi.PlanSummary]()}
	err := call(func() int32 { return abi.PlanGetSummary(p.h, &s) })
	return s, err
}

// Summary is what the plan decided.
func (p *Plan) Summary() (PlanSummary, error) {
	s, err := p.summary()
	if err != nil {
		return PlanSummary{}, err
	}
	return PlanSummary{
		Name: chars(s.Name[:]), Architecture: chars(s.Architecture[:]), Estimator: chars(s.Estimator[:]),
		Objective: Objective(s.Objective), Fits: s.Fits != 0, Layers: s.NLayer, Ctx: s.NCtx, CtxTrain: s.NCtxTrain,
		CtxSource: Source(s.NCtxSource), BatchSource: Source(s.BatchSource), Batch: s.NBatch, Ubatch: s.NUbatch,
		SeqMax: s.NSeqMax, OutputsMax: s.NOutputsMax, Threads: s.NThreads,
		KeyType: KVType(s.TypeK), ValueType: KVType(s.TypeV),
		PredictedDecode: s.PredictedDecode, PredictedDecodeFull: s.PredictedDecodeFull,
		PredictedPrompt: s.PredictedPrompt, PredictedPipelined: s.PredictedPipelined,
		TightestDevice: s.TightestDevice, TightestBytes: s.TightestBytes,
		CPULayers: s.NCpuLayers, RecurrentLayers: s.NRecurrentLayers, Checkpoints: s.NCheckpoints, Draft: s.NDraft,
		Remedies: s.NRemedies, Pooling: Pooling(s.Pooling),
	}, nil
}

// PlanDevice is what a plan puts on one device.
type PlanDevice struct {
	// Device is its index in the context.
	Device             uint32
	FirstLayer, Layers uint32
	// ExpertLayers is the number of layers of other devices whose routed experts are here.
	ExpertLayers uint32
	HasOutput    bool
	TotalBytes   uint64
	// FreeBytes were free before.
	FreeBytes uint64
	// Shortfall is what is missing, bytes; 0 if it fits.
	Shortfall uint64
	Memory    Memory
	// States are those bytes of Memory.KV that are recurrent states.
	States uint64
}

// Devices tells what goes on each device of the context.
func (p *Plan) Devices() ([]PlanDevice, error) {
	defer runtime.KeepAlive(p)
	s, err := p.summary()
	if err != nil {
		return nil, err
	}
	devices := make([]PlanDevice, s.NDevices)
	for i := range devices {
		d := abi.PlanDevice{StructSize: sizeof[abi.PlanDevice]()}
		if err := call(func() int32 { return abi.PlanGetDevice(p.h, uint32(i), &d) }); err != nil {
			return nil, err
		}
		devices[i] = PlanDevice{
			Device: d.Device, FirstLayer: d.FirstLayer, Layers: d.NLayers, ExpertLayers: d.NExpertLayers,
			HasOutput: d.HasOutput != 0, TotalBytes: d.TotalBytes, FreeBytes: d.FreeBytes, Shortfall: d.Shortfall,
			Memory: Memory{d.Weights, d.Mapped, d.Kv, d.Compute, d.Driver}, States: d.States,
		}
	}
	return devices, nil
}

// PlanLayer is where a plan puts one layer, and why; Weights and KV are bytes.
type PlanLayer struct {
	// Layer is its number; that of the output is the number of layers.
	Layer, Device uint32
	// ExpertsDevice has its routed experts: the CPU where a mixture is too large for the dies, else Device.
	ExpertsDevice uint32
	Weights, KV   uint64
	Reason        string
}

// Layers tells where each layer goes, in order, the output last; none where the estimator does not say.
func (p *Plan) Layers() ([]PlanLayer, error) {
	defer runtime.KeepAlive(p)
	var layers []PlanLayer
	for {
		l := abi.PlanLayer{StructSize: sizeof[abi.PlanLayer]()}
		err := call(func() int32 { return abi.PlanGetLayer(p.h, uint32(len(layers)), &l) })
		if errors.Is(err, NotFound) {
			return layers, nil
		}
		if err != nil {
			return nil, err
		}
		layers = append(layers, PlanLayer{l.Layer, l.Device, l.ExpertsDevice, l.Weights, l.Kv, chars(l.Reason[:])})
	}
}

// Reasons tell why the plan is as it is, in sentences.
func (p *Plan) Reasons() ([]string, error) {
	defer runtime.KeepAlive(p)
	return texts(func(i uint32, b *byte, c uintptr, n *uintptr) int32 { return abi.PlanReason(p.h, i, b, c, n) })
}

// Remedies tell what else would fit, in sentences. The first call plans that, which may take longer than the plan
// itself.
func (p *Plan) Remedies() ([]string, error) {
	defer runtime.KeepAlive(p)
	return texts(func(i uint32, b *byte, c uintptr, n *uintptr) int32 { return abi.PlanRemedy(p.h, i, b, c, n) })
}

// Text is the plan as a table for people.
func (p *Plan) Text() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.PlanText(p.h, b, c, n) })
}

// SVG is a picture of the plan.
func (p *Plan) SVG() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.PlanSvg(p.h, b, c, n) })
}

// JSON is the plan as data, as schema/plan.schema.json says.
func (p *Plan) JSON() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.PlanJson(p.h, b, c, n) })
}

// Compare puts the plan beside another one of the file, as a table for people.
func (p *Plan) Compare(other *Plan) (string, error) {
	defer runtime.KeepAlive(p)
	defer runtime.KeepAlive(other)
	return text(func(b *byte, c uintptr, n *uintptr) int32 { return abi.PlanCompare(p.h, other.h, b, c, n) })
}
