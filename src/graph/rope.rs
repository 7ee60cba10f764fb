//! Rotary position embedding (RoPE): the angle by which each pair of elements turns, per position.
//!
//! # Problem and idea
//!
//! Attention compares a query with keys by dot products, which know nothing of the order of tokens. RoPE brings it in.
//! The elements of a head are taken in pairs, each pair is a point in the plane, and pair `i` of the token at position
//! `p` is turned by the angle `p f(i)`. A dot product of two turned vectors depends on the difference of their
//! positions alone. Rotations also add up, so a cached key is moved by `delta` positions by turning it once more
//! ([`Rotation::turns`]); it need not be computed again.
//!
//! ```text
//! head of 8 elements    RopeKind::Norm   (0 1) (2 3) (4 5) (6 7)    neighbours
//!                       RopeKind::Neox   (0 4) (1 5) (2 6) (3 7)    first half with second half
//! ```
//!
//! # Frequencies
//!
//! `f(i) = freq_base ^ (-2 i / n_rot)` radians per position. Pair 0 turns by a radian per token and tells near tokens
//! apart; the last pairs hardly turn and tell far ones apart. A model that is used beyond the length it was trained for
//! would meet angles that it never saw. Three remedies exist, and files combine them:
//!
//! - All frequencies are multiplied by `freq_scale`, below 1. Positions are "interpolated" between trained ones.
//! - Each frequency has a divisor of its own in the file ([`Factors`]).
//! - [`Yarn`] treats pairs differently. One that turns more than `beta_fast` times over the trained length has met all
//!   angles, and keeps its frequency. One that turns less than `beta_slow` times is interpolated. Between these two the
//!   frequency passes over linearly (`Rope::ramp` says where). Cosines and sines grow a little, which makes up for the
//!   flatter scores.
//!
//! Angles are computed in f64: at position 100,000 an f32 is wrong by 0.004 radians.

use std::f64::consts::PI;

use super::value::WeightId;

/// The way in which elements of a head make pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeKind {
    /// Neighbours: (0, 1), (2, 3), …
    Norm,
    /// Halves: (0, n/2), (1, n/2 + 1), …
    Neox,
}

/// YaRN: high frequencies stay, low ones are interpolated, with a ramp between them (Peng et al. 2023,
/// arXiv:2309.00071).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    pub n_ctx_orig: u32,
    pub ext_factor: f32,
    pub beta_fast: f32,
    pub beta_slow: f32,
}

/// Divisors of the frequencies, `[n_rot / 2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Factors {
    #[default]
    None,
    /// llama 3's `rope_freqs.weight`.
    Always(WeightId),
    /// `long` for a KV cache of more than `n_ctx_orig` tokens, else `short` (phi3).
    ByContext { short: WeightId, long: WeightId, n_ctx_orig: u32 },
}

impl Factors {
    /// All the tensors, also those that are read at some lengths of the context only.
    pub fn weights(self) -> impl Iterator<Item = WeightId> {
        let (a, b) = match self {
            Factors::None => (None, None),
            Factors::Always(w) => (Some(w), None),
            Factors::ByContext { short, long, .. } => (Some(short), Some(long)),
        };
        a.into_iter().chain(b)
    }
    /// The one that applies to a KV cache of `n_ctx` tokens.
    pub fn at(self, n_ctx: usize) -> Option<WeightId> {
        match self {
            Factors::None => None,
            Factors::Always(w) => Some(w),
            Factors::ByContext { short, long, n_ctx_orig } => {
                Some(if n_ctx > n_ctx_orig as usize { long } else { short })
            }
        }
    }
}

/// Pairs by the stream of positions that turns them (M-RoPE). A text gives the first three streams its positions, and
/// the fourth zeros: pairs of that stream stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// Pairs of each stream. Streams begin anew behind the last.
    pub counts: [u32; 4],
    /// The first three take turns, pair by pair, each as far as its count goes; the fourth has the rest.
    pub interleaved: bool,
}

impl Sections {
    /// True if a text leaves a pair as it is.
    fn rests(&self, pair: usize) -> bool {
        let [first, second, third, fourth] = self.counts.map(u64::from);
        let place = pair as u64 % (first + second + third + fourth).max(1);
        if self.interleaved {
            place >= 3 * [first, second, third][place as usize % 3]
        } else {
            place >= first + second + third
        }
    }
}

/// A factor by which queries grow with their position: 1 + scale ln(floor((position + offset) / length) + 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    pub scale: f32,
    pub length: u32,
    pub offset: u32,
}

impl Temperature {
    pub fn at(self, position: i32) -> f32 {
        let position = f64::from(position) + f64::from(self.offset);
        1.0 + self.scale * ((position / f64::from(self.length)).floor() + 1.0).ln() as f32
    }
}

