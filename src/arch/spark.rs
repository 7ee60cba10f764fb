//! spark2_5: the output of each head is gated by a sigmoid, layers with a window rotate by a base of their own, and the
//! feed-forward block is gated by GELU.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let local = k.local_layers(h.n_layer, None)?;
    let d = Decoder::new(h, RopeKind::Neox).act(Act::Gated(Activation::Gelu.into()));
    let mut d = d.windows(k.window()?, &local, k.local_rope(h)?).heads(|a| {
        a.gate = Some(OutputGate::Heads);
        a.scale = 1.0 / (a.key as f32).sqrt();
    });
    d.extras.output_scale = false;
    d.build(k, h)
}
