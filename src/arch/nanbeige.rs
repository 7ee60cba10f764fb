//! nanbeige: llama whose layers may run several times, with a norm between.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let key = "num_loops";
    let n_loops = k.in_range(key, k.u32(key)?.filter(|n| *n > 0).unwrap_or(1), 64)?;
    let loop_norm = !k.bool("skip_loop_final_norm")?.unwrap_or(false);
    let d = Decoder::new(h, RopeKind::Norm);
    Decoder { n_loops, loop_norm, extras: Extras { ffn_scales: true, ..d.extras }, ..d }.build(k, h)
}
