//! Filters that cut texts into many values, or make long ones. They are minijinja's, but here they are paid for before
//! they do it.

use minijinja::value::{Kwargs, StringInput};
use minijinja::{Environment, Error, State, Value, filters};

use super::pay::{measure, pay_for_bytes, pay_for_items};
use super::python::{plain, repr};

pub(super) fn install(env: &mut Environment<'static>) {
    env.add_filter("split", |state: &State, text: &Value, by: Option<&Value>, most: Option<i64>| {
        let by = by.filter(|by| !by.is_none());
        pay_for_parts(state, text.as_str().unwrap_or_default(), "split", by)?;
        filters::split(text, by.and_then(Value::as_str).map(Into::into), most)
    });
    env.add_filter("lines", |state: &State, text: &Value| {
        pay_for_parts(state, text.as_str().unwrap_or_default(), "lines", None)?;
        filters::lines(text)
    });
    env.add_filter("list", |state: &State, value: Value| {
        pay_for_parts(state, value.as_str().unwrap_or_default(), "list", None)?;
        filters::list(state, value)
    });
    env.add_filter("join", join);
    env.add_filter("replace", |state: &mut State, value: Value, from: Value, to: Value| {
        let (text, from, to) = (value.to_string(), from.to_string(), to.to_string());
        pay_for_bytes(state, text.len())?;
        pay_for_bytes(state, text.matches(&from).count().saturating_mul(to.len()))?;
        let [text, from, to] = [text, from, to].map(Value::from);
        let (text, from, to) =
            (StringInput::new(state, &text)?, StringInput::new(state, &from)?, StringInput::new(state, &to)?);
        filters::replace(state, text, from, to)
    });
    env.add_filter("indent", |state: &State, value: Value, width: Option<usize>, named: Kwargs| {
        let wide = width.or(named.peek("width").ok()).unwrap_or(4);
        let text = value.to_string();
        pay_for_bytes(state, (text.lines().count() + 1).saturating_mul(wide).saturating_add(text.len()))?;
        filters::indent(StringInput::new(state, &value)?, width, None, None, named)
    });
}

/// Pays for the items or bytes that a method or a filter makes of a text.
pub(super) fn pay_for_parts(state: &State, text: &str, name: &str, by: Option<&Value>) -> Result<(), Error> {
    match name {
        "split" | "rsplit" => pay_for_items(
            state,
            match by.and_then(Value::as_str) {
                Some(by) => text.matches(by).count() + 1,
                None => text.split_whitespace().count(),
            },
        ),
        "splitlines" | "lines" => pay_for_items(state, text.lines().count()),
        "list" => pay_for_items(state, text.chars().count()),
        _ => pay_for_bytes(state, text.len()),
    }
}

/// Jinja's `join(d, attribute)`.
fn join(
    state: &State,
    value: &Value,
    by: Option<Value>,
    attribute: Option<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let by = by.or(named.get("d")?).map(|by| by.to_string()).unwrap_or_default();
    let attribute = attribute.or(named.get("attribute")?).filter(|a| !a.is_none()).map(|a| a.to_string());
    named.assert_all_used()?;
    pay_for_bytes(state, measure(state, value, 0)?)?;
    let mut out = String::new();
    for (i, mut item) in value.try_iter()?.enumerate() {
        for part in attribute.iter().flat_map(|path| path.split('.')) {
            item = match part.parse::<usize>() {
                Ok(index) => item.get_item_by_index(index)?,
                Err(_) => item.get_attr(part)?,
            };
        }
        let text = match plain(state, &item)? {
            true => item.to_string(),
            false => repr(&item),
        };
        let between = if i > 0 { by.as_str() } else { "" };
        pay_for_bytes(state, between.len() + text.len())?;
        out.push_str(between);
        out.push_str(&text);
    }
    Ok(out)
}
