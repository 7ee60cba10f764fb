//! smallthinker: the router reads the layer's input before any norm, and experts are gated by ReLU. Every fourth layer,
//! from the first on, sees all and does not rotate; the others have a window.

use super::words::*;

/// Tokens of a window, whatever the file says.
const WINDOW: u32 = 4096;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let gating = gating(k, Gating::Softmax)?;
    let d = Decoder::new(h, RopeKind::Neox).act(Act::Gated(Activation::Relu.into()));
    let d = d.mixtures(|m| (m.route.gating, m.routes_input) = (gating, true));
    if k.u32("attention.sliding_window")?.unwrap_or(0) == 0 {
        return d.build(k, h);
    }
    let local = k.local_layers_after(h.n_layer, 4)?;
    d.windows(WINDOW, &local, k.local_rope(h)?).without_rope(|i| i % 4 == 0).build(k, h)
}
