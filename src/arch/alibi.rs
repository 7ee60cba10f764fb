//! baichuan, refact, bloom, mpt and jais: scores fall with distance, and nothing rotates. baichuan and refact are llama
//! besides (the small baichuan rotates after all); bloom, mpt and jais have LayerNorms, bloom and mpt GELU without a
//! gate. bloom norms embeddings, mpt may have a table of positions and bounds, and jais divides scores by the length of
//! a head.

use super::words::*;

/// The spread of slopes in families whose files do not say it.
const SPREAD: f32 = 8.0;
/// Files do not tell the 7B model of baichuan, which rotates, from that of 13B, whose scores fall; the number of layers
/// does.
const LAYERS_OF_7B: u32 = 32;
const LAYERS_OF_13B: u32 = 40;

pub(super) fn baichuan(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let d = Decoder::new(h, RopeKind::Norm);
    if h.n_layer == LAYERS_OF_7B {
        return d.build(k, h);
    }
    d.alibi(if h.n_layer == LAYERS_OF_13B { SPREAD } else { 0.0 }).build(k, h)
}

pub(super) fn refact(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    // llama.cpp loads experts of it and leaves them out.
    h.dense(k)?;
    let ignored = &["attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias", "rope_freqs.weight"];
    Decoder { ignored, rope_factors: false, ..Decoder::new(h, RopeKind::Norm).alibi(SPREAD) }.build(k, h)
}

pub(super) fn bloom(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    Decoder { embed_bert: true, ..decoder(k, h)?.alibi(SPREAD).act(Act::Plain(Activation::Gelu)) }.build(k, h)
}

pub(super) fn mpt(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let (clamp, has) = (k.clamp()?, |name: &str| k.file.tensor(name).is_some());
    let norm = has("blk.0.attn_q_norm.weight").then_some(QkNorm::Row);
    // A norm of keys alone does not count.
    let ignored: &[&str] = if norm.is_some() { &[] } else { &["attn_k_norm.weight", "attn_k_norm.bias"] };
    let d = decoder(k, h)?.heads(|a| (a.clamp, a.qk_norm) = (clamp, norm)).act(Act::Plain(Activation::Gelu));
    let extras = Extras { act_scales: true, ..d.extras };
    Decoder { embed_positions: has("position_embd.weight"), extras, ignored, ..d }.build(k, h)
}

pub(super) fn jais(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    decoder(k, h)?.heads(|a| a.scale = 1.0 / a.key as f32).build(k, h)
}

fn decoder(k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
    h.dense(k)?;
    let spread = k.positive("attention.max_alibi_bias")?.unwrap_or(0.0);
    Ok(Decoder::new(h, RopeKind::Norm).layer_norms(h).alibi(spread))
}
