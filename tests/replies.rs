//! Replies of models are read as the reference reads them (tests/reference/parse_replies.cpp), the same however their
//! text is cut, and whatever they hold.

#[path = "support/replies.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use rekindle::chat::Options;
use rekindle::reply::{Choice, Event, Message, Params, Reply};
use serde_json::Value;
use support::{Random, World, fixtures, recorded, reply, template, tools, world};

/// Reads a text in pieces; events of one kind that follow each other are joined.
fn read<'a>(start: &Reply, pieces: impl IntoIterator<Item = &'a str>) -> (Vec<Event>, Message) {
    let mut r = start.clone();
    let mut events: Vec<Event> = Vec::new();
    let mut take = |r: &mut Reply| {
        while let Some(e) = r.next_event() {
            match (events.last_mut(), e) {
                (Some(Event::Content(a)), Event::Content(b)) | (Some(Event::Reasoning(a)), Event::Reasoning(b)) => {
                    a.push_str(&b);
                }
                (Some(Event::Arguments { text: a, .. }), Event::Arguments { text: b, .. }) => a.push_str(&b),
                (_, e) => events.push(e),
            }
        }
    };
    for piece in pieces {
        r.push(piece).unwrap();
        take(&mut r);
    }
    r.finish();
    take(&mut r);
    (events, r.message().clone())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.trim().into())
}

/// A message in the form of the fixtures. White space at the ends does not count, nor do ids.
fn said(m: &Message) -> Value {
    let calls = m.calls.iter().map(|c| serde_json::json!({"name": c.name, "arguments": json(&c.arguments)}));
    let calls: Vec<Value> = calls.collect();
    serde_json::json!({"reasoning": m.reasoning.trim(), "content": m.content.trim(), "calls": calls})
}

fn wanted(want: &Value) -> Value {
    let text = |v: &Value, key: &str| v[key].as_str().unwrap().trim().to_owned();
    let calls = want["calls"].as_array().unwrap().iter();
    let calls: Vec<Value> =
        calls.map(|c| serde_json::json!({"name": c["name"], "arguments": json(&text(c, "arguments"))})).collect();
    serde_json::json!({"reasoning": text(want, "reasoning"), "content": text(want, "content"), "calls": calls})
}

/// The differences that README.md explains: template, case; `*` is any.
fn explained() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(fixtures().join("replies/README.md")).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| template"));
    let cell = |l: &str, i: usize| l.split('|').nth(i).unwrap().trim().trim_matches('`').to_owned();
    rows.map(|l| (cell(l, 1), cell(l, 2))).collect()
}

/// A starting reader for each template, with tools and without.
fn starts(world: &World) -> BTreeMap<String, [Reply; 2]> {
    let tools = tools();
    let both = |name: &String| [Some(tools.as_str()), None].map(|t| reply(world, &template(name).unwrap(), t));
    recorded().keys().map(|name| (name.clone(), both(name))).collect()
}

fn start<'a>(starts: &'a BTreeMap<String, [Reply; 2]>, name: &str, case: &Value) -> &'a Reply {
    &starts[name][usize::from(case["tools"] != true)]
}

