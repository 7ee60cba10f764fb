//! The targets of fuzzing: each takes bytes from a stranger and must come back, with a result or an error.
//!
//! Beyond that, targets check what holds for every input: texts come back from their tokens, replies do not depend on
//! the places at which they are cut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rekindle::chat::{Message, Options, Templates};
use rekindle::context::{Context, LogLevel};
use rekindle::gguf::Gguf;
use rekindle::grammar::{self, Grammar};
use rekindle::plan::{Params, Plan, Question};
use rekindle::reply::{self, Event, Reply};
use rekindle::session::{Batch, LoadParams, Model};
use rekindle::vocab::Vocab;

pub type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 8] = [
    ("file", file),
    ("tokenizer", tokenizer),
    ("template", template),
    ("devices", devices),
    ("saved", saved),
    ("adapter", adapter),
    ("grammar", grammar_text),
    ("reply", reply_text),
];

pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(n, _)| *n == name).map(|(_, target)| *target)
}

/// The project's folder: this file's package lies two levels below it, if it is not the project itself.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if here.ends_with("tests/fuzz") { here.join("../..") } else { here.to_owned() }
}

fn open(path: &str) -> Arc<Gguf> {
    Arc::new(Gguf::open(&root().join(path)).expect("a file of the project"))
}

fn context() -> &'static Arc<Context> {
    static CONTEXT: OnceLock<Arc<Context>> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new("cpu", 1, None, LogLevel::Error).expect("a context"))
}

fn small() -> Params {
    Params { n_ctx: 32, n_batch: 8, n_ubatch: 8, n_seq_max: 2, ..Params::default() }
}

fn batch(tokens: &[i32]) -> Batch<'_> {
    Batch { tokens, positions: None, seq_ids: None, outputs: None }
}

/// A whole file: its keys, its vocabulary, a plan, a load, a batch.
fn file(data: &[u8]) {
    let Ok(gguf) = Gguf::from_bytes("fuzzed", data.to_vec()) else { return };
    let gguf = Arc::new(gguf);
    for key in gguf.keys() {
        let _ = format!("{:?}", gguf.value(key));
    }
    if let Ok(vocab) = Vocab::from_gguf(&gguf) {
        let _ = vocab.tokenize(b"And so on, 1 2 3.", true, true).map(|ids| vocab.detokenize(&ids, false, true));
        let _ = Templates::from_gguf(&gguf, &vocab);
    }
    let Ok(plan) = Plan::new(context(), &gguf, &small()) else { return };
    // A plan may ask for any amount; a load of much only costs time here.
    if !plan.fits || gguf.n_bytes() > 1 << 20 || plan.devices.iter().any(|d| d.memory.asked() > 64 << 20) {
        return;
    }
    let Ok(model) = Model::load(context(), &Arc::new(plan), LoadParams::default()) else { return };
    let _ = model.decode(&batch(&[0, 1]));
}

/// A text, for one of two vocabularies.
fn tokenizer(data: &[u8]) {
    static VOCABS: OnceLock<Vec<Vocab>> = OnceLock::new();
    let vocabs = VOCABS.get_or_init(|| {
        let files =
            ["models/bible-5M-Q8_0.gguf", "tests/fixtures/vocab/bert-bge.gguf", "tests/fixtures/chat/model.gguf"];
        files.iter().map(|f| Vocab::from_gguf(&open(f)).expect("a vocabulary")).collect()
    });
    let Some((which, text)) = data.split_first() else { return };
    let vocab = &vocabs[*which as usize % vocabs.len()];
    if let Ok(ids) = vocab.tokenize(text, which & 64 != 0, which & 128 != 0) {
        assert!(ids.iter().all(|id| (*id as usize) < vocab.n_tokens()));
        let _ = vocab.detokenize(&ids, true, true);
    }
    let ids: Vec<i32> =
        text.chunks(2).map(|two| i32::from(two[0]) << 8 | i32::from(*two.last().unwrap_or(&0))).collect();
    let _ = vocab.detokenize(&ids, false, false);
}

fn conversation() -> [Message<'static>; 3] {
    ["system", "user", "assistant"].map(|role| Message { role, content: Some("Some words."), ..Message::default() })
}

/// The text of a chat template.
fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tools = r#"[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]"#;
    let options = Options { text: Some(text), tools: Some(tools), now: Some(0), ..Options::default() };
    if let Ok(prompt) = Templates::default().render(&conversation(), &options) {
        assert!(prompt.len() <= 16 << 20);
    }
}

/// A description of devices, a plan for them, and a question.
fn devices(data: &[u8]) {
    static FILE: OnceLock<Arc<Gguf>> = OnceLock::new();
    let file = FILE.get_or_init(|| open("tests/fixtures/models/llama-moe.gguf"));
    let Ok(spec) = std::str::from_utf8(data) else { return };
    // Devices of this machine are another test's.
    let Ok(context) = Context::new(spec, 1, None, LogLevel::Error) else { return };
    if let Ok(plan) = Plan::new(&context, file, &small()) {
        let _ = (plan.text(), plan.json(), plan.svg());
    }
    let _ = Plan::ask(&context, file, &small(), Question::LargestContext);
}

