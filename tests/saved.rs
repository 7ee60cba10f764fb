//! Saved sequences go on as if they had never been away: on the same kind of device the next tokens' logits are the
//! same bits. Bytes that are damaged, cut or of something else are refused and change nothing. (CPU to dies is in
//! rig.rs.)

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::Status;
use rekindle::plan::Params;
use rekindle::quant::Type;
use rekindle::session::Model;
use support::{decode_at, exact_kv, fixture, load, root, same_bits};

fn models() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixture("models")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
    files.sort();
    assert!(files.len() > 60, "{}", files.len());
    files
}

fn params(n_ctx: u32) -> Params {
    Params { n_ctx, n_seq_max: 3, n_outputs_max: 32, n_batch: 32, n_ubatch: 16, ..exact_kv() }
}

fn tokens(n: usize) -> Vec<i32> {
    (0..n).map(|i| (3 + (i * i * 7 + i * 13) % 57) as i32).collect()
}

fn saved(model: &Model, seq: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    model
        .seq_save(seq, &mut |piece, _| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert_eq!(bytes.len() as u64, model.seq_saved_bytes(seq).unwrap());
    bytes
}

fn restore(model: &Model, seq: i32, mut bytes: &[u8]) -> rekindle::Result<()> {
    let n = bytes.len() as u64;
    model.seq_load(seq, &mut bytes, n, &mut |_| true)
}

/// Logits of `t`, token by token, from where the sequence ends.
fn goes_on(model: &Model, seq: i32, t: &[i32]) -> Vec<Vec<f32>> {
    t.iter().flat_map(|t| decode_at(model, seq, model.seq_length(seq).unwrap() as i32, &[*t])).collect()
}

/// Every fixture: another process of another context size, another sequence, other cells.
#[test]
fn a_sequence_goes_on_elsewhere() {
    for file in models() {
        let (here, there) = (load(&file, &params(128)), load(&file, &params(256)));
        let t = tokens(40);
        decode_at(&here, 1, 0, &t[..5]);
        decode_at(&here, 0, 0, &t[..13]);
        decode_at(&here, 0, 13, &t[13..16]);
        let bytes = saved(&here, 0);
        decode_at(&there, 2, 0, &t[30..37]);
        decode_at(&there, 1, 0, &t[3..6]);
        restore(&there, 1, &bytes).unwrap();
        assert_eq!(saved(&there, 1), bytes, "{}", file.display());
        let (a, b) = (goes_on(&here, 0, &t[16..]), goes_on(&there, 1, &t[16..]));
        assert!(same_bits(&a, &b), "{}", file.display());
    }
}

/// Long texts: past windows, with spans that are not neighbours, in caches of every type.
#[test]
fn sixty_four_tokens_follow() {
    let fixture = |name: &str| fixture(&format!("models/{name}.gguf"));
    let bible = root().join("models/bible-5M-Q8_0.gguf");
    let files = [(fixture("gemma3-pattern"), Type::F16), (fixture("qwen35-nextn"), Type::F32), (bible, Type::Q8_0)];
    for (file, ty) in files {
        let p = Params { type_k: Some(ty), type_v: Some(ty), n_ctx: 400, ..params(400) };
        let (here, there) = (load(&file, &p), load(&file, &p));
        let t = tokens(264);
        for (i, part) in t[..200].chunks(16).enumerate() {
            decode_at(&here, 0, 16 * i as i32, part);
            decode_at(&here, 1, 16 * i as i32, &part[..part.len().min(4)].repeat(4)[..part.len()]);
        }
        here.seq_remove(1, 0, -1).unwrap();
        restore(&there, 2, &saved(&here, 0)).unwrap();
        let (a, b) = (goes_on(&here, 0, &t[200..]), goes_on(&there, 2, &t[200..]));
        assert!(same_bits(&a, &b), "{}", file.display());
    }
}

#[test]
fn an_empty_sequence_is_one_too() {
    let model = load(&fixture("models/qwen35-nextn.gguf"), &params(64));
    let bytes = saved(&model, 0);
    decode_at(&model, 1, 0, &[5, 6]);
    restore(&model, 1, &bytes).unwrap();
    assert_eq!(model.seq_length(1).unwrap(), 0);
    decode_at(&model, 1, 0, &[5]);
}

/// 10,000 damaged files: a byte changed, bits turned, cut, lengthened, two parts exchanged.
#[test]
fn damage_is_always_found() {
    let mut x = 7u64;
    let mut random = move |below: usize| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) as usize % below
    };
    for (name, n) in [("lfm2-gqa", 4000), ("gemma3-pattern", 3000), ("llama-odd", 3000)] {
        let model = load(&fixture(&format!("models/{name}.gguf")), &params(64));
        let t = tokens(20);
        decode_at(&model, 0, 0, &t[..12]);
        let good = saved(&model, 0);
        decode_at(&model, 1, 0, &t[5..9]);
        let before = saved(&model, 1);
        for i in 0..n {
            let mut bad = good.clone();
            // Half of them in the head, where the numbers are.
            let at = random(if i % 2 == 0 { 160 } else { bad.len() });
            match i % 5 {
                0 | 1 => bad[at] ^= 1 << random(8),
                2 => bad.truncate(at),
                3 => bad.extend((0..1 + random(20)).map(|_| 0)),
                _ => {
                    let other = random(bad.len());
                    bad.swap(at, other);
                    if bad == good {
                        continue;
                    }
                }
            }
            let e = restore(&model, 1, &bad).expect_err("damage");
            let named = [Status::BadFile, Status::Unsupported, Status::ContextFull, Status::OutOfMemory];
            assert!(named.contains(&e.status), "{e}");
        }
        assert_eq!(saved(&model, 1), before, "{name}");
        restore(&model, 1, &good).unwrap();
    }
}

#[test]
fn what_differs_is_named() {
    let message = |model: &Arc<Model>, bytes: &[u8]| restore(model, 0, bytes).unwrap_err().message;
    let file = fixture("models/llama-F32.gguf");
    let model = load(&file, &params(64));
    decode_at(&model, 0, 0, &tokens(12));
    let bytes = saved(&model, 0);
    let f16 = load(&file, &Params { type_k: Some(Type::F16), ..params(64) });
    assert!(message(&f16, &bytes).contains("has keys of F32 and values of F32, this model caches F16 and F32"));
    let other = load(&fixture("models/llama-odd.gguf"), &params(64));
    assert!(message(&other, &bytes).contains("another model"));
    let quantised = load(&fixture("models/llama-Q8_0.gguf"), &params(64));
    assert!(message(&quantised, &bytes).contains("another model"));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(message(&model, &newer).contains("version 2"));
    assert!(message(&model, b"GGUF").contains("ends"));
    assert!(message(&model, &[7; 100]).contains("no saved sequence"));
    let small = load(&file, &Params { n_ctx: 8, n_batch: 8, n_ubatch: 8, n_outputs_max: 8, n_seq_max: 1, ..params(8) });
    assert_eq!(restore(&small, 0, &bytes).unwrap_err().status, Status::ContextFull);
    // Cancelled in the middle, it is as it was.
    decode_at(&model, 1, 0, &tokens(4));
    let n = bytes.len() as u64;
    let e = model.seq_load(1, &mut &bytes[..], n, &mut |done| done < 0.5).unwrap_err();
    assert_eq!((e.status, model.seq_length(1).unwrap()), (Status::Cancelled, 4));
    let e = model.seq_save(0, &mut |_, _| Err(rekindle::Error::new(Status::Io, "full"))).unwrap_err();
    assert_eq!(e.status, Status::Io);
}
