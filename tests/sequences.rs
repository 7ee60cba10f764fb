//! Sequences: however tokens come to the KV cache, the logits are those of the plain way.
//!
//! They are the same bits: no kernel's order of sums depends on what else is in the batch or where in the cache a
//! sequence lies. Only a re-rotation of K adds its own rounding, hence 1e-4 of the largest logit there. Batches against
//! single tokens, and a cut cache against float64, are in conformance.rs.

#[path = "support/headers/mod.rs"]
mod headers;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headers::{Value, of_file};
use rekindle::Status;
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::quant::Type;
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{Batch, GenerateParams, LoadParams, Model, Prompt};
use support::{decode_at, exact_kv, fixture, is_recurrent, relative, root, row, same_bits};

const SHIFTED: f32 = 1e-4;

fn models() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in [fixture("models"), root().join("models")] {
        files.extend(std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()));
    }
    files.retain(|p| p.extension().is_some_and(|e| e == "gguf") && !is_recurrent(p));
    files.sort();
    assert!(files.len() > 10, "{} models", files.len());
    files
}

/// The models whose weights are F32: what follows is about the cache, and the types of weights have no part in it.
fn f32_models() -> Vec<PathBuf> {
    let mut files = models();
    files.retain(|p| f32_weights(p));
    assert!(files.len() >= 5, "{} F32 models", files.len());
    files
}

fn f32_weights(path: &Path) -> bool {
    Gguf::open(path).unwrap().tensors().iter().all(|t| t.ty == Type::F32)
}

/// Small micro-batches, so that the batches below are cut.
fn load(path: &Path) -> Arc<Model> {
    support::load(path, &Params { n_ctx: 64, n_seq_max: 4, n_outputs_max: 32, n_batch: 32, n_ubatch: 8, ..exact_kv() })
}

/// `n` tokens that repeat in no short cycle; ids under 60 are in every model's vocabulary.
fn tokens(n: usize, salt: usize) -> Vec<i32> {
    (0..n).map(|i| (3 + (i * i * 7 + i * 13 + salt * 29) % 57) as i32).collect()
}

fn clear(model: &Model) {
    model.seq_remove(-1, 0, -1).unwrap();
}

fn check_same(what: &str, path: &Path, a: &[Vec<f32>], b: &[Vec<f32>]) {
    check_shifted(what, path, a, b);
    assert!(same_bits(a, b), "{}: {what}: the bits differ", path.display());
}

fn check_shifted(what: &str, path: &Path, a: &[Vec<f32>], b: &[Vec<f32>]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let distance = relative(a, b);
        assert!(distance <= SHIFTED, "{}: {what}: row {i} differs by {distance} of the largest logit", path.display());
    }
}

#[test]
fn four_interleaved() {
    for path in models() {
        let model = load(&path);
        let texts: Vec<Vec<i32>> = (0..4).map(|s| tokens(6 + s, s)).collect();
        let apart: Vec<_> = texts
            .iter()
            .map(|t| {
                clear(&model);
                decode_at(&model, 0, 0, t)
            })
            .collect();
        clear(&model);
        // Turn by turn, longer sequences going on alone at the end.
        let mut order: Vec<(usize, usize)> = (0..4).flat_map(|s| (0..texts[s].len()).map(move |i| (i, s))).collect();
        order.sort();
        let ids: Vec<i32> = order.iter().map(|&(i, s)| texts[s][i]).collect();
        let positions: Vec<i32> = order.iter().map(|&(i, _)| i as i32).collect();
        let seqs: Vec<i32> = order.iter().map(|&(_, s)| s as i32).collect();
        let all = vec![1; ids.len()];
        model
            .decode(&Batch { tokens: &ids, positions: Some(&positions), seq_ids: Some(&seqs), outputs: Some(&all) })
            .unwrap();
        let mut together = vec![Vec::new(); 4];
        for (r, &(_, s)) in order.iter().enumerate() {
            together[s].push(row(&model, r as u32));
        }
        for s in 0..4 {
            check_same("interleaved", &path, &together[s], &apart[s]);
            assert_eq!(model.seq_length(s as i32).unwrap() as usize, texts[s].len());
        }
    }
}

