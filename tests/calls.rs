//! The grammar of a reply holds whatever is written to calls that its reader reads, with arguments by their schemas.
//!
//! The writer is no model but chance: it takes any token that the mask allows, and now and then wishes to close what is
//! open.

#[path = "support/headers/mod.rs"]
mod headers;
#[path = "support/replies.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rekindle::Status;
use rekindle::chat::Templates;
use rekindle::gguf::Gguf;
use rekindle::grammar::{Grammar, Kind, Params, Verdict};
use rekindle::reply::{Choice, Message, Reply};
use rekindle::vocab::Vocab;
use serde_json::Value;
use support::{Random, World, choosing, recorded, template};

const TOOLS: &str = r##"[
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["C", "F", "a longer one"]}}, "required": ["city", "unit"]}}},
    {"type": "function", "function": {"name": "note", "parameters": {"type": "object", "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 30}, "loud": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        "about": {"type": "object", "properties": {"n": {"type": "number"}, "s": {"type": ["string", "null"]}},
        "required": ["n"], "additionalProperties": false}, "perhaps": {"anyOf": [{"const": 7}, {"type": "null"}]},
        "code": {"type": "string", "pattern": "^[a-f]{2,4}$"}, "tree": {"$ref": "#/$defs/tree"}},
        "required": ["loud", "tree", "code"], "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"},
        "maxItems": 2}}}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "stop"}}]"##;

/// The vocabulary of 2048 tokens with all bytes, to which these control tokens are added.
fn vocab(controls: &[&str], end: Option<&str>) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let mut header = headers::of_file(&Gguf::open(&path).unwrap());
    header.tensors.clear();
    let n = header.keys.iter().find_map(|(k, v)| match v {
        headers::Value::Strs(all) if k == "tokenizer.ggml.tokens" => Some(all.len()),
        _ => None,
    });
    for (key, value) in &mut header.keys {
        match (key.as_str(), value) {
            ("tokenizer.ggml.tokens", headers::Value::Strs(all)) => {
                all.extend(controls.iter().map(|c| (*c).to_owned()))
            }
            ("tokenizer.ggml.scores", headers::Value::F32s(all)) => all.extend(controls.iter().map(|_| 0.0)),
            ("tokenizer.ggml.token_type", headers::Value::I32s(all)) => all.extend(controls.iter().map(|_| 3)),
            ("tokenizer.ggml.eos_token_id", headers::Value::U32(id)) => {
                let at = end.and_then(|end| controls.iter().position(|c| *c == end));
                *id = at.map_or(*id, |at| (n.unwrap() + at) as u32);
            }
            _ => {}
        }
    }
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let out = std::env::temp_dir().join(format!("rekindle-calls-{}-{number}.gguf", std::process::id()));
    header.write(&out).unwrap();
    let file = Gguf::open(&out).unwrap();
    let vocab = Vocab::from_gguf(&file).unwrap();
    let templates = Templates::from_gguf(&file, &vocab).unwrap();
    drop(file);
    std::fs::remove_file(&out).unwrap();
    (Arc::new(vocab), templates)
}

/// Writes by chance.
struct Writer<'a> {
    vocab: &'a Vocab,
    random: Random,
    /// Texts that it wishes for now and then.
    wishes: &'a [String],
    tokens: Vec<i32>,
}

/// So many steps may a text take. From the half of them on there is nothing but wishes.
const MOST: usize = 6000;

