//! What templates expect of Python and of transformers, where minijinja is otherwise.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter};
use minijinja_contrib::pycompat;

use super::json::{Style, number};

/// What a template said to `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

pub(super) fn install(env: &mut Environment<'static>) {
    env.set_unknown_method_callback(method);
    env.add_filter("tojson", tojson);
    env.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message.to_string())))
    });
    env.set_formatter(|out, state, value| match has_exponent(value) {
        true => out.write_str(&repr(value)).map_err(Error::from),
        false => escape_formatter(out, state, value),
    });
    env.add_filter("string", |value: &Value| match (value.kind(), has_exponent(value)) {
        (ValueKind::String, _) => value.clone(),
        (_, true) => repr(value).into(),
        _ => value.to_string().into(),
    });
    // To Python none is nothing to iterate over, though a loop here lets it pass.
    env.add_test("iterable", |v: &Value| !v.is_none() && v.try_iter().is_ok());
    // To Python a text and a mapping are sequences, too.
    env.add_test("sequence", |v: &Value| {
        v.is_undefined() || matches!(v.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
}

/// Whether Python writes a number in the value with an exponent, which minijinja does not.
fn has_exponent(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).is_ok_and(|x| x.is_finite() && x != 0.0 && !(1e-4..1e16).contains(&x.abs()))
        }
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.any(|v| has_exponent(&v))),
        ValueKind::Map => value.try_iter().is_ok_and(|mut keys| keys.any(|k| value.get_item(&k).is_ok_and(|v| has_exponent(&v)))),
        _ => false,
    }
}

/// Python's `repr`.
fn repr(value: &Value) -> String {
    let list = |of: &Value| -> Vec<Value> { of.try_iter().map(Iterator::collect).unwrap_or_default() };
    match value.kind() {
        ValueKind::Number if !value.is_integer() => number(value),
        ValueKind::Seq => format!("[{}]", list(value).iter().map(repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let pair = |k: &Value| format!("{}: {}", repr(k), value.get_item(k).map_or_else(|_| String::new(), |v| repr(&v)));
            format!("{{{}}}", list(value).iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => format!("{value:?}"),
    }
}

/// transformers' filter: `json.dumps` with `ensure_ascii` off. Its arguments may come by place.
fn tojson(state: &State, value: &Value, args: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if args.len() > NAMES.len() {
        return Err(Error::new(ErrorKind::TooManyArguments, "tojson takes ensure_ascii, indent, separators, sort_keys"));
    }
    let argument = |i: usize| -> Result<Option<Value>, Error> {
        let given: Option<Value> = args.get(i).cloned().map_or_else(|| named.get(NAMES[i]), |v| Ok(Some(v)))?;
        Ok(given.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let indent = match argument(1)? {
        Some(v) if v.kind() == ValueKind::String => Some(v.to_string()),
        Some(v) => Some(" ".repeat(usize::try_from(v).unwrap_or(0).min(64))),
        None => None,
    };
    let (mut between_items, mut after_key) = (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    if let Some(v) = argument(2)? {
        let both: Vec<Value> = v.try_iter()?.collect();
        if let [a, b] = both.as_slice() {
            (between_items, after_key) = (a.to_string(), b.to_string());
        }
    }
    let ensure_ascii = argument(0)?.is_some_and(|v| v.is_true());
    let sort_keys = argument(3)?.is_some_and(|v| v.is_true());
    named.assert_all_used()?;
    let text = Style { ensure_ascii, indent, between_items, after_key, sort_keys }.dumps(value)?;
    state.consume_fuel(text.len() as u64 / 4)?;
    Ok(text)
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str())
        && let Some(result) = text_method(text, name, args)?
    {
        return Ok(result);
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// Methods of `str` that minijinja-contrib does not have.
fn text_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let three = |found: Option<(&str, &str)>, by: &str, back: bool| -> Value {
        let parts = match (found, back) {
            (Some((a, b)), _) => [a, by, b],
            (None, false) => [text, "", ""],
            (None, true) => ["", "", text],
        };
        parts.into_iter().map(Value::from).collect()
    };
    let one = || from_args::<(&str,)>(args).map(|(s,)| s);
    Ok(Some(match name {
        "removeprefix" => text.strip_prefix(one()?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(one()?).unwrap_or(text).into(),
        "partition" => three(text.split_once(one()?), one()?, false),
        "rpartition" => three(text.rsplit_once(one()?), one()?, true),
        "rsplit" => {
            let (by, most): (&str, Option<i64>) = from_args(args)?;
            let n = most.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(n, by).collect();
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        _ => return Ok(None),
    }))
}
