//! qwen3next, qwen3.5, qwen3.6 and their mixtures: three layers of four are a gated delta net. The fourth is attention,
//! whose result is multiplied by the sigmoid of a gate that comes with the query.

use super::words::*;

pub(super) fn dense(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    build(k, h, Sharing::Turns)
}

pub(super) fn moe(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    build(k, h, Sharing::Turns)
}

pub(super) fn next(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    build(k, h, Sharing::Neighbours)
}

fn build(k: &Keys<'_>, h: &Hparams, sharing: Sharing) -> Result<Graph> {
    let ssm = Ssm::read(k)?;
    let (n_head, n_head_k, head) = (ssm.dt_rank, ssm.groups(k)?, ssm.n_state);
    if ssm.heads(k)? != head {
        return Err(k.bad("ssm.inner_size", ssm.n_inner, &format!("{}, a state for each head", n_head * head)));
    }
    let delta = Delta { n_head, n_head_k, head, n_taps: ssm.n_taps, sharing, scaled: sharing == Sharing::Turns };
    let mut d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        a.qk_norm = Some(QkNorm::Heads);
        a.gate = Some(OutputGate::InQuery);
    });
    d.ropes[0].sections = k.sections(true)?;
    let n_ff_shared = shared_width(k)?;
    d = d.mixtures(|m| {
        let n_ff = if n_ff_shared > 0 { n_ff_shared } else { h.first().n_ff };
        m.shared = Some(Shared { dense: Dense { n_ff, act: m.act }, gated: true, names: SHARED });
    });
    d.ffn_norm = Some("post_attention_norm");
    d.extras = ALL_SCALES;
    // Older files have queries, keys, values and gates in one matrix; a file with both is read by the newer names.
    d.ignored = &["ssm_in.weight"];
    for (layer, recurrent) in d.layers.iter_mut().zip(recurrent_layers(k, h)?) {
        if recurrent {
            layer.mixer = Mixer::Recurrent(Recurrent::Delta(delta));
        }
    }
    d.predicts().build(k, h)
}