impl Writer<'_> {
    fn accept(&mut self, g: &mut Grammar, token: i32) {
        g.accept(token).unwrap_or_else(|e| panic!("{}: behind {:?}", e.message, self.text()));
        self.tokens.push(token);
    }

    /// Goes on with this, as far as the grammar allows it.
    fn wish(&mut self, g: &mut Grammar, text: &str) -> bool {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let Some((token, len)) = self.longest(g, rest) else { return false };
            self.accept(g, token);
            rest = &rest[len..];
        }
        true
    }

    fn allows(g: &mut Grammar, token: i32) -> bool {
        g.mask().unwrap()[token as usize / 32] >> (token % 32) & 1 == 1
    }

    /// The longest token that the text begins with, if it is allowed; or a shorter one that is.
    fn longest(&self, g: &mut Grammar, text: &[u8]) -> Option<(i32, usize)> {
        if let Some(token) = g.forced_next().unwrap() {
            let piece = self.vocab.piece(token, true).unwrap();
            let same = piece.iter().zip(text).all(|(a, b)| a == b);
            return same.then_some((token, piece.len().min(text.len())));
        }
        let mut ends = (1..=text.len().min(40)).rev();
        ends.find_map(|n| {
            let whole = self.vocab.find(&text[..n]).filter(|id| self.vocab.piece(*id, true).unwrap() == text[..n]);
            let byte = if n == 1 { self.vocab.find(format!("<0x{:02X}>", text[0]).as_bytes()) } else { None };
            let token = [whole, byte].into_iter().flatten().find(|id| Self::allows(g, *id))?;
            Some((token, n))
        })
    }

    /// Writes until the text ends.
    fn write(&mut self, g: &mut Grammar) {
        for step in 0..MOST {
            let mask = g.mask().unwrap().to_vec();
            let all = (0..self.vocab.n_tokens() as i32).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1);
            let all: Vec<i32> = all.collect();
            let ends: Vec<i32> = all.iter().copied().filter(|id| self.vocab.is_eog(*id)).collect();
            assert_eq!(!ends.is_empty(), g.is_complete().unwrap(), "{}", self.text());
            if !ends.is_empty() && (self.random.below(2) == 0 || step > MOST / 4 || all.len() == ends.len()) {
                self.tokens.push(ends[0]);
                g.accept(ends[0]).unwrap();
                return;
            }
            let (wishes, before) = (self.wishes, self.tokens.len());
            let late = step > MOST / 4;
            if late {
                // One text that closes something is enough.
                let from = self.random.below(wishes.len());
                let mut all = wishes[from..]
                    .iter()
                    .chain(&wishes[..from])
                    .filter(|w| w.contains(['/', '|']) || "\"}])1".contains(w.as_str()));
                all.any(|wish| {
                    let mut trial = g.clone();
                    let whole = self.wish(&mut trial, wish);
                    match whole {
                        true => *g = trial,
                        false => self.tokens.truncate(before),
                    }
                    whole
                });
            } else if self.random.below(3) > 0 {
                let wish = self.random.of(wishes);
                self.wish(g, wish);
            }
            if self.tokens.len() > before {
                continue;
            }
            let blank = |id: i32| self.vocab.piece(id, true).unwrap().iter().all(u8::is_ascii_whitespace);
            let mut others: Vec<i32> = all.into_iter().filter(|id| !self.vocab.is_eog(*id)).collect();
            if late && others.iter().any(|id| !blank(*id)) {
                others.retain(|id| !blank(*id));
            }
            let token = *self.random.of(&others);
            self.accept(g, token);
        }
        panic!("no end: {}", self.text());
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.tokens.iter().flat_map(|t| self.vocab.piece(*t, true).unwrap()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads what was written; what is odd about its calls.
fn read(start: &Reply, written: &Writer, schemas: &BTreeMap<String, Grammar>) -> Result<Message, String> {
    let mut r = start.clone();
    for token in &written.tokens {
        r.push_token(*token).unwrap();
    }
    r.finish();
    let m = r.message().clone();
    let odd = |what: &str| Err(format!("{what}: {:?}\n  {m:?}", written.text()));
    if m.calls.is_empty() || m.calls.iter().any(|c| c.broken) {
        return odd("no call, or a broken one");
    }
    for c in &m.calls {
        let Some(schema) = schemas.get(&c.name) else { return odd("no such tool") };
        // The grammar of JSON wants this character escaped; JSON does not.
        let verdict = schema.check(c.arguments.replace('\u{7f}', "\\u007f").as_bytes()).unwrap();
        if verdict != Verdict::Complete {
            return odd(&format!("arguments not by the schema, {verdict:?}: {}", c.arguments));
        }
    }
    Ok(m)
}

fn schemas(vocab: &Arc<Vocab>) -> BTreeMap<String, Grammar> {
    let tools: Vec<Value> = serde_json::from_str(TOOLS).unwrap();
    let named = tools.iter().map(|t| {
        let f = &t["function"];
        let schema =
            if f["parameters"].is_object() { f["parameters"].to_string() } else { r#"{"type": "object"}"#.into() };
        let grammar = Grammar::new(vocab, Kind::JsonSchema, &schema, &Params::default()).unwrap();
        (f["name"].as_str().unwrap().to_owned(), grammar)
    });
    named.collect()
}

/// A template for each format of calls, and the markers that its texts show.
fn formats(world: &World) -> BTreeMap<String, (String, Vec<String>)> {
    let marker = regex::Regex::new(r"<[^<>\s]*>|\[/?[A-Z_]+\]|```|Action:\n```json|>>>").unwrap();
    let mut all = BTreeMap::new();
    for (name, cases) in recorded() {
        let text = template(&name).unwrap();
        let start = choosing(world, &text, Some(TOOLS), Choice::Auto);
        let found: BTreeSet<String> = cases
            .iter()
            .flat_map(|c| marker.find_iter(c["text"].as_str().unwrap()).map(|m| m.as_str().to_owned()))
            .filter(|m| m.contains("<|\"|>") || !m.contains("\""))
            .collect();
        let key = start.format().to_owned();
        if key != "plain" {
            let row = all.entry(if key == "derived" { format!("{key} of {name}") } else { key });
            row.or_insert_with(|| (text, Vec::new())).1.extend(found);
        }
    }
    all
}

fn wishes(markers: &[String]) -> Vec<String> {
    let plain = ["\"", "}", "]", ")", "\"}", "1", "\n", "é", "x y", "ab", "</think>", "[/THINK]", "<|end|>"];
    markers.iter().cloned().chain(plain.map(str::to_owned)).collect()
}

#[test]
fn required_calls_are_written_and_read() {
    let plain = vocab(&[], None);
    let formats = formats(&plain);
    let (mut n, mut calls, mut thoughts) = (0, 0, 0);
    let times = std::env::var("REKINDLE_FUZZ_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for (format, (template, markers)) in &formats {
        // Once the markers are text, and once control tokens.
        let controls: BTreeSet<&str> = markers.iter().map(String::as_str).filter(|m| m.contains(['<', '['])).collect();
        // With this token gpt-oss's <|end|> ends no generation.
        let controls: Vec<&str> = controls.into_iter().chain(["<|return|>"]).collect();
        let marked = vocab(&controls, Some("<|call|>"));
        let wishes = wishes(markers);
        for world in [&plain, &marked] {
            let schemas = schemas(&world.0);
            for choice in [Choice::Required, Choice::Named("note".into()), Choice::Named("now".into())] {
                let start = choosing(world, template, Some(TOOLS), choice.clone());
                let first = start.grammar(false).unwrap_or_else(|e| panic!("{format}: {}", e.message));
                for seed in 0..times {
                    let mut g = first.clone();
                    let random = Random(seed + n);
                    let mut w = Writer { vocab: &world.0, random, wishes: &wishes, tokens: Vec::new() };
                    w.write(&mut g);
                    let m = read(&start, &w, &schemas).unwrap_or_else(|e| panic!("{format}: {e}"));
                    assert!(m.content.is_empty(), "{format}: {:?} {m:?}", w.text());
                    if let Choice::Named(name) = &choice {
                        assert!(m.calls.len() == 1 && m.calls[0].name == *name, "{format}: {m:?}");
                    }
                    n += 1;
                    calls += m.calls.len();
                    thoughts += usize::from(!m.reasoning.is_empty());
                }
            }
        }
    }
    println!("{n} texts of {} formats, {calls} calls, {thoughts} with reasoning", formats.len());
    assert!(thoughts > 10);
}

/// The model may write what it likes. Once it opens a call, the grammar holds it.
#[test]
fn a_call_that_the_model_opens_is_held() {
    let world = vocab(&[], None);
    let schemas = schemas(&world.0);
    for (format, (template, markers)) in &formats(&world) {
        let start = choosing(&world, template, Some(TOOLS), Choice::Auto);
        let first = start.grammar(true).unwrap_or_else(|e| panic!("{format}: {}", e.message));
        let wishes = wishes(markers);
        let reasons = is_reasoning(&start, "x");
        let may = reasons || is_reasoning(&start, "<think>x</think>");
        let opens = match format.as_str() {
            "llama-3" => ["{\"name\": \"note\""].map(str::to_owned).to_vec(),
            "functionary-3.2" => vec!["note\n".to_owned()],
            "harmony" => vec!["<|channel|>commentary to=functions.".to_owned()],
            "gemma-4" => vec!["<|tool_call>call:".to_owned()],
            "deepseek-r1" => vec!["<｜tool▁calls▁begin｜>".to_owned()],
            "derived of GigaChat3-10B-A1.8B" => vec!["<|message_sep|>\n\nfunction call<|role_sep|>".to_owned()],
            "functionary-3.1" => vec!["<function=".to_owned()],
            _ => markers.iter().filter(|m| !m.contains('/')).cloned().collect(),
        };
        let mut held = 0;
        for open in &opens {
            for seed in 0..4 {
                let (mut g, random) = (first.clone(), Random(seed));
                let mut w = Writer { vocab: &world.0, random, wishes: &wishes, tokens: Vec::new() };
                // Within reasoning nothing opens a call.
                let thinks = ["", "Hm. <b>", if may { "<think>{open}</think> So" } else { "" }];
                let thinks = thinks[w.random.below(3)].replace("{open}", open);
                let thinks = if reasons { format!("{open}</think>{thinks}") } else { thinks };
                let free = if open.starts_with('{') || open.starts_with("note") { "" } else { &thinks };
                assert!(w.wish(&mut g, free) && g.is_complete().unwrap() && w.wish(&mut g, open), "{format}: {open}");
                if g.is_complete().unwrap() {
                    continue;
                }
                held += 1;
                w.write(&mut g);
                read(&start, &w, &schemas).unwrap_or_else(|e| panic!("{format}: {e}"));
            }
        }
        assert!(held > 0, "{format}: nothing opens a call: {opens:?}");
    }
}

fn is_reasoning(start: &Reply, text: &str) -> bool {
    let mut r = start.clone();
    r.push(text).unwrap();
    r.finish();
    !r.message().reasoning.is_empty() && r.message().content.is_empty()
}

#[test]
fn what_cannot_be_held_is_named() {
    let world = vocab(&[], None);
    let qwen = template("Qwen-Qwen3-0.6B").unwrap();
    let coder = template("Qwen3-Coder").unwrap();
    let tool = |name: &str, schema: &str| {
        format!(r#"[{{"type": "function", "function": {{"name": "{name}", "parameters": {schema}}}}}]"#)
    };
    let refused = |template: &str, tools: Option<&str>, choice: Choice| {
        let e = choosing(&world, template, tools, choice).grammar(false).err().expect("refused");
        (e.status, e.message)
    };
    let cases = [
        (qwen.as_str(), None, Choice::Auto, Status::InvalidArgument, "no tools"),
        ("{{ 1 }}", Some(TOOLS.to_owned()), Choice::Required, Status::Unsupported, "template"),
        (&qwen, Some(TOOLS.to_owned()), Choice::Never, Status::InvalidArgument, "no tools"),
        (&qwen, Some(tool("f", r#"{"not": {}}"#)), Choice::Required, Status::Unsupported, "not"),
        (&coder, Some(tool("f g", "{}")), Choice::Required, Status::Unsupported, "'f g'"),
        (&coder, Some(tool("f", r#"{"properties": {"a>b": {}}}"#)), Choice::Auto, Status::Unsupported, "'a>b'"),
        (&qwen, Some(tool("f", r##"{"$ref": "#/no"}"##)), Choice::Required, Status::InvalidArgument, "#/no"),
    ];
    for (template, tools, choice, status, word) in cases {
        let (found, text) = refused(template, tools.as_deref(), choice);
        assert!(found == status && text.contains(word), "{found:?}: {text}");
    }
    // Many tools.
    let many: Vec<Value> =
        (0..1000).map(|i| serde_json::json!({"name": format!("tool_{i}"), "parameters": {}})).collect();
    let many = Value::from(many).to_string();
    assert!(choosing(&world, &qwen, Some(&many), Choice::Auto).grammar(false).is_ok());
    let (status, text) = refused(&template("meta-llama-Llama-3.1-8B-Instruct").unwrap(), Some(&many), Choice::Auto);
    assert!(status == Status::InvalidArgument && text.contains("triggers"), "{text}");
}
