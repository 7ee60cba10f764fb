mod draws;
mod reference;
mod steps;

use super::*;

const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, 0.0];

fn sampler(p: SamplerParams) -> Sampler {
    Sampler::new(p).unwrap()
}

/// Counts how often each token comes in 20,000 draws.
fn shares(p: SamplerParams) -> [f64; 4] {
    let mut s = sampler(p);
    let mut n = [0f64; 4];
    (0..20_000).for_each(|_| n[s.sample(&LOGITS).unwrap() as usize] += 1.0 / 20_000.0);
    n
}

fn close(got: [f64; 4], weights: [f64; 4]) {
    let sum: f64 = weights.iter().sum();
    for (g, w) in got.iter().zip(weights) {
        // Four standard deviations of 20,000 draws are at most 0.0142.
        assert!((g - w / sum).abs() < 0.0142, "{got:?} {weights:?}");
        assert!(w > 0.0 || *g == 0.0, "{got:?}");
    }
}

#[test]
fn greedy_takes_the_highest_and_of_equals_the_first() {
    let mut s = sampler(SamplerParams::default());
    assert_eq!(s.sample(&LOGITS).unwrap(), 1);
    assert_eq!(s.sample(&[f32::NAN, 2.0, 2.0]).unwrap(), 1);
    assert!(s.sample(&[]).is_err());
    assert!(s.sample(&[f32::NAN, f32::NEG_INFINITY]).is_err());
}

#[test]
fn draws_follow_the_distribution_and_its_cuts() {
    let e = |x: f64| x.exp();
    let p = |temperature| SamplerParams { temperature, ..SamplerParams::default() };
    close(shares(p(1.0)), [e(1.0), e(3.0), e(2.0), 1.0]);
    close(shares(p(2.0)), [e(0.5), e(1.5), e(1.0), 1.0]);
    close(shares(SamplerParams { top_k: 2, ..p(1.0) }), [0.0, e(3.0), e(2.0), 0.0]);
    // Probabilities 0.644, 0.237, 0.087, 0.032: the first two reach 0.8.
    close(shares(SamplerParams { top_p: 0.8, ..p(1.0) }), [0.0, e(3.0), e(2.0), 0.0]);
    // Of the highest: 1, 0.37, 0.14, 0.05.
    close(shares(SamplerParams { min_p: 0.1, ..p(1.0) }), [e(1.0), e(3.0), e(2.0), 0.0]);
    let bias = vec![(1, f32::NEG_INFINITY), (3, 1.0), (99, 5.0)];
    close(shares(SamplerParams { logit_bias: bias, ..p(1.0) }), [e(1.0), 0.0, e(2.0), e(1.0)]);
    assert_eq!(sampler(p(1.0)).sample(&[0.0, f32::INFINITY]).unwrap(), 1);
}

/// Temperature comes last: what is cut off does not depend on it. Of the cuts top-p comes before min-p.
#[test]
fn cuts_look_at_the_model_s_own_probabilities() {
    let e = |x: f64| x.exp();
    let p = |temperature| SamplerParams { temperature, ..SamplerParams::default() };
    for t in [0.5, 4.0] {
        let (a, b, c) = (e(3.0 / t), e(2.0 / t), e(1.0 / t));
        // Probabilities 0.644, 0.237, 0.087, 0.032 without temperature: the first two reach 0.8.
        close(shares(SamplerParams { top_p: 0.8, ..p(t as f32) }), [0.0, a, b, 0.0]);
        // Of the highest: 1, 0.37, 0.14, 0.05.
        close(shares(SamplerParams { min_p: 0.1, ..p(t as f32) }), [c, a, b, 0.0]);
        close(shares(SamplerParams { top_k: 3, min_p: 0.01, ..p(t as f32) }), [c, a, b, 0.0]);
    }
    // Of the two that a min-p of 0.2 leaves, the first alone would reach 0.7.
    close(shares(SamplerParams { top_p: 0.7, min_p: 0.2, ..p(1.0) }), [0.0, e(3.0), e(2.0), 0.0]);
}

