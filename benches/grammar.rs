//! The time that a mask takes, with a vocabulary of 152,064 tokens, while texts are written under grammars of several
//! kinds.
//!
//! `cargo bench --bench grammar [VOCABULARY.gguf]`
//!
//! The vocabulary is qwen2's, from a file of its tokeniser if there is one, padded to 152,064 tokens as its models are;
//! else one that is made up: words of its letters, in the lengths that such vocabularies have. Before each token the
//! mask is asked for, and the text goes on with a random token of it. The same texts are written once
//! before, so that the lexer's states are known, as they are for a grammar in use; the first writing is shown, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle::gguf::Gguf;
use rekindle::grammar::{Grammar, Kind, Params};
use rekindle::vocab::Vocab;

const N_TOKENS: usize = 152_064;
const TEXTS: usize = 40;
const LONGEST: usize = 120;

/// Required of the second writing.
const MEDIAN: Duration = Duration::from_micros(100);
const P99: Duration = Duration::from_millis(5);

const GRAMMARS: [(&str, Kind, &str); 6] = [
    (
        "schema, a record",
        Kind::JsonSchema,
        r#"{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}}, "note": {"type": "string",
        "maxLength": 200}, "at": {"type": "string", "format": "date-time"}}, "required": ["name", "age", "tags", "at"],
        "additionalProperties": false}"#,
    ),
    ("schema, any JSON", Kind::JsonSchema, r#"{"type": "object"}"#),
    ("schema, a tree", Kind::JsonSchema, TREE),
    ("regular expression", Kind::Regex, r"(\w+ ){3,20}[A-Z]{2}-[0-9]{4}(, [a-z]+@[a-z]+\.(com|org))*"),
    ("Lark, a calculator", Kind::Lark, SUMS),
    ("GBNF, JSON", Kind::Gbnf, JSON),
];

const TREE: &str = r##"{"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"v": {"type": "number"},
    "l": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}, "r": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
    "required": ["v"], "additionalProperties": {"type": "string"}}}}"##;

const SUMS: &str = r#"
start: e
e: e /[-+*\/]/ e | "(" e ")" | /[0-9]+(\.[0-9]+)?/ | F "(" e ")"
F: "sin" | "cos"
"#;

const JSON: &str = r#"
root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= [ \t\n]{0,8}
"#;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

