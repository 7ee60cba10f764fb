package rekindle

/*
#include "rekindle.h"
*/
import "C"

import "runtime"

// Pooling is what a batch leaves: logits, or rows of tokens or texts.
type Pooling int32

const (
	PoolingDefault Pooling = C.REKINDLE_POOLING_DEFAULT
	PoolingFile    Pooling = C.REKINDLE_POOLING_FILE
	PoolingNone    Pooling = C.REKINDLE_POOLING_NONE
	PoolingMean    Pooling = C.REKINDLE_POOLING_MEAN
	PoolingCls     Pooling = C.REKINDLE_POOLING_CLS
	PoolingLast    Pooling = C.REKINDLE_POOLING_LAST
	PoolingRank    Pooling = C.REKINDLE_POOLING_RANK
)

// Objective is what is best.
type Objective int32

// The fastest decode of one sequence, the fastest slowest device, the most memory left for context.
const (
	Latency    Objective = C.REKINDLE_OBJECTIVE_LATENCY
	Throughput Objective = C.REKINDLE_OBJECTIVE_THROUGHPUT
	Headroom   Objective = C.REKINDLE_OBJECTIVE_HEADROOM
)

// Estimator is what bytes are taken from.
type Estimator int32

// Measured where the architecture's graph is known and else the family's formulas; only measured; only the formulas.
const (
	EstimatorAuto     Estimator = C.REKINDLE_ESTIMATOR_AUTO
	EstimatorMeasured Estimator = C.REKINDLE_ESTIMATOR_MEASURED
	EstimatorFamily   Estimator = C.REKINDLE_ESTIMATOR_FAMILY
)

// KVType is a type of the KV cache.
type KVType int32

// The types of the KV cache; KVDefault: decide for me.
const (
	KVDefault KVType = C.REKINDLE_KV_DEFAULT
	KVF32     KVType = C.REKINDLE_KV_F32
	KVF16     KVType = C.REKINDLE_KV_F16
	KVQ8_0    KVType = C.REKINDLE_KV_Q8_0
	KVQ4_0    KVType = C.REKINDLE_KV_Q4_0
)

// Source is where a choice came from.
type Source int32

// The caller, the architecture's family, a default for all, the model file, or what fits.
const (
	SourceCaller  Source = C.REKINDLE_SOURCE_CALLER
	SourceFamily  Source = C.REKINDLE_SOURCE_FAMILY
	SourceGlobal  Source = C.REKINDLE_SOURCE_GLOBAL
	SourceFile    Source = C.REKINDLE_SOURCE_FILE
	SourceLimited Source = C.REKINDLE_SOURCE_LIMITED
)

// Question is what Ask answers.
type Question int32

// The answers are tokens, tokens, devices, and a KVType.
const (
	LargestContext Question = C.REKINDLE_ASK_LARGEST_CONTEXT
	LargestBatch   Question = C.REKINDLE_ASK_LARGEST_BATCH
	FewestDevices  Question = C.REKINDLE_ASK_FEWEST_DEVICES
	BestKVType     Question = C.REKINDLE_ASK_BEST_KV_TYPE
)

// DeviceLimit says what may be used of one device of the context.
type DeviceLimit struct {
	Device uint32
	// Exclude: no layers on it.
	Exclude bool
	// MaxLayers at most; 0: as many as fit.
	MaxLayers uint32
	// ReserveBytes stay free on it, besides those of PlanParams.
	ReserveBytes uint64
}

// PlanParams say what to plan for; zero means: decide for me.
type PlanParams struct {
	Ctx, SeqMax, OutputsMax, Batch, Ubatch uint32
	// ReserveBytes stay free on each device.
	ReserveBytes uint64
	// CopyWeights copies the weights instead of mapping them.
	CopyWeights bool
	// KeyType and ValueType are those of the KV cache.
	KeyType, ValueType KVType
	Objective          Objective
	Estimator          Estimator
	// Margin is the family estimator's factor on compute buffers.
	Margin float64
	Limits []DeviceLimit
	// Checkpoints is the number of checkpoints of recurrent states, of all sequences together; 0 means the library's
	// choice, NoCheckpoints none.
	Checkpoints uint32
	// Draft is the number of tokens that are guessed at most before the model checks them; 0: none.
	Draft uint32
	// Pooling says which rows a batch leaves.
	Pooling Pooling
	// DraftFromText lets the text so far make the guesses, DraftFromModel a second model (Model.SetDraft); else the
	// model's own prediction layer makes them.
	DraftFromText, DraftFromModel bool
	// Placements are places of tensors by patterns of their names, as `blk\.[0-3]\.ffn_.*_exps=CPU`: see
	// rekindle_plan_params.
	Placements string
}

