//! The decoder that all architectures here share, with switches for their differences.
//!
//! ```text
//! x = embedding of the tokens
//! for each layer:   x += mixer(norm(x))          the mixer lets tokens see each other
//!                   x += feed_forward(norm(x))   each token by itself
//! logits = output matrix * output_norm(x)
//! ```
//!
//! Mixer and feed-forward block are chosen layer by layer. An architecture is a [`Decoder`]: `Decoder::new` makes the
//! plain one, that of llama, and the architecture's file changes it.

use super::hparams::{Hparams, LayerSizes};
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{
    Attention, Builder, Gate, Gating, Graph, Latent, Rope, RopeKind, Route, Scales, Table, Temperature, ValueId,
};

/// A layer: a mixer, through which tokens see each other, and a feed-forward block for each token by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub mixer: Mixer,
    pub ffn: FeedForward,
}

/// The kinds of mixer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mixer {
    Attention(Heads),
    Latent(LatentSizes),
}

/// Grouped-query attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    /// Index into the decoder's ropes.
    pub rope: usize,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// True if each head's query and key are normed.
    pub qk_norm: bool,
    /// Tokens that a token sees, itself among them; `None`: all before it.
    pub window: Option<u32>,
    /// Limits scores: cap tanh(score / cap).
    pub softcap: Option<f32>,
    /// True if each head has a logit that takes a share of the softmax and adds nothing to the result.
    pub sinks: bool,
}

/// Latent attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct LatentSizes {
    pub n_head: usize,
    pub kv_lora_rank: usize,
    pub q_lora_rank: Option<usize>,
    /// Elements of a head's key, the rotated part among them.
    pub key: usize,
    /// Elements of a head's value.
    pub value: usize,
    pub scale: f32,
}

/// The kinds of feed-forward block.
#[derive(Debug, Clone, Copy)]
pub(super) enum FeedForward {
    Dense { n_ff: usize },
    Mixture(Mixture),
}

/// A mixture of experts: their sizes, the way in which they are weighted, and the experts that every token uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture {
    pub n_expert: usize,
    pub n_expert_used: usize,
    pub n_ff: usize,
    pub gating: Gating,
    pub normalise: bool,
    pub scale: f32,
    pub n_group: usize,
    pub n_group_used: usize,
    /// Width of the experts that every token uses; 0: none.
    pub n_ff_shared: usize,
}

/// An architecture.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    pub layers: Vec<Layer>,
    /// Rotations that layers choose from. The first takes the file's factors of frequencies.
    pub ropes: Vec<Rope>,
    pub rope_kind: RopeKind,
    /// Lets queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Token embeddings are multiplied by it.
    pub embed_scale: f32,
    /// True if the results of mixer and feed-forward block are normed before they are added.
    pub post_norms: bool,
    /// The name of the norm before the feed-forward block.
    pub ffn_norm: &'static str,
    pub gate: Gate,
    /// Limits logits: cap tanh(logit / cap).
    pub logit_softcap: Option<f32>,
    pub scales: Scales,
}

/// The scales that llama, qwen3, mistral3 and their mixtures apply, if files have such tensors.
pub(super) const ALL_SCALES: Scales = Scales { ffn: true, experts: true, output: true };

impl Decoder {
    /// The plain decoder of llama with the rotation `kind`.
    pub fn new(h: &Hparams, rope_kind: RopeKind) -> Decoder {
        let mixture = h.experts.map(|e| Mixture {
            n_expert: e.n_expert,
            n_expert_used: e.n_expert_used,
            n_ff: e.n_ff,
            gating: Gating::Softmax,
            normalise: true,
            scale: 1.0,
            n_group: 1,
            n_group_used: 1,
            n_ff_shared: 0,
        });
        let layer = |sizes: &LayerSizes| Layer {
            mixer: Mixer::Attention(Heads {
                n_head: sizes.n_head,
                n_head_kv: sizes.n_head_kv,
                head_dim: sizes.head_dim,
                rope: 0,
                scale: h.attention_scale.unwrap_or(1.0 / (sizes.head_dim as f32).sqrt()),
                qk_norm: false,
                window: None,
                softcap: None,
                sinks: false,
            }),
            ffn: mixture.map_or(FeedForward::Dense { n_ff: sizes.n_ff }, FeedForward::Mixture),
        };
        Decoder {
            layers: h.layers.iter().map(layer).collect(),
            ropes: vec![h.rope.clone()],
            rope_kind,
            temperature: None,
            embed_scale: 1.0,
            post_norms: false,
            ffn_norm: "ffn_norm",
            gate: Gate::Silu,
            logit_softcap: None,
            scales: Scales { ffn: false, experts: false, output: true },
        }
    }

    /// Changes the attention of every layer that has one.
    pub fn heads(mut self, change: impl Fn(&mut Heads)) -> Decoder {
        for layer in &mut self.layers {
            if let Mixer::Attention(heads) = &mut layer.mixer {
                change(heads);
            }
        }
        self
    }

