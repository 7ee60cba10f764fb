//! Conformance of the tokenisers: real vocabularies with test texts and the ids that the models' own tokenisers give.
//!
//! `X.gguf.inp` holds texts separated by a line `__ggml_vocab_test__`, `X.gguf.out` a line of ids for each, without BOS
//! and EOS and without parsing special tokens. They are looked for in `vocab` under `REKINDLE_SHARED` (or `../shared`)
//! and, where it is set, in the folder `REKINDLE_VOCAB_DIR`.
//!
//! Tokenisers of encoders do not keep a text as it was, so they have a test of their own: `tests/fixtures/vocab` has a
//! small vocabulary of each kind, `X.gguf`, and `X.json` with texts and the reference's ids
//! (`tests/reference/make_vocab.py`). So it has for the kinds of which no real vocabulary is at hand, and texts for
//! each name of a pre-tokeniser (`tests/reference/make_kinds.py`).

use std::path::{Path, PathBuf};

use rekindle::Status;
use rekindle::gguf::Gguf;
use rekindle::vocab::{Stream, Vocab};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

struct Case {
    name: String,
    vocab: Vocab,
    /// Empty where the vocabulary has no test texts.
    texts: Vec<(String, Vec<i32>)>,
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("REKINDLE_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let more = std::env::var_os("REKINDLE_VOCAB_DIR").map(PathBuf::from);
    [shared.join("vocab")].into_iter().chain(more).collect()
}

/// All vocabularies that are there; those with an unsupported tokeniser are named and left out.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in folders() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("SKIPPED: no folder {} (set REKINDLE_SHARED)", folder.display());
            continue;
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
        files.sort();
        for path in files {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match Vocab::from_gguf(&Gguf::open(&path).unwrap()) {
                Ok(vocab) if ["bert", "t5"].contains(&vocab.model()) => println!("{name}: an encoder's, see below"),
                Ok(vocab) => cases.push(Case { texts: texts(&path), name, vocab }),
                Err(e) => {
                    assert_eq!(e.status, Status::Unsupported, "{e}");
                    println!("unsupported: {e}");
                }
            }
        }
    }
    cases
}

fn texts(path: &Path) -> Vec<(String, Vec<i32>)> {
    let beside = |ext: &str| std::fs::read_to_string(format!("{}.{ext}", path.display()));
    let (Ok(inp), Ok(out)) = (beside("inp"), beside("out")) else { return Vec::new() };
    let ids = out.lines().map(|l| l.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<i32>>());
    let texts: Vec<_> = inp.split(SEPARATOR).map(str::to_owned).zip(ids).collect();
    assert_eq!(texts.len(), out.lines().count(), "{}: texts and lines of ids differ in number", path.display());
    texts
}

#[test]
fn all_lines_give_the_ids_and_come_back() {
    let mut total = 0;
    for Case { name, vocab, texts } in cases() {
        for (i, (text, ids)) in texts.iter().enumerate() {
            assert_eq!(&vocab.tokenize(text.as_bytes(), false, false).unwrap(), ids, "{name}, text {i}: {text:?}");
            let back = vocab.detokenize(ids, false, true).unwrap();
            assert_eq!(String::from_utf8_lossy(&back), *text, "{name}, text {i} detokenised");
            let mut stream = Stream::new(true);
            let mut streamed: String = ids.iter().map(|id| stream.push(&vocab, *id).unwrap()).collect();
            streamed += &stream.flush();
            let prefix = if vocab.add_space_prefix() && !text.is_empty() { " " } else { "" };
            assert_eq!(streamed, format!("{prefix}{text}"), "{name}, text {i} streamed");
        }
        println!("{name} ({}, {}): {} texts equal, there and back", vocab.model(), vocab.pre(), texts.len());
        total += texts.len();
    }
    println!("{total} texts in all");
}

#[test]
fn special_tokens_surround_and_are_parsed() {
    for Case { name, vocab, .. } in cases() {
        let ids = vocab.tokenize(b"Hello world", true, false).unwrap();
        assert_eq!(vocab.add_bos() && vocab.bos().is_some(), ids.first() == vocab.bos().as_ref(), "{name}");
        assert_eq!(vocab.detokenize(&ids, true, true).unwrap(), b"Hello world", "{name}");
        for eog in &vocab.special().eog {
            let text = [&b"x"[..], vocab.token_text(*eog).unwrap()].concat();
            assert!(vocab.is_eog(*eog));
            assert_eq!(vocab.tokenize(&text, false, true).unwrap().last(), Some(eog), "{name}");
        }
        assert!(!vocab.special().eog.is_empty(), "{name} has no end");
    }
}

#[test]
fn a_megabyte_without_spaces_is_no_trouble() {
    for Case { name, vocab, .. } in cases() {
        for unit in ["a", "ab", "é", "1", "!", " ", "\n", "語", "\u{301}"] {
            let text = unit.repeat((1 << 20) / unit.len());
            let ids = vocab.tokenize(text.as_bytes(), false, false).unwrap();
            let back = vocab.detokenize(&ids, false, true).unwrap();
            assert!(back == text.as_bytes(), "{name}: a megabyte of {unit:?} does not come back");
        }
    }
}

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vocab").join(name)
}

