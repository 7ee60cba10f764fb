//! The promises of steps besides the numbers that the reference confirms: masks, DRY's breakers, a host's own step,
//! orders of steps, log-probabilities, refusals.

use std::sync::Arc;

use super::{LOGITS, sampler};
use crate::error::{Error, Result, Status};
use crate::sample::{HostStep, Row, Sampler, SamplerParams, Step, Weighed};

fn base() -> SamplerParams {
    SamplerParams { temperature: 1.0, n_logprobs: 10, ..SamplerParams::default() }
}

/// The tokens that are left for the draw, the likeliest first.
fn left(s: &mut Sampler, row: &Row) -> Vec<i32> {
    s.sample_row(row).unwrap();
    s.logprobs().unwrap().drawn_best.iter().map(|l| l.token).collect()
}

#[test]
fn masks_and_suppressed_tokens_come_before_everything() {
    let mut s = sampler(SamplerParams { logit_bias: vec![(1, 100.0)], ..base() });
    let row = |allowed, suppressed| Row { logits: &LOGITS, allowed, suppressed };
    assert_eq!(left(&mut s, &row(None, &[])), [1, 2, 0, 3]);
    assert_eq!(left(&mut s, &row(Some(&[0b1101]), &[])), [2, 0, 3]);
    assert_eq!(left(&mut s, &row(Some(&[0b0101]), &[2, -1, 99])), [0]);
    assert_eq!(left(&mut s, &row(None, &[1])), [2, 0, 3]);
    // A mask may be longer than the row, and ends what it does not reach.
    assert_eq!(left(&mut s, &row(Some(&[1, 1]), &[])), [0]);
    for (allowed, suppressed) in [(Some(&[][..]), &[][..]), (Some(&[0b0010]), &[1]), (None, &[0, 1, 2, 3])] {
        let e = s.sample_row(&row(allowed, suppressed)).unwrap_err();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "logits"));
        assert!(e.message.contains("allowed") && s.logprobs().is_none());
    }
    let long: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let allowed = [0, 1 << 31, 1 << 2];
    assert_eq!(left(&mut s, &Row { logits: &long, allowed: Some(&allowed), suppressed: &[] }), [66, 63]);
}

#[test]
fn dry_looks_for_repetitions_behind_the_last_breaker() {
    let loses = |tokens: &[i32], breakers: &[&[i32]]| -> Vec<f32> {
        let params = SamplerParams {
            dry_multiplier: 1.0,
            dry_base: 2.0,
            dry_breakers: breakers.iter().map(|b| b.to_vec()).collect(),
            ..base()
        };
        let mut s = sampler(params);
        tokens.iter().for_each(|t| s.accept(*t));
        s.sample(&[0.0; 8]).unwrap();
        let best = s.logprobs().unwrap().drawn_best.clone();
        let of = |token: i32| best.iter().find(|l| l.token == token).unwrap().logprob;
        (0..7).map(|token| (of(7) - of(token)).round()).collect()
    };
    let none = [0.0; 7];
    // 1 2 3 came before, and 4 followed: a repetition of 3, allowed are 2.
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[]), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    // The longest of several counts, and a repetition may overlap itself.
    assert_eq!(loses(&[2, 3, 4, 1, 2, 3, 4, 0, 1, 2, 3], &[]), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    assert_eq!(loses(&[6, 6, 6, 6, 6], &[]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    // Too short.
    assert_eq!(loses(&[3, 4, 5, 3], &[]), none);
    // A breaker inside ends it: 3 alone is behind the 2.
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[2]]), none);
    // One of two tokens that stands there, and one that does not.
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[1, 2]]), none);
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[1, 3]]), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[5, 1]]), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    // A breaker never loses, but the head of a longer one does.
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[4]]), none);
    assert_eq!(loses(&[1, 2, 3, 4, 5, 1, 2, 3], &[&[4, 4]]), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
}

type OwnStep = fn(&mut [Weighed]) -> Result<usize>;

struct Own(OwnStep);

impl HostStep for Own {
    fn apply(&self, candidates: &mut [Weighed]) -> Result<usize> {
        (self.0)(candidates)
    }
}

