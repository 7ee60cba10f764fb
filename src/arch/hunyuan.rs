//! hunyuan-dense, hunyuan_vl and hunyuan-moe: each head's query and key is normed behind the rotation. In the mixtures
//! a dense block stands beside the experts, as one that every token uses.

use super::words::*;

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mut d = decoder(h);
    // hunyuan_vl (text) rotates in sections.
    d.ropes[0].sections = k.sections(false)?;
    // A stretch of the context that the base of the frequencies makes up for.
    if let Some(alpha) = k.positive("rope.scaling.alpha")? {
        let n = h.first().key as f32;
        d.ropes[0].freq_base *= alpha.powf(n / (n - 2.0));
        if !d.ropes[0].freq_base.is_finite() {
            return Err(k.bad("rope.scaling.alpha", alpha, "a number that leaves the base of the frequencies finite"));
        }
    }
    h.dense(k)?;
    d.build(k, h)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    decoder(h).mixtures(|m| m.n_ff = h.first().n_ff).shared_or_one(k)?.build(k, h)
}

fn decoder(h: &Hparams) -> Decoder {
    Decoder::new(h, RopeKind::Neox).head_norms().by_length().heads(|a| a.norm_rotated = true)
}
