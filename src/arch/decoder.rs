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
use crate::graph::{
    Act, Activation, Attention, Dense, Extras, Gate, Gating, Head, Latent, Mixture, NormKind, Norms, Pick, Recurrent,
    Rope, RopeKind, Route,
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
    None,
    /// Grouped-query attention.
    Attention(Attention),
    Latent(Latent),
    Recurrent(Recurrent),
    /// A matrix (attn_output), through which no token sees another (deci).
    Linear,
    /// Side by side on the same input; their results are added.
    Both(Attention, Recurrent),
}

/// The kinds of feed-forward block.
#[derive(Debug, Clone, Copy)]
pub(super) enum FeedForward {
    None,
    Dense(Dense),
    Mixture(Mixture),
    /// Side by side, with norms of their own (gemma4).
    DenseAndExperts(Dense, Mixture),
    /// A dense block, and experts that read the layer's input by a norm of their own (arctic).
    DenseAndEarly(Dense, Mixture),
}

/// Stacks of `n` layers each: the low one runs `low` times, then the high one once; that `high` times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stacks {
    pub n: u32,
    pub high: u32,
    pub low: u32,
}

/// An architecture.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    pub layers: Vec<Layer>,
    /// Rotations that layers choose from. The first takes the file's factors of frequencies.
    pub ropes: Vec<Rope>,
    /// True if the others take them, too.
    pub factors_for_all: bool,
    pub rope_kind: RopeKind,
    /// True if the file's divisors of frequencies are applied.
    pub rope_factors: bool,
    pub norms: Norms,
    /// Token embeddings are multiplied by it.
    pub embed_scale: f32,
    /// True if embeddings are normed, without a weight.
    pub embed_norm: bool,
    /// True if the first row of a table of token types is added to them, and they are then normed (token_embd_norm).
    pub embed_bert: bool,
    /// True if a row of a table of positions is added to them.
    pub embed_positions: bool,
    /// Width of the second embedding, of which each layer has a part of its own; 0: there is none.
    pub n_embd_per_layer: usize,
    /// The name of the norm before the mixer; `None`: there is none.
    pub attn_norm: Option<&'static str>,
    /// The name of the norm before the feed-forward block; `None`: there is none.
    pub ffn_norm: Option<&'static str>,
    /// True if the first layer may lack the norm before the mixer.
    pub bare_first: bool,
    /// The norms of the sums of mixer or feed-forward block and their inputs, if sums are normed. A second norm behind
    /// the mixer (attn_norm_2) is that of one more sum.
    pub sum_norms: Option<[&'static str; 2]>,
    /// The norms of the results of mixer and feed-forward block, before these are added, if they are normed.
    pub post_norms: Option<Norms>,
    pub post_names: [&'static str; 2],
    /// True if the feed-forward block reads what the mixer reads: the layer's input, or its norm where the block has no
    /// norm of its own.
    pub parallel: bool,
    /// The results of mixer and feed-forward block are multiplied by it.
    pub residual_scale: f32,
    /// True if a layer's result is multiplied by a number of its own (layer_output_scale), where the file has one.
    pub layer_scale: bool,
    /// Logits are multiplied by it.
    pub logit_scale: f32,
    /// Limits logits: cap tanh(logit / cap).
    pub logit_softcap: Option<f32>,
    /// The name of the norm before the output; `None`: there is none.
    pub output_norm: Option<&'static str>,
    /// The head that scores texts, where the file has one.
    pub head: Head,
    pub extras: Extras,
    /// Tensors that files may have and the model does not apply, named without their layer.
    pub ignored: &'static [&'static str],
    /// The longest context for which this is the model; `None`: any.
    pub n_ctx_most: Option<u32>,
    /// The times that the layers run, each time with caches of their own, and whether the output's norm stands between.
    pub n_loops: u32,
    pub loop_norm: bool,
    /// Two stacks of layers that run in turns, in place of one.
    pub stacks: Option<Stacks>,
    /// True if the embedding comes in again in every layer, times a number of its own (layer_output_scale).
    pub embed_skips: bool,
    /// The layer behind the trunk that guesses the token after the next, if files have it.
    pub prediction: Option<Layer>,
}

/// The scales that llama, qwen3, mistral3 and their mixtures apply, if files have such tensors.
pub(super) const ALL_SCALES: Extras =
    Extras { ffn_scales: true, expert_scales: true, output_scale: true, act_scales: false, sub_norms: false };

