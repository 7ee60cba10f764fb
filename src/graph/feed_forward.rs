//! Feed-forward blocks in the words of the builder: dense ones and mixtures of experts.

use super::build::Builder;
use super::graph::Part;
use super::op::{Gate, MatMulExperts, Op, Route, Scale, SumExperts};
use super::value::{ValueId, WeightSlice};
use crate::error::Result;

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
    /// ffn_down(gate(ffn_gate x) * ffn_up x). If the file has no ffn_gate, ffn_up holds both, the gate first.
    pub fn ffn(&mut self, x: ValueId, n_ff: usize, gate: Gate) -> Result<ValueId> {
        self.ffn_named(x, n_ff, gate, ["ffn_gate", "ffn_up", "ffn_down"])
    }

    /// The experts that every token uses.
    pub fn shared_experts(&mut self, x: ValueId, n_ff: usize, gate: Gate) -> Result<ValueId> {
        self.ffn_named(x, n_ff, gate, ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"])
    }

    fn ffn_named(&mut self, x: ValueId, n_ff: usize, gate: Gate, roles: [&'static str; 3]) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (g, up) = if self.has(roles[0]) {
            (self.linear_scaled(x, roles[0], n_ff)?, self.linear_scaled(x, roles[1], n_ff)?)
        } else {
            // If the gate is simply missing, ffn_up has half the rows asked for here, and the error names its shape.
            (
                self.linear_part(x, roles[1], roles[0], 0, n_ff, 2 * n_ff)?,
                self.linear_part(x, roles[1], roles[1], n_ff, n_ff, 2 * n_ff)?,
            )
        };
        let f = self.like(Op::Gate(gate), &[g, up], "ffn_act", n_ff);
        self.linear_scaled(f, roles[2], n_embd)
    }

    /// A mixture of experts: ffn_gate_inp routes each row to some of the experts in ffn_gate_exps and ffn_up_exps (or
    /// ffn_gate_up_exps) and ffn_down_exps. `routing.bias` is taken from exp_probs_b if the file has it.
    pub fn experts(&mut self, x: ValueId, n_ff: usize, gate: Gate, mut routing: Route) -> Result<ValueId> {
        let (_, n_embd) = self.shape(x);
        let (n_expert, used) = (routing.n_expert, routing.n_expert_used);
        routing.bias = self.floats(&self.name("exp_probs_b", "bias"), &[n_expert])?;
        let logits = self.linear(x, "ffn_gate_inp", n_expert)?;
        let route = self.like(Op::Route(routing), &[logits], "ffn_route", 2 * used);
        // The experts' part begins behind the router and ends with the sum. If it has a device of its own, a row of x
        // and its route go there, and one row comes back. With the router inside, the few numbers of the route would
        // not travel, but that device would have to hold the router's matrix too. With the sum outside, n_expert_used
        // rows would come back.
        self.part = Part::Experts;
        let each = |role, n_in, n_out, n_all, first| ExpertRole { role, n_in, n_out, n_all, first, n_expert, used };
        let (gates, ups) = if self.has("ffn_gate_up_exps") {
            let half = |first| each("ffn_gate_up_exps", n_embd, n_ff, 2 * n_ff, first);
            (half(0), half(n_ff))
        } else {
            (each("ffn_gate_exps", n_embd, n_ff, n_ff, 0), each("ffn_up_exps", n_embd, n_ff, n_ff, 0))
        };
        let g = self.linear_experts(x, route, gates)?;
        let up = self.linear_experts(x, route, ups)?;
        let f = self.like(Op::Gate(gate), &[g, up], "ffn_act", used * n_ff);
        let down = self.linear_experts(f, route, each("ffn_down_exps", n_ff, n_embd, n_embd, 0))?;
        let sum = self.like(Op::SumExperts(SumExperts { n_expert_used: used }), &[down, route], "ffn_experts", n_embd);
        self.part = Part::Body;
        Ok(sum)
    }

    fn linear_experts(&mut self, x: ValueId, route: ValueId, e: ExpertRole) -> Result<ValueId> {
        let matrices = self.slice(&self.name(e.role, "weight"), &[e.n_in, e.n_all, e.n_expert])?;
        let matrices = WeightSlice { first_row: e.first, n_rows: e.n_out, ..matrices };
        let bias = self.floats(&self.name(e.role, "bias"), &[e.n_all, e.n_expert])?;
        let scale = if self.scales.experts { self.floats(&self.name(e.role, "scale"), &[e.n_expert])? } else { None };
        let product = |bias| Op::MatMulExperts(MatMulExperts { matrices, bias, n_expert_used: e.used });
        let cols = e.used * e.n_out;
        let Some(scale) = scale else { return Ok(self.like(product(bias), &[x, route], e.role, cols)) };
        let x = self.like(product(None), &[x, route], e.role, cols);
        let bias = if e.n_out == e.n_all { bias } else { self.no_part_of(bias, e.role)? };
        Ok(self.like(Op::Scale(Scale { scale, bias, n_expert_used: e.used }), &[x, route], e.role, cols))
    }
}
