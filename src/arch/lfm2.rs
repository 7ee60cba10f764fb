//! lfm2 and lfm2moe: most layers are a short convolution, the others attention.

use super::decoder::Decoder;
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Convolve, Gating, Graph, QkNorm, Recurrent, RopeKind};

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let n_taps = k.size("shortconv.l_cache", Convolve::MOST_TAPS as u32)? as usize;
    if n_taps < 2 {
        return Err(k.bad("shortconv.l_cache", n_taps, &format!("2 to {}", Convolve::MOST_TAPS)));
    }
    let gating = match k.u32("expert_gating_func")? {
        Some(1) => Gating::Softmax,
        Some(2) | None => Gating::Sigmoid,
        Some(_) if h.experts.is_none() => Gating::Sigmoid,
        Some(n) => return Err(k.bad("expert_gating_func", n, "1 (softmax) or 2 (sigmoid)")),
    };
    let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let mut d = Decoder::new(h, RopeKind::Neox)
        .heads(|a| a.qk_norm = Some(QkNorm::Heads))
        .mixtures(|m| (m.route.gating, m.route.scale) = (gating, scale))
        .recurrent(Recurrent::Convolution(n_taps));
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        d = d.windows(n, &vec![true; h.layers.len()], None);
    }
    d.output_norm = "token_embd_norm";
    let n_dense = k.u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    d.dense(h, |i| i < n_dense).build(k, h)
}
