//! Every step against the reference's, on rows and settings that `tests/reference/make_sample.py` makes, too.
//!
//! The candidates must be the same. Their probabilities may differ by 1e-6: the reference adds up probabilities in f32,
//! up to 900 of them here, each rounded by 6e-8 of itself, and its dynamic temperature is a power in f32. The file has
//! of each case the largest probability and a sum of all with weights below 1, so the sum, too, is within 1e-6.

use std::path::Path;
use std::sync::Arc;

use crate::gguf::Gguf;
use crate::sample::{Logprob, Sampler, SamplerParams, Step};
use crate::vocab::Vocab;

const CASES: u64 = 1000;
const TOLERANCE: f64 = 1e-6;
/// Adaptive-p makes logits from probabilities, with a slope of up to 10 / 0.3, and so makes their rounding larger.
const TOLERANCE_OF_ADAPTIVE: f64 = 1e-5;

/// Knuth's MMIX generator; its upper 31 bits.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
    fn number(&mut self, n: u64) -> u32 {
        self.below(n) as u32
    }
    /// One of 1001 numbers from low to high.
    fn real(&mut self, low: f64, high: f64) -> f32 {
        (low + (high - low) * self.below(1001) as f64 / 1000.0) as f32
    }
    fn length(&mut self) -> usize {
        2 + if self.below(8) == 0 { self.below(900) } else { self.below(200) } as usize
    }
    /// Logits that are all different: about normal, with a deviation of 0.5, 1, 2 or 4.
    fn row(&mut self, n: usize) -> Vec<f32> {
        let bits = (usize::BITS - (n - 1).leading_zeros()).max(1);
        let scale = 0.5f64.powi(22 - self.below(4) as i32);
        let each = 1 << (22 - bits);
        let mut value = |i: usize| ((self.below(each) + self.below(each) + self.below(each)) << bits) + i as u64;
        (0..n).map(|i| ((value(i) as f64 - 6291456.0) * scale) as f32).collect()
    }
    /// Tokens of a small alphabet that repeat themselves.
    fn history(&mut self, n_vocab: usize, most: u64) -> Vec<i32> {
        let mut out: Vec<i32> = Vec::new();
        for _ in 0..self.below(most) {
            if out.len() > 4 && self.below(3) == 0 {
                let at = self.below(out.len() as u64) as usize;
                let end = out.len().min(at + 1 + self.below(8) as usize);
                out.extend_from_within(at..end);
            } else {
                out.push(self.below(n_vocab.min(6) as u64) as i32);
            }
        }
        out
    }
    fn breakers(&mut self) -> Vec<Vec<i32>> {
        let n = |r: &mut Random| r.below(3);
        (0..n(self)).map(|_| (0..1 + n(self)).map(|_| self.below(6) as i32).collect()).collect()
    }
}

struct Case {
    n_vocab: usize,
    before: Vec<i32>,
    params: SamplerParams,
}

/// Settings with these steps, which draw from the model's own distribution if there is no temperature among them.
fn steps(steps: &[Step]) -> SamplerParams {
    SamplerParams { steps: steps.to_vec(), temperature: 1.0, n_logprobs: 1000, ..SamplerParams::default() }
}

fn dry(r: &mut Random, params: SamplerParams) -> SamplerParams {
    SamplerParams {
        dry_multiplier: r.real(0.1, 5.0),
        dry_base: r.real(1.0, 3.0),
        dry_allowed_length: 1 + r.number(5),
        dry_last_n: 1 + r.number(120),
        ..params
    }
}

type Kind = fn(&mut Random, &Arc<Vocab>) -> Case;

/// A kind that only has settings.
fn simple(r: &mut Random, params: impl FnOnce(&mut Random) -> SamplerParams) -> Case {
    Case { n_vocab: r.length(), before: Vec::new(), params: params(r) }
}

