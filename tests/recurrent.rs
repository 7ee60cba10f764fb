//! Recurrent layers: a sequence keeps a state in place of rows per token, so everything that a host does with sequences
//! goes other ways than in sequences.rs. However tokens come, the logits are those of a fresh sequence.
//!
//! Up to 16 tokens of a sequence in a batch are computed token by token, and their logits are the same bits however few
//! there are. Longer runs are computed in chunks, in another order of sums: with F32 weights the NMSE between both is
//! below 1e-10 (seen: 1e-13), where a lost token would make it larger than 1e-3.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::Status;
use rekindle::plan::Params;
use rekindle::session::{Batch, Model};
use support::{decode_at, exact_kv, fixture, is_recurrent, nmse, row, same_bits};

const FORMS: f64 = 1e-10;

fn models() -> Vec<PathBuf> {
    let all = std::fs::read_dir(fixture("models")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|p| p.extension().is_some_and(|e| e == "gguf") && is_recurrent(p)).collect();
    files.sort();
    assert!(files.len() >= 8, "{} models", files.len());
    files
}

fn load(path: &Path) -> Arc<Model> {
    let params = Params { n_ctx: 1200, n_seq_max: 4, n_outputs_max: 8, n_batch: 600, n_ubatch: 512, ..exact_kv() };
    support::load(path, &params)
}

/// `n` tokens that repeat in no short cycle; ids under 60 are in every model's vocabulary.
fn tokens(n: usize, salt: usize) -> Vec<i32> {
    (0..n).map(|i| (3 + (i * i * 7 + i * 13 + salt * 29) % 57) as i32).collect()
}

fn clear(model: &Model) {
    model.seq_remove(-1, 0, -1).unwrap();
}

/// Decodes tokens at the end of a sequence, and gives the last one's logits.
fn last(model: &Model, seq: i32, tokens: &[i32]) -> Vec<f32> {
    let seqs = vec![seq; tokens.len()];
    model.decode(&Batch { tokens, positions: None, seq_ids: Some(&seqs), outputs: None }).unwrap();
    row(model, 0)
}

/// The last one's logits when tokens come one by one.
fn one_by_one(model: &Model, seq: i32, tokens: &[i32]) -> Vec<f32> {
    tokens.iter().map(|t| last(model, seq, &[*t])).last().unwrap()
}

fn check(what: &str, path: &Path, a: &[f32], b: &[f32]) {
    let off = nmse(a, b);
    assert!(off <= FORMS, "{}: {what}: NMSE {off:e}", path.display());
}

fn check_bits(what: &str, path: &Path, a: &[f32], b: &[f32]) {
    assert!(same_bits(&[a.to_vec()], &[b.to_vec()]), "{}: {what}: the bits differ", path.display());
}

#[test]
fn prompts_are_as_token_by_token() {
    for path in models() {
        let model = load(&path);
        for n in [1, 2, 16, 17, 63, 64, 65, 130, 513] {
            let t = tokens(n + 1, n);
            clear(&model);
            let alone = one_by_one(&model, 0, &t[..n]);
            let alone_next = last(&model, 0, &t[n..]);
            clear(&model);
            let prompt = last(&model, 0, &t[..n]);
            // The state is right, too.
            let next = last(&model, 0, &t[n..]);
            for (what, a, b) in [("a prompt", &prompt, &alone), ("the token after it", &next, &alone_next)] {
                check(&format!("{what} of {n}"), &path, a, b);
                if n <= 16 {
                    check_bits(&format!("{what} of {n}"), &path, a, b);
                }
            }
        }
    }
}

#[test]
fn sequences_do_not_touch_each_other() {
    for path in models() {
        let model = load(&path);
        let texts: Vec<Vec<i32>> = (0..4).map(|s| tokens(40 + s, s)).collect();
        let apart: Vec<Vec<f32>> = texts
            .iter()
            .map(|t| {
                clear(&model);
                one_by_one(&model, 0, t)
            })
            .collect();
        clear(&model);
        // Runs of one to three tokens by turns, in batches of up to 16 tokens of each, four sequences to a batch.
        let mut order: Vec<usize> = Vec::new();
        let mut left: Vec<usize> = texts.iter().map(Vec::len).collect();
        let mut turn = 0;
        while left.iter().any(|n| *n > 0) {
            let (s, n) = (turn % 4, (1 + turn % 3).min(left[turn % 4]));
            order.extend(std::iter::repeat_n(s, n));
            left[s] -= n;
            turn += 1;
        }
        let mut done = [0; 4];
        let mut rows = vec![Vec::new(); 4];
        for part in order.chunks(48) {
            let ids: Vec<i32> = part
                .iter()
                .map(|s| {
                    done[*s] += 1;
                    texts[*s][done[*s] - 1]
                })
                .collect();
            let seqs: Vec<i32> = part.iter().map(|s| *s as i32).collect();
            model.decode(&Batch { tokens: &ids, positions: None, seq_ids: Some(&seqs), outputs: None }).unwrap();
            let mut seen: Vec<usize> = Vec::new();
            for s in part.iter().rev() {
                if !seen.contains(s) {
                    seen.push(*s);
                }
            }
            // Rows are in the order of the sequences' last tokens.
            for (r, s) in seen.iter().rev().enumerate() {
                rows[*s] = row(&model, r as u32);
            }
        }
        for s in 0..4 {
            check("by turns", &path, &rows[s], &apart[s]);
        }
    }
}