fn own(step: OwnStep, steps: &[Step]) -> Sampler {
    sampler(SamplerParams { host_step: Some(Arc::new(Own(step))), steps: steps.to_vec(), top_k: 3, ..base() })
}

#[test]
fn a_host_s_step_sees_and_changes_candidates() {
    let row = Row { logits: &LOGITS, ..Row::default() };
    let look = |c: &mut [Weighed]| {
        assert!((c.iter().map(|c| c.p).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(c.iter().all(|c| c.logit == LOGITS[c.token as usize]));
        Ok(c.len())
    };
    assert_eq!(left(&mut own(look, &[Step::Host]), &row), [1, 2, 0, 3]);
    assert_eq!(left(&mut own(look, &[Step::TopK, Step::Host, Step::Host]), &row), [1, 2, 0]);
    let turn = |c: &mut [Weighed]| {
        c.iter_mut().for_each(|c| c.logit = -c.logit);
        c.sort_by_key(|c| c.token);
        Ok(c.len())
    };
    assert_eq!(left(&mut own(turn, &[Step::Host, Step::TopK]), &row), [3, 0, 2]);
    assert_eq!(left(&mut own(turn, &[Step::TopK, Step::Host]), &row), [0, 2, 1]);
    let cut = |c: &mut [Weighed]| {
        c.sort_by_key(|c| c.token);
        c[0].logit = f32::NEG_INFINITY;
        Ok(2)
    };
    assert_eq!(left(&mut own(cut, &[Step::Host]), &row), [1]);
    // The logits are those behind a temperature.
    let heated = |c: &mut [Weighed]| {
        assert!(c.iter().all(|c| c.logit == LOGITS[c.token as usize] / 2.0));
        Ok(c.len())
    };
    let params = SamplerParams { temperature: 2.0, steps: vec![Step::Temperature, Step::Host], ..base() };
    sampler(SamplerParams { host_step: Some(Arc::new(Own(heated))), ..params }).sample(&LOGITS).unwrap();
}

#[test]
fn what_a_host_s_step_must_not_leave_is_refused() {
    let bad: [(OwnStep, &str); 7] = [
        (|_| Ok(0), "left 0 of 4 candidates"),
        (|_| Ok(5), "left 5 of 4 candidates"),
        (|_| Ok(usize::MAX), "of 4 candidates"),
        (
            |c| {
                c[2].token = 77;
                Ok(4)
            },
            "left token 77, which was not among its candidates",
        ),
        (
            |c| {
                c[2].token = c[1].token;
                Ok(4)
            },
            "left token 1 twice",
        ),
        (
            |c| {
                c[3].logit = f32::NAN;
                Ok(4)
            },
            "gave token 3 a logit that is no number",
        ),
        (
            |c| {
                c.iter_mut().for_each(|c| c.logit = f32::NEG_INFINITY);
                Ok(4)
            },
            "forbade all candidates",
        ),
    ];
    for (step, text) in bad {
        let e = own(step, &[Step::Host]).sample(&LOGITS).unwrap_err();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "host_step"));
        assert!(e.message.contains(text), "{}", e.message);
    }
    let stop = |_: &mut [Weighed]| Err(Error::new(Status::Cancelled, "enough"));
    assert_eq!(own(stop, &[Step::Host]).sample(&LOGITS).unwrap_err().status, Status::Cancelled);
}