fn logit_bias(r: &mut Random, _: &Arc<Vocab>) -> Case {
    let n_vocab = r.length();
    let mut tokens: Vec<i32> = (0..1 + r.below(20)).map(|_| r.below(n_vocab as u64) as i32).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut bias = |t: i32| if r.below(4) == 0 && t > 0 { f32::NEG_INFINITY } else { r.real(-5.0, 5.0) };
    let logit_bias = tokens.iter().map(|t| (*t, bias(*t))).collect();
    Case { n_vocab, before: Vec::new(), params: SamplerParams { logit_bias, ..steps(&[Step::Temperature]) } }
}

fn penalties(r: &mut Random, _: &Arc<Vocab>) -> Case {
    let n_vocab = r.length();
    let before = r.history(n_vocab, 200);
    let params = SamplerParams {
        penalty_last_n: 1 + r.number(100),
        repeat_penalty: r.real(0.5, 2.0),
        frequency_penalty: r.real(-1.0, 1.0),
        presence_penalty: r.real(-1.0, 1.0),
        ..steps(&[Step::Penalties])
    };
    Case { n_vocab, before, params }
}

fn dry_tokens(r: &mut Random, _: &Arc<Vocab>) -> Case {
    let n_vocab = r.length();
    let before = r.history(n_vocab, 200);
    let params = dry(r, steps(&[Step::Dry]));
    Case { n_vocab, before, params: SamplerParams { dry_breakers: r.breakers(), ..params } }
}

fn dry_texts(r: &mut Random, vocab: &Arc<Vocab>) -> Case {
    let n_vocab = vocab.n_tokens();
    let n_words = n_vocab as u64 - 260;
    let mut before: Vec<i32> = (0..r.below(100)).map(|_| 259 + r.below(n_words) as i32).collect();
    let again = before.len().min(r.below(100) as usize);
    before.extend_from_within(..again);
    let params = dry(r, steps(&[Step::Dry]));
    let texts = [&["\n", ":", "\"", "*"][..], &["hello\n"], &["o: h"], &["\n\n", "he"]][r.below(4) as usize];
    let dry_breaker_texts = texts.iter().map(|t| (*t).to_owned()).collect();
    Case { n_vocab, before, params: SamplerParams { dry_breaker_texts, vocab: Some(vocab.clone()), ..params } }
}

fn infill(r: &mut Random, vocab: &Arc<Vocab>) -> Case {
    let params =
        SamplerParams { top_k: 2 + r.number(30), vocab: Some(vocab.clone()), ..steps(&[Step::TopK, Step::Infill]) };
    Case { n_vocab: vocab.n_tokens(), before: Vec::new(), params }
}

fn default(r: &mut Random, _: &Arc<Vocab>) -> Case {
    let n_vocab = r.length();
    let before = r.history(n_vocab, 100);
    Case { n_vocab, before, params: chain(r, |_| (0..9).collect()) }
}

fn any_order(r: &mut Random, _: &Arc<Vocab>) -> Case {
    let n_vocab = r.length();
    let before = r.history(n_vocab, 100);
    Case { n_vocab, before, params: chain(r, |r| (0..1 + r.below(9)).map(|_| r.below(9) as usize).collect()) }
}

fn chain(r: &mut Random, order: impl FnOnce(&mut Random) -> Vec<usize>) -> SamplerParams {
    let order = order(r);
    let mut on: Vec<bool> = (0..9).map(|_| r.below(2) == 1).collect();
    let min_keep = if on[2] { 0 } else { r.number(4) };
    let (repeat_penalty, frequency_penalty, presence_penalty) =
        (r.real(0.5, 2.0), r.real(-1.0, 1.0), r.real(-1.0, 1.0));
    let params = SamplerParams { dry_last_n: 64, ..dry(r, steps(&[])) };
    let params = SamplerParams {
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        min_keep,
        dry_breakers: r.breakers(),
        top_n_sigma: r.real(0.5, 3.0),
        top_k: 1 + r.number(60),
        typical_p: r.real(0.2, 0.98),
        top_p: r.real(0.2, 0.98),
        min_p: r.real(0.002, 0.3),
        xtc_probability: 1.0,
        xtc_threshold: r.real(0.02, 0.5),
        temperature: r.real(0.5, 2.0),
        dynatemp_range: r.real(0.1, 0.4),
        dynatemp_exponent: r.real(0.5, 2.0),
        ..params
    };
    on[4] &= !on[2];
    let dynamic = !on[2] && r.below(2) == 1;
    let all = crate::sample::DEFAULT_STEPS;
    let steps: Vec<Step> = order.into_iter().filter(|i| on[*i]).map(|i| all[i]).collect();
    // An empty list would mean the default.
    let (steps, top_k) = if steps.is_empty() { (vec![Step::TopK], 0) } else { (steps, params.top_k) };
    SamplerParams { steps, top_k, dynatemp_range: if dynamic { params.dynatemp_range } else { 0.0 }, ..params }
}

