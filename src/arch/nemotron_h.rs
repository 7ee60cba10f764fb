//! nemotron_h and nemotron_h_moe: each layer is a Mamba-2 layer, or attention without rotation, or a feed-forward block
//! with a squared ReLU and no gate. Experts may work on a shorter row.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    let mamba2 = Recurrent::Mamba2(Ssm::read(k)?.mamba2(k)?);
    let act = Act::Plain(Activation::ReluSquared);
    let latent = k.u32("moe_latent_size")?.unwrap_or(0).min(MAX_WIDTH) as usize;
    let d = Decoder::new(h, RopeKind::Norm).act(act).heads(|a| a.rope = None).routed(k, Gating::Sigmoid)?;
    let mut d = d.shared_by_width(k)?.mixtures(|m| m.latent = (latent > 0).then_some(latent));
    let of_layers = |key, max| k.sizes(key, h.layers.len(), max);
    let (used, widths) = (of_layers("expert_used_count", 4096)?, of_layers("expert_feed_forward_length", MAX_WIDTH)?);
    for (i, (layer, sizes)) in d.layers.iter_mut().zip(&h.layers).enumerate() {
        if let FeedForward::Mixture(m) = &mut layer.ffn {
            let own = |all: &Option<Vec<u32>>| all.as_ref().map(|all| all[i] as usize).filter(|n| *n > 0);
            m.n_ff = own(&widths).unwrap_or(m.n_ff);
            m.route.n_expert_used = own(&used).unwrap_or(m.route.n_expert_used);
            if m.route.n_expert_used > m.route.n_expert {
                return Err(k.bad("expert_used_count", m.route.n_expert_used, "at most the experts"));
            }
        }
        match (sizes.n_ff, sizes.n_head_kv) {
            (0, 0) => (layer.mixer, layer.ffn) = (Mixer::Recurrent(mamba2), FeedForward::None),
            (0, _) => layer.ffn = FeedForward::None,
            _ => layer.mixer = Mixer::None,
        }
    }
    // A layer's only norm stands before whatever it is.
    (d.parallel, d.ffn_norm) = (true, None);
    d.extras = ALL_SCALES;
    d.build(k, h)
}
