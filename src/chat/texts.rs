//! Filters that cut texts into many values, or make long ones. They are minijinja's, but here they are paid for before
//! they do it.

use minijinja::value::{Kwargs, StringInput, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use super::compile::SLICE;
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
    env.add_filter(SLICE, slice);
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

/// Python's `value[start:stop:step]`.
fn slice(state: &State, value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let wrong = |text: &str| Error::new(ErrorKind::InvalidOperation, text.to_owned());
    let number = |v: &Value| match v.is_none() || v.is_undefined() {
        true => Ok(None),
        false => i64::try_from(v.clone()).map(Some),
    };
    let (start, stop, step) = (number(start)?, number(stop)?, number(step)?.unwrap_or(1));
    if step == 0 {
        return Err(wrong("a slice's step is 0"));
    }
    let places = |len: usize| {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        // From the end if negative, then within the ends that the direction has.
        let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let at = |n: i64| if n < 0 { n.saturating_add(len) } else { n }.clamp(least, most);
        let (first, end) = if step > 0 { (0, len) } else { (len - 1, -1) };
        let (mut i, end) = (start.map_or(first, at), stop.map_or(end, at));
        std::iter::from_fn(move || {
            let now = (if step > 0 { i < end } else { i > end }).then_some(i as usize);
            i = i.saturating_add(step);
            now
        })
    };
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            pay_for_bytes(state, text.len().saturating_mul(size_of::<char>()))?;
            let chars: Vec<char> = text.chars().collect();
            Ok(places(chars.len()).map(|i| chars[i]).collect::<String>().into())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.len().unwrap_or(0);
            pay_for_items(state, items)?;
            let all: Vec<Value> = value.try_iter()?.collect();
            let some: Vec<Value> = places(all.len()).map(|i| all[i].clone()).collect();
            Ok(if value.is_tuple() { Tuple::from(some).into() } else { some.into() })
        }
        ValueKind::Undefined | ValueKind::None => Ok(Vec::<Value>::new().into()),
        kind => Err(wrong(&format!("a value that is {kind} has no slices"))),
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