/// In the order of the file. The last item says if the reference draws in the step.
const KINDS: [(&str, Kind, bool); 18] = [
    ("logit_bias", logit_bias, false),
    ("penalties", penalties, false),
    ("dry", dry_tokens, false),
    ("dry_texts", dry_texts, false),
    (
        "top_n_sigma",
        |r, _| simple(r, |r| SamplerParams { top_n_sigma: r.real(0.1, 3.0), ..steps(&[Step::TopNSigma]) }),
        false,
    ),
    ("top_k", |r, _| simple(r, |r| SamplerParams { top_k: 1 + r.number(100), ..steps(&[Step::TopK]) }), false),
    (
        "typical",
        |r, _| {
            simple(r, |r| SamplerParams {
                typical_p: r.real(0.02, 0.98),
                min_keep: r.number(6),
                ..steps(&[Step::Typical])
            })
        },
        false,
    ),
    (
        "top_p",
        |r, _| {
            simple(r, |r| SamplerParams { top_p: r.real(0.02, 0.98), min_keep: r.number(6), ..steps(&[Step::TopP]) })
        },
        false,
    ),
    (
        "min_p",
        |r, _| {
            simple(r, |r| SamplerParams { min_p: r.real(0.002, 0.98), min_keep: r.number(6), ..steps(&[Step::MinP]) })
        },
        false,
    ),
    (
        "xtc",
        |r, _| {
            simple(r, |r| SamplerParams {
                xtc_probability: 1.0,
                xtc_threshold: r.real(0.002, 0.52),
                min_keep: r.number(6),
                ..steps(&[Step::Xtc])
            })
        },
        false,
    ),
    (
        "temperature",
        |r, _| simple(r, |r| SamplerParams { temperature: r.real(0.1, 3.0), ..steps(&[Step::Temperature]) }),
        false,
    ),
    (
        "dynamic",
        |r, _| {
            simple(r, |r| SamplerParams {
                temperature: r.real(0.5, 2.0),
                dynatemp_range: r.real(0.1, 0.4),
                dynatemp_exponent: r.real(0.5, 2.0),
                ..steps(&[Step::Temperature])
            })
        },
        false,
    ),
    (
        "mirostat1",
        |r, _| {
            simple(r, |r| {
                r.below(1000);
                SamplerParams {
                    mirostat: 1,
                    mirostat_tau: r.real(1.0, 3.0),
                    mirostat_eta: r.real(0.1, 1.0),
                    ..steps(&[])
                }
            })
        },
        true,
    ),
    (
        "mirostat2",
        |r, _| {
            simple(r, |r| {
                r.below(1000);
                SamplerParams {
                    mirostat: 2,
                    mirostat_tau: r.real(1.0, 8.0),
                    mirostat_eta: r.real(0.1, 1.0),
                    ..steps(&[])
                }
            })
        },
        true,
    ),
    (
        "adaptive",
        |r, _| {
            simple(r, |r| {
                let p = SamplerParams {
                    adaptive_target: r.real(0.01, 1.0),
                    adaptive_decay: r.real(0.01, 0.98),
                    ..steps(&[])
                };
                r.below(1000);
                p
            })
        },
        true,
    ),
    ("infill", infill, false),
    ("default", default, false),
    ("any_order", any_order, false),
];

