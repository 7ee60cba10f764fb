//! Models with Mamba layers: mamba and mamba2 have no others, jamba has some attention layers, and falcon-h1 has both
//! in every layer.

use super::words::*;

pub(super) fn mamba(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let normed = k.bool("ssm.dt_b_c_rms")?.unwrap_or(false);
    all(k, h, Recurrent::Mamba(Ssm::read(k)?.mamba(normed)))
}

pub(super) fn mamba2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    all(k, h, Recurrent::Mamba2(Ssm::read(k)?.mamba2(k)?))
}

fn all(k: &Keys<'_>, h: &Hparams, kind: Recurrent) -> Result<Graph> {
    let mut d = Decoder::new(h, RopeKind::Norm);
    for layer in &mut d.layers {
        (layer.mixer, layer.ffn) = (Mixer::Recurrent(kind), FeedForward::None);
    }
    d.build(k, h)
}

pub(super) fn jamba(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let kind = Recurrent::Mamba(Ssm::read(k)?.mamba(true));
    let d = Decoder::new(h, RopeKind::Norm).heads(|a| a.rope = None).mixtures(|m| m.route.normalise = false);
    let has_router = |i: usize| k.file.tensor(&format!("blk.{i}.ffn_gate_inp.weight")).is_some();
    d.recurrent(kind).dense(h, |i| !has_router(i)).build(k, h)
}

pub(super) fn falcon_h1(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let kind = Recurrent::Mamba2(Ssm::read(k)?.mamba2(k)?);
    let mut d = Decoder::new(h, RopeKind::Neox);
    (d.rope_factors, d.ignored) = (false, &["rope_freqs.weight", "attn_output.bias"]);
    for layer in &mut d.layers {
        if let Mixer::Attention(mut a) = layer.mixer {
            a.unbiased_out = true;
            layer.mixer = Mixer::Both(a, kind);
        }
    }
    d.build(k, h)
}
