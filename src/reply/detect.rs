//! The format of a template, told by what the template writes.
//!
//! A template also writes the assistant's former messages. So *probes* are rendered: a conversation that ends with a
//! call of a tool, and one that ends with an answer after some reasoning. Every known format reads what the template
//! made of the call; the one that finds it, and the least besides, is the format. The texts around the reasoning are
//! its markers. Where a template does not write such things (many leave out reasoning that is past), markers that stand
//! in its text tell.

use std::sync::Arc;

use serde_json::Value;

use super::format::{Body, Format};
use super::formats;
use super::ids::Ids;
use super::message::Message;
use super::object::ObjectBody;
use super::part::{Outcome, Part};
use super::reader::Reader;
use super::tools::Tools;
use crate::chat::{Message as ChatMessage, Options, Templates};

/// Markers of reasoning that are common.
const PAIRS: [(&str, &str); 4] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
];

const TOOL: &str = "probe_tool";
const ARGUMENTS: &str = r#"{"probe_text": "some words", "probe_number": 7}"#;
const TOOLS: &str = r#"[{"type": "function", "function": {"name": "probe_tool", "description": "A probe.", "parameters":
    {"type": "object", "properties": {"probe_text": {"type": "string", "description": "Some words."},
    "probe_number": {"type": "integer", "description": "A number."}}, "required": ["probe_text", "probe_number"]}}}]"#;
/// The places at which a call is looked for, and the most bytes of a marker that is told by a template.
const MOST_TRIES: usize = 16;
const LONGEST_MARKER: usize = 64;
const THOUGHT: &str = "ProbeThought";
const ANSWER: &str = "ProbeAnswer";

/// A template, for probes.
pub(super) struct Probes<'a> {
    pub templates: &'a Templates,
    /// The host's, without messages.
    pub options: Options<'a>,
}

impl Probes<'_> {
    /// The template's text behind a user's message.
    fn render(&self, assistant: Option<ChatMessage>, tools: Option<&str>, begins: bool) -> Option<String> {
        let user = ChatMessage { role: "user", content: Some("ProbeQuestion"), ..ChatMessage::default() };
        let messages: Vec<ChatMessage> = [user].into_iter().chain(assistant).collect();
        let options = Options { tools, add_generation_prompt: begins, ..self.options };
        self.templates.render(&messages, &options).ok()
    }

    /// The template's text, as far as there is one.
    fn source(&self) -> &str {
        self.templates.source(&self.options).unwrap_or("")
    }

    /// The format; also without tools, since it tells the frames of content.
    pub fn format(&self) -> Format {
        let mut format = self.calls().unwrap_or_else(formats::plain);
        if format.reasoning.is_empty() {
            format.reasoning.extend(self.reasoning());
        }
        format
    }

    /// The known format in which the template writes calls.
    fn calls(&self) -> Option<Format> {
        let tools = Arc::new(Tools::parse(TOOLS).ok()?);
        let mut all = formats::all();
        let as_text = Value::from(ARGUMENTS).to_string();
        for (arguments, content) in
            [(ARGUMENTS, None), (ARGUMENTS, Some("")), (as_text.as_str(), None), (as_text.as_str(), Some(""))]
        {
            let call = format!(
                r#"[{{"id": "probe0001", "type": "function", "function": {{"name": "{TOOL}", "arguments": {arguments}}}}}]"#
            );
            let message = ChatMessage { role: "assistant", content, tool_calls: Some(&call), ..ChatMessage::default() };
            let Some(text) = self.said(message, Some(TOOLS)) else { continue };
            let fits = all.iter().enumerate().filter_map(|(i, f)| Some((rest(f, &tools, &text)?, i)));
            if let Some((_, i)) = fits.min() {
                return Some(all.swap_remove(i).with_keys_of(&text));
            }
            let format = derived(&text, &self.end());
            if let Some(format) = format.filter(|f| rest(f, &tools, &text).is_some()) {
                return Some(format.with_keys_of(&text));
            }
        }
        let source = self.source();
        let i = all.iter().position(|f| f.announced_in(source))?;
        Some(all.swap_remove(i))
    }

    /// The template's text for an assistant's message.
    fn said(&self, message: ChatMessage, tools: Option<&str>) -> Option<String> {
        let with = self.render(Some(message), tools, false)?;
        let before = self.render(None, tools, false)?;
        let begun = self.render(None, tools, true).unwrap_or_default();
        let rest = &with[common(&with, &before)..];
        // The header of the message, as far as it is the same.
        let header = begun.get(common(&begun, &before)..).unwrap_or("");
        let mut n = common(rest, header);
        // The header may end with a marker that this message does not begin with; a shared beginning is none of it.
        while n < header.trim_end().len() && n > 0 && !rest[..n].ends_with(['\n', '>', ']', ' ']) {
            n = rest[..n].char_indices().last().map_or(0, |(i, _)| i);
        }
        Some(rest[n..].to_owned())
    }

    /// The text behind an assistant's answer.
    fn end(&self) -> String {
        let message = ChatMessage { role: "assistant", content: Some(ANSWER), ..ChatMessage::default() };
        let text = self.render(Some(message), Some(TOOLS), false).unwrap_or_default();
        text.split_once(ANSWER).map(|(_, end)| end.to_owned()).unwrap_or_default()
    }

    /// The markers of reasoning.
    fn reasoning(&self) -> Option<(String, Vec<String>)> {
        let pair = |open: &str, close: &str| (open.to_owned(), vec![close.to_owned()]);
        let message = ChatMessage {
            role: "assistant",
            content: Some(ANSWER),
            reasoning: Some(THOUGHT),
            ..ChatMessage::default()
        };
        if let Some(text) = self.render(Some(message), self.options.tools, false)
            && let Some((before, after)) = text.split_once(THOUGHT)
            && let Some((close, _)) = after.split_once(ANSWER)
        {
            let (before, close) = (before.trim_end(), close.trim());
            for (open, known) in PAIRS {
                if before.ends_with(open) && close.starts_with(known) {
                    return Some(pair(open, known));
                }
            }
            let open = before.rfind(['<', '[']).map(|i| &before[i..]).filter(|t| t.ends_with(['>', ']']));
            let good = |m: &str| !m.is_empty() && m.len() <= LONGEST_MARKER && !m.contains(char::is_whitespace);
            if let Some(open) = open.filter(|open| good(open) && good(close)) {
                return Some(pair(open, close));
            }
        }
        let source = self.source();
        PAIRS.into_iter().find(|(_, close)| source.contains(close)).map(|(open, close)| pair(open, close))
    }

    /// The prompt ends with the marker that opens reasoning. `prompt`: the real one, if the host gave it.
    pub fn opens_reasoning(&self, format: &Format, prompt: Option<&str>) -> bool {
        let rendered = match prompt {
            Some(_) => None,
            None => self.render(None, self.options.tools, true),
        };
        let end = prompt.or(rendered.as_deref()).unwrap_or("").trim_end();
        format.reasoning.first().is_some_and(|(open, _)| end.ends_with(open.trim_end()))
    }
}

