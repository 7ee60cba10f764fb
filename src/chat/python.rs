//! Everything that templates expect of Python and of transformers and that minijinja does otherwise.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter, filters, functions};
use minijinja_contrib::pycompat;

use super::compare;
use super::compile::{ADD, ASSIGNED, LIST, MAP, MULTIPLY, TUPLE};
use super::json::{Style, number};
use super::pay::{is_namespace, measure, pay_for_bytes};
use super::texts;

/// The text that a template gave to `raise_exception`.
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
    install_constructors(env);
    texts::install(env);
    compare::install(env);
    env.add_function("raise_exception", |state: &State, message: &Value| -> Result<Value, Error> {
        plain(state, message)?;
        Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message.to_string())))
    });
    env.set_formatter(|out, state, value| match plain(state, value)? {
        true => {
            pay_for_bytes(state, value.as_str().map_or(0, str::len))?;
            escape_formatter(out, state, value)
        }
        false => out.write_str(&repr(value)).map_err(Error::from),
    });
    env.add_filter("string", |state: &State, value: &Value| -> Result<Value, Error> {
        Ok(match (value.kind(), plain(state, value)?) {
            (ValueKind::String, _) => value.clone(),
            (_, true) => value.to_string().into(),
            (_, false) => repr(value).into(),
        })
    });
    // Python cannot iterate over none, though a loop of minijinja lets it pass.
    env.add_test("iterable", |v: &Value| !v.is_none() && v.try_iter().is_ok());
    // A text and a mapping are sequences in Python, too.
    env.add_test("sequence", |v: &Value| {
        v.is_undefined() || matches!(v.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
}

/// The filters that make a value of other values (`compile` says why).
fn install_constructors(env: &mut Environment<'static>) {
    env.add_filter(LIST, |state: &State, items: Rest<Value>| bounded(state, items.iter().cloned().collect()));
    env.add_filter(TUPLE, |state: &State, items: Rest<Value>| bounded(state, Tuple::from(items.to_vec()).into()));
    env.add_filter(MAP, |state: &State, items: Rest<Value>| {
        items.iter().try_for_each(|v| bounded(state, v.clone()).map(|_| ()))?;
        bounded(state, Value::from_pairs(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()))))
    });
    env.add_filter(ADD, add);
    env.add_filter(MULTIPLY, multiply);
    env.add_filter(ASSIGNED, |state: &State, value: Value| match is_namespace(&value) {
        true => Err(Error::new(ErrorKind::InvalidOperation, "a namespace is assigned to an attribute of one")),
        // This makes nothing larger, so its bytes are not paid for again.
        false => measure(state, &value, 0).map(|_| value),
    });
    env.add_filter("format", |state: &mut State, text: &Value, args: Rest<ValueOrKwargs>| {
        pay_for_format(state, text.as_str().unwrap_or_default(), &Rest(args.0.clone()).into_values())?;
        filters::format(state, text, args)
    });
    env.add_filter("trim", |state: &State, text: &Value, chars: Option<&str>| -> Result<Value, Error> {
        let text = text.to_string();
        pay_for_strip(state, &text, chars)?;
        Ok(match chars {
            Some(chars) => text.trim_matches(&chars.chars().collect::<Vec<_>>()[..]).into(),
            None => text.trim().into(),
        })
    });
    env.add_filter("map", |state: &mut State, value: Value, args: Rest<ValueOrKwargs>| {
        let made = filters::map(state, value, args)?;
        bounded(state, made.into())
    });
    env.add_function("dict", |state: &State, args: Rest<ValueOrKwargs>| {
        let args = paid(state, args)?;
        let (of, more) = from_args(&args)?;
        functions::dict(of, more)
    });
    env.add_function("namespace", |state: &State, args: Rest<ValueOrKwargs>| {
        let args = paid(state, args)?;
        let (of,) = from_args(&args)?;
        functions::namespace(of)
    });
    // No chat template is known to use these, which copy their parts as well.
    for name in ["batch", "slice", "groupby", "zip", "chain", "pprint"] {
        env.remove_filter(name);
    }
}

fn add(state: &mut State, a: Value, b: Value) -> Result<Value, Error> {
    let list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        state.consume_fuel((a.len() + b.len()) as u64 / 64)?;
        return Ok([a, b].concat().into());
    }
    if list(&a) && list(&b) && a.is_tuple() == b.is_tuple() {
        // The longer list may grow item by item, so the shorter one, which is added to it, is paid for.
        let shorter = if a.len() < b.len() { &a } else { &b };
        pay_for_bytes(state, measure(state, shorter, 0)?)?;
        let mut items = Vec::new();
        for item in a.try_iter()?.chain(b.try_iter()?) {
            // Each item costs a quarter of a step, since a list may well grow item by item.
            if items.len() % 4 == 0 {
                state.consume_fuel(1)?;
            }
            items.push(item);
        }
        return Ok(if a.is_tuple() { Tuple::from(items).into() } else { items.into() });
    }
    let number = |v: &Value| matches!(v.kind(), ValueKind::Number | ValueKind::Bool);
    if number(&a) && number(&b) {
        return filters::sum(state, vec![a, b].into(), None, None, Kwargs::from_iter(Vec::<(String, Value)>::new()));
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("cannot add {} and {}", a.kind(), b.kind())))
}