#[test]
fn steps_go_in_the_order_that_the_host_sets() {
    // Of probabilities 0.644, 0.237, 0.087, 0.032 the first two reach 0.8. At a temperature of 10 it takes all four.
    let p = |steps: &[Step]| SamplerParams { temperature: 10.0, top_p: 0.8, steps: steps.to_vec(), ..base() };
    let row = Row { logits: &LOGITS, ..Row::default() };
    assert_eq!(left(&mut sampler(p(&[])), &row), [1, 2]);
    assert_eq!(left(&mut sampler(p(&[Step::TopP, Step::Temperature])), &row), [1, 2]);
    assert_eq!(left(&mut sampler(p(&[Step::Temperature, Step::TopP])), &row), [1, 2, 0, 3]);
    assert_eq!(left(&mut sampler(p(&[Step::Temperature])), &row), [1, 2, 0, 3]);
    // Without a temperature in the list there is none, so a 0 is not greedy.
    let mut s = sampler(SamplerParams { temperature: 0.0, ..p(&[Step::TopP]) });
    assert_eq!(left(&mut s, &row), [1, 2]);
    // Greedy is greedy behind steps that cut off the likeliest, too.
    let greedy = SamplerParams { temperature: 0.0, xtc_probability: 1.0, xtc_threshold: 0.05, ..base() };
    assert_eq!(left(&mut sampler(greedy.clone()), &row), [0]);
    assert_eq!(left(&mut sampler(SamplerParams { xtc_probability: 0.0, ..greedy }), &row), [1]);
    // With mirostat the cuts do not go, unless they are named.
    let steered = SamplerParams { mirostat: 2, mirostat_tau: 100.0, top_k: 2, ..base() };
    assert_eq!(left(&mut sampler(steered.clone()), &row), [1, 2, 0, 3]);
    assert_eq!(left(&mut sampler(SamplerParams { steps: vec![Step::TopK], ..steered }), &row), [1, 2]);
}

#[test]
fn log_probabilities_tell_of_before_and_after_the_cuts() {
    let params = SamplerParams { temperature: 0.5, top_k: 2, logit_bias: vec![(1, -1.5)], n_logprobs: 3, ..base() };
    let mut s = sampler(params);
    assert!(s.logprobs().is_none());
    let sum: f64 = LOGITS.iter().map(|l| f64::from(*l).exp()).sum();
    let close = |got: f32, p: f64| assert!((f64::from(got) - p.ln()).abs() < 1e-6, "{got} {p}");
    let mut seen = [false; 4];
    for _ in 0..50 {
        let token = s.sample(&LOGITS).unwrap();
        let l = s.logprobs().unwrap();
        seen[token as usize] = true;
        assert_eq!((l.model.token, l.drawn.token), (token, token));
        close(l.model.logprob, f64::from(LOGITS[token as usize]).exp() / sum);
        assert_eq!(l.model_best.iter().map(|b| b.token).collect::<Vec<_>>(), [1, 2, 0]);
        close(l.model_best[2].logprob, 1f64.exp() / sum);
        // Logits 1, 1.5, 2, 0 with the bias; the best two at temperature 0.5.
        let drawn = |token: i32| if token == 2 { 4f64.exp() } else { 3f64.exp() } / (4f64.exp() + 3f64.exp());
        assert_eq!(l.drawn_best.iter().map(|b| b.token).collect::<Vec<_>>(), [2, 1]);
        close(l.drawn.logprob, drawn(token));
        close(l.drawn_best[1].logprob, drawn(1));
    }
    assert_eq!(seen, [false, true, true, false]);
    s.reset();
    assert!(s.logprobs().is_none());
    // A greedy draw has one candidate. A logit that is no number has no probability, and equals come by their ids.
    let mut s = sampler(SamplerParams { n_logprobs: 10, ..SamplerParams::default() });
    s.sample(&[1.0, f32::NAN, 1.0]).unwrap();
    let l = s.logprobs().unwrap();
    assert_eq!((l.drawn.logprob, l.drawn_best.len()), (0.0, 1));
    assert_eq!(l.model_best.iter().map(|b| b.token).collect::<Vec<_>>(), [0, 2]);
    close(l.model.logprob, 0.5);
    assert!(s.sample(&[f32::NAN]).is_err() && s.logprobs().is_none());
    assert!(sampler(SamplerParams { n_logprobs: 0, ..base() }).logprobs().is_none());
}

