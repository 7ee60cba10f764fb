//! Feed-forward blocks in the words of the builder: dense ones and mixtures of experts.

use super::build::Builder;
use super::graph::Part;
use super::op::{Activation, Gate, MatMulExperts, Op, Route, Scale, SumExperts};
use super::value::{ValueId, WeightSlice};
use crate::error::Result;

/// The middle of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// gate(ffn_gate x) * ffn_up x
    Gated(Gate),
    /// f(ffn_up x)
    Plain(Activation),
}

/// A dense block of a width.
#[derive(Debug, Clone, Copy)]
pub struct Dense {
    pub n_ff: usize,
    pub act: Act,
}

/// A mixture of experts: the way in which they are chosen and weighted, their width, and the experts that every token
/// uses.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    pub route: Route,
    pub n_ff: usize,
    pub act: Act,
    /// True if the experts' inputs are multiplied by the weights, not their results.
    pub weighted_inputs: bool,
    pub shared: Option<Shared>,
    /// True if the router reads the layer's input, before any norm.
    pub routes_input: bool,
    /// The sum of experts and those that every token uses is multiplied by it.
    pub sum_scale: f32,
    /// Smaller experts that work on the sum of the others, chosen by the same router (grovemoe).
    pub chunks: Option<Chunks>,
    /// Elements of the shorter row that experts work on (ffn_latent_down, ffn_latent_up); `None`: the whole row.
    pub latent: Option<usize>,
}

/// Experts in ffn_gate_chexps and so on: their number, width, and what their sum is multiplied by.
#[derive(Debug, Clone, Copy)]
pub struct Chunks {
    pub n_expert: usize,
    pub n_ff: usize,
    pub scale: f32,
}

/// The names of the matrices of experts: gate, up and down.
const EXPERTS: [&str; 3] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"];
const CHUNKS: [&str; 3] = ["ffn_gate_chexps", "ffn_up_chexps", "ffn_down_chexps"];

/// The experts that every token uses.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    pub dense: Dense,
    /// True if their result is multiplied by the sigmoid of one number per token (ffn_gate_inp_shexp).
    pub gated: bool,
    /// The names of gate, up and down.
    pub names: [&'static str; 3],
}

/// A matrix that every expert has, all of them in one tensor: `n_out` of its `n_all` rows, from row `first` on.
struct ExpertRole {
    role: &'static str,
    n_in: usize,
    n_out: usize,
    n_all: usize,
    first: usize,
    n_expert: usize,
    used: usize,
}

