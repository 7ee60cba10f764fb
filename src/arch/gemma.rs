//! gemma, gemma2 and gemma3: scaled embeddings and GELU. gemma is llama otherwise. The others have norms before and
//! behind each block. Layers have a window, but for every second one in gemma2 and every sixth in gemma3. gemma2 caps
//! scores and logits. gemma3 norms queries and keys, and layers with a window rotate by a base of their own, unscaled.

use super::words::*;

/// The window of gemma2, if the file does not say it.
const GEMMA2_WINDOW: u32 = 4096;
/// The 27b models scale scores by n_embd / n_head instead of the head's length. Files do not say so; these numbers of
/// layers tell.
const GEMMA2_27B_LAYERS: u32 = 46;
const GEMMA3_27B_LAYERS: u32 = 62;

fn common(h: &Hparams, layers_of_27b: u32) -> Decoder {
    let of_27b = h.n_layer == layers_of_27b;
    let n_embd = h.n_embd;
    let d = Decoder::new(h, RopeKind::Neox).heads(|a| {
        let n = if of_27b { n_embd / a.n_head } else { a.key };
        a.scale = 1.0 / (n as f32).sqrt();
    });
    let d = d.act(Act::Gated(Activation::Gelu.into()));
    Decoder { embed_scale: (h.n_embd as f32).sqrt(), post_norms: Some(d.norms), ..d }
}

pub(super) fn gemma(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    Decoder { post_norms: None, ..common(h, 0) }.build(k, h)
}

pub(super) fn gemma2(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let n = k.u32("attention.sliding_window")?.filter(|n| *n > 0).unwrap_or(GEMMA2_WINDOW);
    let rope = k.local_rope(h)?;
    let cap = k.positive("attn_logit_softcapping")?.unwrap_or(50.0);
    let d = common(h, GEMMA2_27B_LAYERS).windows(n, &k.local_layers(h.n_layer, Some(2))?, rope);
    let mut d = d.heads(|a| a.softcap = Some(cap));
    d.logit_softcap = Some(k.positive("final_logit_softcapping")?.unwrap_or(30.0));
    d.build(k, h)
}

pub(super) fn gemma3(k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
    h.dense(k)?;
    let mut d = common(h, GEMMA3_27B_LAYERS).head_norms();
    d.logit_softcap = k.positive("final_logit_softcapping")?;
    // Ollama's files name both bases.
    if let Some(base) = k.positive("rope.global.freq_base")? {
        d.ropes[0].freq_base = base;
    } else if k.f32("rope.freq_base")?.is_none() {
        d.ropes[0].freq_base = 1e6;
    }
    if let Some(n) = k.u32("attention.sliding_window")?.filter(|n| *n > 0) {
        let base = k.positive("rope.local.freq_base")?.or(k.positive("rope.freq_base_swa")?).unwrap_or(10000.0);
        let rope = Rope { freq_base: base, freq_scale: 1.0, ..d.ropes[0].clone() };
        d = d.windows(n, &k.local_layers(h.n_layer, Some(6))?, Some(rope));
    }
    d.build(k, h)
}
