//! The body of a call of one tool, between its markers.

use serde_json::Value;

use super::lark::{Lark, quoted};
use super::{gemma, members, tagged};
use crate::error::{Error, Result};
use crate::reply::format::{Arguments, Body, Call, Format, Named};
use crate::reply::tools::Tool;

pub(super) fn body(format: &Format, form: &Call, tool: &Tool, lark: &mut Lark) -> Result<String> {
    match &form.body {
        Body::Object => object(format, tool, lark),
        Body::Named(spec) => named(spec, form, tool, lark),
    }
}

/// {"name": "f", "arguments": {…}}, with an id where the format has one.
fn object(format: &Format, tool: &Tool, lark: &mut Lark) -> Result<String> {
    let keys = &format.keys;
    let member = |key: &str, value: &str| format!("{} WS? \":\" WS? {value}", quoted(&quoted(key)));
    let name = member(&keys.name, &quoted(&quoted(&tool.name)));
    let arguments = member(&keys.arguments, &lark.json(tool.whole())?);
    let (mut before, mut behind) = (String::new(), String::new());
    if let Some(id) = &keys.id {
        let value = lark.rule(&format!("/\"{}\"/", id.pattern));
        let member = member(&id.key, &value);
        match id.first {
            true => before = format!("({member} WS? \",\" WS?)?"),
            false => behind = format!("(\",\" WS? {member} WS?)?"),
        }
    }
    Ok(format!("WS? \"{{\" WS? {before} {name} WS? \",\" WS? {arguments} WS? {behind} \"}}\""))
}

/// A name, then its arguments.
fn named(spec: &Named, form: &Call, tool: &Tool, lark: &mut Lark) -> Result<String> {
    let mut stops = spec.ends.iter().chain(&spec.stops).chain(&spec.id).chain(&form.close);
    let bad = |c: char| c.is_whitespace() || c.is_control() || (spec.header && c == '<');
    if tool.name.contains(bad)
        || stops.any(|stop| tool.name.contains(stop.as_str()))
        || (spec.in_id && tool.name.contains(':'))
    {
        let text = format!("a tool's name '{}' cannot be written in the model's format of calls", tool.name);
        return Err(Error::unsupported(text).subject("tools"));
    }
    let mut out = match spec.in_id {
        true => {
            let number = lark.rule("/[0-9]{1,4}/");
            format!("{} {number}", quoted(&format!("functions.{}:", tool.name)))
        }
        false => quoted(&tool.name),
    };
    if let Some(id) = &spec.id {
        let number = lark.rule("/[A-Za-z0-9]{9}/");
        out.push_str(&format!(" ({} {number})?", lark.marker(id)));
    }
    if let Some(note) = &spec.note {
        out.push_str(&format!(" ({})?", lark.marker(note)));
    }
    if let Some(end) = spec.ends.first() {
        out.push_str(&format!(" {}", lark.marker(end)));
    }
    let arguments = match &spec.arguments {
        Arguments::Json => format!("WS? {}", lark.json(tool.whole())?),
        Arguments::Loose(b'}') => format!("{} \"}}\"", gemma::arguments(tool, lark)?),
        Arguments::Loose(_) => format!("{} \")\"", words(tool, lark)?),
        Arguments::Tagged(spec) => tagged::arguments(spec, tool, lark)?,
    };
    Ok(format!("{out} {arguments}"))
}

/// The arguments of a function in Python: city="Paris", loud=True. JSON's values are read there, too.
fn words(tool: &Tool, lark: &mut Lark) -> Result<String> {
    let mut all = Vec::new();
    for (key, required) in tool.properties() {
        if !members::is_word(&key) {
            let text = format!("a parameter '{key}' cannot be written in the model's format of calls");
            return Err(Error::unsupported(text).subject("tools"));
        }
        let schema = tool.part(&key);
        let value = match schema.get("type").and_then(Value::as_str) {
            Some("boolean") if schema.get("enum").or(schema.get("const")).is_none() => {
                lark.rule("\"True\" | \"False\" | \"true\" | \"false\"")
            }
            _ => lark.json(schema)?,
        };
        all.push((lark.rule(&format!("{} {value}", quoted(&format!("{key}=")))), required));
    }
    Ok(members::list(&all, "\",\" WS?", lark))
}