fn model() -> &'static Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let plan = Plan::new(context(), &open("tests/fixtures/models/qwen35-nextn.gguf"), &small()).expect("a plan");
        Model::load(context(), &Arc::new(plan), LoadParams::default()).expect("a model")
    })
}

/// A saved sequence.
fn saved(data: &[u8]) {
    let model = model();
    if model.seq_load(0, &mut &data[..], data.len() as u64, &mut |_| true).is_ok() {
        let _ = model.decode(&batch(&[1]));
    }
    let _ = model.seq_remove(-1, 0, -1);
}

/// The file of an adapter.
fn adapter(data: &[u8]) {
    static FILE: OnceLock<Arc<Gguf>> = OnceLock::new();
    let file = FILE.get_or_init(|| open("tests/fixtures/models/llama-Q4_K.gguf"));
    let path = std::env::temp_dir().join(format!("rekindle-fuzz-{}.gguf", std::process::id()));
    if std::fs::write(&path, data).is_err() {
        return;
    }
    if let Ok(adapted) = file.with_adapters(&[&path]) {
        let _ = Plan::new(context(), &Arc::new(adapted), &small());
    }
    let _ = std::fs::remove_file(&path);
}

fn chat() -> &'static (Arc<Vocab>, Templates) {
    static CHAT: OnceLock<(Arc<Vocab>, Templates)> = OnceLock::new();
    CHAT.get_or_init(|| {
        let file = open("tests/fixtures/chat/model.gguf");
        let vocab = Arc::new(Vocab::from_gguf(&file).expect("a vocabulary"));
        let templates = Templates::from_gguf(&file, &vocab).expect("templates");
        (vocab, templates)
    })
}

/// A grammar of one of the kinds, and the tokens that it lets through.
fn grammar_text(data: &[u8]) {
    static VOCAB: OnceLock<Arc<Vocab>> = OnceLock::new();
    let vocab =
        VOCAB.get_or_init(|| Arc::new(Vocab::from_gguf(&open("models/bible-5M-Q8_0.gguf")).expect("a vocabulary")));
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kinds = [grammar::Kind::JsonSchema, grammar::Kind::Gbnf, grammar::Kind::Regex, grammar::Kind::Lark];
    let kind = kinds[*which as usize % kinds.len()];
    let Ok(mut g) = Grammar::new(vocab, kind, text, &grammar::Params::default()) else { return };
    for step in 0..16usize {
        let Ok(mask) = g.mask() else { return };
        let n = mask.iter().map(|w| w.count_ones() as usize).sum::<usize>();
        if n == 0 {
            return;
        }
        let wanted = (step * 7 + *which as usize) % n;
        let token = (0..mask.len() * 32).filter(|i| mask[i / 32] >> (i % 32) & 1 != 0).nth(wanted).unwrap_or(0);
        assert!(g.accept(token as i32).is_ok(), "a token that the mask lets through is accepted");
    }
}

/// A template, tools and a text, and places at which the text is cut.
fn reply_text(data: &[u8]) {
    const FORMATS: [&str; 8] = [
        "<think></think><tool_call>{{ messages[0].content }}</tool_call>",
        "{{ messages | tojson }}<tool_call><function=f><parameter=a></parameter></function></tool_call>",
        "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>",
        "[TOOL_CALLS]name[ARGS]{}",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        "<|python_tag|>",
        "<arg_key></arg_key><arg_value></arg_value>",
        "{{ messages[0].content }}",
    ];
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let tools = r#"[{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}}]"#;
    let (vocab, templates) = chat();
    let options =
        Options { text: Some(FORMATS[*which as usize % FORMATS.len()]), tools: Some(tools), ..Options::default() };
    let params = reply::Params { chat: options, seed: 7, ..reply::Params::default() };
    let Ok(start) = Reply::new(vocab, templates, &params) else { return };
    let (mut whole, mut cut) = (start.clone(), start);
    let _ = whole.push(text);
    let mut rest = text;
    while !rest.is_empty() {
        let n = 1 + (rest.len() * 31 + *which as usize) % 7;
        let n = (n.min(rest.len())..=rest.len()).find(|n| rest.is_char_boundary(*n)).unwrap_or(rest.len());
        let _ = cut.push(&rest[..n]);
        rest = &rest[n..];
    }
    whole.finish();
    cut.finish();
    let events = |reply: &mut Reply| -> Vec<Event> { std::iter::from_fn(|| reply.next_event()).collect() };
    let _ = (events(&mut whole), events(&mut cut));
    assert_eq!(format!("{:?}", whole.message()), format!("{:?}", cut.message()), "{text:?}");
}
