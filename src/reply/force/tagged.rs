//! Arguments that stand between markers, each for itself.

use serde_json::Value;

use super::lark::{ANY, Lark, quoted};
use super::strings;
use crate::error::{Error, Result};
use crate::reply::format::Tagged;
use crate::reply::tools::{Tool, Type};

pub(super) fn arguments(spec: &Tagged, tool: &Tool, lark: &mut Lark) -> Result<String> {
    let properties = tool.properties();
    if properties.is_empty() {
        return Ok(if tool.is_open() { any(spec, lark) } else { String::new() });
    }
    let mut out = String::new();
    for (key, required) in properties {
        if key.trim() != key || key.contains(spec.key_end.as_str()) {
            let text = format!("a parameter '{key}' cannot be written in the model's format of calls");
            return Err(Error::unsupported(text).subject("tools"));
        }
        let schema = tool.property(&key);
        // Any text is a value where the schema says nothing.
        let anything = schema.is_none_or(says_nothing);
        let string = anything || tool.type_of(&key) == Type::String;
        let head = head(spec, &quoted(&key), string, lark);
        let value = match string {
            false => format!("WS? {} WS? {}", lark.json(tool.part(&key))?, lark.marker(&spec.close)),
            true => text(spec, &expression(tool, &key)?, lark),
        };
        let argument = lark.rule(&format!("{head} {value}"));
        out.push_str(&if required { format!("WS? {argument} ") } else { format!("(WS? {argument})? ") });
    }
    Ok(out)
}

/// The markers before a value.
fn head(spec: &Tagged, key: &str, string: bool, lark: &Lark) -> String {
    let behind = match (spec.typed, string) {
        (true, true) => lark.marker(&format!("{} string=\"true\"{}", spec.key_end, spec.value_open)),
        (true, false) => lark.marker(&format!("{} string=\"false\"{}", spec.key_end, spec.value_open)),
        (false, _) if spec.value_open.is_empty() => lark.marker(&spec.key_end),
        (false, _) => format!("{} WS? {}", lark.marker(&spec.key_end), lark.marker(&spec.value_open)),
    };
    format!("{} {key} {behind}", lark.marker(&spec.open))
}

/// A string, and the marker behind it.
fn text(spec: &Tagged, expression: &str, lark: &mut Lark) -> String {
    match spec.lines {
        false => lark.until(expression, &spec.close),
        // The line break before the closing marker is the model's, since the text may hold it.
        true if expression == ANY => format!("\"\\n\" {}", lark.until(expression, &spec.close)),
        true => format!("\"\\n\" {}", lark.until_behind(expression, "\n", &spec.close)),
    }
}

/// Any arguments.
fn any(spec: &Tagged, lark: &mut Lark) -> String {
    let key = lark.rule("/[A-Za-z_][A-Za-z0-9_]{0,63}/");
    let head = head(spec, &key, true, lark);
    let text = text(spec, ANY, lark);
    let argument = lark.rule(&format!("{head} {text}"));
    format!("(WS? {argument})*")
}

fn expression(tool: &Tool, key: &str) -> Result<String> {
    tool.property(key).map_or(Ok(ANY.to_owned()), |schema| strings::expression(schema, &tool.schema))
}

/// A schema without keywords, but for those that explain.
fn says_nothing(schema: &Value) -> bool {
    let explains = |key: &String| ["title", "description", "default", "examples", "$comment"].contains(&key.as_str());
    schema.as_bool() == Some(true) || schema.as_object().is_some_and(|s| s.keys().all(explains))
}
