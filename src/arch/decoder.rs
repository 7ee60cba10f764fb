//! The decoder that all architectures here share, and the table of what differs between them.
//!
//! x += attention(norm(x)); x += ffn(norm(x)), layer after layer; then the output norm and matrix. An architecture is a `Decoder`:
//! most fields stay as `Decoder::new` sets them, and its file says the others.

use super::{Hparams, Keys};
use crate::error::Result;
use crate::graph::{Attention, Builder, Gate, Gating, Graph, Latent, Rope, RopeKind, Route, Scales, Temperature};

/// Which layers see a window only.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Tokens that a token of a local layer sees, itself among them.
    pub n: u32,
    pub local: Vec<bool>,
    /// The rotation of local layers; `None`: as elsewhere.
    pub rope: Option<Rope>,
}

/// How experts are weighted, and what stands beside them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture {
    pub gating: Gating,
    pub normalise: bool,
    pub scale: f32,
    pub n_group: usize,
    pub n_group_used: usize,
    /// The first layers are dense.
    pub n_dense: u32,
    /// Width of the experts that every token uses; 0: none.
    pub n_ff_shared: usize,
}

impl Default for Mixture {
    fn default() -> Mixture {
        Mixture {
            gating: Gating::Softmax,
            normalise: true,
            scale: 1.0,
            n_group: 1,
            n_group_used: 1,
            n_dense: 0,
            n_ff_shared: 0,
        }
    }
}

/// The sizes of latent attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct LatentSizes {
    pub kv_lora_rank: usize,
    pub q_lora_rank: Option<usize>,
    /// A head's key, rotated part included, and value.
    pub key: usize,
    pub value: usize,
}

/// What differs between architectures.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    pub rope: Rope,
    pub rope_kind: RopeKind,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Norms of each head's query and key.
    pub qk_norm: bool,
    pub window: Option<Window>,
    /// cap tanh(x / cap) of scores, and of logits.
    pub attention_softcap: Option<f32>,
    pub logit_softcap: Option<f32>,
    pub sinks: bool,
    pub temperature: Option<Temperature>,
    pub latent: Option<LatentSizes>,
    /// Token embeddings are multiplied by it.
    pub embed_scale: f32,
    /// Norms behind attention and feed-forward, before they are added.
    pub post_norms: bool,
    /// What the norm before the feed-forward block is called.
    pub ffn_norm: &'static str,
    pub gate: Gate,
    pub mixture: Mixture,
    pub scales: Scales,
}

/// What llama, qwen3, mistral3 and their mixtures scale by, where files have such tensors.
pub(super) const ALL_SCALES: Scales = Scales { ffn: true, experts: true, output: true };

impl Decoder {
    /// The plain decoder of llama with the rotation `kind`.
    pub fn new(h: &Hparams, rope_kind: RopeKind) -> Decoder {
        Decoder {
            rope: h.rope.clone(),
            rope_kind,
            scale: h.attention_scale,
            qk_norm: false,
            window: None,
            attention_softcap: None,
            logit_softcap: None,
            sinks: false,
            temperature: None,
            latent: None,
            embed_scale: 1.0,
            post_norms: false,
            ffn_norm: "ffn_norm",
            gate: Gate::Silu,
            mixture: Mixture::default(),
            scales: Scales { ffn: false, experts: false, output: true },
        }
    }

    /// Whether YaRN is at work.
    pub fn yarn(&self) -> bool {
        self.rope.yarn.is_some_and(|y| y.ext_factor != 0.0)
    }
    /// The logarithm of the factor by which the context was stretched.
    pub fn log_factor(&self) -> f32 {
        (1.0 / self.rope.freq_scale).ln()
    }

    /// The graph of a file. Biases are added where the file has them.
    pub fn build(self, k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
        let mut g = Builder::new(k.file, h.n_layer, self.scales);
        let mut x = g.embed(h.n_embd, h.n_vocab, self.embed_scale)?;
        let n_ctx_orig = k.u32("rope.scaling.original_context_length")?.unwrap_or(h.n_ctx_train);
        let factors = g.rope_factors(self.rope.n_rot, n_ctx_orig)?;
        let table = g.rope_table(Rope { factors, ..self.rope.clone() }, self.rope_kind);
        let local_rope = self.window.as_ref().and_then(|w| w.rope.clone());
        let local_table = local_rope.map_or(table, |r| g.rope_table(r, self.rope_kind));
        for i in 0..h.n_layer {
            g.layer(i);
            let n = g.rms_norm(x, "attn_norm", h.rms_eps)?;
            let window = self.window.as_ref().filter(|w| w.local[i as usize]);
            let mut a = match self.latent {
                Some(l) => g.latent_attention(
                    n,
                    Latent {
                        n_head: h.n_head,
                        kv_lora_rank: l.kv_lora_rank,
                        nope: l.key - self.rope.n_rot,
                        rope: self.rope.n_rot,
                        head_dim_v: l.value,
                        q_lora_rank: l.q_lora_rank,
                        eps: h.rms_eps,
                        scale: self.scale,
                        table,
                        temperature: self.temperature,
                    },
                )?,
                None => g.attention(
                    n,
                    Attention {
                        n_head: h.n_head,
                        n_head_kv: h.n_head_kv,
                        head_dim: h.head_dim,
                        scale: self.scale,
                        table: if window.is_some() { local_table } else { table },
                        window: window.map(|w| w.n),
                        softcap: self.attention_softcap,
                        qk_norm: self.qk_norm.then_some(h.rms_eps),
                        sinks: self.sinks,
                        temperature: self.temperature,
                    },
                )?,
            };
            if self.post_norms {
                a = g.rms_norm(a, "post_attention_norm", h.rms_eps)?;
            }
            x = g.add(x, a, "attn_res");
            if i + 1 == h.n_layer {
                // Past the last attention, only rows whose logits were asked for matter.
                x = g.select_outputs(x);
            }
            let n = g.rms_norm(x, self.ffn_norm, h.rms_eps)?;
            let mut f = match h.experts.filter(|_| i >= self.mixture.n_dense) {
                None => g.ffn(n, h.n_ff, self.gate)?,
                Some(e) => {
                    let m = self.mixture;
                    let routing = Route {
                        n_expert: e.n_expert,
                        n_expert_used: e.n_expert_used,
                        gating: m.gating,
                        normalise: m.normalise,
                        scale: m.scale,
                        n_group: m.n_group,
                        n_group_used: m.n_group_used,
                        bias: None,
                    };
                    let routed = g.experts(n, e.n_ff, self.gate, routing)?;
                    if m.n_ff_shared == 0 {
                        routed
                    } else {
                        let shared = g.shared_experts(n, m.n_ff_shared, self.gate)?;
                        g.add(routed, shared, "ffn_sum")
                    }
                }
            };
            if self.post_norms {
                f = g.rms_norm(f, "post_ffw_norm", h.rms_eps)?;
            }
            x = g.add(x, f, "ffn_res");
        }
        g.finish(x, h.rms_eps, h.n_vocab, self.logit_softcap)
    }
}