impl Builder<'_> {
    /// ffn_down(gate(ffn_gate x) * ffn_up x), or ffn_down(f(ffn_up x)). If the file has no ffn_gate where there should
    /// be one, ffn_up holds both, the gate first.
    pub fn ffn(&mut self, x: ValueId, dense: Dense) -> Result<ValueId> {
        self.ffn_named(x, dense, ["ffn_gate", "ffn_up", "ffn_down"])
    }

    fn ffn_named(&mut self, x: ValueId, Dense { n_ff, act }: Dense, roles: [&'static str; 3]) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let f = match act {
            Act::Plain(f) => {
                let up = self.linear_scaled(x, roles[1], n_ff)?;
                let f = self.like(Op::Activation(f), &[up], "ffn_act", n_ff);
                self.divided(f, n_ff)?
            }
            Act::Gated(gate) => {
                let (g, up) = if self.has(roles[0]) {
                    (self.linear_scaled(x, roles[0], n_ff)?, self.linear_scaled(x, roles[1], n_ff)?)
                } else {
                    // If the gate is simply missing, ffn_up has half the rows asked for here, and the error names its
                    // shape.
                    (
                        self.linear_part(x, roles[1], roles[0], 0, n_ff, 2 * n_ff)?,
                        self.linear_part(x, roles[1], roles[1], n_ff, n_ff, 2 * n_ff)?,
                    )
                };
                self.like(Op::Gate(gate), &[g, up], "ffn_act", n_ff)
            }
        };
        let f = if self.extras.sub_norms && self.has("ffn_sub_norm") { self.norm(f, "ffn_sub_norm")? } else { f };
        self.linear_scaled(f, roles[2], n_embd)
    }

    /// x divided by ffn.act.scales, if the file has them (mpt quantised by AWQ).
    fn divided(&mut self, x: ValueId, n_ff: usize) -> Result<ValueId> {
        if !self.extras.act_scales {
            return Ok(x);
        }
        let Some(bias) = self.floats(&self.name("ffn.act", "scales"), &[n_ff])? else { return Ok(x) };
        // The numbers as a row for each token: nothing of x, plus them.
        let op = Op::Scale(Scale { by: 0.0, scale: None, bias: Some(bias), n_expert_used: 0 });
        let numbers = self.like(op, &[x], "ffn_act_scales", n_ff);
        Ok(self.like(Op::Gate(Gate::Plain(Activation::Reciprocal)), &[numbers, x], "ffn_divided", n_ff))
    }

    /// A mixture of experts: ffn_gate_inp routes each row to some of the experts, by x or by the layer's input.
    pub fn mixture(&mut self, x: ValueId, input: ValueId, m: Mixture) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let logits = self.linear(if m.routes_input { input } else { x }, "ffn_gate_inp", m.route.n_expert)?;
        let routed = match m.latent {
            None => self.experts(x, logits, m, EXPERTS)?,
            Some(n) => {
                let low = self.product(x, "ffn_latent_down", n)?;
                let low = self.experts(low, logits, m, EXPERTS)?;
                self.product(low, "ffn_latent_up", n_embd)?
            }
        };
        let routed = match m.chunks {
            None => routed,
            Some(Chunks { n_expert, n_ff, scale }) => {
                let route = Route { n_expert_used: m.route.n_expert_used.min(n_expert), ..m.route };
                let small = self.experts(routed, logits, Mixture { route, n_ff, ..m }, CHUNKS)?;
                let small = self.times(small, scale, "ffn_chunks_scaled");
                self.add(routed, small, "ffn_chunks")
            }
        };
        let Some(Shared { dense, gated, names }) = m.shared else { return Ok(routed) };
        let mut shared = self.ffn_named(x, dense, names)?;
        if gated {
            let gate = self.linear(x, "ffn_gate_inp_shexp", 1)?;
            let op = Op::Gate(Gate::Plain(Activation::Sigmoid));
            shared = self.like(op, &[gate, shared], "ffn_shared", n_embd);
        }
        let sum = self.add(routed, shared, "ffn_sum");
        Ok(self.times(sum, m.sum_scale, "ffn_sum_scaled"))
    }

    /// The experts in ffn_gate_exps and ffn_up_exps (or ffn_gate_up_exps) and ffn_down_exps that a router's logits
    /// choose for each row. The route's bias is taken from exp_probs_b if the file has it.
    fn experts(&mut self, x: ValueId, logits: ValueId, m: Mixture, names: [&'static str; 3]) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_ff, n_expert, used) = (m.n_ff, m.route.n_expert, m.route.n_expert_used);
        // hy_v3's files leave the suffix out.
        let name = self.name("exp_probs_b", "bias");
        let bare = name.trim_end_matches(".bias");
        let bias = self.floats(if self.file.tensor(bare).is_some() { bare } else { &name }, &[n_expert])?;
        let route = self.like(Op::Route(Route { bias, ..m.route }), &[logits], "ffn_route", 2 * used);
        // The experts' part begins behind the router and ends with the sum. If it has a device of its own, a row of x
        // and its route go there, and one row comes back. With the router inside, the few numbers of the route would
        // not travel, but that device would have to hold the router's matrix too. With the sum outside, n_expert_used
        // rows would come back.
        self.part = Part::Experts;
        let each = |role, n_in, n_out, n_all, first| ExpertRole { role, n_in, n_out, n_all, first, n_expert, used };
        // The matrices that multiply x keep its weights as they are, so the products are weighted instead of it.
        let weights = m.weighted_inputs.then(|| self.columns(route, 1, used, used, "ffn_weights"));
        let product = |g: &mut Self, role: ExpertRole| -> Result<ValueId> {
            let y = g.linear_experts(x, route, role)?;
            let weigh = Op::Gate(Gate::Plain(Activation::Identity));
            Ok(weights.map_or(y, |w| g.like(weigh, &[w, y], "ffn_weighted", used * n_ff)))
        };
        let f = match m.act {
            Act::Plain(f) => {
                let up = product(self, each(names[1], n_embd, n_ff, n_ff, 0))?;
                self.like(Op::Activation(f), &[up], "ffn_act", used * n_ff)
            }
            Act::Gated(gate) => {
                let (gates, ups) = if self.has("ffn_gate_up_exps") {
                    let half = |first| each("ffn_gate_up_exps", n_embd, n_ff, 2 * n_ff, first);
                    (half(0), half(n_ff))
                } else {
                    (each(names[0], n_embd, n_ff, n_ff, 0), each(names[1], n_embd, n_ff, n_ff, 0))
                };
                let (g, up) = (product(self, gates)?, product(self, ups)?);
                self.like(Op::Gate(gate), &[g, up], "ffn_act", used * n_ff)
            }
        };
        let down = self.linear_experts(f, route, each(names[2], n_ff, n_embd, n_embd, 0))?;
        let op = Op::SumExperts(SumExperts { n_expert_used: used, weighted: !m.weighted_inputs });
        let sum = self.like(op, &[down, route], "ffn_experts", n_embd);
        self.part = Part::Body;
        Ok(sum)
    }

    /// The feed-forward of gemma4's mixtures. A dense block and experts stand side by side, each with norms of its own.
    /// The router reads the row normed without a weight, times ffn_gate_inp.scale.
    pub fn dense_and_experts(&mut self, x: ValueId, dense: Dense, m: Mixture) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let n = self.norm(x, "ffn_norm")?;
        let one = self.ffn(n, dense)?;
        let one = self.norm(one, "post_ffw_norm_1")?;
        let bare = self.bare_norm(x, n_embd, "ffn_gate_norm");
        let bare = self.times_tensor(bare, "ffn_gate_inp", "scale", n_embd, 1.0 / (n_embd as f32).sqrt())?;
        let logits = self.product(bare, "ffn_gate_inp", m.route.n_expert)?;
        let n = self.norm(x, "pre_ffw_norm_2")?;
        let other = self.experts(n, logits, m, EXPERTS)?;
        let other = self.norm(other, "post_ffw_norm_2")?;
        Ok(self.add(one, other, "ffn_sum"))
    }

    fn linear_experts(&mut self, x: ValueId, route: ValueId, e: ExpertRole) -> Result<ValueId> {
        let matrices = self.slice(&self.name(e.role, "weight"), &[e.n_in, e.n_all, e.n_expert])?;
        let matrices = WeightSlice { first_row: e.first, n_rows: e.n_out, ..matrices };
        let bias = self.floats(&self.name(e.role, "bias"), &[e.n_all, e.n_expert])?;
        let scale =
            if self.extras.expert_scales { self.floats(&self.name(e.role, "scale"), &[e.n_expert])? } else { None };
        let product = |bias| MatMulExperts { matrices, bias, n_expert_used: e.used };
        let (name, cols, inputs) = (self.name(e.role, "weight"), e.used * e.n_out, [x, route]);
        let Some(scale) = scale else {
            let y = self.like(Op::MatMulExperts(product(bias)), &inputs, e.role, cols);
            return self.adapt_experts(y, inputs, &name, &product(None));
        };
        let y = self.like(Op::MatMulExperts(product(None)), &inputs, e.role, cols);
        let bias = if e.n_out == e.n_all { bias } else { self.no_part_of(bias, e.role)? };
        let op = Op::Scale(Scale { by: 1.0, scale: Some(scale), bias, n_expert_used: e.used });
        let y = self.like(op, &[y, route], e.role, cols);
        self.adapt_experts(y, inputs, &name, &product(None))
    }
}
