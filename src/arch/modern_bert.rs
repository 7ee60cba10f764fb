//! modern-bert: an encoder with LayerNorms before its blocks, of which the first may lack one, and a gated GELU. Layers
//! see half a window to either side, but for the first of every three; these windows rotate by a base of their own.

use super::words::*;

pub(super) fn build(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let key = "hidden_activation";
    let act = match k.text(key)?.unwrap_or("gelu") {
        "silu" | "swiglu" | "swish" => Activation::Silu,
        "gelu" | "geglu" => Activation::Gelu,
        other => {
            let (key, other) = (k.name(key), other.chars().take(40).collect::<String>());
            return Err(Error::unsupported(format!("key '{key}' is '{other}', expected gelu or silu")).subject(key));
        }
    };
    let d = Decoder::new(h, RopeKind::Neox).layer_norms(h).act(Act::Gated(act.into())).encoder();
    let mut d = Decoder { embed_bert: true, bare_first: true, ..d };
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        d = d.windows(n, &local(k, h)?, k.local_rope(h)?);
    }
    d.head.gelu = true;
    d.head.pick = match k.u32("classifier.pooling_type")? {
        None | Some(1) => Pick::Mean,
        Some(2) => Pick::First,
        Some(n) => return Err(k.bad("classifier.pooling_type", n, "1 (mean) or 2 (cls)")),
    };
    d.build(k, h)
}

/// True for each layer with a window: all but every n-th, from the first on.
fn local(k: &Keys<'_>, h: &Hparams) -> Result<Vec<bool>> {
    let key = "attention.sliding_window_pattern";
    if let Some(Value::Array(_)) = k.file.get(&k.name(key)) {
        return k.local_layers(h.n_layer, None);
    }
    let n = k.u32(key)?.unwrap_or(3);
    Ok((0..h.n_layer).map(|i| n == 0 || i % n != 0).collect())
}
