//! A JSON schema before it is compiled: its size is checked, and its references are brought into the one form that the
//! compiler follows.
//!
//! A `$ref` is a URI. It may be relative to the `$id` of a schema around it; it may name a schema by that schema's
//! `$id`, by an `$anchor`, or by a path from a schema (a JSON pointer, RFC 6901). All these become a path from the
//! root, `#/a/b`. The compiler takes the path's keys as they are, without escapes. So what lies under a key with a
//! slash is copied to a place under `$defs`.
//!
//! A reference that leaves the schema is refused: nothing is ever fetched. A `$dynamicAnchor` is a plain anchor where
//! the schema has no `$dynamicRef`. Counts that are written as `2.0` become `2`, which the compiler wants.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::limits::{MOST_PROPERTIES, MOST_RULES};
use crate::error::{Error, Result};

/// Keywords whose value is a schema (or a list of them), whose value is a list of schemas, and whose values are.
const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LIST: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];

/// Keywords whose value is a count.
const COUNT: [&str; 6] = ["maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"];

/// Bytes of schemas that may be copied.
const MOST_COPIED: usize = 1 << 22;

/// A way from the root: keys, and indices as text.
type Path = Vec<String>;

/// # Errors
/// `Unsupported` for a reference that leaves the schema, and for a schema that is too large. `InvalidArgument` for a
/// reference that leads nowhere or back to itself. The message names it.
pub fn prepare(mut schema: Value) -> Result<Value> {
    let mut places = Places::default();
    places.visit(&schema, &mut Path::new(), "");
    if places.most_properties > MOST_PROPERTIES {
        let n = places.most_properties;
        let text = format!("a schema names {n} properties of an object, the most is {MOST_PROPERTIES}");
        return Err(Error::unsupported(text).subject("text"));
    }
    // The compiler multiplies these in 32 bits where schemas are intersected.
    let together = places.steps.iter().try_fold(1u32, |product, step| product.checked_mul(*step));
    if together.is_none() {
        return Err(Error::unsupported("the values of multipleOf are too large together").subject("text"));
    }
    for at in &places.counts {
        if let Some(count) = at_mut(&mut schema, at) {
            *count = count.as_f64().map_or(Value::Null, |n| Value::from(n as u64));
        }
    }
    if !places.has_dynamic_references {
        for at in &places.dynamic_anchors {
            at_mut(&mut schema, at).and_then(Value::as_object_mut).map(|holder| holder.shift_remove("$dynamicAnchor"));
        }
    }
    if places.references.is_empty() {
        return Ok(schema);
    }
    if places.references.len() > MOST_RULES {
        let n = places.references.len();
        return Err(
            Error::unsupported(format!("the schema has {n} references, the most is {MOST_RULES}")).subject("text")
        );
    }
    let mut targets = HashMap::new();
    for (at, base, reference) in &places.references {
        let target = places.find(&schema, base, reference)?;
        targets.insert(at.clone(), (target, reference));
    }
    check_circles(&targets)?;
    let mut copies: HashMap<&Path, String> = HashMap::new();
    let taken: HashSet<String> = defs(&schema).map(|d| d.keys().cloned().collect()).unwrap_or_default();
    let mut names = (0..).map(|i| format!("ref-{i}")).filter(|name| !taken.contains(name));
    for (at, (target, _)) in &targets {
        let plain = !target.iter().any(|key| key.contains('/'));
        let pointer = match plain {
            true if target.is_empty() => "#".to_owned(),
            true => format!("#/{}", target.join("/")),
            false => {
                let name = copies.entry(target).or_insert_with(|| names.next().unwrap_or_default());
                format!("#/$defs/{name}")
            }
        };
        if let Some(Value::Object(holder)) = at_mut(&mut schema, at) {
            holder.insert("$ref".into(), pointer.into());
        }
    }
    copy(&mut schema, copies)?;
    Ok(schema)
}

fn defs(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("$defs")?.as_object()
}

fn copy(schema: &mut Value, copies: HashMap<&Path, String>) -> Result<()> {
    let mut copied = Vec::new();
    let mut bytes = 0;
    for (path, name) in copies {
        let value = at(schema, path).cloned().unwrap_or_default();
        bytes += value.to_string().len();
        if bytes > MOST_COPIED {
            return Err(
                Error::unsupported("references to keys with a slash reach too much of the schema").subject("text")
            );
        }
        copied.push((name, value));
    }
    if let (false, Some(root)) = (copied.is_empty(), schema.as_object_mut()) {
        let defs = root.entry("$defs").or_insert_with(|| Value::Object(Map::new()));
        if let Some(defs) = defs.as_object_mut() {
            defs.extend(copied);
        }
    }
    Ok(())
}

fn at<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    })
}

fn at_mut<'a>(schema: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(schema, |value, key| match value {
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => value.get_mut(key),
    })
}

/// A schema that is nothing but a way to itself.
fn check_circles(targets: &HashMap<Path, (Path, &String)>) -> Result<()> {
    let mut fine: HashSet<&Path> = HashSet::new();
    for start in targets.keys() {
        let (mut on_the_way, mut at) = (HashSet::new(), start);
        while let Some((target, reference)) = targets.get(at) {
            if fine.contains(at) {
                break;
            }
            if !on_the_way.insert(at) {
                return Err(Error::invalid(format!("$ref '{reference}' leads back to itself")).subject("text"));
            }
            at = target;
        }
        fine.extend(on_the_way);
    }
    Ok(())
}