/// Cells by turns, so that no two neighbours belong together, and more keys than attention takes at a time.
#[test]
fn long_and_interleaved() {
    for path in models() {
        let params = Params { n_ctx: 256, n_seq_max: 2, n_outputs_max: 1, n_batch: 256, n_ubatch: 50, ..exact_kv() };
        let model = support::load(&path, &params);
        let (a, b) = (tokens(100, 1), tokens(100, 2));
        let last = |seq, t: &[i32]| {
            let (end, start) = t.split_last().unwrap();
            let seqs = vec![seq; start.len()];
            model.decode(&Batch { tokens: start, positions: None, seq_ids: Some(&seqs), outputs: None }).unwrap();
            decode_at(&model, seq, start.len() as i32, &[*end])
        };
        let alone = last(0, &a);
        clear(&model);
        let ids: Vec<i32> = a[..99].iter().zip(&b).flat_map(|(a, b)| [*a, *b]).collect();
        let seqs: Vec<i32> = (0..ids.len() as i32).map(|i| i % 2).collect();
        let outputs = vec![0; ids.len()];
        model.decode(&Batch { tokens: &ids, positions: None, seq_ids: Some(&seqs), outputs: Some(&outputs) }).unwrap();
        check_same("interleaved", &path, &decode_at(&model, 0, 99, &a[99..]), &alone);
    }
}

#[test]
fn only_rows_that_were_asked_for() {
    for path in models() {
        let (model, t) = (load(&path), tokens(16, 5));
        let whole = decode_at(&model, 0, 0, &t);
        clear(&model);
        let mut outputs = vec![0; t.len()];
        let asked = [3, 4, 15];
        asked.iter().for_each(|i| outputs[*i] = 1);
        model.decode(&Batch { tokens: &t, positions: None, seq_ids: None, outputs: Some(&outputs) }).unwrap();
        assert_eq!(model.n_outputs().unwrap(), 3);
        for (r, i) in asked.into_iter().enumerate() {
            check_same("row asked for", &path, &[row(&model, r as u32)], &whole[i..=i]);
        }
        assert_eq!(model.logits(3).unwrap_err().status, Status::InvalidArgument);
    }
}

#[test]
fn default_positions_and_outputs() {
    for path in f32_models() {
        let (model, t) = (load(&path), tokens(12, 5));
        let whole = decode_at(&model, 0, 0, &t);
        clear(&model);
        for part in [&t[..7], &t[7..]] {
            model.decode(&Batch { tokens: part, positions: None, seq_ids: None, outputs: None }).unwrap();
            assert_eq!(model.n_outputs().unwrap(), 1);
        }
        check_same("continued", &path, &[row(&model, 0)], &whole[11..]);
    }
}

#[test]
fn remove_tail_then_go_on() {
    for path in f32_models() {
        let (model, t) = (load(&path), tokens(16, 2));
        let want = decode_at(&model, 0, 0, &t);
        clear(&model);
        decode_at(&model, 0, 0, &t[..10]);
        decode_at(&model, 0, 10, &tokens(6, 9));
        model.seq_remove(0, 10, -1).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 10);
        check_same("after removal", &path, &decode_at(&model, 0, 10, &t[10..]), &want[10..]);
    }
}

#[test]
fn copy_then_diverge() {
    for path in f32_models() {
        let model = load(&path);
        let (prefix, one, two) = (tokens(9, 3), tokens(5, 4), tokens(5, 6));
        let mut want = Vec::new();
        for end in [&one, &two] {
            clear(&model);
            want.push(decode_at(&model, 0, 0, &[&prefix[..], &end[..]].concat())[9..].to_vec());
        }
        clear(&model);
        decode_at(&model, 0, 0, &prefix);
        model.seq_copy(0, 2, 0, -1).unwrap();
        assert_eq!(model.seq_length(2).unwrap(), 9);
        check_same("the original", &path, &decode_at(&model, 0, 9, &one), &want[0]);
        check_same("the copy", &path, &decode_at(&model, 2, 9, &two), &want[1]);
        // The copy outlives the original.
        model.seq_remove(2, 9, -1).unwrap();
        model.seq_remove(0, 0, -1).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 0);
        check_same("the copy alone", &path, &decode_at(&model, 2, 9, &one), &want[0]);
    }
}