/// Parameters of one rotation.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Elements of a head that turn; even.
    pub n_rot: usize,
    pub freq_base: f32,
    /// 1 / the scaling factor.
    pub freq_scale: f32,
    /// Multiplies cosine and sine.
    pub attn_factor: f32,
    pub yarn: Option<Yarn>,
    pub factors: Factors,
    pub sections: Option<Sections>,
}

impl Rope {
    /// Radians per position for each pair, `[n_rot / 2]`; `factors` are the divisors, if the file has them.
    pub fn frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        let (low, high) = self.ramp();
        (0..self.n_rot / 2)
            .map(|i| {
                if self.sections.is_some_and(|s| s.rests(i)) {
                    return 0.0;
                }
                let factor = factors.and_then(|f| f.get(i)).map_or(1.0, |f| f64::from(*f));
                let extrapolated = f64::from(self.freq_base).powf(-2.0 * i as f64 / self.n_rot as f64) / factor;
                let interpolated = extrapolated * f64::from(self.freq_scale);
                let Some(yarn) = self.yarn else { return interpolated };
                let y = (i as f64 - low) / (high - low).max(0.001);
                let mix = (1.0 - y.clamp(0.0, 1.0)) * f64::from(yarn.ext_factor);
                interpolated * (1.0 - mix) + extrapolated * mix
            })
            .collect()
    }

    /// Cosines and sines are multiplied by it.
    pub fn magnitude(&self) -> f64 {
        let yarn = match self.yarn {
            Some(y) if y.ext_factor != 0.0 => 1.0 + 0.1 * (1.0 / f64::from(self.freq_scale)).ln(),
            _ => 1.0,
        };
        f64::from(self.attn_factor) * yarn
    }

    /// The pairs between which YaRN passes from kept frequencies to interpolated ones.
    fn ramp(&self) -> (f64, f64) {
        let Some(y) = self.yarn else { return (0.0, 0.0) };
        // The pair that turns `beta` times over the original context.
        let pair = |beta: f32| {
            self.n_rot as f64 * (f64::from(y.n_ctx_orig) / (f64::from(beta) * 2.0 * PI)).ln()
                / (2.0 * f64::from(self.freq_base).ln())
        };
        (pair(y.beta_fast).floor().max(0.0), pair(y.beta_slow).ceil().min(self.n_rot as f64 - 1.0))
    }
}

/// One rotation of the graph, for a KV cache of a given size.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Radians per position for each pair.
    pub frequencies: Vec<f64>,
    /// Cosines and sines are multiplied by it.
    pub magnitude: f64,
}

impl Rotation {
    /// `factors` are the divisors of the frequencies, if the file has them.
    pub fn new(rope: &Rope, factors: Option<&[f32]>) -> Rotation {
        Rotation { frequencies: rope.frequencies(factors), magnitude: rope.magnitude() }
    }

    /// Cosine and sine of each pair for keys that move by `delta` positions. They are not multiplied by the magnitude,
    /// since the keys were when they were made.
    pub fn turns(&self, delta: i32) -> impl Iterator<Item = [f32; 2]> + '_ {
        self.frequencies.iter().map(move |f| {
            let (sin, cos) = (f64::from(delta) * f).sin_cos();
            [cos as f32, sin as f32]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(n_rot: usize) -> Rope {
        Rope {
            n_rot,
            freq_base: 10000.0,
            freq_scale: 1.0,
            attn_factor: 1.0,
            yarn: None,
            factors: Factors::None,
            sections: None,
        }
    }

    #[test]
    fn frequencies_fall_from_one_by_powers_of_the_base() {
        let f = plain(4).frequencies(None);
        assert_eq!(f.len(), 2);
        assert!((f[0] - 1.0).abs() < 1e-12 && (f[1] - 0.01).abs() < 1e-12);
        let f = Rope { freq_scale: 0.25, ..plain(4) }.frequencies(Some(&[1.0, 2.0]));
        assert!((f[0] - 0.25).abs() < 1e-12 && (f[1] - 0.00125).abs() < 1e-12);
    }

    #[test]
    fn yarn_keeps_the_fastest_pair_and_scales_the_slowest() {
        let yarn = Yarn { n_ctx_orig: 4096, ext_factor: 1.0, beta_fast: 32.0, beta_slow: 1.0 };
        let rope = Rope { freq_scale: 0.25, yarn: Some(yarn), ..plain(128) };
        let (scaled, plain) = (rope.frequencies(None), plain(128).frequencies(None));
        assert!((scaled[0] - plain[0]).abs() < 1e-12);
        assert!((scaled[63] - plain[63] * 0.25).abs() < 1e-12);
        assert!((rope.magnitude() - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12);
    }
}
