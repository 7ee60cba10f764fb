//! hrm_text: two stacks of layers that run in turns, each run with a cache of its own. Norms have no weights, and each
//! element of attention's output is gated by a sigmoid.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let size = |key: &str| k.size(key, 512);
    let (n, high, low) = (size("hrm.layers_per_stack")?, size("hrm.h_cycles")?, size("hrm.l_cycles")?);
    let runs = u64::from(n) * u64::from(high) * (u64::from(low) + 1);
    if runs != u64::from(h.n_layer) || 2 * n > h.n_layer {
        return Err(k.bad("block_count", h.n_layer, &format!("{runs}, the runs of all layers")));
    }
    let d = Decoder::new(h, RopeKind::Neox).gated().by_length();
    Decoder {
        norms: Norms { bare: true, ..d.norms },
        embed_scale: k.positive("embedding_scale")?.unwrap_or(1.0),
        output_norm: None,
        stacks: Some(Stacks { n, high, low }),
        ..d
    }
    .build(k, h)
}
