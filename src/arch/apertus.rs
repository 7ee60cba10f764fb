//! apertus: a feed-forward block with xIELU and no gate, and norms of each head's query and key.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let numbers = |key: &str| {
        let all = k.numbers_at(key, h.layers.len())?;
        all.ok_or_else(|| Error::bad_file(format!("key '{key}' is missing")).subject(key))
    };
    let (below, above) = (numbers("xielu.alpha_n")?, numbers("xielu.alpha_p")?);
    let (beta, eps) = (numbers("xielu.beta")?, numbers("xielu.eps")?);
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let mut d = Decoder::new(h, RopeKind::Neox).head_norms();
    d.norms.biases = true;
    for (i, layer) in d.layers.iter_mut().enumerate() {
        if let FeedForward::Dense(dense) = &mut layer.ffn {
            let (positive, negative) = (softplus(above[i]), beta[i] + softplus(below[i]));
            dense.act = Act::Plain(Activation::Xielu { positive, negative, beta: beta[i], eps: eps[i] });
        }
    }
    d.build(k, h)
}