#[test]
fn penalties_count_recent_tokens_only() {
    let with = |f: fn(&mut SamplerParams)| {
        let mut p = SamplerParams { penalty_last_n: 3, ..SamplerParams::default() };
        f(&mut p);
        sampler(p)
    };
    let mut s = with(|p| p.repeat_penalty = 2.0);
    s.accept(1);
    assert_eq!(s.sample(&LOGITS).unwrap(), 2);
    (0..3).for_each(|_| s.accept(0));
    assert_eq!(s.sample(&LOGITS).unwrap(), 1);
    let mut s = with(|p| p.frequency_penalty = 0.6);
    s.accept(1);
    assert_eq!(s.sample(&LOGITS).unwrap(), 1);
    s.accept(1);
    assert_eq!(s.sample(&LOGITS).unwrap(), 2);
    let mut s = with(|p| p.presence_penalty = 1.5);
    s.accept(1);
    assert_eq!(s.sample(&LOGITS).unwrap(), 2);
    s.reset();
    assert_eq!(s.sample(&LOGITS).unwrap(), 1);
    // A negative logit falls, too.
    let mut s = with(|p| p.repeat_penalty = 2.0);
    s.accept(0);
    assert_eq!(s.sample(&[-1.0, -1.5]).unwrap(), 1);
}

#[test]
fn a_seed_gives_the_same_draws_again() {
    let p = SamplerParams { temperature: 1.5, seed: 7, ..SamplerParams::default() };
    let run = |s: &mut Sampler| (0..50).map(|_| s.sample(&LOGITS).unwrap()).collect::<Vec<_>>();
    let (mut a, mut b) = (sampler(p.clone()), sampler(p.clone()));
    let first = run(&mut a);
    assert_eq!(first, run(&mut b));
    assert_ne!(first, run(&mut a));
    a.reset();
    assert_eq!(first, run(&mut a));
    assert_ne!(first, run(&mut sampler(SamplerParams { seed: 8, ..p })));
}

/// A token that is the only one allowed is taken without its logits, and all later draws are the same.
#[test]
fn an_only_token_needs_no_logits() {
    let d = || SamplerParams { temperature: 1.2, seed: 5, ..SamplerParams::default() };
    let steps = vec![Step::TopK, Step::Typical, Step::Xtc, Step::TopNSigma, Step::MinP, Step::TopP, Step::Temperature];
    for p in [
        SamplerParams::default(),
        d(),
        SamplerParams { steps, typical_p: 0.9, xtc_probability: 0.5, top_k: 3, top_p: 0.9, min_p: 0.05, ..d() },
        SamplerParams { top_n_sigma: 1.0, dynatemp_range: 0.5, repeat_penalty: 1.3, presence_penalty: 0.5, ..d() },
        SamplerParams { mirostat: 1, ..d() },
        SamplerParams { mirostat: 2, mirostat_tau: 1.0, ..d() },
        SamplerParams { adaptive_target: 0.4, min_p: 0.01, ..d() },
        SamplerParams { frequency_penalty: 0.3, logit_bias: vec![(2, 0.5)], ..d() },
    ] {
        let (mut by_mask, mut alone) = (sampler(p.clone()), sampler(p));
        for i in 0..200u32 {
            let only = (i * i + i / 3) % 4;
            if i % 3 != 0 {
                let row = Row { logits: &LOGITS, allowed: Some(&[1 << only]), suppressed: &[] };
                assert_eq!(by_mask.sample_row(&row).unwrap(), only as i32);
                alone.sample_only(only as i32, &[]).unwrap();
            }
            [&mut by_mask, &mut alone].into_iter().for_each(|s| s.accept(only as i32));
            assert_eq!(by_mask.sample(&LOGITS).unwrap(), alone.sample(&LOGITS).unwrap(), "draw {i}");
        }
    }
    let mut s = sampler(SamplerParams { logit_bias: vec![(1, f32::NEG_INFINITY)], ..d() });
    assert!(s.sample_only(1, &[]).is_err() && s.sample_only(2, &[2]).is_err() && s.sample_only(3, &[2]).is_ok());
}

#[test]
fn parameters_out_of_range_are_named() {
    let bad = |p: SamplerParams, name: &str| assert_eq!(Sampler::new(p).err().unwrap().detail.subject, name);
    let d = SamplerParams::default;
    bad(SamplerParams { temperature: -1.0, ..d() }, "temperature");
    bad(SamplerParams { temperature: f32::NAN, ..d() }, "temperature");
    bad(SamplerParams { top_p: 1.5, ..d() }, "top_p");
    bad(SamplerParams { min_p: -0.1, ..d() }, "min_p");
    bad(SamplerParams { repeat_penalty: f32::INFINITY, ..d() }, "repeat_penalty");
    bad(SamplerParams { penalty_last_n: u32::MAX, ..d() }, "penalty_last_n");
    bad(SamplerParams { logit_bias: vec![(-1, 0.0)], ..d() }, "logit_bias");
}
