//! Chat templates of real models give the prompts that transformers gives (tests/reference/make_chat.py), and hostile
//! ones an error.

#[path = "support/built.rs"]
mod built;
mod support;
#[path = "support/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};

use rekindle::Status;
use rekindle::chat::{Message, Options, Templates};
use rekindle::gguf::Gguf;
use rekindle::vocab::Vocab;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat")
}

fn json(path: &str) -> Value {
    let path = folder().join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cases in which the reference fails and we do not: its error, and why.
const LENIENT: [(&str, &str); 2] = [
    (
        "TypeError: 'NoneType' object is not iterable",
        "a loop over none, mostly over tools that are not there, runs not at all",
    ),
    ("TypeError: Object of type generator is not JSON serializable", "tojson takes what `map` gives"),
];

/// The cases in which the texts differ: template, case ('*': all with tools), why.
const DIFFERENCES: [(&str, &str, &str); 1] = [(
    "meetkai-functionary-medium-v3.1",
    "*",
    "the template's `safe` makes jinja2 write the tools with HTML's escapes (&#34; for a quote); \
     here `safe` changes nothing",
)];

/// A message's JSON texts, which its `Message` borrows.
struct Owned {
    json: Value,
    calls: Option<String>,
}

impl Owned {
    fn new(json: &Value) -> Owned {
        Owned { json: json.clone(), calls: json.get("tool_calls").map(Value::to_string) }
    }
    fn message(&self) -> Message<'_> {
        let text = |key: &str| self.json.get(key).and_then(Value::as_str);
        Message {
            role: text("role").unwrap(),
            content: text("content"),
            name: text("name"),
            reasoning: text("reasoning_content"),
            tool_call_id: text("tool_call_id"),
            tool_calls: self.calls.as_deref(),
            fields: None,
        }
    }
}

fn render(template: &str, case: &Value, all: &Value) -> rekindle::Result<String> {
    let owned: Vec<Owned> = case["messages"].as_array().unwrap().iter().map(Owned::new).collect();
    let messages: Vec<Message> = owned.iter().map(Owned::message).collect();
    let mut variables = all["special"].as_object().unwrap().clone();
    variables.extend(case.get("variables").and_then(Value::as_object).cloned().unwrap_or_default());
    let variables = Value::Object(variables).to_string();
    let tools = case.get("tools").map(Value::to_string);
    let options = Options {
        name: None,
        text: Some(template),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        tools: tools.as_deref(),
        variables: Some(&variables),
        now: all["now"].as_i64(),
    };
    Templates::default().render(&messages, &options)
}

/// The fault of a case, if it has one.
fn complaint(got: &rekindle::Result<String>, want: &Value) -> Option<String> {
    let has = |key: &str| want.get(key).and_then(Value::as_str);
    match (got, has("text"), has("raised"), has("failed")) {
        (Ok(got), Some(want), _, _) if got == want => None,
        (Ok(got), Some(want), _, _) => {
            let at = got.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
            let near = |s: &str| {
                String::from_utf8_lossy(&s.as_bytes()[at.saturating_sub(40)..s.len().min(at + 60)]).into_owned()
            };
            Some(format!("differs at byte {at}:\n    have {:?}\n    want {:?}", near(got), near(want)))
        }
        (Err(e), _, Some(why), _) if e.status == Status::InvalidArgument && e.message.contains(why) => None,
        (Err(_), _, _, Some(_)) => None,
        (Ok(got), ..) => Some(format!("gives {} bytes, where the reference has {want}", got.len())),
        (Err(e), ..) => Some(format!("fails: {e}")),
    }
}

#[test]
fn prompts_are_those_of_transformers() {
    let all = json("cases.json");
    let (mut templates, mut equal, mut refused, mut lenient, mut different) = (0, 0, 0, 0, 0);
    let mut wrong = Vec::new();
    // `make_chat.py -o DIR FOLDER` writes those of another folder.
    let folders = [Some(folder()), std::env::var_os("REKINDLE_TEMPLATES_DIR").map(PathBuf::from)];
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder.join("templates")).unwrap())
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let template = std::fs::read_to_string(&path).unwrap();
        let expected = path.ancestors().nth(2).unwrap().join("expected").join(format!("{name}.json"));
        let expected = json(expected.to_str().unwrap());
        templates += 1;
        for case in all["cases"].as_array().unwrap() {
            let which = case["name"].as_str().unwrap();
            let want = &expected[which];
            let got = render(&template, case, &all);
            let failed = want.get("failed").and_then(Value::as_str).unwrap_or_default();
            let known = DIFFERENCES.iter().find(|d| d.0 == name && (d.1 == which || case.get("tools").is_some()));
            match complaint(&got, want) {
                Some(_) if got.is_ok() && LENIENT.iter().any(|l| l.0 == failed) => lenient += 1,
                Some(_) if known.is_some() => different += 1,
                Some(text) => wrong.push(format!("{name}, {which}: {text}")),
                None if known.is_some() => wrong.push(format!("{name}, {which}: is no difference any more")),
                None if want.get("text").is_some() => equal += 1,
                None => refused += 1,
            }
        }
    }
    println!(
        "{templates} templates: {equal} prompts equal, {refused} refused by both, {lenient} refused only by jinja2, \
         {different} known to differ"
    );
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(equal >= 446 && different > 0, "a fixture is missing");
}