// NoCheckpoints stands for no checkpoints in PlanParams.
const NoCheckpoints = C.REKINDLE_CHECKPOINTS_NONE

// c gives C the parameters; pin keeps the limits where they are.
func (params *PlanParams) c(pin *runtime.Pinner) C.rekindle_plan_params {
	p := C.rekindle_plan_params{
		struct_size: C.sizeof_rekindle_plan_params, n_ctx: C.uint32_t(params.Ctx), n_seq_max: C.uint32_t(params.SeqMax),
		n_outputs_max: C.uint32_t(params.OutputsMax), n_batch: C.uint32_t(params.Batch),
		n_ubatch: C.uint32_t(params.Ubatch), reserve_bytes: C.uint64_t(params.ReserveBytes),
		type_k: C.int32_t(params.KeyType), type_v: C.int32_t(params.ValueType),
		objective: C.int32_t(params.Objective), estimator: C.int32_t(params.Estimator), margin: C.double(params.Margin),
		n_checkpoints: C.uint32_t(params.Checkpoints), n_draft: C.uint32_t(params.Draft),
		pooling: C.int32_t(params.Pooling),
	}
	p.placements, p.placements_len = view(pin, params.Placements)
	if params.DraftFromText {
		p.draft_source = C.REKINDLE_DRAFT_TEXT
	} else if params.DraftFromModel {
		p.draft_source = C.REKINDLE_DRAFT_MODEL
	}
	if params.CopyWeights {
		p.weights = C.REKINDLE_WEIGHTS_COPIED
	}
	if len(params.Limits) > 0 {
		limits := make([]C.rekindle_device_limit, len(params.Limits))
		for i, l := range params.Limits {
			limits[i] = C.rekindle_device_limit{
				device: C.uint32_t(l.Device), max_layers: C.uint32_t(l.MaxLayers), reserve_bytes: C.uint64_t(l.ReserveBytes),
			}
			if l.Exclude {
				limits[i].flags = C.REKINDLE_LIMIT_EXCLUDE
			}
		}
		pin.Pin(&limits[0])
		p.limits, p.n_limits = &limits[0], C.uint32_t(len(limits))
	}
	return p
}

// Plan says what goes where.
type Plan struct{ h *C.rekindle_plan_t }

// Plan plans a file. A model that does not fit gives both a plan to read and an Error with status NotFit.
func (c *Context) Plan(f *File, params PlanParams) (*Plan, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := params.c(&pin)
	plan := &Plan{}
	err := call(func() C.rekindle_status { return C.rekindle_plan(c.h, f.h, &p, &plan.h) })
	runtime.KeepAlive(c)
	runtime.KeepAlive(f)
	if plan.h == nil {
		return nil, err
	}
	runtime.SetFinalizer(plan, (*Plan).Close)
	return plan, err
}

// Ask answers a question about a file on the context's devices. If the file does not fit in any way, the Error's status
// is NotFit.
func (c *Context) Ask(f *File, question Question, params PlanParams) (uint32, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := params.c(&pin)
	var answer C.uint32_t
	err := call(func() C.rekindle_status { return C.rekindle_plan_ask(c.h, f.h, &p, C.int32_t(question), &answer) })
	runtime.KeepAlive(c)
	runtime.KeepAlive(f)
	return uint32(answer), err
}

// Close ends the plan; models loaded with it go on.
func (p *Plan) Close() {
	runtime.SetFinalizer(p, nil)
	C.rekindle_plan_destroy(p.h)
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
}

func (p *Plan) summary() (C.rekindle_plan_summary, error) {
	defer runtime.KeepAlive(p)
	s := C.rekindle_plan_summary{struct_size: C.sizeof_rekindle_plan_summary}
	err := call(func() C.rekindle_status { return C.rekindle_plan_get_summary(p.h, &s) })
	return s, err
}

