//! mistral3 (text): llama with YaRN by the model's own multiplier, and with queries that grow with their position if
//! the file says so.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let temperature = temperature(k, h, None)?;
    let mut d = Decoder::new(h, RopeKind::Norm).heads(|a| a.temperature = temperature);
    d.extras = ALL_SCALES;
    let multiplier = k.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    if d.yarn() && multiplier != 0.0 {
        d.ropes[0].attn_factor /= 1.0 + 0.1 * multiplier * d.log_factor();
    }
    d.build(k, h)
}