#[test]
fn replies_are_read_as_the_reference_reads_them() {
    let starts = starts(&world());
    let (explained, mut used, mut wrong) = (explained(), BTreeSet::new(), Vec::new());
    let (mut n, mut refused) = (0, 0);
    for (name, cases) in recorded() {
        for case in &cases {
            n += 1;
            let (_, m) = read(start(&starts, &name, case), [case["text"].as_str().unwrap()]);
            // A text that the reference refuses is compared with the message that the template was told to write.
            let refuses = case["want"]["refused"] == true;
            refused += u32::from(refuses);
            let want = if refuses { &case["meant"] } else { &case["want"] };
            if want.is_null() {
                continue;
            }
            let (ours, want) = (said(&m), wanted(want));
            if ours == want {
                continue;
            }
            let fits = |of: &str, what: &str| of == "*" || of == what;
            let row = explained.iter().position(|(t, c)| fits(t, &name) && fits(c, case["name"].as_str().unwrap()));
            match row {
                Some(row) => drop(used.insert(row)),
                None => wrong.push(format!("{name}, {}: {}\n  want {want}\n  ours {ours}", case["name"], case["text"])),
            }
        }
    }
    println!("{n} texts of {} templates, {refused} of them refused by the reference", starts.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let at_hand = |template: &str| template == "*" || starts.contains_key(template);
    let unused: Vec<_> = (0..explained.len()).filter(|row| !used.contains(row)).map(|row| &explained[row]).collect();
    let unused: Vec<_> = unused.into_iter().filter(|(template, _)| at_hand(template)).collect();
    assert!(unused.is_empty(), "README.md explains differences that are none: {unused:?}");
    assert!(n > 500 && refused * 4 < n);
}

/// The format that is told for each template.
#[test]
fn templates_tell_their_format() {
    let starts = starts(&world());
    let told: BTreeMap<&str, &str> = starts.iter().map(|(name, [r, _])| (name.as_str(), r.format())).collect();
    for (name, format) in FORMATS {
        assert_eq!(told.get(name), Some(&format), "{name}");
    }
    // The probe's call stands before the tools, which name it, too.
    let behind = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls %}<tool_call>{\"name\": \
        \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}\n\
        {% endfor %}{{ tools | tojson }}";
    assert_eq!(reply(&world(), behind, Some(&tools())).format(), "hermes");
}

const FORMATS: [(&str, &str); 25] = [
    ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"),
    ("Qwen-Qwen3-0.6B", "hermes"),
    ("ibm-granite-granite-4.1", "hermes"),
    ("Qwen3-Coder", "qwen-xml"),
    ("Qwen3.5-4B", "qwen-xml"),
    ("openai-gpt-oss-120b", "harmony"),
    ("meta-llama-Llama-3.3-70B-Instruct", "llama-3"),
    ("mistralai-Ministral-3-14B-Reasoning-2512", "mistral"),
    ("mistralai-Mistral-Nemo-Instruct-2407", "mistral-list"),
    ("llama-cpp-deepseek-r1", "deepseek-r1"),
    ("deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"),
    ("deepseek-ai-DeepSeek-V3.2", "deepseek-dsml"),
    ("deepseek-ai-DeepSeek-V4", "deepseek-v4"),
    ("GLM-4.7-Flash", "glm"),
    ("google-gemma-4-31B-it", "gemma-4"),
    ("LFM2.5-8B-A1B", "lfm2"),
    ("ibm-granite-granite-3.3-2B-Instruct", "granite-3"),
    ("command-r-own", "command-r"),
    ("command-r7b-own", "command-r7b"),
    ("meetkai-functionary-medium-v3.1", "functionary-3.1"),
    ("meetkai-functionary-medium-v3.2", "functionary-3.2"),
    ("Kimi-K2-Instruct", "kimi-k2"),
    ("MiniMax-M2", "minimax-m2"),
    ("ByteDance-Seed-OSS", "seed-oss"),
    ("google-gemma-2-2b-it", "plain"),
];

#[test]
fn any_cut_gives_the_same_events() {
    let starts = starts(&world());
    let mut random = Random(7);
    for (name, cases) in recorded() {
        for case in &cases {
            let (start, text) = (start(&starts, &name, case), case["text"].as_str().unwrap());
            let whole = read(start, [text]);
            let same = |pieces: Vec<&str>| assert!(read(start, pieces.iter().copied()) == whole, "{name}: {pieces:?}");
            for (at, _) in text.char_indices() {
                same(vec![&text[..at], &text[at..]]);
            }
            same(text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]).collect());
            (0..10).for_each(|_| same(random.cut(text)));
        }
    }
}