fn multiply(state: &mut State, a: Value, b: Value) -> Result<Value, Error> {
    let whole = |v: &Value| match v.kind() {
        ValueKind::Bool => Some(i128::from(v.is_true())),
        _ if v.is_integer() => i128::try_from(v.clone()).ok(),
        _ => None,
    };
    let number = |v: &Value| whole(v).map(|n| n as f64).or_else(|| f64::try_from(v.clone()).ok());
    let error = || Error::new(ErrorKind::InvalidOperation, format!("cannot multiply {} and {}", a.kind(), b.kind()));
    for (many, times) in [(&a, whole(&b)), (&b, whole(&a))] {
        // A negative number of times means none, as in Python.
        let Some(times) = times.map(|n| usize::try_from(n.max(0)).unwrap_or(usize::MAX)) else { continue };
        match many.kind() {
            ValueKind::String => {
                let text = many.as_str().unwrap_or_default();
                pay_for_bytes(state, text.len().saturating_mul(times))?;
                return Ok(text.repeat(times).into());
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = many.try_iter()?.collect();
                pay_for_bytes(state, measure(state, many, 0)?.saturating_mul(times))?;
                let all: Vec<Value> = items.iter().cycle().take(items.len() * times).cloned().collect();
                return Ok(if many.is_tuple() { Tuple::from(all).into() } else { all.into() });
            }
            _ => {}
        }
    }
    match (whole(&a), whole(&b)) {
        (Some(x), Some(y)) => x.checked_mul(y).map(Value::from).ok_or_else(error),
        _ => Ok((number(&a).ok_or_else(error)? * number(&b).ok_or_else(error)?).into()),
    }
}

fn paid(state: &State, args: Rest<ValueOrKwargs>) -> Result<Vec<Value>, Error> {
    let args = args.into_values();
    args.iter().try_for_each(|v| pay_for_bytes(state, measure(state, v, 0)?))?;
    Ok(args)
}

/// A value that is made of others. Whatever is done with it later, its text was paid for.
fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    pay_for_bytes(state, measure(state, &value, 0)?)?;
    Ok(value)
}

/// At worst each byte is compared with each of the characters.
fn pay_for_strip(state: &State, text: &str, chars: Option<&str>) -> Result<(), Error> {
    pay_for_bytes(state, text.len().saturating_mul(chars.map_or(1, str::len)))
}

/// True if minijinja writes the value as Python does, because it has no number that Python writes with an exponent.
pub(super) fn plain(state: &State, value: &Value) -> Result<bool, Error> {
    if value.kind() == ValueKind::String {
        return Ok(true);
    }
    pay_for_bytes(state, measure(state, value, 0)?)?;
    Ok(!has_exponent(value))
}

fn has_exponent(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).is_ok_and(|x| x.is_finite() && x != 0.0 && !(1e-4..1e16).contains(&x.abs()))
        }
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.any(|v| has_exponent(&v))),
        ValueKind::Map => {
            value.try_iter().is_ok_and(|mut keys| keys.any(|k| value.get_item(&k).is_ok_and(|v| has_exponent(&v))))
        }
        _ => false,
    }
}

/// Python's `repr`.
pub(super) fn repr(value: &Value) -> String {
    let list = |of: &Value| -> Vec<Value> { of.try_iter().map(Iterator::collect).unwrap_or_default() };
    match value.kind() {
        ValueKind::Number if !value.is_integer() => number(value),
        ValueKind::Seq => format!("[{}]", list(value).iter().map(repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let pair =
                |k: &Value| format!("{}: {}", repr(k), value.get_item(k).map_or_else(|_| String::new(), |v| repr(&v)));
            format!("{{{}}}", list(value).iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => format!("{value:?}"),
    }
}

/// The filter of transformers: `json.dumps` with `ensure_ascii` off. Its arguments may come by place.
fn tojson(state: &State, value: &Value, args: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if args.len() > NAMES.len() {
        return Err(Error::new(
            ErrorKind::TooManyArguments,
            "tojson takes ensure_ascii, indent, separators, sort_keys",
        ));
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
    if [Some(&between_items), Some(&after_key), indent.as_ref()].into_iter().flatten().any(|s| s.len() > 64) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson's indent and separators have 64 bytes at most"));
    }
    let ensure_ascii = argument(0)?.is_some_and(|v| v.is_true());
    let sort_keys = argument(3)?.is_some_and(|v| v.is_true());
    named.assert_all_used()?;
    state.consume_fuel(measure(state, value, 0)? as u64 / 4)?;
    Style { ensure_ascii, indent, between_items, after_key, sort_keys }.dumps(value)
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str()) {
        texts::pay_for_parts(state, text, name, args.first())?;
        if let Some(result) = text_method(text, name, args)? {
            return Ok(result);
        }
        if name == "join" {
            let between = |a: &Value| a.len().unwrap_or(0).saturating_mul(text.len());
            args.iter().try_for_each(|a| pay_for_bytes(state, measure(state, a, 0)?.saturating_add(between(a))))?;
        }
        if matches!(name, "strip" | "lstrip" | "rstrip") {
            pay_for_strip(state, text, args.first().and_then(Value::as_str))?;
        }
        if name == "format" {
            pay_for_format(state, text, args)?;
        }
    }
    if value.kind() != ValueKind::String {
        compare::pay_for_method(state, value, name, args)?;
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// Pays for a format beforehand, because minijinja-contrib allocates any width, and every argument as often as it is
/// named.
fn pay_for_format(state: &State, text: &str, args: &[Value]) -> Result<(), Error> {
    let widths = text.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    let widths = widths.fold(0u64, |sum, n| sum.saturating_add(n.parse().unwrap_or(u64::MAX)));
    let mut bytes = 0;
    for argument in args {
        bytes += measure(state, argument, 0)?;
    }
    let named = text.matches(['{', '%']).count().saturating_mul(bytes) as u64;
    state.consume_fuel((text.len() as u64).saturating_add(widths).saturating_add(named) / 64)
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
