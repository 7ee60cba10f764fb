//! Draws: they fit the distribution, stay what they are for a seed, and steer what they should steer.

use crate::sample::{Sampler, SamplerParams, Step};

const DRAWS: usize = 100_000;

/// Logits of `n` tokens, none of them rare: the rarest is expected 50 times at least in all draws.
fn row(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 37 % 101) as f32 / 30.0).collect()
}

/// The sum of squared differences over what is expected, and its degrees of freedom, of draws from `expected`.
fn chi_squared(s: &mut Sampler, logits: &[f32], expected: &[f64]) -> (f64, f64) {
    let mut counts = vec![0f64; logits.len()];
    (0..DRAWS).for_each(|_| counts[s.sample(logits).unwrap() as usize] += 1.0);
    let sum: f64 = expected.iter().sum();
    let possible = expected.iter().zip(&counts).filter(|(w, n)| {
        assert!(**w > 0.0 || **n == 0.0, "a token that was cut off was drawn");
        **w > 0.0
    });
    let terms: Vec<f64> = possible
        .map(|(w, n)| {
            let e = w / sum * DRAWS as f64;
            assert!(e >= 50.0, "{e}");
            (n - e) * (n - e) / e
        })
        .collect();
    (terms.iter().sum(), terms.len() as f64 - 1.0)
}

/// The value of a chi-squared variable that is exceeded with probability 0.001 (Wilson and Hilferty 1931).
fn limit(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 3.0902 * spread.sqrt()).powi(3)
}

/// Level 0.001 for each of the seven settings. The seeds are fixed, so a pass stays one.
#[test]
fn a_hundred_thousand_draws_fit_the_distribution() {
    let logits = row(60);
    let at = |t: f64| -> Vec<f64> { logits.iter().map(|l| (f64::from(*l) / t).exp()).collect() };
    let mut sorted = at(1.0);
    sorted.sort_by(|a, b| b.total_cmp(a));
    let cut = |keep: usize, t: f64| -> Vec<f64> {
        at(1.0).iter().zip(at(t)).map(|(w, heated)| if *w >= sorted[keep - 1] { heated } else { 0.0 }).collect()
    };
    let p = SamplerParams { temperature: 1.0, seed: 5, ..SamplerParams::default() };
    let nucleus = {
        let (sum, mut so_far) = (sorted.iter().sum::<f64>(), 0.0);
        1 + sorted
            .iter()
            .position(|w| {
                so_far += w;
                so_far >= 0.6 * sum
            })
            .unwrap()
    };
    let settings = [
        (p.clone(), at(1.0)),
        (SamplerParams { temperature: 0.7, ..p.clone() }, at(f64::from(0.7f32))),
        (SamplerParams { temperature: 1.6, top_k: 20, ..p.clone() }, cut(20, f64::from(1.6f32))),
        (SamplerParams { top_p: 0.6, ..p.clone() }, cut(nucleus, 1.0)),
        (
            SamplerParams { min_p: 0.25, ..p.clone() },
            cut(sorted.iter().filter(|w| **w >= 0.25 * sorted[0]).count(), 1.0),
        ),
        (SamplerParams { steps: vec![Step::TopP], ..p.clone() }, at(1.0)),
        (SamplerParams { top_k: 1, ..p }, cut(1, 1.0)),
    ];
    for (i, (params, expected)) in settings.into_iter().enumerate() {
        let (value, freedom) = chi_squared(&mut Sampler::new(params).unwrap(), &logits, &expected);
        println!("setting {i}: {value:.1} at {freedom} degrees of freedom, limit {:.1}", limit(freedom));
        assert!(value <= if freedom == 0.0 { 0.0 } else { limit(freedom) }, "setting {i}");
    }
}

/// The top choices are out as often as asked for; then the least likely of them and all others are left as they are.
#[test]
fn xtc_takes_top_choices_out_sometimes() {
    // Probabilities 0.4, 0.3, 0.2, 0.06, 0.04.
    let logits: Vec<f32> = [0.4f32, 0.3, 0.2, 0.06, 0.04].iter().map(|p| p.ln()).collect();
    let p = SamplerParams { temperature: 1.0, xtc_probability: 0.5, xtc_threshold: 0.1, ..SamplerParams::default() };
    let half = |left: [f64; 5]| -> Vec<f64> {
        let sum: f64 = left.iter().sum();
        left.iter().zip(&logits).map(|(l, logit)| 0.5 * f64::from(logit.exp()) + 0.5 * l / sum).collect()
    };
    let (value, freedom) =
        chi_squared(&mut Sampler::new(p.clone()).unwrap(), &logits, &half([0.0, 0.0, 0.2, 0.06, 0.04]));
    assert!(value < limit(freedom), "{value}");
    // None is taken out where only one is that likely; and none if too few would be left.
    for other in [SamplerParams { xtc_threshold: 0.35, ..p.clone() }, SamplerParams { min_keep: 4, ..p }] {
        let expected: Vec<f64> = logits.iter().map(|l| f64::from(l.exp())).collect();
        let (value, freedom) = chi_squared(&mut Sampler::new(other).unwrap(), &logits, &expected);
        assert!(value < limit(freedom), "{value}");
    }
}