fn main() {
    let argument = std::env::args().skip(1).find(|a| !a.starts_with("--")).map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = [argument, Some(root.join("../../shared/vocab/ggml-vocab-qwen2.gguf"))];
    let file = known.into_iter().flatten().find(|p| p.exists());
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vocabulary.gguf");
    std::fs::write(&scratch, file_of(file.as_deref())).expect("the scratch folder can be written");
    let vocab = Arc::new(Vocab::from_gguf(&Gguf::open(&scratch).expect("a file")).expect("a vocabulary"));
    let source = file.map_or("made up".into(), |p| p.display().to_string());
    println!("{} tokens, {source}", vocab.n_tokens());
    assert_eq!(vocab.n_tokens(), N_TOKENS);
    let start = Instant::now();
    Grammar::new(&vocab, Kind::Regex, "a", &Params::default()).expect("a grammar");
    println!("once for the vocabulary: {:.0} ms\n", start.elapsed().as_secs_f64() * 1e3);
    println!(
        "| grammar | compile, ms | masks | median, us | 99 %, us | longest, us | first writing: median, 99 %, us |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut all, mut firsts) = (Vec::new(), Vec::new());
    for (name, kind, text) in GRAMMARS {
        let start = Instant::now();
        let g = Grammar::new(&vocab, kind, text, &Params::default()).expect(name);
        let compile = start.elapsed();
        let first = write(&g, &vocab);
        let times = write(&g, &vocab);
        let us = |t: Duration| t.as_secs_f64() * 1e6;
        println!(
            "| {name} | {:.1} | {} | {:.1} | {:.0} | {:.0} | {:.1}, {:.0} |",
            compile.as_secs_f64() * 1e3,
            times.len(),
            us(at(&times, 0.5)),
            us(at(&times, 0.99)),
            us(at(&times, 1.0)),
            us(at(&first, 0.5)),
            us(at(&first, 0.99)),
        );
        all.extend(times);
        firsts.extend(first);
    }
    for (name, mut times) in [("all", all), ("all, first writing", firsts)] {
        times.sort_unstable();
        let (median, p99) = (at(&times, 0.5), at(&times, 0.99));
        let met = if median <= MEDIAN && p99 <= P99 { "met" } else { "MISSED" };
        println!("{name}: median {median:.1?} (required {MEDIAN:?}), 99 % {p99:.1?} (required {P99:?}): {met}");
    }
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The times of all masks, ascending.
fn write(g: &Grammar, vocab: &Vocab) -> Vec<Duration> {
    let (mut times, mut r) = (Vec::new(), Random(0x9e37_79b9_7f4a_7c15));
    for _ in 0..TEXTS {
        let mut g = g.clone();
        for _ in 0..LONGEST {
            let start = Instant::now();
            let mask = g.mask().expect("a mask");
            times.push(start.elapsed());
            // A text mostly does not end where it may; else most would be short.
            let n = r.below(N_TOKENS);
            let allowed = (0..N_TOKENS).map(|i| ((i + n) % N_TOKENS) as i32);
            let allowed = allowed.filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1);
            let Some(token) = allowed.into_iter().find(|id| !vocab.is_eog(*id)) else { break };
            g.accept(token).expect("a token of the mask");
        }
    }
    times.sort_unstable();
    times
}

/// A vocabulary's file, padded to N_TOKENS: that of `from`, or one that is made up.
fn file_of(from: Option<&Path>) -> Vec<u8> {
    let (mut texts, mut types) = (Vec::new(), Vec::new());
    if let Some(path) = from {
        let vocab = Vocab::from_gguf(&Gguf::open(path).expect("the file")).expect("its vocabulary");
        for id in 0..vocab.n_tokens().min(N_TOKENS) as i32 {
            texts.push(vocab.token_text(id).expect("a token").to_vec());
            types.push(vocab.token_type(id).expect("a token") as i32);
        }
    } else {
        made_up(&mut texts, &mut types);
    }
    while texts.len() < N_TOKENS {
        texts.push(format!("[PAD{}]", texts.len()).into_bytes());
        types.push(5);
    }
    let end = types.iter().position(|t| *t == 3).unwrap_or(0) as u32;
    gguf(&texts, &types, end)
}

/// The bytes, as byte-level tokenisers write them, and words.
fn made_up(texts: &mut Vec<Vec<u8>>, types: &mut Vec<i32>) {
    let mut others = 0x100;
    for byte in 0..=255u8 {
        let shown = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let c = if shown { u32::from(byte) } else { others };
        others += u32::from(!shown);
        texts.push(char::from_u32(c).expect("a character").to_string().into_bytes());
    }
    let mut r = Random(88_172_645_463_325_252);
    let mut known: std::collections::HashSet<Vec<u8>> = texts.iter().cloned().collect();
    let letters = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLU0123456789._-(){}[]:;,\"'<>/=+*";
    while texts.len() < N_TOKENS - 400 {
        let mut word = if r.below(2) == 0 { "Ġ".to_owned() } else { String::new() };
        let reach = if r.below(8) == 0 { letters.len() } else { 26 };
        for _ in 0..2 + r.below(9) {
            word.push(letters.as_bytes()[r.below(reach).min(r.below(reach))] as char);
        }
        if known.insert(word.clone().into_bytes()) {
            texts.push(word.into_bytes());
        }
    }
    types.resize(texts.len(), 1);
    texts.push(b"<|im_end|>".to_vec());
    types.push(3);
}

fn gguf(texts: &[Vec<u8>], types: &[i32], end: u32) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &[u8]) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text);
    }
    fn key(out: &mut Vec<u8>, name: &str, ty: u32) {
        text(out, name.as_bytes());
        out.extend(ty.to_le_bytes());
    }
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(7u64.to_le_bytes());
    for (name, value) in
        [("general.architecture", "qwen2"), ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "qwen2")]
    {
        key(&mut out, name, 8);
        text(&mut out, value.as_bytes());
    }
    key(&mut out, "tokenizer.ggml.eos_token_id", 4);
    out.extend(end.to_le_bytes());
    for (name, of) in [("tokenizer.ggml.tokens", 8u32), ("tokenizer.ggml.token_type", 5), ("tokenizer.ggml.merges", 8)]
    {
        key(&mut out, name, 9);
        out.extend(of.to_le_bytes());
        match name {
            "tokenizer.ggml.tokens" => {
                out.extend((texts.len() as u64).to_le_bytes());
                texts.iter().for_each(|t| text(&mut out, t));
            }
            "tokenizer.ggml.token_type" => {
                out.extend((types.len() as u64).to_le_bytes());
                types.iter().for_each(|t| out.extend(t.to_le_bytes()));
            }
            _ => {
                out.extend(1u64.to_le_bytes());
                text(&mut out, b"a b");
            }
        }
    }
    // Tensors would begin here.
    out.resize(out.len().next_multiple_of(32), 0);
    out
}