/// The results of one row.
#[derive(Debug, PartialEq)]
struct Left {
    n: u16,
    code: u16,
    most: f64,
    share: f64,
}

fn left(s: &Sampler) -> Left {
    let mut best: Vec<(i32, f64)> =
        s.logprobs().unwrap().drawn_best.iter().map(|l| (l.token, f64::from(l.logprob).exp())).collect();
    let most = best[0].1;
    best.sort_unstable_by_key(|b| b.0);
    let code = best.iter().fold(0u32, |code, b| (code * 31 + b.0 as u32 + 1) % 65521);
    let weight = |token: i32| f64::from((token as u32).wrapping_mul(2654435761)) / 4294967296.0;
    let share = best.iter().map(|b| b.1 * weight(b.0)).sum();
    Left { n: best.len() as u16, code: code as u16, most, share }
}

/// Lets a sampler learn from the token that the reference drew, not from its own.
fn drew(s: &mut Sampler, token: i32) {
    let l = s.logprobs().unwrap().clone();
    let p = |list: &[Logprob]| list.iter().find(|l| l.token == token).map(|l| f64::from(l.logprob).exp());
    if let Some(m) = &mut s.mirostat {
        m.learn(p(&l.drawn_best).expect("the reference has the same candidates"));
    }
    if let Some(a) = &mut s.adaptive {
        a.pending = p(&l.model_best).map(|p| (token, p));
    }
}

struct Results<'a>(&'a [u8]);

impl Results<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().expect("the file has all cases");
        self.0 = rest;
        *first
    }
    fn left(&mut self) -> Left {
        let (n, code) = (u16::from_le_bytes(self.take()), u16::from_le_bytes(self.take()));
        let (most, share) = (f32::from_le_bytes(self.take()), f32::from_le_bytes(self.take()));
        Left { n, code, most: most.into(), share: share.into() }
    }
}

#[test]
fn every_step_leaves_what_the_reference_leaves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample");
    let vocab = Arc::new(Vocab::from_gguf(&Gguf::open(&folder.join("words.gguf")).unwrap()).unwrap());
    let bytes = std::fs::read(folder.join("steps.bin")).unwrap();
    let mut results = Results(&bytes);
    let mut wrong = Vec::new();
    for (seed, (name, kind, draws)) in KINDS.into_iter().enumerate() {
        let (mut others, mut worst, mut worst_share) = (0, 0f64, 0f64);
        for case in 0..if draws { CASES / 2 } else { CASES } {
            let mut r = Random(1_000_000 * (seed as u64 + 1) + case);
            let Case { n_vocab, before, params } = kind(&mut r, &vocab);
            let mut s = Sampler::new(params).unwrap();
            before.iter().for_each(|t| s.accept(*t));
            for _ in 0..if draws { 2 } else { 1 } {
                let expected = results.left();
                let token = i32::from(if draws { u16::from_le_bytes(results.take()) } else { 0 });
                let row = r.row(n_vocab);
                let mirostat = s.mirostat;
                s.sample(&row).unwrap();
                if draws {
                    s.mirostat = mirostat;
                    drew(&mut s, token);
                }
                let got = left(&s);
                if (got.n, got.code) != (expected.n, expected.code) {
                    others += 1;
                    println!("{name} {case}: {got:?} {expected:?}");
                } else {
                    worst = worst.max((got.most - expected.most).abs());
                    worst_share = worst_share.max((got.share - expected.share).abs());
                }
                s.accept(token);
            }
        }
        println!(
            "{name}: other candidates in {others} rows, probabilities within {worst:.1e}, sums within {worst_share:.1e}"
        );
        let tolerance = if name == "adaptive" { TOLERANCE_OF_ADAPTIVE } else { TOLERANCE };
        if others > 0 || worst.max(worst_share) > tolerance {
            wrong.push(name);
        }
    }
    assert!(results.0.is_empty());
    assert!(wrong.is_empty(), "{wrong:?}");
}