impl Format {
    /// Objects are written with the names of members that the template writes.
    fn with_keys_of(mut self, text: &str) -> Format {
        let has = |key: &str| text.contains(&format!("\"{key}\""));
        let of = |known: [&str; 2], now: &mut String| {
            if let Some(key) = known.into_iter().find(|key| has(key)) {
                *now = key.to_owned();
            }
        };
        of(["tool_name", "name"], &mut self.keys.name);
        of(["arguments", "parameters"], &mut self.keys.arguments);
        self
    }

    /// The template's text has the markers that open calls, or another sign.
    fn announced_in(&self, source: &str) -> bool {
        if self.hints.iter().any(|hint| source.contains(hint.as_str())) {
            return true;
        }
        let sections = self.sections.first().map(|s| &s.open);
        let calls = self.calls.first().map(|c| &c.open);
        let mut opens = sections.into_iter().chain(calls).filter(|t| !t.is_empty()).peekable();
        opens.peek().is_some() && opens.all(|open| source.contains(open.as_str()))
    }
}

/// The bytes that two texts begin with alike, up to the beginning of a character.
fn common(a: &str, b: &str) -> usize {
    let mut n = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(n) {
        n -= 1;
    }
    n
}

/// A format of JSON objects between markers that are not known: the texts before the probe's call, and behind it up to
/// the end of the message. The objects may stand in a list.
fn derived(text: &str, end: &str) -> Option<Format> {
    for (i, _) in text.match_indices('{').take(MOST_TRIES) {
        let mut parts = Vec::new();
        let (n, outcome) = ObjectBody::new(None).push(&text[i..], &mut parts);
        if outcome != Outcome::Whole || !parts.contains(&Part::Name(TOOL.to_owned())) {
            continue;
        }
        let open = text[..i].trim_end().trim_end_matches('[').trim();
        let behind = text[i + n..].trim().trim_end_matches(end.trim()).trim();
        let close = behind.trim_start_matches(']').trim();
        let fits = |marker: &str| marker.len() <= LONGEST_MARKER && !marker.contains("probe");
        let list = text[..i].trim_end().ends_with('[');
        return (open.len() > 1 && fits(open) && fits(close)).then(|| {
            let mut format = Format::new("derived").section(open, close, "[],").call("", Body::Object, &[]);
            format.sections.iter_mut().for_each(|s| s.list = list);
            format
        });
    }
    None
}

/// The bytes of content besides the probe's call, if a format reads it.
fn rest(format: &Format, tools: &Arc<Tools>, text: &str) -> Option<usize> {
    let mut reader = Reader::new(Arc::new(format.clone()), tools.clone(), Ids::new(1), false);
    reader.push(text);
    reader.finish();
    let mut message = Message::default();
    reader.take().for_each(|e| message.add(&e));
    let [call] = message.calls.as_slice() else { return None };
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let same = call.name == TOOL && json(&call.arguments)? == json(ARGUMENTS)?;
    let inside = message.content.contains(TOOL) || message.content.contains("probe_text");
    (same && !inside).then_some(message.content.len() + message.reasoning.len())
}
