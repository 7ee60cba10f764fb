//! chatglm, glm4 and glm4moe: a part of each head turns, and Q, K and V have biases. chatglm and glm4 have one matrix
//! for gate and up; glm4 norms the results of both blocks, too. glm4moe weights its experts by sigmoid. Where rotations
//! have sections they go by halves.

use super::words::*;

pub(super) fn chatglm(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder::new(h, RopeKind::Norm).build(k, h)
}

pub(super) fn glm4(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = with_sections(k, Decoder::new(h, RopeKind::Norm))?;
    Decoder { post_norms: Some(d.norms), ..d }.build(k, h)
}

pub(super) fn glm4moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.equal_heads(k)?;
    let norms = k.file.tensor("blk.0.attn_q_norm.weight").map(|_| QkNorm::Heads);
    let d = with_sections(k, Decoder::new(h, RopeKind::Neox))?.heads(|a| a.qk_norm = norms);
    let d = d.routed(k, Gating::Sigmoid)?.shared_by_count(k)?;
    Decoder { ffn_norm: Some("post_attention_norm"), ..d }.leading_dense(k, h)?.predicts().build(k, h)
}

fn with_sections(k: &Keys<'_>, mut d: Decoder) -> Result<Decoder> {
    d.ropes[0].sections = k.sections(false)?;
    if d.ropes[0].sections.is_some() {
        d.rope_kind = RopeKind::Neox;
    }
    Ok(d)
}