/// Texts of what replies are made of, in no sense: nothing fails, cuts do not matter, calls begin and end in order, and
/// no more is said than was read. REKINDLE_FUZZ is the number of texts.
#[test]
fn hostile_texts_are_read() {
    let n: usize = std::env::var("REKINDLE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let seed = std::env::var("REKINDLE_FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let texts = |cases: &Vec<Value>| cases.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect();
    let mut recorded: BTreeMap<String, Vec<String>> = recorded().iter().map(|(n, c)| (n.clone(), texts(c))).collect();
    let starts = starts(&world()).into_iter().map(|(name, both)| (both, recorded.remove(&name).unwrap()));
    let starts: Vec<([Reply; 2], Vec<String>)> = starts.collect();
    let word = regex::Regex::new(r"<[^<>]*>|\[[A-Z_/]+\]|\w+|\s+|.").unwrap();
    let words: BTreeSet<&str> =
        starts.iter().flat_map(|(_, texts)| texts).flat_map(|t| word.find_iter(t).map(|m| m.as_str())).collect();
    let words: Vec<&str> = words.into_iter().collect();
    let mut random = Random(seed);
    let mut calls = 0;
    for _ in 0..n {
        // Two texts of the format, of which pieces go, come again, change their places, or become something else.
        let (both, own) = random.of(&starts);
        let start = &both[usize::from(random.below(8) == 0)];
        let (one, two) = (random.of(own), random.of(own));
        let mut parts: Vec<&str> = random.cut(one);
        parts.extend(random.cut(two));
        let long = random.of::<&str>(&words).repeat(if random.below(50) == 0 { 100 + random.below(1500) } else { 1 });
        let foreign = char::from_u32(random.below(0x3000) as u32).unwrap_or('\u{fffd}').to_string();
        for _ in 0..random.below(6) {
            let (i, j) = (random.below(parts.len() + 1), random.below(parts.len() + 1));
            match random.below(5) {
                0 => drop(parts.drain(i.min(j)..i.max(j).min(i.min(j) + 8))),
                1 if j < parts.len() => parts.insert(i, parts[j]),
                2 if i < parts.len() && j < parts.len() => parts.swap(i, j),
                3 if random.below(2) == 0 => parts.insert(i, &foreign),
                3 => parts.insert(i, &long),
                _ => parts.insert(i, random.of::<&str>(&words)),
            }
        }
        let text = parts.concat();
        let whole = read(start, [text.as_str()]);
        let pieces = random.cut(&text);
        assert!(read(start, pieces.iter().copied()) == whole, "{}: {pieces:?}", start.format());
        let (mut open, mut begun) = (None, 0);
        for (i, e) in whole.0.iter().enumerate() {
            match e {
                Event::CallBegins { index, id, name } => {
                    assert!(open.is_none() && *index == begun && !id.is_empty() && !name.is_empty(), "{text}");
                    (open, begun) = (Some(*index), begun + 1);
                }
                Event::Arguments { index, .. } => assert_eq!(open, Some(*index), "{text}"),
                Event::CallEnds { index, .. } => assert_eq!(open.take(), Some(*index), "{text}"),
                _ => assert!(open.is_none(), "{text}"),
            }
            assert_eq!(*e == Event::End, i + 1 == whole.0.len(), "{text}");
        }
        let m = &whole.1;
        assert!(m.content.len() + m.reasoning.len() <= text.len(), "{text}");
        calls += begun;
    }
    println!("{n} texts, {calls} calls in them");
    assert!(calls as usize > n / 4);
}

/// Tokens in no order, some of which are none: the message stays a message.
#[test]
fn hostile_tokens_are_read() {
    let starts = one_of_each();
    let (vocab, mut random) = (world().0, Random(3));
    let n = vocab.n_tokens();
    for _ in 0..20_000 {
        let mut r = random.of(&starts).clone();
        for _ in 0..random.below(40) {
            let token = random.below(n + 4) as i32 - 2;
            assert_eq!(r.push_token(token).is_ok(), (0..n as i32).contains(&token), "{token}");
        }
        r.finish();
        assert!(r.push_token(0).is_err());
        let m: Value = serde_json::from_str(&r.message().json()).unwrap();
        assert_eq!(m["role"], "assistant");
    }
    let mut r = starts[0].clone();
    for token in [i32::MIN, -1, n as i32, i32::MAX] {
        assert!(r.push_token(token).is_err());
    }
}

/// One reader for each format.
fn one_of_each() -> Vec<Reply> {
    let starts = starts(&world()).into_values().map(|[with, _]| (with.format().to_owned(), with));
    starts.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// A long text that waits for an end everywhere is read in one go, and character by character, in time that grows with
/// its length alone: this test would not end otherwise.
#[test]
fn long_texts_take_linear_time() {
    for start in one_of_each() {
        for unit in ["<", "<tool_call>", "<tool_call>{\"name\": ", " ", "{", "[", "<|channel|>", "\\", "{\"a\":\"\\"] {
            let text = unit.repeat(60_000 / unit.len());
            let whole = read(&start, [text.as_str()]);
            let chars = text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]);
            assert!(read(&start, chars) == whole, "{unit}");
        }
    }
}