#[test]
fn copy_of_a_prefix() {
    for path in f32_models() {
        let (model, t, end) = (load(&path), tokens(12, 17), tokens(5, 18));
        let want = decode_at(&model, 0, 0, &[&t[..8], &end[..]].concat());
        clear(&model);
        decode_at(&model, 0, 0, &t);
        model.seq_copy(0, 1, 0, 8).unwrap();
        assert_eq!(model.seq_length(1).unwrap(), 8);
        check_same("after eight copied", &path, &decode_at(&model, 1, 8, &end), &want[8..]);
    }
}

#[test]
fn keep_one() {
    for path in f32_models() {
        let (model, t) = (load(&path), tokens(12, 7));
        let want = decode_at(&model, 1, 0, &t);
        clear(&model);
        decode_at(&model, 0, 0, &tokens(20, 8));
        decode_at(&model, 1, 0, &t[..8]);
        decode_at(&model, 3, 0, &tokens(20, 10));
        model.seq_keep(1).unwrap();
        let lengths: Vec<u32> = (0..4).map(|s| model.seq_length(s).unwrap()).collect();
        assert_eq!(lengths, [0, 8, 0, 0]);
        check_same("kept", &path, &decode_at(&model, 1, 8, &t[8..]), &want[8..]);
        // The cells of the others are free again.
        decode_at(&model, 0, 0, &tokens(30, 11));
        decode_at(&model, 3, 0, &tokens(20, 11));
    }
}

/// Only distances between positions count in RoPE, so a sequence that is moved as a whole goes on as if it had not
/// been. (Not where queries grow with their position; those models' cuts are in conformance.rs.)
#[test]
fn shift_moves_keys() {
    let grows = |path: &PathBuf| Gguf::open(path).unwrap().get("mistral3.attention.temperature_scale").is_some();
    for path in f32_models().into_iter().filter(|p| !grows(p)) {
        let (model, t) = (load(&path), tokens(16, 12));
        let want = decode_at(&model, 0, 0, &t);
        clear(&model);
        let there = decode_at(&model, 0, 9, &t);
        check_shifted("elsewhere", &path, &there, &want);
        clear(&model);
        decode_at(&model, 0, 0, &t[..11]);
        model.seq_shift(0, 0, -1, 9).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 20);
        check_shifted("shifted up", &path, &decode_at(&model, 0, 20, &t[11..]), &want[11..]);
        model.seq_remove(0, 20, -1).unwrap();
        model.seq_shift(0, 0, -1, -5).unwrap();
        model.seq_shift(0, 0, -1, -4).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 11);
        check_shifted("shifted back", &path, &decode_at(&model, 0, 11, &t[11..]), &want[11..]);
    }
}

/// Without the rotation the keys of the moved part would be wrong by nine positions, and this would see it.
#[test]
fn shift_of_a_part_matters() {
    for path in f32_models() {
        let (model, t) = (load(&path), tokens(16, 13));
        let plain = decode_at(&model, 0, 0, &t);
        clear(&model);
        decode_at(&model, 0, 0, &t[..11]);
        model.seq_shift(0, 5, -1, 9).unwrap();
        assert_eq!(model.seq_length(0).unwrap(), 20);
        let moved = decode_at(&model, 0, 20, &t[11..12]);
        let top = plain[11].iter().fold(0f32, |m, x| m.max(x.abs()));
        let worst = moved[0].iter().zip(&plain[11]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst > 1e-3 * top, "{}: a gap of nine positions changes nothing", path.display());
    }
}

#[test]
fn overflow_loses_nothing() {
    for path in f32_models() {
        let (model, t) = (load(&path), tokens(20, 14));
        let want = decode_at(&model, 0, 0, &t);
        clear(&model);
        decode_at(&model, 0, 0, &t[..12]);
        decode_at(&model, 1, 0, &tokens(30, 15));
        let more = tokens(30, 16);
        let seqs = vec![2; more.len()];
        let error =
            model.decode(&Batch { tokens: &more, positions: None, seq_ids: Some(&seqs), outputs: None }).unwrap_err();
        assert_eq!(error.status, Status::ContextFull, "{error}");
        let lengths: Vec<u32> = (0..4).map(|s| model.seq_length(s).unwrap()).collect();
        assert_eq!(lengths, [12, 30, 0, 0]);
        check_same("after the error", &path, &decode_at(&model, 0, 12, &t[12..]), &want[12..]);
    }
}

