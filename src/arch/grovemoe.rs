//! grovemoe: qwen3moe with smaller experts that work on what the others gave. Several experts may share a smaller one
//! in the architecture; here each has its own.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let key = "experts_per_group";
    let each = k.u32(key)?.unwrap_or(1);
    if each != 1 {
        let key = k.name(key);
        return Err(Error::unsupported(format!(
            "key '{key}' is {each}: small experts that several share have no word here"
        ))
        .subject(key));
    }
    let width = k.u32("expert_chunk_feed_forward_length")?.filter(|n| *n > 0).unwrap_or(h.first().key as u32);
    let n_ff = k.in_range("expert_chunk_feed_forward_length", width, MAX_WIDTH)? as usize;
    let scale = k.positive("expert_group_scale")?.unwrap_or(1.0);
    let d = Decoder::new(h, RopeKind::Neox).head_norms().mixtures(|m| {
        m.chunks = Some(Chunks { n_expert: m.route.n_expert, n_ff, scale });
    });
    d.width_in_use(k, h)?.build(k, h)
}