/// Of a file, which may have templates and no weights, as `make_chat.py` writes it.
fn of_file(path: &str) -> (Vocab, Templates) {
    let file = Gguf::open(&folder().join(path)).unwrap();
    let vocab = Vocab::from_gguf(&file).unwrap();
    let templates = Templates::from_gguf(&file, &vocab).unwrap();
    (vocab, templates)
}

#[test]
fn a_file_gives_its_templates_by_name() {
    let (v, t) = of_file("model.gguf");
    assert_eq!(t.names().collect::<Vec<_>>(), ["default", "tool_use"]);
    let user = [Message { role: "user", content: Some("Hi"), ..Message::default() }];
    let chatml = t.render(&user, &Options { add_generation_prompt: true, ..Options::default() }).unwrap();
    assert!(chatml.ends_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), "{chatml}");
    // The end of a turn, as the model would write it, ends a generation.
    let end = v.tokenize(b"<|im_end|>", false, true).unwrap();
    assert!(end.len() == 1 && v.is_eog(end[0]) && v.is_eog(v.eos().unwrap()));
    // With tools the file's template for tools; BOS and EOS are the file's.
    let tools = t.render(&user, &Options { tools: Some("[]"), ..Options::default() }).unwrap();
    assert_eq!(tools, "<s>[][user]Hi</s>");
    assert_eq!(t.text(None).unwrap(), t.text(Some("default")).unwrap());
    let e = t.text(Some("rag")).unwrap_err();
    assert!(e.status == Status::NotFound && e.message.contains("default, tool_use"), "{e}");
    let (_, none) = of_file("../../../models/bible-5M-Q8_0.gguf");
    assert_eq!(none.render(&user, &Options::default()).unwrap_err().status, Status::NotFound);
}

/// The tool, on the shipped model with a template from a file: turns come back, and the cache keeps what was decoded.
#[test]
fn the_tool_chats() {
    let template = tool::written("plain.jinja", "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}");
    let talk = |lines: &str, args: &[&str]| {
        let said = tool::tool_with(lines, "chat", &[&["-n", "12"], args].concat());
        (said.code, said.out, said.err)
    };
    let (code, _, why) = talk("Hi\n", &[]);
    assert!(code == 2 && why.contains("no chat template") && why.contains("--template"), "{why}");
    let with = ["--template", &template, "--system", "The words of the preacher"];
    let prompt_tokens = |log: &str| {
        let words: Vec<&str> = log.split_whitespace().collect();
        words
            .iter()
            .position(|w| *w == "prompts")
            .map(|i| words[i + 1].parse::<u32>().unwrap())
            .unwrap_or_else(|| panic!("{log}"))
    };
    let (code, first, log) = talk("And God said\n", &with);
    assert_eq!(code, 0, "{log}");
    let (code, both, log_of_both) = talk("And God said\n\nAnd the king\n", &with);
    assert!(code == 0 && both.starts_with(&first) && both.len() > first.len(), "{both}");
    let (one, two) = (prompt_tokens(&log), prompt_tokens(&log_of_both));
    assert!(two > one && two < 2 * one + 8, "the first turn was decoded again: {one}, {two}");
}

/// Limits that end hostile templates leave long conversations alone.
#[test]
fn long_conversations_fit() {
    let all = json("cases.json");
    let text = "Some words of a usual length, and a few more. ".repeat(6);
    let roles = ["user", "assistant"].iter().cycle().take(1001);
    let messages: Vec<Value> = roles.map(|role| serde_json::json!({"role": role, "content": text})).collect();
    let case = serde_json::json!({"name": "long", "messages": messages, "add_generation_prompt": true});
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder().join("templates")).unwrap() {
        let path = entry.unwrap().path();
        if let Err(e) = render(&std::fs::read_to_string(&path).unwrap(), &case, &all) {
            wrong.push(format!("{}: {e}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