/// A window forgets what it has moved past: going back behind it is refused, with the way out; failures leave the
/// sequence usable.
#[test]
fn windows_forget_and_say_so() {
    let path = fixture("models/gpt-oss-8x4.gguf");
    let params = Params { n_ctx: 256, n_seq_max: 2, n_outputs_max: 32, n_batch: 32, n_ubatch: 8, ..exact_kv() };
    let model = support::load(&path, &params);
    let t = tokens(96, 20);
    let whole: Vec<Vec<f32>> =
        t.chunks(32).enumerate().flat_map(|(i, part)| decode_at(&model, 0, 32 * i as i32, part)).collect();
    // The last token again is what speculation and chats need.
    model.seq_remove(0, 95, -1).unwrap();
    check_same("the last again", &path, &decode_at(&model, 0, 95, &t[95..]), &whole[95..]);
    model.seq_remove(0, 60, -1).unwrap();
    let e = model.decode(&Batch { tokens: &t[60..61], ..Batch::default() }).unwrap_err();
    assert!(
        e.status == Status::InvalidArgument && e.message.contains("window") && e.message.contains("position 60"),
        "{e}"
    );
    // Neither does a generation take what is left.
    let params = GenerateParams {
        prompt: Prompt::Tokens(&t[60..61]),
        seq_id: 0,
        max_tokens: 1,
        no_special: false,
        parse_special: false,
        ignore_eog: false,
        all_drafts: false,
    };
    let mut sampler = Sampler::new(SamplerParams::default()).unwrap();
    let e = model.generate(&mut sampler, &params, &mut |_, _| true).unwrap_err();
    assert!(e.status == Status::InvalidArgument && e.message.contains("position 60"), "{e}");
    assert_eq!(model.seq_length(0).unwrap(), 60);
    // A batch that fails, far behind the end, takes nothing from the window.
    model.seq_remove(0, 0, -1).unwrap();
    for (i, part) in t.chunks(32).take(2).enumerate() {
        decode_at(&model, 0, 32 * i as i32, part);
    }
    let far: Vec<i32> = (10000..10008).collect();
    let outputs = vec![1; 8];
    let batch = Batch { tokens: &t[..8], positions: Some(&far), seq_ids: Some(&[0; 8]), outputs: Some(&outputs) };
    model.decode(&batch).unwrap();
    model.seq_remove(0, 10000, -1).unwrap();
    check_same("after the far ones", &path, &decode_at(&model, 0, 64, &t[64..]), &whole[64..]);
    let more = tokens(1, 21);
    let next = decode_at(&model, 0, 96, &more);
    model.seq_remove(0, 0, -1).unwrap();
    for (i, part) in t.chunks(32).enumerate() {
        decode_at(&model, 0, 32 * i as i32, part);
    }
    // A copy can be shifted: what the window has moved past takes no room that it needs. Both go on.
    model.seq_copy(0, 1, -1, -1).unwrap();
    model.seq_remove(1, 0, 30).unwrap();
    model.seq_shift(1, 30, -1, -30).unwrap();
    assert_eq!((model.seq_length(1).unwrap(), model.n_free().unwrap()), (66, 256 - 96 - 66));
    check_same("after the copy was shifted", &path, &decode_at(&model, 0, 96, &more), &next);
    decode_at(&model, 1, 66, &more);
}

