//! The graph of an architecture: a [`Decoder`] in the words of the builder.

use super::decoder::{Decoder, FeedForward, Mixer, Stacks};
use super::hparams::Hparams;
use super::keys::Keys;
use crate::error::Result;
use crate::graph::{Builder, Graph, Pick, ValueId};

impl Decoder {
    /// The graph of a file. Biases are added if the file has them.
    pub fn build(mut self, k: &Keys<'_>, h: &Hparams) -> Result<Graph> {
        let n_layer = h.n_layer * self.n_loops;
        let mut g = Builder::new(k.file, n_layer, self.extras, self.norms, self.ignored);
        if let Some(n) = self.n_ctx_most {
            g.at_most(n);
        }
        let mut x = g.embed("token_embd", h.n_embd, h.n_vocab, self.embed_scale)?;
        if self.embed_positions {
            let positions = g.embed_positions(h.n_embd, h.n_ctx_train as usize)?;
            x = g.add(x, positions, "embd_at");
        }
        if self.embed_bert {
            x = g.add_first_type(x)?;
            x = g.norm(x, "token_embd_norm")?;
        }
        if self.embed_norm {
            x = g.bare_norm(x, h.n_embd, "embd_norm");
        }
        let embedded = x;
        let second = match self.n_embd_per_layer {
            0 => None,
            n => Some(g.embed_per_layer(x, n, h.n_vocab)?),
        };
        let n_ctx_orig = k.u32("rope.scaling.original_context_length")?.filter(|n| *n > 0).unwrap_or(h.n_ctx_train);
        if self.rope_factors {
            let n_rot = self.ropes.iter().map(|r| r.n_rot).max().unwrap_or(0);
            let factors = g.rope_factors(n_rot, n_ctx_orig)?;
            let take = if self.factors_for_all { self.ropes.len() } else { 1 };
            self.ropes[..take].iter_mut().for_each(|rope| rope.factors = factors);
        }
        for (i, rope) in self.ropes.iter().enumerate() {
            let used = self.layers.iter().any(|layer| match layer.mixer {
                Mixer::None | Mixer::Linear | Mixer::Recurrent(_) => false,
                Mixer::Attention(a) | Mixer::Both(a, _) => a.rope == Some(i),
                Mixer::Latent(a) => a.rope == Some(i),
            });
            g.rope_table(rope.clone(), self.rope_kind, used);
        }
        let prediction = self.prediction.filter(|_| k.draft);
        let all_rows = prediction.is_some() || k.pooling.is_some_and(|p| p.pick(self.head) == Pick::Mean);
        if let Some(stacks) = self.stacks {
            x = self.in_turns(&mut g, x, stacks, !all_rows)?;
        }
        // Stacks have run already.
        let n_loops = if self.stacks.is_some() { 0 } else { self.n_loops };
        for (slot, i) in (0..n_loops).flat_map(|_| 0..self.layers.len()).enumerate() {
            if self.loop_norm && slot > 0 && i == 0 {
                x = g.norm_between(x, "output_norm")?;
            }
            g.layer_by(slot as u32, i as u32);
            let last = slot + 1 == n_layer as usize && !all_rows;
            x = self.layer(&mut g, x, i, last, embedded, second)?;
        }
        let norm = self.output_norm;
        if let Some(pooling) = k.pooling {
            g.pooled_output(x, norm, pooling, self.head)?;
            return Ok(g.finish(h.n_vocab, h.n_embd));
        }
        let hidden = g.output(x, norm, h.n_vocab, self.logit_scale, self.logit_softcap, prediction.is_some())?;
        if let Some(layer) = prediction {
            let mut x = g.begin_draft(hidden, h.n_vocab, self.embed_scale)?;
            let n = norm_of(&mut g, x, self.attn_norm)?;
            if let Some(m) = self.mixer(&mut g, n, layer.mixer)? {
                x = self.plus(&mut g, x, m, self.post_names[0], "draft_attn_res")?;
            }
            if let Some(f) = self.feed_forward(&mut g, x, x, layer.ffn)? {
                x = self.plus(&mut g, x, f, self.post_names[1], "draft_ffn_res")?;
            }
            g.end_draft(x, norm, h.n_vocab)?;
        }
        Ok(g.finish(h.n_vocab, h.n_embd))
    }

