//! The cost model: seconds per decoded token and per prompt token, from bytes read, operations and links.
//!
//! # Problem
//!
//! The search compares thousands of placements, most of them on devices that are only described. So nothing can be
//! timed. Figures are predicted, and good enough if they rank placements rightly.
//!
//! # Idea
//!
//! A token is decoded at the speed at which its weights are read: each is used once, in two operations. A prompt shares
//! every weight among the tokens of a micro-batch, and is bound by operations. So an op takes
//!
//! ```text
//! decode   start + weight bytes / (read bandwidth * share of the type)
//!                + cached tokens * bytes of their keys and values / (read bandwidth * attention share)
//! prompt   start / n_ubatch + the larger of   operations / (flops * prompt share)
//!                                             weight bytes / (read bandwidth * share of the type * n_ubatch)
//! ```
//!
//! and handing a row of activations to the next device takes a fixed time and bytes / bandwidth, by a link between the
//! two or by way of the host. "Shares" say how much of a plain read, or of the plain rate, a kernel reaches. Those of
//! weight types stand with the types (`quant/types.rs`), all others below.

use crate::device::{Device, Inventory, Kind};
use crate::graph::{Graph, INPUT, Op, Part, StateShape};
use crate::quant::Type;

/// Figures of a kind of device. The first three stand in for those of a device that are not known.
struct Figures {
    /// Speed of plain reads, in bytes per second.
    read_bandwidth: f64,
    /// Float32 operations per second; of a CPU per thread.
    flops: f64,
    /// Speed of copies to and from the host, in bytes per second.
    host_bandwidth: f64,
    /// Share of `flops` that a product of many tokens reaches.
    prompt_share: f64,
    /// Seconds to start one operation.
    start: f64,
    /// Share of a plain read that attention over the KV cache reaches.
    attention_share: f64,
}

/// K80: products of many tokens reach 0.46 of the die's float32 rate in a simulator (85 to 111 prompt tokens per second
/// of a 9 B model, which others measured, are 0.4); a KQ product that shares
/// key rows read 16.8 MB in 165 us, 0.68 of a plain read; a launch takes 5 us. (Public measurements on four K80 dies.)
const CUDA: Figures = Figures {
    read_bandwidth: 150e9,
    flops: 4e12,
    host_bandwidth: 8e9,
    prompt_share: 0.46,
    start: 5e-6,
    attention_share: 0.65,
};
/// Two channels of DDR4; AVX2 at 3 GHz with 8 multiplications and additions a cycle in practice; a barrier of all
/// threads takes 2 us.
const CPU: Figures = Figures {
    read_bandwidth: 25e9,
    flops: 48e9,
    host_bandwidth: 25e9,
    prompt_share: 0.6,
    start: 2e-6,
    attention_share: 0.5,
};

/// Operations of a prompt's token for each number of a recurrent state: two products of keys and queries with it, and a
/// share of the new one.
const OPERATIONS_PER_STATE: f64 = 8.0;
/// Seconds before the first byte of a copy arrives: of one over a link, and of one by way of the host, which is two
/// copies and a wait.
const LINK_START: f64 = 10e-6;
const HOST_START: f64 = 25e-6;

/// Share of a plain read that a product of one token reaches with weights of a type. A type without kernels has a
/// guess.
fn read_share(kind: Kind, ty: Type) -> f64 {
    match kind {
        Kind::Cpu => ty.cpu_rate().unwrap_or(0.75),
        Kind::Cuda => ty.cuda_rate().unwrap_or(0.6),
    }
}

fn or(value: f64, default: f64) -> f64 {
    if value > 0.0 { value } else { default }
}

/// A device's rates, known or assumed.
pub(super) struct Rates {
    kind: Kind,
    read: f64,
    flops: f64,
    host: f64,
    figures: &'static Figures,
}

impl Rates {
    pub fn new(d: &Device, n_threads: u32) -> Rates {
        let figures = match d.kind {
            Kind::Cuda => &CUDA,
            Kind::Cpu => &CPU,
        };
        let threads = if d.kind == Kind::Cpu { f64::from(n_threads) } else { 1.0 };
        Rates {
            kind: d.kind,
            read: or(d.read_bandwidth, figures.read_bandwidth),
            flops: or(d.flops, figures.flops * threads),
            host: or(d.host_bandwidth, figures.host_bandwidth),
            figures,
        }
    }
}

/// Seconds per token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Seconds {
    /// Seconds of one token of one sequence, at an empty context.
    pub decode: f64,
    /// Seconds that attention adds to that for each token that the context holds.
    pub decode_per_cached: f64,
    /// Seconds of a token of a prompt, in micro-batches, at an empty context.
    pub prompt: f64,
}

impl std::ops::Add for Seconds {
    type Output = Seconds;
    fn add(mut self, o: Seconds) -> Seconds {
        self += o;
        self
    }
}

