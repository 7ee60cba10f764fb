//! qwen2moe: experts whose weights are not divided by their sum, joined by one that every token uses, gated by the
//! sigmoid of a number.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let n_shared = shared_width(k)?;
    let d = Decoder::new(h, RopeKind::Neox).mixtures(|m| {
        m.route.normalise = false;
        let dense = Dense { n_ff: if n_shared > 0 { n_shared } else { h.first().n_ff }, act: m.act };
        m.shared = Some(Shared { dense, gated: true, names: SHARED });
    });
    d.width_in_use(k, h)?.build(k, h)
}
