//! lfm2 and lfm2moe: most layers are a short convolution, the others attention.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let n_taps = k.size("shortconv.l_cache", Convolve::MOST_TAPS as u32)? as usize;
    if n_taps < 2 {
        return Err(k.bad("shortconv.l_cache", n_taps, &format!("2 to {}", Convolve::MOST_TAPS)));
    }
    let gating = gating(k, Gating::Sigmoid)?;
    let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
    let mut d = Decoder::new(h, RopeKind::Neox)
        .head_norms()
        .mixtures(|m| (m.route.gating, m.route.scale) = (gating, scale))
        .recurrent(Recurrent::Convolution(n_taps));
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        d = d.windows(n, &vec![true; h.layers.len()], None);
    }
    d.output_norm = Some("token_embd_norm");
    d.leading_dense(k, h)?.build(k, h)
}
