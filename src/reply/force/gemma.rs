//! Arguments in gemma's notation: city:<|"|>Paris<|"|>,days:3.

use std::collections::HashMap;

use serde_json::Value;

use super::lark::{ANY, Lark, quoted};
use super::{members, strings};
use crate::error::{Error, Result};
use crate::reply::format::QUOTE;
use crate::reply::tools::Tool;

/// Keywords that cannot be written in this notation.
const REFUSED: [&str; 7] = ["allOf", "not", "if", "dependentSchemas", "patternProperties", "contains", "uniqueItems"];

/// The members between the brackets of a call.
pub(super) fn arguments(tool: &Tool, lark: &mut Lark) -> Result<String> {
    let schema = tool.whole();
    Notation { root: &schema, lark, references: HashMap::new() }.members(&schema)
}

struct Notation<'a, 'l> {
    root: &'a Value,
    lark: &'a mut Lark<'l>,
    /// The rules of references that were met.
    references: HashMap<String, String>,
}

impl Notation<'_, '_> {
    fn members(&mut self, schema: &Value) -> Result<String> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array);
        let Some(properties) = properties.filter(|p| !p.is_empty()) else {
            let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            return if closed { Ok(String::new()) } else { Ok(self.any_members()) };
        };
        let mut all = Vec::new();
        for (key, schema) in properties {
            let value = self.value(schema)?;
            let required = required.is_some_and(|r| r.iter().any(|k| k == key));
            let key = self.key(key);
            all.push((self.lark.rule(&format!("{key} \":\" {value}")), required));
        }
        Ok(members::list(&all, "\",\"", self.lark))
    }

    fn key(&self, key: &str) -> String {
        if members::is_word(key) { quoted(key) } else { self.literal_text(key) }
    }

    fn literal_text(&self, text: &str) -> String {
        let quote = self.lark.marker(QUOTE);
        let text = if text.is_empty() { String::new() } else { quoted(text) };
        format!("{quote} {text} {quote}")
    }

    /// A rule for a value.
    fn value(&mut self, schema: &Value) -> Result<String> {
        if let Some(key) = REFUSED.iter().find(|key| schema.get(**key).is_some()) {
            let text = format!("arguments by a schema with \"{key}\" cannot be written in gemma's notation");
            return Err(Error::unsupported(text).subject("tools"));
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(reference);
        }
        if let Some(value) = schema.get("const") {
            return Ok(self.literal(value));
        }
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        if let Some(values) = list("enum") {
            let all: Vec<String> = values.iter().map(|v| self.literal(v)).collect();
            return Ok(self.lark.rule(&all.join(" | ")));
        }
        if let Some(all) = list("anyOf").or(list("oneOf")) {
            let all = all.iter().map(|s| self.value(s)).collect::<Result<Vec<_>>>()?;
            return Ok(self.lark.rule(&all.join(" | ")));
        }
        match schema.get("type") {
            Some(Value::Array(types)) => {
                let all = types.iter().filter_map(Value::as_str).map(|t| self.typed(t, schema));
                let all = all.collect::<Result<Vec<_>>>()?;
                Ok(self.lark.rule(&all.join(" | ")))
            }
            Some(Value::String(t)) => self.typed(t, schema),
            _ if schema.get("properties").is_some() => self.typed("object", schema),
            _ if schema.get("items").is_some() => self.typed("array", schema),
            _ => Ok(self.any()),
        }
    }

    fn typed(&mut self, kind: &str, schema: &Value) -> Result<String> {
        match kind {
            "string" => {
                let text = self.lark.until(&strings::expression(schema, self.root)?, QUOTE);
                Ok(self.lark.rule(&format!("{} {text}", self.lark.marker(QUOTE))))
            }
            "object" => {
                let members = self.members(schema)?;
                Ok(self.lark.rule(&format!("\"{{\" {members} \"}}\"")))
            }
            "array" => {
                let item = match schema.get("items") {
                    Some(items @ Value::Object(_)) => self.value(items)?,
                    _ => self.any(),
                };
                let count = |key: &str| schema.get(key).and_then(Value::as_u64);
                let (min, max) = (count("minItems").unwrap_or(0), count("maxItems"));
                let most = max.map(|n| n.saturating_sub(1).to_string()).unwrap_or_default();
                let some = format!("{item} (\",\" {item}){{{},{most}}}", min.saturating_sub(1));
                let items = match (min, max) {
                    (_, Some(0)) => String::new(),
                    (0, _) => format!("({some})?"),
                    _ => some,
                };
                Ok(self.lark.rule(&format!("\"[\" {items} \"]\"")))
            }
            _ => {
                // Numbers, true, false and null are JSON's.
                let mut scalar = schema.clone();
                if let Some(object) = scalar.as_object_mut() {
                    object.insert("type".into(), kind.into());
                }
                self.lark.json(scalar)
            }
        }
    }

    fn reference(&mut self, reference: &str) -> Result<String> {
        if let Some(name) = self.references.get(reference) {
            return Ok(name.clone());
        }
        let target = match reference.strip_prefix('#') {
            Some("") => Some(self.root),
            Some(pointer) => self.root.pointer(pointer),
            None => None,
        };
        let Some(target) = target else {
            let text = format!("$ref '{reference}' leads nowhere in the parameters of the tool");
            return Err(Error::invalid(text).subject("tools"));
        };
        let name = self.lark.name();
        self.references.insert(reference.to_owned(), name.clone());
        let value = self.value(target)?;
        self.lark.define(&name, &value);
        Ok(name)
    }

    fn literal(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => self.literal_text(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|v| self.literal(v)).collect();
                format!("\"[\" {} \"]\"", items.join(" \",\" "))
            }
            Value::Object(all) => {
                let all: Vec<String> =
                    all.iter().map(|(key, v)| format!("{} \":\" {}", self.key(key), self.literal(v))).collect();
                format!("\"{{\" {} \"}}\"", all.join(" \",\" "))
            }
            scalar => quoted(&scalar.to_string()),
        }
    }

    /// Any value.
    fn any(&mut self) -> String {
        const ANY_VALUE: &str = "any_value";
        if self.lark.is_new(ANY_VALUE) {
            let members = self.any_members();
            let text = self.lark.until(ANY, QUOTE);
            let quote = self.lark.marker(QUOTE);
            let number = self.lark.rule("/-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?/");
            let list = "\"[\" (any_value (\",\" any_value)*)? \"]\"";
            let body = format!(
                "{quote} {text} | {number} | \"true\" | \"false\" | \"null\" | {list} | \"{{\" {members} \"}}\""
            );
            self.lark.define(ANY_VALUE, &body);
        }
        ANY_VALUE.to_owned()
    }

    fn any_members(&mut self) -> String {
        let any = self.any();
        let key = self.lark.rule("/[A-Za-z_][A-Za-z0-9_]{0,63}/");
        let member = self.lark.rule(&format!("{key} \":\" {any}"));
        format!("({member} (\",\" {member})*)?")
    }
}