fn pairs(value: &serde_json::Value) -> Vec<(String, Vec<i32>)> {
    serde_json::from_value(value.clone()).unwrap()
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(own(name)).unwrap()).unwrap()
}

/// `tests/reference/make_kinds.py` makes them.
#[test]
fn small_vocabularies_of_further_kinds_give_the_ids_of_the_reference() {
    for (name, keeps) in
        [("rwkv", true), ("plamo2", true), ("sarvam", true), ("hybriddna", true), ("whitespace", false)]
    {
        let vocab = Vocab::from_gguf(&Gguf::open(&own(&format!("{name}.gguf"))).unwrap()).unwrap();
        for (text, ids) in pairs(&json(&format!("{name}.json"))) {
            assert_eq!(vocab.tokenize(text.as_bytes(), false, false).unwrap(), ids, "{name}: {text:?}");
            // Sequences of DNA have large letters and a length that six divides; PLaMo 2 loses the mark of byte order.
            if keeps && !text.contains("<dna>") && !text.starts_with('\u{feff}') {
                let back = vocab.detokenize(&ids, false, true).unwrap();
                assert_eq!(String::from_utf8_lossy(&back), text, "{name}");
            }
        }
        for unit in ["a", "é", " ", "\n", "語", "1", "<dna>acgt"] {
            let text = unit.repeat((1 << 20) / unit.len());
            vocab.tokenize(text.as_bytes(), false, false).unwrap();
        }
        let error = vocab.tokenize(b"a\xFFb", false, false).unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument, "{name}: {error}");
    }
}

#[test]
fn a_sequence_of_dna_is_shown_without_the_mark_of_its_tokens() {
    let vocab = Vocab::from_gguf(&Gguf::open(&own("hybriddna.gguf")).unwrap()).unwrap();
    let ids = vocab.tokenize(b"of <dna>aaaaaaa</dna>", false, false).unwrap();
    assert_eq!(vocab.detokenize(&ids, false, true).unwrap(), b"of <dna>AAAAAAAAAAAA</dna>");
}

#[test]
fn pre_tokenisers_cut_as_the_reference_does() {
    let mut all = 0;
    for group in json("pre.json").as_array().unwrap() {
        for name in group["names"].as_array().unwrap() {
            let keys = serde_json::json!({ "tokenizer.ggml.pre": name }).to_string();
            let mut file = Gguf::open(&own("pre.gguf")).unwrap();
            file.override_keys(&keys).unwrap();
            let vocab = Vocab::from_gguf(&file).unwrap();
            for (text, ids) in pairs(&group["texts"]) {
                assert_eq!(vocab.tokenize(text.as_bytes(), false, false).unwrap(), ids, "{name}: {text:?}");
            }
            all += 1;
        }
    }
    assert!(all >= 87, "{all} names");
}

/// The vocabularies of encoders: those of the repository, and those with texts in `REKINDLE_VOCAB_DIR`.
fn encoders() -> Vec<Case> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vocab");
    let more = std::env::var_os("REKINDLE_VOCAB_DIR").map(PathBuf::from);
    let entries = [own].into_iter().chain(more).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
    let read = |path: PathBuf| {
        let vocab = Vocab::from_gguf(&Gguf::open(&path).unwrap()).ok()?;
        if !["bert", "t5"].contains(&vocab.model()) {
            return None;
        }
        let texts = match std::fs::read_to_string(path.with_extension("json")) {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) => texts(&path),
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (!texts.is_empty()).then_some(Case { name, vocab, texts })
    };
    files.into_iter().filter_map(read).collect()
}

#[test]
fn tokens_of_encoders_are_those_of_the_reference() {
    let cases = encoders();
    for kind in ["bert", "t5"] {
        assert!(cases.iter().any(|c| c.vocab.model() == kind), "no vocabulary of {kind}");
    }
    for Case { name, vocab, texts } in cases {
        for (i, (text, ids)) in texts.iter().enumerate() {
            assert_eq!(&vocab.tokenize(text.as_bytes(), false, false).unwrap(), ids, "{name}, text {i}: {text:?}");
        }
        println!("{name} ({}): {} texts equal", vocab.model(), texts.len());
        let whole = vocab.tokenize(b"hello world", true, false).unwrap();
        let bare = vocab.tokenize(b"hello world", false, false).unwrap();
        let special = vocab.special();
        let end = if vocab.model() == "bert" { special.sep } else { special.eos };
        let bos: &[i32] = if vocab.add_bos() { &whole[..1] } else { &[] };
        assert_eq!(whole, [bos, &bare, &[end.unwrap()]].concat(), "{name}");
        assert_eq!(bos.first().copied(), vocab.bos().filter(|_| vocab.add_bos()), "{name}");
        assert_eq!(vocab.detokenize(&whole, true, false).unwrap(), b"hello world", "{name}");
        for unit in ["a", "é", " ", "語", "\u{301}", "\u{fb01}"] {
            let text = unit.repeat((1 << 20) / unit.len());
            vocab.tokenize(text.as_bytes(), false, false).unwrap();
        }
    }
}
