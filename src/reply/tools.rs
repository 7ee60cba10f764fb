//! The tools that a reply may call, as the host describes them, and the host's wish about calls.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Tools by name, with the schemas of their parameters.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    all: Vec<Tool>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub name: String,
    /// An object.
    pub schema: Value,
    types: HashMap<String, Type>,
}

/// Keywords with which what a schema says of an object is not in `properties` alone.
const APPLICATORS: [&str; 9] =
    ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentSchemas", "unevaluatedProperties"];

impl Tool {
    pub fn type_of(&self, parameter: &str) -> Type {
        self.types.get(parameter).copied().unwrap_or(Type::Unknown)
    }

    /// The parameters in the schema's order, and true for those that must be there.
    pub fn properties(&self) -> Vec<(String, bool)> {
        let named = self.schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let required = self.schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        let is_required: HashSet<&str> = required.iter().copied().collect();
        let mut all: Vec<(String, bool)> = named.map(|k| (k.clone(), is_required.contains(k.as_str()))).collect();
        let known: HashSet<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
        let unnamed: Vec<_> = required.into_iter().filter(|key| !known.contains(key)).collect();
        all.extend(unnamed.into_iter().map(|key| (key.to_owned(), true)));
        all
    }

    /// It may have parameters that the schema does not name.
    pub fn is_open(&self) -> bool {
        self.schema.get("additionalProperties") != Some(&Value::Bool(false))
    }

    /// The schema of all arguments: an object's, with those members only that it names, if it names some.
    pub fn whole(&self) -> Value {
        let mut whole = self.schema.clone();
        if let Some(schema) = whole.as_object_mut().filter(|s| !APPLICATORS.iter().any(|k| s.contains_key(*k))) {
            schema.insert("type".to_owned(), "object".into());
            if schema.contains_key("properties") {
                schema.entry("additionalProperties").or_insert(false.into());
            }
        }
        whole
    }

    /// The schema of a parameter as it stands among the others.
    pub fn property(&self, parameter: &str) -> Option<&Value> {
        self.schema.get("properties")?.get(parameter)
    }

    /// The schema of a parameter, which stands by itself.
    pub fn part(&self, parameter: &str) -> Value {
        let part = self.property(parameter).cloned().unwrap_or_else(|| Map::new().into());
        if !part.to_string().contains("\"$ref\"") {
            return part;
        }
        // References lead from the root of all parameters, so that comes along.
        let mut root = self.schema.clone();
        let id = root.get("$id").and_then(Value::as_str).unwrap_or("tool:/parameters").to_owned();
        if let Some(schema) = root.as_object_mut() {
            schema.insert("$id".to_owned(), id.as_str().into());
        }
        let key = parameter.replace('~', "~0").replace('/', "~1").replace('%', "%25");
        json!({"$ref": format!("{id}#/properties/{key}"), "$defs": {"parameters": root}})
    }
}

/// The type of a value, as far as its text goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Type {
    /// A string: its text stands as it is.
    String,
    /// Something else, which is written in JSON.
    Other,
    Unknown,
}

/// The host's wish about calls of tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Choice {
    /// The model decides.
    #[default]
    Auto,
    /// It does not: what looks like a call is content.
    Never,
    /// It calls one or more.
    Required,
    /// It calls this one.
    Named(String),
}

impl Tools {
    /// Reads a JSON array of tools, each {"type": "function", "function": {"name", "parameters"}} or that inner object
    /// alone; `input_schema` stands for `parameters`, too.
    ///
    /// # Errors
    /// `InvalidArgument`: it is no such array.
    pub fn parse(text: &str) -> Result<Tools> {
        let bad = |what: String| Error::invalid(format!("tools {what}")).subject("tools");
        let list: Value = serde_json::from_str(text).map_err(|e| bad(format!("is no JSON: {e}")))?;
        let list = list.as_array().ok_or_else(|| bad("is no JSON array".into()))?;
        let mut tools = Tools::default();
        for (i, tool) in list.iter().enumerate() {
            let tool = tool.get("function").unwrap_or(tool);
            let name = tool.get("name").and_then(Value::as_str).filter(|n| !n.is_empty());
            let name = name.ok_or_else(|| bad(format!("[{i}] has no name")))?;
            let schema = tool.get("parameters").or_else(|| tool.get("input_schema")).cloned();
            let schema = schema.filter(Value::is_object).unwrap_or_else(|| Map::new().into());
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let types = properties.map(|(key, s)| (key.clone(), of_schema(s, &schema, 0))).collect();
            // Of several with a name the first one counts.
            tools.by_name.entry(name.to_owned()).or_insert(tools.all.len());
            tools.all.push(Tool { name: name.to_owned(), schema, types });
        }
        Ok(tools)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Each name once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.all.iter().enumerate().filter(|(i, t)| self.by_name[&t.name] == *i).map(|(_, t)| t)
    }

