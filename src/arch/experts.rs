//! Keys about mixtures of experts that families share.

use super::decoder::Decoder;
use super::hparams::{Hparams, MAX_WIDTH};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Dense, Gating, Mixture, Route, Shared};

/// The function that makes weights of a router's logits; `default` is that of files without the key.
pub(super) fn gating(k: &Keys<'_>, default: Gating) -> Result<Gating> {
    match k.u32("expert_gating_func")?.unwrap_or(0) {
        0 => Ok(default),
        1 => Ok(Gating::Softmax),
        2 => Ok(Gating::Sigmoid),
        3 => Ok(Gating::SoftmaxOfChosen),
        n => Err(k.bad("expert_gating_func", n, "1 (softmax), 2 (sigmoid) or 3 (softmax of those chosen)")),
    }
}

/// The way in which a file says that experts are weighted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routing {
    gating: Gating,
    normalise: bool,
    scale: f32,
}

impl Routing {
    pub fn read(k: &Keys<'_>, default: Gating) -> Result<Routing> {
        let normalise = k.bool("expert_weights_norm")?.unwrap_or(false);
        let scale = k.positive("expert_weights_scale")?.unwrap_or(1.0);
        Ok(Routing { gating: gating(k, default)?, normalise, scale })
    }

    pub fn apply(self, m: &mut Mixture) {
        let Routing { gating, normalise, scale } = self;
        m.route = Route { gating, normalise, scale, ..m.route };
    }
}

/// The names of the matrices of experts that every token uses.
pub(super) const SHARED: [&str; 3] = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"];

/// Gives a mixture experts that every token uses, of the width `n_ff` together, if that is not 0.
pub(super) fn share(m: &mut Mixture, n_ff: usize) {
    let dense = Dense { n_ff: n_ff.min(MAX_WIDTH as usize), act: m.act };
    m.shared = (n_ff > 0).then_some(Shared { dense, gated: false, names: SHARED });
}

/// The width of the experts that every token uses, if the file says it; 0: it does not.
pub(super) fn shared_width(k: &Keys<'_>) -> Result<usize> {
    let key = "expert_shared_feed_forward_length";
    let n = k.u32(key)?.unwrap_or(0);
    if n > 0 { k.in_range(key, n, MAX_WIDTH).map(|n| n as usize) } else { Ok(0) }
}

/// The number of those experts, if the file says it.
pub(super) fn shared_count(k: &Keys<'_>) -> Result<usize> {
    Ok(k.u32("expert_shared_count")?.unwrap_or(0) as usize)
}

impl Decoder {
    /// Weights experts as the file says; `default` makes weights of a router's logits where it does not.
    pub fn routed(self, k: &Keys<'_>, default: Gating) -> Result<Decoder> {
        let routing = Routing::read(k, default)?;
        Ok(self.mixtures(|m| routing.apply(m)))
    }

    /// Joins experts by as many that every token uses as the file says.
    pub fn shared_by_count(self, k: &Keys<'_>) -> Result<Decoder> {
        let n = shared_count(k)?;
        Ok(self.mixtures(|m| share(m, m.n_ff.saturating_mul(n))))
    }

    /// Joins experts by some that every token uses, of the width that the file says, if it says one.
    pub fn shared_by_width(self, k: &Keys<'_>) -> Result<Decoder> {
        let n_ff = shared_width(k)?;
        Ok(self.mixtures(|m| share(m, n_ff)))
    }

    /// The same; without a width of its own it is that of one expert.
    pub fn shared_or_one(self, k: &Keys<'_>) -> Result<Decoder> {
        let n_ff = shared_width(k)?;
        Ok(self.mixtures(|m| share(m, if n_ff > 0 { n_ff } else { m.n_ff })))
    }

    /// Gives experts their width where files may say only that of all experts in use together.
    pub fn width_in_use(self, k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
        let all = h.first().n_ff;
        let own = k.u32("expert_feed_forward_length")?.is_some_and(|n| n > 0);
        Ok(if own || all == 0 { self } else { self.mixtures(|m| m.n_ff = all / m.route.n_expert_used) })
    }

    /// Makes the feed-forward block of the first layers an ordinary one, as many as the file says.
    pub fn leading_dense(self, k: &Keys<'_>, h: &Hparams) -> Result<Decoder> {
        let n = k.u32("leading_dense_block_count")?.unwrap_or(0) as usize;
        Ok(self.dense(h, |i| i < n))
    }
}