    /// Changes every mixture of experts.
    pub fn mixtures(mut self, change: impl Fn(&mut Mixture)) -> Decoder {
        for layer in &mut self.layers {
            if let FeedForward::Mixture(mixture) = &mut layer.ffn {
                change(mixture);
            }
        }
        self
    }

    /// Gives the layers that are `local` a window of `n` tokens. They rotate by `rope`, or as all others if it is
    /// `None`.
    pub fn windows(mut self, n: u32, local: &[bool], rope: Option<Rope>) -> Decoder {
        let own = rope.map_or(0, |rope| {
            self.ropes.push(rope);
            self.ropes.len() - 1
        });
        for (layer, _) in self.layers.iter_mut().zip(local).filter(|(_, local)| **local) {
            if let Mixer::Attention(heads) = &mut layer.mixer {
                (heads.window, heads.rope) = (Some(n), own);
            }
        }
        self
    }

    /// True if YaRN is at work.
    pub fn yarn(&self) -> bool {
        self.ropes[0].yarn.is_some_and(|y| y.ext_factor != 0.0)
    }
    /// The logarithm of the factor by which the context was stretched.
    pub fn log_factor(&self) -> f32 {
        (1.0 / self.ropes[0].freq_scale).ln()
    }

    /// The graph of a file. Biases are added if the file has them.
    pub fn build(mut self, k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
        let mut g = Builder::new(k.file, h.n_layer, self.scales);
        let mut x = g.embed(h.n_embd, h.n_vocab, self.embed_scale)?;
        let n_ctx_orig = k.u32("rope.scaling.original_context_length")?.filter(|n| *n > 0).unwrap_or(h.n_ctx_train);
        self.ropes[0].factors = g.rope_factors(self.ropes[0].n_rot, n_ctx_orig)?;
        let tables: Vec<Table> = self.ropes.iter().map(|r| g.rope_table(r.clone(), self.rope_kind)).collect();
        for (i, layer) in self.layers.iter().enumerate() {
            g.layer(i as u32);
            let n = g.rms_norm(x, "attn_norm", h.rms_eps)?;
            let mut m = self.mixer(&mut g, n, layer.mixer, &tables, h.rms_eps)?;
            if self.post_norms {
                m = g.rms_norm(m, "post_attention_norm", h.rms_eps)?;
            }
            x = g.add(x, m, "attn_res");
            if i + 1 == self.layers.len() {
                // Behind the last mixer tokens no longer see each other, so only rows whose results were asked for go
                // on.
                x = g.select_outputs(x);
            }
            let n = g.rms_norm(x, self.ffn_norm, h.rms_eps)?;
            let mut f = self.feed_forward(&mut g, n, layer.ffn)?;
            if self.post_norms {
                f = g.rms_norm(f, "post_ffw_norm", h.rms_eps)?;
            }
            x = g.add(x, f, "ffn_res");
        }
        g.finish(x, h.rms_eps, h.n_vocab, self.logit_softcap)
    }

    fn mixer(&self, g: &mut Builder<'_>, x: ValueId, mixer: Mixer, tables: &[Table], eps: f32) -> Result<ValueId> {
        let temperature = self.temperature;
        match mixer {
            Mixer::Attention(a) => g.attention(
                x,
                Attention {
                    n_head: a.n_head,
                    n_head_kv: a.n_head_kv,
                    head_dim: a.head_dim,
                    scale: a.scale,
                    table: tables[a.rope],
                    window: a.window,
                    softcap: a.softcap,
                    qk_norm: a.qk_norm.then_some(eps),
                    sinks: a.sinks,
                    temperature,
                },
            ),
            Mixer::Latent(l) => g.latent_attention(
                x,
                Latent {
                    n_head: l.n_head,
                    kv_lora_rank: l.kv_lora_rank,
                    nope: l.key - self.ropes[0].n_rot,
                    rope: self.ropes[0].n_rot,
                    head_dim_v: l.value,
                    q_lora_rank: l.q_lora_rank,
                    eps,
                    scale: l.scale,
                    table: tables[0],
                    temperature,
                },
            ),
        }
    }

    fn feed_forward(&self, g: &mut Builder<'_>, x: ValueId, ffn: FeedForward) -> Result<ValueId> {
        let m = match ffn {
            FeedForward::Dense { n_ff } => return g.ffn(x, n_ff, self.gate),
            FeedForward::Mixture(m) => m,
        };
        let route = Route {
            n_expert: m.n_expert,
            n_expert_used: m.n_expert_used,
            gating: m.gating,
            normalise: m.normalise,
            scale: m.scale,
            n_group: m.n_group,
            n_group_used: m.n_group_used,
            bias: None,
        };
        let routed = g.experts(x, m.n_ff, self.gate, route)?;
        if m.n_ff_shared == 0 {
            return Ok(routed);
        }
        let shared = g.shared_experts(x, m.n_ff_shared, self.gate)?;
        Ok(g.add(routed, shared, "ffn_sum"))
    }
}