// Summary is what the plan decided.
func (p *Plan) Summary() (PlanSummary, error) {
	s, err := p.summary()
	if err != nil {
		return PlanSummary{}, err
	}
	return PlanSummary{
		Name: C.GoString(&s.name[0]), Architecture: C.GoString(&s.architecture[0]), Estimator: C.GoString(&s.estimator[0]),
		Objective: Objective(s.objective), Fits: s.fits != 0, Layers: uint32(s.n_layer), Ctx: uint32(s.n_ctx),
		CtxTrain: uint32(s.n_ctx_train), CtxSource: Source(s.n_ctx_source), BatchSource: Source(s.batch_source),
		Batch: uint32(s.n_batch), Ubatch: uint32(s.n_ubatch),
		SeqMax: uint32(s.n_seq_max), OutputsMax: uint32(s.n_outputs_max),
		Threads: uint32(s.n_threads), KeyType: KVType(s.type_k), ValueType: KVType(s.type_v),
		PredictedDecode: float64(s.predicted_decode), PredictedDecodeFull: float64(s.predicted_decode_full),
		PredictedPrompt: float64(s.predicted_prompt), PredictedPipelined: float64(s.predicted_pipelined),
		TightestDevice: int32(s.tightest_device), TightestBytes: uint64(s.tightest_bytes),
		CPULayers: uint32(s.n_cpu_layers), RecurrentLayers: uint32(s.n_recurrent_layers),
		Checkpoints: uint32(s.n_checkpoints), Draft: uint32(s.n_draft),
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
	devices := make([]PlanDevice, int(s.n_devices))
	for i := range devices {
		d := C.rekindle_plan_device{struct_size: C.sizeof_rekindle_plan_device}
		if err := call(func() C.rekindle_status { return C.rekindle_plan_get_device(p.h, C.uint32_t(i), &d) }); err != nil {
			return nil, err
		}
		devices[i] = PlanDevice{
			Device: uint32(d.device), FirstLayer: uint32(d.first_layer), Layers: uint32(d.n_layers),
			ExpertLayers: uint32(d.n_expert_layers), HasOutput: d.has_output != 0,
			TotalBytes: uint64(d.total_bytes), FreeBytes: uint64(d.free_bytes), Shortfall: uint64(d.shortfall),
			Memory: Memory{uint64(d.weights), uint64(d.mapped), uint64(d.kv), uint64(d.compute), uint64(d.driver)},
			States: uint64(d.states),
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
		l := C.rekindle_plan_layer{struct_size: C.sizeof_rekindle_plan_layer}
		err := call(func() C.rekindle_status { return C.rekindle_plan_get_layer(p.h, C.uint32_t(len(layers)), &l) })
		if e, failed := err.(*Error); failed && e.Status == NotFound {
			return layers, nil
		}
		if err != nil {
			return nil, err
		}
		layers = append(layers, PlanLayer{
			uint32(l.layer), uint32(l.device), uint32(l.experts_device),
			uint64(l.weights), uint64(l.kv), C.GoString(&l.reason[0]),
		})
	}
}

// Reasons tell why the plan is as it is, in sentences.
func (p *Plan) Reasons() ([]string, error) {
	return p.sentences(func(i C.uint32_t, b *C.char, c C.size_t, n *C.size_t) C.rekindle_status {
		return C.rekindle_plan_reason(p.h, i, b, c, n)
	})
}

// Remedies tell what else would fit, in sentences. The first call plans that, which may take longer than the plan
// itself.
func (p *Plan) Remedies() ([]string, error) {
	return p.sentences(func(i C.uint32_t, b *C.char, c C.size_t, n *C.size_t) C.rekindle_status {
		return C.rekindle_plan_remedy(p.h, i, b, c, n)
	})
}

func (p *Plan) sentences(one func(C.uint32_t, *C.char, C.size_t, *C.size_t) C.rekindle_status) ([]string, error) {
	defer runtime.KeepAlive(p)
	var all []string
	for {
		i := len(all)
		s, err := text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status { return one(C.uint32_t(i), b, c, n) })
		if e, failed := err.(*Error); failed && e.Status == NotFound {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
}

// Text is the plan as a table for people.
func (p *Plan) Text() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status { return C.rekindle_plan_text(p.h, b, c, n) })
}

// SVG is a picture of the plan.
func (p *Plan) SVG() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status { return C.rekindle_plan_svg(p.h, b, c, n) })
}

// JSON is the plan as data, as schema/plan.schema.json says.
func (p *Plan) JSON() (string, error) {
	defer runtime.KeepAlive(p)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status { return C.rekindle_plan_json(p.h, b, c, n) })
}

// Compare puts the plan beside another one of the file, as a table for people.
func (p *Plan) Compare(other *Plan) (string, error) {
	defer runtime.KeepAlive(p)
	defer runtime.KeepAlive(other)
	return text(func(b *C.char, c C.size_t, n *C.size_t) C.rekindle_status {
		return C.rekindle_plan_compare(p.h, other.h, b, c, n)
	})
}