    /// The layer `i` of x. Of the last one only the rows of outputs go on.
    fn layer(
        &self,
        g: &mut Builder<'_>,
        mut x: ValueId,
        i: usize,
        last: bool,
        embedded: ValueId,
        second: Option<ValueId>,
    ) -> Result<ValueId> {
        // Behind the last mixer tokens no longer see each other, so only rows whose results were asked for go on.
        // A draft begins with the hidden row of every token, and a mean needs them all.
        let outputs = |g: &mut Builder<'_>, x| if last { g.select_outputs(x) } else { x };
        let (layer, input) = (&self.layers[i], x);
        let normed = !matches!(layer.mixer, Mixer::None) || (self.parallel && self.ffn_norm.is_none());
        let bare = self.bare_first && i == 0 && !g.has("attn_norm");
        let n = if normed && !bare { norm_of(g, x, self.attn_norm)? } else { x };
        if let Some(m) = self.mixer(g, n, layer.mixer)? {
            x = self.plus(g, x, m, self.post_names[0], "attn_res")?;
        }
        x = outputs(g, x);
        if let Some([norm, _]) = self.sum_norms {
            x = g.norm(x, norm)?;
            if g.has("attn_norm_2") {
                let before = outputs(g, input);
                let sum = g.add(x, before, "attn_res_2");
                x = g.norm(sum, "attn_norm_2")?;
            }
        }
        let from = match (self.parallel, self.ffn_norm) {
            (false, _) => x,
            (true, Some(_)) => outputs(g, input),
            (true, None) => outputs(g, n),
        };
        let reads_input = match layer.ffn {
            FeedForward::Mixture(m) => m.routes_input,
            FeedForward::DenseAndEarly(..) => true,
            _ => false,
        };
        let input = if reads_input { outputs(g, input) } else { from };
        if let Some(f) = self.feed_forward(g, from, input, layer.ffn)? {
            x = self.plus(g, x, f, self.post_names[1], "ffn_res")?;
        }
        if let Some([_, norm]) = self.sum_norms {
            x = g.norm(x, norm)?;
        }
        if let Some(second) = second {
            let own = g.of_layer(second, self.n_embd_per_layer);
            let own = outputs(g, own);
            x = g.add_per_layer(x, own)?;
        }
        if self.embed_skips {
            let own = outputs(g, embedded);
            let own = g.times_tensor(own, "layer_output_scale", "weight", 1, 1.0)?;
            x = g.add(x, own, "embd_skip");
        }
        if self.layer_scale && g.has("layer_output_scale") {
            x = g.times_tensor(x, "layer_output_scale", "weight", 1, 1.0)?;
        }
        g.steer(x)
    }

    /// The layers of two stacks in turns: the low one reads the sum of both states and leaves its own, several times;
    /// then the high one does. Each run of a layer has a number of its own.
    fn in_turns(&self, g: &mut Builder<'_>, x: ValueId, s: Stacks, outputs_only: bool) -> Result<ValueId> {
        let (mut low, mut high, mut slot) = (None, x, 0);
        for turn in 0..s.high * (s.low + 1) {
            let is_high = turn % (s.low + 1) == s.low;
            let first = if is_high { s.n } else { 0 };
            g.layer_by(slot, first);
            let mut y = match low {
                None => g.add_vector(high, "hrm.z_l_init")?,
                Some(low) => g.add(high, low, "states_sum"),
            };
            for own in first..first + s.n {
                g.layer_by(slot, own);
                slot += 1;
                let last = slot as usize == self.layers.len() && outputs_only;
                y = self.layer(g, y, own as usize, last, x, None)?;
            }
            let (_, n_embd) = g.shape(y);
            y = g.bare_norm(y, n_embd, "state");
            if is_high { high = y } else { low = Some(y) }
        }
        Ok(high)
    }

    /// x plus the result of a mixer or feed-forward block.
    fn plus(
        &self,
        g: &mut Builder<'_>,
        x: ValueId,
        mut y: ValueId,
        post_norm: &'static str,
        name: &'static str,
    ) -> Result<ValueId> {
        if let Some(norms) = self.post_norms {
            y = g.norm_by(y, post_norm, norms)?;
        }
        let y = g.times(y, self.residual_scale, "res_scaled");
        Ok(g.add(x, y, name))
    }

    fn mixer(&self, g: &mut Builder<'_>, x: ValueId, mixer: Mixer) -> Result<Option<ValueId>> {
        match mixer {
            Mixer::None => Ok(None),
            Mixer::Linear => {
                let (_, n_embd) = g.shape(x);
                g.linear(x, "attn_output", n_embd).map(Some)
            }
            Mixer::Attention(a) => g.attention(x, a).map(Some),
            Mixer::Latent(a) => g.latent_attention(x, a).map(Some),
            Mixer::Recurrent(r) => g.recurrent(x, r).map(Some),
            Mixer::Both(a, r) => {
                let (a, r) = (g.attention(x, a)?, g.recurrent(x, r)?);
                Ok(Some(g.add(a, r, "mixer_sum")))
            }
        }
    }

    fn feed_forward(
        &self,
        g: &mut Builder<'_>,
        x: ValueId,
        input: ValueId,
        ffn: FeedForward,
    ) -> Result<Option<ValueId>> {
        match ffn {
            FeedForward::None => Ok(None),
            FeedForward::Dense(dense) => {
                let n = norm_of(g, x, self.ffn_norm)?;
                g.ffn(n, dense).map(Some)
            }
            FeedForward::Mixture(m) => {
                let n = norm_of(g, x, self.ffn_norm)?;
                g.mixture(n, input, m).map(Some)
            }
            FeedForward::DenseAndExperts(dense, m) => g.dense_and_experts(x, dense, m).map(Some),
            FeedForward::DenseAndEarly(dense, m) => {
                let n = norm_of(g, x, self.ffn_norm)?;
                let dense = g.ffn(n, dense)?;
                let n = g.norm(input, "ffn_norm_exps")?;
                let experts = g.mixture(n, input, m)?;
                Ok(Some(g.add(dense, experts, "ffn_sum")))
            }
        }
    }
}

/// The norm `role` of x, if there is one.
fn norm_of(g: &mut Builder<'_>, x: ValueId, role: Option<&'static str>) -> Result<ValueId> {
    role.map_or(Ok(x), |role| g.norm(x, role))
}