impl Decoder {
    /// The plain decoder of llama with the rotation `kind`.
    pub fn new(h: &Hparams, rope_kind: RopeKind) -> Decoder {
        let act = Act::Gated(Gate::Plain(Activation::Silu));
        let mixture = h.experts.map(|e| Mixture {
            route: Route {
                n_expert: e.n_expert,
                n_expert_used: e.n_expert_used,
                gating: Gating::Softmax,
                normalise: true,
                scale: 1.0,
                n_group: e.n_group,
                n_group_used: e.n_group_used,
                bias: None,
            },
            n_ff: e.n_ff,
            act,
            weighted_inputs: false,
            shared: None,
            routes_input: false,
            chunks: None,
            sum_scale: 1.0,
            latent: None,
        });
        let attention = |sizes: &LayerSizes| Attention {
            n_head: sizes.n_head,
            n_head_kv: sizes.n_head_kv,
            key: sizes.key,
            value: sizes.value,
            scale: h.attention_scale.unwrap_or(1.0 / (sizes.key as f32).sqrt()),
            rope: Some(0),
            window: None,
            chunked: false,
            whole_text: false,
            alibi: None,
            softcap: None,
            clamp: None,
            qk_norm: None,
            norm_rotated: false,
            v_norm: false,
            sinks: false,
            temperature: None,
            gate: None,
            gate_act: Activation::Sigmoid,
            out_scale: 1.0,
            unbiased_out: false,
            reads: None,
        };
        let layer = |sizes: &LayerSizes| Layer {
            mixer: if sizes.n_head_kv == 0 { Mixer::None } else { Mixer::Attention(attention(sizes)) },
            ffn: match (mixture, sizes.n_ff) {
                (Some(mixture), _) => FeedForward::Mixture(mixture),
                (None, 0) => FeedForward::None,
                (None, n_ff) => FeedForward::Dense(Dense { n_ff, act }),
            },
        };
        Decoder {
            layers: h.layers.iter().map(layer).collect(),
            ropes: vec![h.rope.clone()],
            factors_for_all: false,
            rope_kind,
            rope_factors: true,
            norms: Norms { kind: NormKind::Rms, eps: h.eps, biases: false, bare: false },
            embed_scale: 1.0,
            embed_norm: false,
            embed_bert: false,
            embed_positions: false,
            n_embd_per_layer: 0,
            attn_norm: Some("attn_norm"),
            ffn_norm: Some("ffn_norm"),
            bare_first: false,
            sum_norms: None,
            post_norms: None,
            post_names: ["post_attention_norm", "post_ffw_norm"],
            parallel: false,
            residual_scale: 1.0,
            layer_scale: false,
            logit_scale: 1.0,
            logit_softcap: None,
            output_norm: Some("output_norm"),
            head: Head { pick: Pick::Last, gelu: false, softmax: false },
            extras: Extras { ffn_scales: false, expert_scales: false, ..ALL_SCALES },
            ignored: &[],
            n_ctx_most: None,
            n_loops: 1,
            loop_norm: false,
            stacks: None,
            embed_skips: false,
            prediction: None,
        }
    }

    /// Says that files may have prediction layers behind the trunk, which look like its last layer with attention.
    pub fn predicts(mut self) -> Decoder {
        let attends = |layer: &&Layer| matches!(layer.mixer, Mixer::Attention(_));
        self.prediction = self.layers.iter().rev().find(attends).copied();
        self
    }

    /// Changes the attention of every layer that has one.
    pub fn heads(mut self, change: impl Fn(&mut Attention)) -> Decoder {
        self.attentions().for_each(|(_, a)| change(a));
        self
    }

    /// The attention of every layer that has one, with the layer's number.
    pub fn attentions(&mut self) -> impl Iterator<Item = (usize, &mut Attention)> {
        self.layers.iter_mut().enumerate().filter_map(|(i, layer)| match &mut layer.mixer {
            Mixer::Attention(a) | Mixer::Both(a, _) => Some((i, a)),
            Mixer::None | Mixer::Linear | Mixer::Latent(_) | Mixer::Recurrent(_) => None,
        })
    }

    /// Changes every mixture of experts.
    pub fn mixtures(mut self, change: impl Fn(&mut Mixture)) -> Decoder {
        for layer in &mut self.layers {
            if let FeedForward::Mixture(m) | FeedForward::DenseAndExperts(_, m) | FeedForward::DenseAndEarly(_, m) =
                &mut layer.ffn
            {
                change(m);
            }
        }
        self
    }

    /// Gives every feed-forward block this middle.
    pub fn act(mut self, act: Act) -> Decoder {
        for layer in &mut self.layers {
            match &mut layer.ffn {
                FeedForward::None => {}
                FeedForward::Dense(dense) => dense.act = act,
                FeedForward::Mixture(m) => m.act = act,
                FeedForward::DenseAndExperts(dense, m) | FeedForward::DenseAndEarly(dense, m) => {
                    (dense.act, m.act) = (act, act);
                }
            }
        }
        self
    }

    /// Makes the feed-forward block of the layers that are `dense` an ordinary one.
    pub fn dense(mut self, h: &Hparams, dense: impl Fn(usize) -> bool) -> Decoder {
        for (i, layer) in self.layers.iter_mut().enumerate().filter(|(i, _)| dense(*i)) {
            if let FeedForward::Mixture(m) = layer.ffn {
                layer.ffn = FeedForward::Dense(Dense { n_ff: h.layers[i].n_ff, act: m.act });
            }
        }
        self
    }

    /// Makes every layer without KV heads a recurrent one.
    pub fn recurrent(mut self, kind: Recurrent) -> Decoder {
        for layer in self.layers.iter_mut().filter(|layer| matches!(layer.mixer, Mixer::None)) {
            layer.mixer = Mixer::Recurrent(kind);
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
        for (_, a) in self.attentions().filter(|(i, _)| local[*i]) {
            (a.window, a.rope) = (Some(n), Some(own));
        }
        self
    }

    /// Makes the norms LayerNorms, which may have biases.
    pub fn layer_norms(self, h: &Hparams) -> Decoder {
        Decoder { norms: Norms { kind: NormKind::Layer, eps: h.layer_eps, biases: true, bare: false }, ..self }
    }

    /// Lets every token see its whole text, or half a window to either side. A head scores a text by its first token.
    pub fn encoder(mut self) -> Decoder {
        self.head.pick = Pick::First;
        self.heads(|a| a.whole_text = true)
    }

    /// Lets scores fall with distance in place of a rotation (ALiBi), by slopes of that spread, if it is not 0.
    pub fn alibi(self, spread: f32) -> Decoder {
        self.heads(|a| (a.rope, a.alibi) = (None, (spread > 0.0).then_some(spread)))
    }

    /// Leaves queries and keys of some layers as they are, without a rotation.
    pub fn without_rope(mut self, without: impl Fn(usize) -> bool) -> Decoder {
        self.attentions().filter(|(i, _)| without(*i)).for_each(|(_, a)| a.rope = None);
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
}