#[test]
fn copies_go_their_own_ways() {
    for path in models() {
        let (model, t, one, two) = (load(&path), tokens(50, 3), tokens(5, 4), tokens(5, 5));
        let mut want = Vec::new();
        for end in [&one, &two] {
            clear(&model);
            last(&model, 0, &t);
            want.push(last(&model, 0, end));
        }
        clear(&model);
        last(&model, 0, &t);
        model.seq_copy(0, 2, 0, -1).unwrap();
        check_bits("the original", &path, &last(&model, 0, &one), &want[0]);
        check_bits("the copy", &path, &last(&model, 2, &two), &want[1]);
        // A copy of a prefix goes on from a checkpoint before its end, which it shares.
        model.seq_copy(0, 3, 0, 45).unwrap();
        let e =
            model.decode(&Batch { tokens: &one, positions: None, seq_ids: Some(&[3; 5]), outputs: None }).unwrap_err();
        assert!(e.status == Status::InvalidArgument && e.message.contains("checkpoint"), "{e}");
        let reached = model.seq_cut(3, 45).unwrap();
        assert_eq!(reached, 34, "{}", path.display());
        last(&model, 3, &t[34..]);
        check("the copy of a prefix", &path, &last(&model, 3, &two), &want[1]);
    }
}

#[test]
fn a_cut_goes_back_to_a_checkpoint() {
    for path in models() {
        let (model, t, other) = (load(&path), tokens(60, 6), tokens(9, 7));
        clear(&model);
        last(&model, 0, &[&t[..44], &other[..]].concat());
        let want = last(&model, 0, &other);
        clear(&model);
        last(&model, 0, &t);
        // 16 tokens before the end of the prompt there is a checkpoint.
        assert_eq!(model.seq_cut(0, 52).unwrap(), 44, "{}", path.display());
        assert_eq!(model.seq_length(0).unwrap(), 44);
        last(&model, 0, &other);
        check("after the cut", &path, &last(&model, 0, &other), &want);
        // The host's own, then to the start of everything.
        model.seq_checkpoint(0).unwrap();
        let length = model.seq_length(0).unwrap();
        let next = last(&model, 0, &other);
        one_by_one(&model, 0, &t[..10]);
        assert_eq!(model.seq_cut(0, length + 3).unwrap(), length);
        check_bits("after the host's checkpoint", &path, &last(&model, 0, &other), &next);
        model.seq_cut(0, 5).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 0);
        // Calls that such layers cannot answer say so, and nothing changes.
        last(&model, 0, &t);
        assert!(!model.info().can_shift);
        assert_eq!(model.seq_remove(0, 3, 5).unwrap_err().status, Status::Unsupported);
        assert_eq!(model.seq_shift(0, 10, -1, 5).unwrap_err().status, Status::Unsupported);
        assert_eq!(model.seq_copy(0, 1, 4, -1).unwrap_err().status, Status::Unsupported);
        assert_eq!((model.seq_length(0).unwrap(), model.seq_length(1).unwrap()), (60, 0));
    }
}

#[test]
fn an_error_loses_nothing() {
    for path in models() {
        let params = Params { n_ctx: 80, n_seq_max: 2, n_outputs_max: 8, n_batch: 64, n_ubatch: 32, ..exact_kv() };
        let (model, t) = (support::load(&path, &params), tokens(60, 14));
        last(&model, 0, &t[..30]);
        let want = last(&model, 0, &t[30..40]);
        clear(&model);
        last(&model, 0, &t[..30]);
        last(&model, 1, &t[..30]);
        let e = model.decode(&Batch { tokens: &t[..40], ..Batch::default() }).unwrap_err();
        assert_eq!(e.status, Status::ContextFull, "{e}");
        check_bits("after the error", &path, &last(&model, 0, &t[30..40]), &want);
        assert_eq!(model.seq_length(0).unwrap(), 40);
        assert_eq!(decode_at(&model, 1, 30, &t[30..34]).len(), 4);
    }
}

/// Ten turns, each of which renders the last reply in another way: what is computed is little more than what is new.
#[test]
fn a_chat_computes_little_twice() {
    let path = fixture("models/qwen35-nextn.gguf");
    for (n_checkpoints, most) in [(None, 1.15), (Some(0), f64::INFINITY)] {
        let params = Params { n_ctx: 4096, n_batch: 4096, n_ubatch: 512, n_checkpoints, ..exact_kv() };
        let model = support::load(&path, &params);
        let (mut history, mut kept, mut computed, mut new) = (Vec::new(), 0, 0, 0);
        for turn in 0..10 {
            let (asked, reply) = (tokens(150, turn), tokens(60, 20 + turn));
            // A template that begins the reply with two tokens, which it leaves out once the reply is there.
            let prompt = [&history[..], &asked[..], &[4, 5]].concat();
            // The cache has the same tokens up to where the reply begins.
            let same = kept;
            let reached = model.seq_cut(0, same as u32).unwrap() as usize;
            last(&model, 0, &prompt[reached..]);
            computed += prompt.len() - reached + reply.len();
            // A cache that could be cut anywhere would have to compute as much.
            new += prompt.len() - same + reply.len();
            one_by_one(&model, 0, &reply);
            history = [&prompt[..prompt.len() - 2], &reply[..]].concat();
            kept = prompt.len() - 2;
        }
        let share = computed as f64 / new as f64;
        println!("n_checkpoints {n_checkpoints:?}: {computed} tokens computed, {new} new: {share:.2}");
        assert!(share < most, "{share}");
        assert!(n_checkpoints.is_none() || share > 2.0, "without checkpoints all is computed again: {share}");
    }
}