#[derive(Default)]
struct Places {
    /// The place that a URI leads to, without and with an anchor.
    names: HashMap<String, Path>,
    /// Each `$ref`: the schema that has it, the URI that it is relative to, and its text.
    references: Vec<(Path, String, String)>,
    has_dynamic_references: bool,
    /// Of one object.
    most_properties: usize,
    /// The digits of every `multipleOf`, each once.
    steps: HashSet<u32>,
    /// The schemas that have one.
    dynamic_anchors: Vec<Path>,
    /// Whole counts that are written with a fraction.
    counts: Vec<Path>,
}

impl Places {
    fn visit(&mut self, schema: &Value, path: &mut Path, base: &str) {
        let Value::Object(object) = schema else { return };
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let base = &match text("$id") {
            Some(id) => join(base, id).split('#').next().unwrap_or_default().to_owned(),
            None => base.to_owned(),
        };
        if path.is_empty() || text("$id").is_some() {
            self.names.entry(base.clone()).or_insert_with(|| path.clone());
        }
        self.has_dynamic_references |= object.contains_key("$dynamicRef");
        if text("$dynamicAnchor").is_some() {
            self.dynamic_anchors.push(path.clone());
        }
        for anchor in [text("$anchor"), text("$dynamicAnchor")].into_iter().flatten() {
            self.names.entry(format!("{base}#{anchor}")).or_insert_with(|| path.clone());
        }
        if let Some(reference) = text("$ref") {
            self.references.push((path.clone(), base.clone(), reference.to_owned()));
        }
        if let Some(step) = object.get("multipleOf") {
            let digits: String = step.to_string().split('e').next().unwrap_or_default().replace(['.', '-'], "");
            // More digits than that are refused by the compiler.
            self.steps.extend(digits.trim_end_matches('0').parse::<u32>());
        }
        for key in ["properties", "patternProperties", "required"] {
            let n = object.get(key).map_or(0, |v| v.as_object().map_or(v.as_array().map_or(0, Vec::len), Map::len));
            self.most_properties = self.most_properties.max(n);
        }
        for (key, value) in object {
            path.push(key.clone());
            match value {
                Value::Number(n) if COUNT.contains(&key.as_str()) && is_whole_fraction(n) => {
                    self.counts.push(path.clone());
                }
                Value::Object(_) if ONE.contains(&key.as_str()) => self.visit(value, path, base),
                Value::Array(items) if LIST.contains(&key.as_str()) => {
                    for (i, item) in items.iter().enumerate() {
                        path.push(i.to_string());
                        self.visit(item, path, base);
                        path.pop();
                    }
                }
                Value::Object(named) if NAMED.contains(&key.as_str()) => {
                    for (name, value) in named {
                        path.push(name.clone());
                        self.visit(value, path, base);
                        path.pop();
                    }
                }
                _ => (),
            }
            path.pop();
        }
    }

    fn find(&self, schema: &Value, base: &str, reference: &str) -> Result<Path> {
        let uri = join(base, reference);
        let (resource, fragment) = uri.split_once('#').unwrap_or((&uri, ""));
        let fragment = percent_decoded(fragment);
        let nowhere = || Error::invalid(format!("$ref '{reference}' leads nowhere")).subject("text");
        let Some(root) = self.names.get(resource) else {
            return Err(Error::unsupported(format!(
                "$ref '{reference}' leads out of the schema, and nothing is fetched"
            ))
            .subject("text"));
        };
        let path = match fragment.strip_prefix('/') {
            None if fragment.is_empty() => root.clone(),
            None => self.names.get(&format!("{resource}#{fragment}")).cloned().ok_or_else(nowhere)?,
            Some(pointer) => {
                let keys = pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~"));
                root.iter().cloned().chain(keys).collect()
            }
        };
        at(schema, &path).map(|_| path).ok_or_else(nowhere)
    }
}

fn is_whole_fraction(n: &serde_json::Number) -> bool {
    n.is_f64() && n.as_f64().is_some_and(|n| n.fract() == 0.0 && (0.0..1e15).contains(&n))
}

/// A URI relative to another one (RFC 3986, section 5, without the rare parts).
fn join(base: &str, reference: &str) -> String {
    let resource = base.split('#').next().unwrap_or_default();
    if reference.is_empty() || reference.starts_with('#') {
        return format!("{resource}{reference}");
    }
    let scheme = |uri: &str| {
        let end = uri.find([':', '/', '?', '#'])?;
        uri[end..].starts_with(':').then_some(end)
    };
    if scheme(reference).is_some() {
        return reference.to_owned();
    }
    let after_scheme = scheme(resource).map_or(0, |end| end + 1);
    let authority = match resource[after_scheme..].strip_prefix("//") {
        Some(rest) => after_scheme + 2 + rest.find('/').unwrap_or(rest.len()),
        None => after_scheme,
    };
    let kept = match reference {
        r if r.starts_with("//") => &resource[..after_scheme],
        r if r.starts_with('/') => &resource[..authority],
        _ => &resource[..resource.rfind('/').map_or(after_scheme, |n| (n + 1).max(authority))],
    };
    format!("{kept}{}", reference.strip_prefix("./").unwrap_or(reference))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| bytes[i] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