/// Zipf's law with 5000 tokens, as words have it.
fn zipf() -> Vec<f32> {
    (0..5000).map(|i| -((i + 1) as f32).ln()).collect()
}

/// The mean surprise of many draws comes to the target, for both versions, whatever the target; without it, it is that
/// of the distribution, 8.3 bits.
#[test]
fn mirostat_brings_the_surprise_to_its_target() {
    let logits = zipf();
    let surprise = |params: SamplerParams| {
        let mut s = Sampler::new(SamplerParams { temperature: 1.0, n_logprobs: 1, ..params }).unwrap();
        let draw = |s: &mut Sampler| {
            s.sample(&logits).unwrap();
            -f64::from(s.logprobs().unwrap().drawn.logprob) / std::f64::consts::LN_2
        };
        (0..500).for_each(|_| _ = draw(&mut s));
        (0..2000).map(|_| draw(&mut s)).sum::<f64>() / 2000.0
    };
    for mirostat in [1, 2] {
        for tau in [2.0, 4.0, 6.0] {
            let mean = surprise(SamplerParams { mirostat, mirostat_tau: tau, ..SamplerParams::default() });
            assert!((mean - f64::from(tau)).abs() < 0.15, "version {mirostat}, target {tau}: {mean}");
        }
    }
    assert!(surprise(SamplerParams::default()) > 8.0);
}

/// The mean probability of drawn tokens follows the target.
#[test]
fn adaptive_p_draws_near_its_target() {
    // Probabilities 0.5, 0.25, ... to 2^-10.
    let logits: Vec<f32> = (0..10).map(|i| i as f32 * -std::f32::consts::LN_2).collect();
    let mean = |adaptive_target: f32| {
        let params =
            SamplerParams { temperature: 1.0, adaptive_target, n_logprobs: 1, min_p: 0.01, ..SamplerParams::default() };
        let mut s = Sampler::new(params).unwrap();
        let mut sum = 0f64;
        for _ in 0..4000 {
            let token = s.sample(&logits).unwrap();
            sum += f64::from(s.logprobs().unwrap().model.logprob).exp() / 4000.0;
            s.accept(token);
        }
        sum
    };
    for target in [0.15, 0.25, 0.35] {
        assert!((mean(target) - f64::from(target)).abs() < 0.03, "{target}: {}", mean(target));
    }
}

/// A dynamic temperature is low for a sure model and high for an unsure one.
#[test]
fn a_dynamic_temperature_follows_the_entropy() {
    let p = SamplerParams { temperature: 1.0, dynatemp_range: 0.5, n_logprobs: 2, ..SamplerParams::default() };
    // Two candidates with a difference d of logits have d / temperature behind it.
    let temperature = |d: f32| {
        let mut s = Sampler::new(p.clone()).unwrap();
        s.sample(&[d, 0.0]).unwrap();
        let best = &s.logprobs().unwrap().drawn_best;
        d / (best[0].logprob - best[1].logprob)
    };
    assert!((temperature(0.01) - 1.5).abs() < 0.01, "{}", temperature(0.01));
    assert!((temperature(12.0) - 0.5).abs() < 0.01, "{}", temperature(12.0));
    assert!(temperature(0.5) > temperature(2.0));
}

/// A copy goes on as the original would, and neither touches the other, whatever is remembered.
#[test]
fn copies_go_on_alone() {
    let logits = row(80);
    let base = SamplerParams { temperature: 1.2, seed: 3, ..SamplerParams::default() };
    let all = [
        SamplerParams {
            repeat_penalty: 1.5,
            dry_multiplier: 1.0,
            xtc_probability: 0.5,
            xtc_threshold: 0.01,
            ..base.clone()
        },
        SamplerParams { mirostat: 1, ..base.clone() },
        SamplerParams { mirostat: 2, ..base.clone() },
        SamplerParams { adaptive_target: 0.02, ..base },
    ];
    let next = |s: &mut Sampler, n: usize| -> Vec<i32> {
        let one = |_| {
            let token = s.sample(&logits).unwrap();
            s.accept(token);
            token
        };
        (0..n).map(one).collect()
    };
    for params in all {
        let mut s = Sampler::new(params).unwrap();
        let first = next(&mut s, 50);
        let mut copy = s.copy().unwrap();
        let (mut other, after) = (s.copy().unwrap(), next(&mut s, 50));
        next(&mut other, 7);
        assert_eq!(next(&mut copy, 50), after);
        assert_ne!(first, after);
        copy.reset();
        assert_eq!(next(&mut copy, 50), first);
    }
}
