package rekindle

import (
	"runtime"

	"github.com/rekindle-llm/rekindle/bindings/go/internal/abi"
)

// Pooling is what a batch leaves: logits, or rows of tokens or texts.
type Pooling int32

const (
	PoolingDefault Pooling = abi.POOLING_DEFAULT
	PoolingFile    Pooling = abi.POOLING_FILE
	PoolingNone    Pooling = abi.POOLING_NONE
	PoolingMean    Pooling = abi.POOLING_MEAN
	PoolingCls     Pooling = abi.POOLING_CLS
	PoolingLast    Pooling = abi.POOLING_LAST
	PoolingRank    Pooling = abi.POOLING_RANK
)

// Objective is what is best.
type Objective int32

// The fastest decode of one sequence, the fastest slowest device, the most memory left for context.
const (
	Latency    Objective = abi.OBJECTIVE_LATENCY
	Throughput Objective = abi.OBJECTIVE_THROUGHPUT
	Headroom   Objective = abi.OBJECTIVE_HEADROOM
)

// Estimator is what bytes are taken from.
type Estimator int32

// Measured where the architecture's graph is known and else the family's formulas; only measured; only the formulas.
const (
	EstimatorAuto     Estimator = abi.ESTIMATOR_AUTO
	EstimatorMeasured Estimator = abi.ESTIMATOR_MEASURED
	EstimatorFamily   Estimator = abi.ESTIMATOR_FAMILY
)

// KVType is a type of the KV cache.
type KVType int32

// The types of the KV cache; KVDefault: decide for me.
const (
	KVDefault KVType = abi.KV_DEFAULT
	KVF32     KVType = abi.KV_F32
	KVF16     KVType = abi.KV_F16
	KVQ8_0    KVType = abi.KV_Q8_0
	KVQ4_0    KVType = abi.KV_Q4_0
)

// Source is where a choice came from.
type Source int32

// The caller, the architecture's family, a default for all, the model file, or what fits.
const (
	SourceCaller  Source = abi.SOURCE_CALLER
	SourceFamily  Source = abi.SOURCE_FAMILY
	SourceGlobal  Source = abi.SOURCE_GLOBAL
	SourceFile    Source = abi.SOURCE_FILE
	SourceLimited Source = abi.SOURCE_LIMITED
)

// Question is what Ask answers.
type Question int32

// The answers are tokens, tokens, devices, and a KVType.
const (
	LargestContext Question = abi.ASK_LARGEST_CONTEXT
	LargestBatch   Question = abi.ASK_LARGEST_BATCH
	FewestDevices  Question = abi.ASK_FEWEST_DEVICES
	BestKVType     Question = abi.ASK_BEST_KV_TYPE
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
	// CopyWeights copies the weights; MapWeights uses the file's pages always. Neither: the pages if that is possible.
	CopyWeights, MapWeights bool
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
	// Group is the number of dies that compute each layer together, 2 to 4; 0: a layer is one device's, AnyGroup: the
	// planner chooses.
	Group uint32
}

// AnyGroup lets the planner choose PlanParams.Group.
const AnyGroup = abi.GROUP_ANY

// NoCheckpoints stands for no checkpoints in PlanParams.
const NoCheckpoints = abi.CHECKPOINTS_NONE

// c gives C the parameters; pin keeps what they point to where it is.
func (params *PlanParams) c(pin *runtime.Pinner) *abi.PlanParams {
	p := &abi.PlanParams{
		StructSize: sizeof[abi.PlanParams](), NCtx: params.Ctx, NSeqMax: params.SeqMax, NOutputsMax: params.OutputsMax,
		NBatch: params.Batch, NUbatch: params.Ubatch, ReserveBytes: params.ReserveBytes,
		TypeK: int32(params.KeyType), TypeV: int32(params.ValueType),
		Objective: int32(params.Objective), Estimator: int32(params.Estimator), Margin: params.Margin,
		NCheckpoints: params.Checkpoints, NDraft: params.Draft, Pooling: int32(params.Pooling),
		NGroup: params.Group,
	}
	p.Placements, p.PlacementsLen = view(pin, params.Placements)
	if params.DraftFromText {
		p.DraftSource = abi.DRAFT_TEXT
	} else if params.DraftFromModel {
		p.DraftSource = abi.DRAFT_MODEL
	}
	if params.CopyWeights {
		p.Weights = abi.WEIGHTS_COPIED
	} else if params.MapWeights {
		p.Weights = abi.WEIGHTS_MAPPED
	}
	limits := make([]abi.DeviceLimit, len(params.Limits))
	for i, l := range params.Limits {
		limits[i] = abi.DeviceLimit{Device: l.Device, MaxLayers: l.MaxLayers, ReserveBytes: l.ReserveBytes}
		if l.Exclude {
			limits[i].Flags = abi.LIMIT_EXCLUDE
		}
	}
	p.Limits, p.NLimits = span[abi.DeviceLimit, uint32](pin, limits)
	return p
}