#[test]
fn parameters_that_do_not_go_together_are_named() {
    let bad = |p: SamplerParams, name: &str| assert_eq!(Sampler::new(p).err().unwrap().detail.subject, name);
    bad(SamplerParams { steps: vec![Step::Host], ..base() }, "host_step");
    bad(SamplerParams { host_step: Some(Arc::new(Own(|_| Ok(1)))), ..base() }, "steps");
    bad(SamplerParams { steps: vec![Step::Infill], ..base() }, "vocab");
    bad(SamplerParams { dry_multiplier: 1.0, dry_breaker_texts: vec!["a".into()], ..base() }, "vocab");
    bad(SamplerParams { mirostat: 1, adaptive_target: 0.5, ..base() }, "adaptive_target");
    bad(SamplerParams { steps: vec![Step::TopK; 65], ..base() }, "n_steps");
    bad(SamplerParams { dry_multiplier: 1.0, dry_breakers: vec![vec![]], ..base() }, "dry_breaker_tokens");
    bad(SamplerParams { dry_multiplier: -1.0, ..base() }, "dry_multiplier");
    bad(SamplerParams { dry_base: 0.5, ..base() }, "dry_base");
    bad(SamplerParams { dry_last_n: u32::MAX, ..base() }, "dry_last_n");
    bad(SamplerParams { dry_allowed_length: u32::MAX, ..base() }, "dry_allowed_length");
    bad(SamplerParams { typical_p: 1.5, ..base() }, "typical_p");
    bad(SamplerParams { top_n_sigma: f32::NAN, ..base() }, "top_n_sigma");
    bad(SamplerParams { xtc_probability: 2.0, ..base() }, "xtc_probability");
    bad(SamplerParams { xtc_threshold: -0.1, ..base() }, "xtc_threshold");
    bad(SamplerParams { dynatemp_range: -1.0, ..base() }, "dynatemp_range");
    bad(SamplerParams { dynatemp_exponent: f32::INFINITY, ..base() }, "dynatemp_exponent");
    bad(SamplerParams { mirostat: 3, ..base() }, "mirostat");
    bad(SamplerParams { mirostat_tau: -1.0, ..base() }, "mirostat_tau");
    bad(SamplerParams { mirostat_eta: -1.0, ..base() }, "mirostat_eta");
    bad(SamplerParams { adaptive_target: 1.5, ..base() }, "adaptive_target");
    bad(SamplerParams { adaptive_decay: 1.0, ..base() }, "adaptive_decay");
    bad(SamplerParams { n_logprobs: 1001, ..base() }, "n_logprobs");
}

/// Odd rows and extreme settings: a token or an error comes out, never a panic, and never a forbidden token.
#[test]
fn extreme_rows_and_settings_give_a_token_that_is_allowed() {
    let infinite = [f32::INFINITY, 1.0, f32::INFINITY, f32::NEG_INFINITY];
    let rows: [&[f32]; 7] = [
        &[1.0],
        &infinite,
        &[f32::MAX, f32::MIN],
        &[f32::NAN, -1e30],
        &[0.0; 300],
        &[f32::MIN_POSITIVE, -0.0],
        &LOGITS,
    ];
    let all = [
        SamplerParams { typical_p: 0.5, ..base() },
        SamplerParams { top_n_sigma: 0.1, ..base() },
        SamplerParams { xtc_probability: 1.0, xtc_threshold: 1e-9, ..base() },
        SamplerParams { temperature: 1e-30, ..base() },
        SamplerParams { temperature: 1e6, dynatemp_range: 1e6, dynatemp_exponent: 1e6, ..base() },
        SamplerParams { dynatemp_range: 1.0, ..base() },
        SamplerParams {
            temperature: 1e-30,
            steps: vec![Step::Temperature, Step::Penalties],
            repeat_penalty: 2.0,
            ..base()
        },
        SamplerParams { mirostat: 1, mirostat_tau: 1e6, ..base() },
        SamplerParams { mirostat: 1, mirostat_tau: 1e-6, ..base() },
        SamplerParams { mirostat: 2, mirostat_tau: 1e-6, mirostat_eta: 1e6, ..base() },
        SamplerParams { adaptive_target: 1.0, adaptive_decay: 0.99, ..base() },
        SamplerParams { dry_multiplier: 1e6, dry_base: 1e6, repeat_penalty: 1e6, ..base() },
        SamplerParams { min_keep: u32::MAX, top_p: 0.1, min_p: 0.9, typical_p: 0.1, ..base() },
    ];
    for params in all {
        let mut s = sampler(params);
        for row in rows {
            for _ in 0..20 {
                let token = match s.sample(row) {
                    Ok(token) => token,
                    Err(e) => {
                        assert!(e.message.contains("penalties made all logits infinite"), "{e}");
                        break;
                    }
                };
                assert!(row[token as usize] > f32::NEG_INFINITY);
                s.accept(token);
                s.accept(i32::MIN);
                s.accept(i32::MAX);
            }
        }
    }
}