/// Positions may leave millions out: what is not there is not looked through.
#[test]
fn positions_far_apart() {
    let far = i32::MAX - 9;
    for path in models() {
        let (model, t) = (load(&path), tokens(12, 17));
        let positions: Vec<i32> = (0..4).chain(40_000..40_004).chain(far..far + 4).collect();
        let outputs = vec![1; t.len()];
        model
            .decode(&Batch { tokens: &t, positions: Some(&positions), seq_ids: None, outputs: Some(&outputs) })
            .unwrap();
        let together: Vec<Vec<f32>> = (0..t.len() as u32).map(|r| row(&model, r)).collect();
        assert!(together.iter().flatten().all(|x| x.is_finite()));
        clear(&model);
        let one_by_one: Vec<Vec<f32>> =
            positions.iter().zip(&t).flat_map(|(p, t)| decode_at(&model, 0, *p, &[*t])).collect();
        check_same("far apart", &path, &together, &one_by_one);
        check_same("near", &path, &one_by_one[..4], &{
            clear(&model);
            decode_at(&model, 0, 0, &t[..4])
        });
    }
}

/// Long contexts are cut into parts that threads share: results do not depend on how many threads there are, nor on
/// whether tokens come one by one.
#[test]
fn long_contexts_do_not_depend_on_threads() {
    let path = fixture("models/llama-F32.gguf");
    let params = Params { n_ctx: 4600, n_batch: 512, n_ubatch: 512, n_outputs_max: 8, ..exact_kv() };
    let file = Arc::new(Gguf::open(&path).unwrap());
    let all = tokens(4400, 1);
    let run = |threads: u32, tail: usize| {
        let context = Context::new("cpu", threads, None, LogLevel::Error).unwrap();
        let plan = Arc::new(Plan::new(&context, &file, &params).unwrap());
        let model = Model::load(&context, &plan, LoadParams::default()).unwrap();
        let head = all.len() - 4;
        for first in (0..head).step_by(500) {
            let tokens = &all[first..head.min(first + 500)];
            let positions: Vec<i32> = (first as i32..(first + tokens.len()) as i32).collect();
            model.decode(&Batch { tokens, positions: Some(&positions), ..Batch::default() }).unwrap();
        }
        (head..all.len())
            .step_by(tail)
            .flat_map(|i| decode_at(&model, 0, i as i32, &all[i..i + tail]))
            .collect::<Vec<_>>()
    };
    let one = run(1, 1);
    for (threads, tail) in [(1, 4), (2, 1), (3, 1), (5, 4)] {
        assert!(same_bits(&one, &run(threads, tail)), "{threads} threads, {tail} tokens at a time: the bits differ");
    }
}

/// The file's key holds for every sampling from the model's rows; a key of another type is named.
#[test]
fn tokens_that_a_file_suppresses_are_not_sampled() {
    const KEY: &str = "tokenizer.ggml.suppress_tokens";
    let file = Gguf::open(&fixture("models/llama-F32.gguf")).unwrap();
    let path = std::env::temp_dir().join(format!("rekindle-suppressed-{}.gguf", std::process::id()));
    let load = |ids: Option<Value>| {
        let mut header = of_file(&file);
        header.keys.extend(ids.map(|ids| (KEY.to_owned(), ids)));
        header.write_with(&path, |t| file.tensor_data(file.tensor(&t.name).unwrap()).to_vec()).unwrap();
        let context = Context::new("cpu", 1, None, LogLevel::Error).unwrap();
        let plan = Plan::new(&context, &Arc::new(Gguf::open(&path).unwrap()), &exact_kv()).unwrap();
        let model = Model::load(&context, &Arc::new(plan), LoadParams::default());
        std::fs::remove_file(&path).unwrap();
        model
    };
    let greedy = |model: &Model| {
        decode_at(model, 0, 0, &[5, 6, 7]);
        model.sample(&mut Sampler::new(SamplerParams::default()).unwrap(), 2).unwrap()
    };
    let first = greedy(&load(None).unwrap());
    let second = greedy(&load(Some(Value::I32s(vec![first, -1, i32::MAX, first]))).unwrap());
    assert_ne!(second, first);
    let third = greedy(&load(Some(Value::I32s(vec![second, first]))).unwrap());
    assert!(third != first && third != second);
    for bad in [Value::Str("5".into()), Value::F32s(vec![5.0])] {
        let e = load(Some(bad)).err().unwrap();
        assert!(e.status == Status::BadFile && e.message.contains(KEY), "{e}");
    }
}