impl std::ops::Sub for Seconds {
    type Output = Seconds;
    fn sub(self, o: Seconds) -> Seconds {
        Seconds {
            decode: self.decode - o.decode,
            decode_per_cached: self.decode_per_cached - o.decode_per_cached,
            prompt: self.prompt - o.prompt,
        }
    }
}

impl std::ops::AddAssign for Seconds {
    fn add_assign(&mut self, o: Seconds) {
        self.decode += o.decode;
        self.decode_per_cached += o.decode_per_cached;
        self.prompt += o.prompt;
    }
}

/// Seconds of a unit on a device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unit {
    /// All but the routed experts.
    pub rest: Seconds,
    pub experts: Seconds,
}

impl Unit {
    /// The time of this unit and of another at once.
    pub fn slower(self, o: Unit) -> Unit {
        let most = |a: Seconds, b: Seconds| Seconds {
            decode: a.decode.max(b.decode),
            decode_per_cached: a.decode_per_cached.max(b.decode_per_cached),
            prompt: a.prompt.max(b.prompt),
        };
        Unit { rest: most(self.rest, o.rest), experts: most(self.experts, o.experts) }
    }
}

/// Seconds of each unit (layers, then the output) on a device: `[n_layer + 1]`. Of a layer that a group shares, the
/// part of one of its dies is counted, or all of it.
pub(super) fn units(
    graph: &Graph,
    r: &Rates,
    kv: (Type, Type),
    n_ubatch: u32,
    n_ctx: u32,
    die: Option<usize>,
) -> Vec<Unit> {
    let mut out = vec![Unit::default(); graph.n_layer as usize + 1];
    let batch = f64::from(n_ubatch.max(1));
    // A draft is not counted: the figures are those of tokens without one.
    for node in
        graph.nodes[graph.trunk()].iter().filter(|n| n.layer != INPUT && die.is_none_or(|die| n.part.die() == die))
    {
        let unit = &mut out[node.layer as usize];
        let s = if node.part == Part::Experts { &mut unit.experts } else { &mut unit.rest };
        s.decode += r.figures.start;
        s.prompt += r.figures.start / batch;
        let facts = node.op.facts();
        if let Some(p) = facts.product {
            let w = graph.weight(p.part.weight);
            // Elements of the weight that a token is multiplied by. Of a stack of matrices that is a few experts'.
            let n_matrices = p.n_used.unwrap_or(p.part.n_matrices) as u64;
            let elements = (n_matrices * (p.part.n_rows * p.part.n_cols) as u64) as f64;
            let share = elements / (w.ne[0] * w.ne[1] * w.ne[2]) as f64;
            let read = w.n_bytes as f64 / (r.read * read_share(r.kind, w.ty));
            s.decode += read * share;
            // The output is computed for a few rows of a prompt only.
            if node.layer < graph.n_layer {
                s.prompt += (2.0 * elements / (r.flops * r.figures.prompt_share)).max(read / batch);
            } else {
                s.prompt += read / batch;
            }
        }
        if let Some(state) = facts.reads
            && let StateShape::Recurrent(n) = graph.state(state).shape
        {
            // A token reads the state and writes it; a prompt does that once per chunk, and is bound by operations.
            s.decode += (2 * n * size_of::<f32>()) as f64 / r.read;
            s.prompt += OPERATIONS_PER_STATE * n as f64 / (r.flops * r.figures.prompt_share);
        }
        if let (Some(state), Op::Attention(_)) = (facts.reads, &node.op) {
            let shape = graph.kv(state);
            let bytes = |ty: Type, n: usize| ty.row_bytes(shape.n_head_kv * n).unwrap_or(0) as f64;
            let values = if shape.v_in_k { 0.0 } else { bytes(kv.1, shape.head_dim_v) };
            let cached = (bytes(kv.0, shape.head_dim_k) + values) / (r.read * r.figures.attention_share);
            match shape.window {
                // A window is soon full, so it is counted as full from the start.
                Some(n) => s.decode += cached * f64::from(n.min(n_ctx)),
                None => s.decode_per_cached += cached,
            }
        }
    }
    out
}

/// Seconds to hand `bytes` from one device to the next; `None` is the host program.
pub(super) fn hop(inventory: &Inventory, rates: &[Rates], from: Option<usize>, to: Option<usize>, bytes: f64) -> f64 {
    let die = |d: Option<usize>| d.filter(|d| rates[*d].kind != Kind::Cpu);
    let copy = |d: usize| bytes / rates[d].host;
    match (die(from), die(to)) {
        (Some(a), Some(b)) if a == b => 0.0,
        (Some(a), Some(b)) => match inventory.link(a, b) {
            Some(bandwidth) => LINK_START + bytes / bandwidth,
            None => HOST_START + copy(a) + copy(b),
        },
        (Some(d), None) | (None, Some(d)) => LINK_START + copy(d),
        (None, None) => 0.0,
    }
}