    /// The type of a tool's parameter. One that may be a string is one.
    pub(super) fn type_of(&self, tool: &str, parameter: &str) -> Type {
        let known = self.by_name.get(tool).and_then(|i| self.all[*i].types.get(parameter));
        known.copied().unwrap_or(Type::Unknown)
    }
}

/// A value by this schema, which stands in `root`, may be a string.
pub(super) fn may_be_string(schema: &Value, root: &Value) -> bool {
    of_schema(schema, root, 0) == Type::String
}

/// The schema that this one refers to; itself if it refers to none.
pub(super) fn followed<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    for _ in 0..DEEPEST {
        let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
        match pointer.and_then(|p| root.pointer(p)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// Schemas of strangers may be nested deeply; what lies deeper is unknown.
const DEEPEST: u32 = 8;

fn of_schema(schema: &Value, root: &Value, depth: u32) -> Type {
    let schema = followed(schema, root);
    let either = |all: &mut dyn Iterator<Item = Type>| {
        let (mut found, mut any) = (Type::Other, false);
        for t in all {
            any = true;
            match (found, t) {
                (_, Type::String) => return Type::String,
                (Type::Other, t) => found = t,
                _ => {}
            }
        }
        if any { found } else { Type::Unknown }
    };
    let plain = |v: &Value| if v == "string" { Type::String } else { Type::Other };
    match schema.get("type") {
        Some(Value::Array(types)) => return either(&mut types.iter().map(plain)),
        Some(t) => return plain(t),
        None => {}
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return either(&mut values.iter().map(|v| if v.is_string() { Type::String } else { Type::Other }));
    }
    if let Some(value) = schema.get("const") {
        return if value.is_string() { Type::String } else { Type::Other };
    }
    let several = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    match several {
        Some(all) if depth < DEEPEST => either(&mut all.iter().map(|s| of_schema(s, root, depth + 1))),
        _ => Type::Unknown,
    }
}

impl Choice {
    /// Reads `auto`, `none`, `required` (or `any`), as a word or as JSON, or {"function": {"name": …}}.
    ///
    /// # Errors
    /// `InvalidArgument`: it is none of these.
    pub fn parse(text: &str) -> Result<Choice> {
        let json = serde_json::from_str::<Value>(text).ok();
        let word = json.as_ref().and_then(Value::as_str).unwrap_or(text.trim());
        let of = |v: &Value| v.as_str().or_else(|| v.get("type")?.as_str()).map(str::to_owned);
        let kind = json.as_ref().and_then(of).unwrap_or_else(|| word.to_owned());
        let name = json.as_ref().and_then(|v| v.get("function").unwrap_or(v).get("name")?.as_str());
        match (name, kind.as_str()) {
            (Some(name), _) if !name.is_empty() => Ok(Choice::Named(name.to_owned())),
            (_, "auto" | "") => Ok(Choice::Auto),
            (_, "none") => Ok(Choice::Never),
            (_, "required" | "any") => Ok(Choice::Required),
            _ => {
                let text = "tool_choice is none of auto, none, required and {\"function\": {\"name\": …}}";
                Err(Error::invalid(text).subject("tool_choice"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_choices() {
        let tools = r#"[{"type": "function", "function": {"name": "f", "parameters": {"properties": {
            "s": {"type": "string"}, "n": {"type": "integer"}, "u": {"type": ["string", "null"]}, "x": {},
            "e": {"enum": ["a"]}, "any": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "no": {"oneOf": [{"type": "null"}, {"type": "number"}]}}}}}, {"name": "g", "input_schema": {}}]"#;
        let t = Tools::parse(tools).unwrap();
        let types = ["s", "n", "u", "x", "e", "any", "no", "other"].map(|p| t.type_of("f", p));
        use Type::*;
        assert_eq!(types, [String, Other, String, Unknown, String, String, Other, Unknown]);
        assert!(t.has("g") && !t.has("h"));
        for (text, want) in [
            ("auto", Some(Choice::Auto)),
            ("\"none\"", Some(Choice::Never)),
            ("any", Some(Choice::Required)),
            (r#"{"type": "function", "function": {"name": "f"}}"#, Some(Choice::Named("f".into()))),
            (r#"{"type": "tool", "name": "f"}"#, Some(Choice::Named("f".into()))),
            ("perhaps", None),
            ("{}", None),
        ] {
            assert_eq!(Choice::parse(text).ok(), want, "{text}");
        }
        for bad in ["", "{}", "[1]", r#"[{"function": {"name": ""}}]"#] {
            assert!(Tools::parse(bad).unwrap_err().message.contains("tools"), "{bad}");
        }
    }
}
