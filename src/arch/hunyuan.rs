//! hunyuan-dense, hunyuan_vl and hunyuan-moe: each head's query and key is normed behind the rotation. In the mixtures
//! a dense block stands beside the experts, as one that every token uses.

use super::decoder::Decoder;
use super::experts::{share, shared_width};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Graph, QkNorm, RopeKind};

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
    let n_shared = shared_width(k)?;
    let d = decoder(h).mixtures(|m| {
        m.n_ff = h.first().n_ff;
        share(m, if n_shared > 0 { n_shared } else { m.n_ff });
    });
    d.build(k, h)
}

fn decoder(h: &Hparams) -> Decoder {
    Decoder::new(h, RopeKind::Neox).heads(|a| {
        (a.qk_norm, a.norm_rotated) = (Some(QkNorm::Heads), true);
        a.scale = 1.0 / (a.key as f32).sqrt();
    })
}