/// 10 MB come byte by byte, and nobody takes the events: a square of that would not end, and the events stay few.
#[test]
fn a_long_reply_is_read_byte_by_byte() {
    let begun = [
        ("Qwen-Qwen3-0.6B", "<tool_call>{\"name\": \"note\", \"arguments\": {\"text\": \"", 2),
        ("GLM-4.6", "<think></think><tool_call>note<arg_key>text</arg_key><arg_value>", 2),
        ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>", 1),
    ];
    let world = world();
    for (name, beginning, most) in begun {
        let mut r = reply(&world, &template(name).unwrap(), Some(&tools()));
        r.push(beginning).unwrap();
        let text = "a <b [c] ".repeat((10 << 20) / 9);
        for i in 0..text.len() {
            r.push(&text[i..=i]).unwrap();
        }
        let events = std::iter::from_fn(|| r.next_event()).count();
        assert!(events <= most, "{name}: {events} events");
        r.finish();
        let m = r.message();
        let said = m.reasoning.len() + m.calls.first().map_or(0, |c| c.arguments.len());
        assert!(said >= text.len() - 2, "{name}: {said}");
    }
}

#[test]
fn bad_parameters_are_named() {
    let world = world();
    let tools = tools();
    let make = |tools: Option<&str>, choice: Choice| {
        let chat = Options { tools, ..Options::default() };
        Reply::new(&world.0, &world.1, &Params { chat, choice, ..Params::default() }).map(|_| ()).map_err(|e| e.message)
    };
    assert_eq!(make(Some(&tools), Choice::Named("note".into())), Ok(()));
    for (tools, choice, word) in [
        (Some("{"), Choice::Auto, "tools is no JSON"),
        (Some("{}"), Choice::Auto, "tools is no JSON array"),
        (Some("[{}]"), Choice::Auto, "tools [0] has no name"),
        (Some(tools.as_str()), Choice::Named("other".into()), "'other'"),
        (None, Choice::Required, "tool_choice"),
    ] {
        let e = make(tools, choice).unwrap_err();
        assert!(e.contains(word), "{e}");
    }
    // A template that fails tells nothing.
    let mut r = reply(&world, "{{ raise_exception('no') }}", Some(&tools));
    r.push("<tool_call>").unwrap();
    r.finish();
    assert_eq!((r.format(), r.message().content.as_str()), ("plain", "<tool_call>"));
    assert!(r.push("x").unwrap_err().message.contains("finished"));
}

/// The calls of C hosts: text and tokens go in, events and the message come out.
#[test]
fn c_hosts_read_replies() {
    use rekindle::ffi::*;
    use std::ptr::{null, null_mut};
    fn sized<T>() -> T {
        // SAFETY: used for structs of the ABI only, of which all-zero is a valid value and which begin with their size.
        unsafe {
            let mut value: T = std::mem::zeroed();
            (&raw mut value).cast::<u32>().write(size_of::<T>() as u32);
            value
        }
    }
    let path = fixtures().join("chat/model.gguf").display().to_string();
    let (template, tools) = (template("Qwen-Qwen3-0.6B").unwrap(), tools());
    // SAFETY: valid handles, structs, texts and places.
    unsafe {
        let (mut context, mut file, mut vocab, mut reply) = (null_mut(), null_mut(), null_mut(), null_mut());
        assert_eq!(rekindle_context_create(REKINDLE_ABI_VERSION, null(), &mut context), REKINDLE_OK);
        assert_eq!(rekindle_file_open(context, path.as_ptr().cast(), path.len(), &mut file), REKINDLE_OK);
        assert_eq!(rekindle_vocab_create(file, &mut vocab), REKINDLE_OK);
        let mut params: rekindle_reply_params = sized();
        (params.template_text, params.template_text_len) = (template.as_ptr().cast(), template.len());
        (params.tools, params.tools_len) = (tools.as_ptr().cast(), tools.len());
        params.seed = 5;
        assert_eq!(rekindle_reply_create(vocab, &params, &mut reply), REKINDLE_OK);
        let mut seen = Vec::new();
        let mut take = || {
            loop {
                let mut e: rekindle_reply_event = sized();
                assert_eq!(rekindle_reply_next(reply, &mut e), REKINDLE_OK);
                if e.kind == REKINDLE_REPLY_NONE {
                    break;
                }
                let text = std::slice::from_raw_parts(e.text.cast::<u8>(), e.text_len);
                seen.push((e.kind, e.index, e.broken, String::from_utf8(text.to_vec()).unwrap(), e.id_len));
            }
        };
        let text = "<think>\nHm.\n</think>\n\n<tool_call>\n{\"name\": \"note\", \"arguments\": {\"text\": \"x\"}}\n</tool_call>";
        for piece in [&text[..20], &text[20..60], &text[60..]] {
            assert_eq!(rekindle_reply_push(reply, piece.as_ptr().cast(), piece.len()), REKINDLE_OK);
            take();
        }
        // The end of a turn, as a token, is nothing.
        let mut end: rekindle_vocab_info = sized();
        assert_eq!(rekindle_vocab_get_info(vocab, &mut end), REKINDLE_OK);
        assert_eq!(rekindle_reply_push_token(reply, end.eos), REKINDLE_OK);
        assert_eq!(rekindle_reply_finish(reply), REKINDLE_OK);
        assert_eq!(rekindle_reply_push(reply, text.as_ptr().cast(), 1), REKINDLE_INVALID_ARGUMENT);
        take();
        let arguments: String = seen.iter().filter(|e| e.0 == REKINDLE_REPLY_ARGUMENTS).map(|e| e.3.as_str()).collect();
        seen.retain(|e| e.0 != REKINDLE_REPLY_ARGUMENTS);
        let event = |kind, text: &str, id| (kind, 0, 0, text.to_owned(), id);
        let want = [
            event(REKINDLE_REPLY_REASONING, "Hm.", 0),
            event(REKINDLE_REPLY_CALL_BEGINS, "note", 9),
            event(REKINDLE_REPLY_CALL_ENDS, "", 0),
            event(REKINDLE_REPLY_END, "", 0),
        ];
        assert_eq!((seen.as_slice(), arguments.as_str()), (&want[..], "{\"text\": \"x\"}"));
        let mut buffer = vec![0u8; 4096];
        let mut n = 0;
        assert_eq!(rekindle_reply_json(reply, buffer.as_mut_ptr().cast(), buffer.len(), &mut n), REKINDLE_OK);
        let message: Value = serde_json::from_slice(&buffer[..n - 1]).unwrap();
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"text\": \"x\"}");
        assert!(message["content"].is_null() && message["reasoning_content"] == "Hm.");
        assert_eq!(rekindle_reply_format(reply, buffer.as_mut_ptr().cast(), buffer.len(), &mut n), REKINDLE_OK);
        assert_eq!(&buffer[..n], b"hermes\0");
        assert_eq!(rekindle_reply_destroy(reply), REKINDLE_OK);
        assert_eq!(rekindle_vocab_destroy(vocab), REKINDLE_OK);
        assert_eq!(rekindle_file_close(file), REKINDLE_OK);
        assert_eq!(rekindle_context_destroy(context), REKINDLE_OK);
    }
}
