//! Comparing values and looking them up, paid for by the amount that is looked at.
//!
//! minijinja counts the items of two lists that it compares, but it counts neither the parts of these items nor the
//! bytes of texts. A template could have the same two long lists compared again and again, for one step each time. So
//! comparisons go through filters of ours, which take the same walk first and pay for it.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters, tests};

use super::pay::{measure, pay_for_bytes, too_deep};

/// The filters that replace instructions of the engine.
pub(super) const EQUAL: &str = "==";
pub(super) const UNEQUAL: &str = "!=";
pub(super) const LESS: &str = "<";
pub(super) const AT_MOST: &str = "<=";
pub(super) const GREATER: &str = ">";
pub(super) const AT_LEAST: &str = ">=";
pub(super) const IN: &str = "in";
pub(super) const ITEM: &str = ".[]";

type Compare = fn(&Value, &Value) -> bool;

/// For each filter its name, the name by which tests call it as well, and its work.
const COMPARISONS: [(&str, &[&str], Compare); 6] = [
    (EQUAL, &["eq", "equalto"], |a, b| a == b),
    (UNEQUAL, &["ne"], |a, b| a != b),
    (LESS, &["lt", "lessthan"], |a, b| a < b),
    (AT_MOST, &["le"], |a, b| a <= b),
    (GREATER, &["gt", "greaterthan"], |a, b| a > b),
    (AT_LEAST, &["ge"], |a, b| a >= b),
];

pub(super) fn install(env: &mut Environment<'static>) {
    for (name, others, compare) in COMPARISONS {
        let paid = move |state: &State, a: &Value, b: &Value| -> Result<bool, Error> {
            pay(state, a, b, 0)?;
            Ok(compare(a, b))
        };
        env.add_filter(name, paid);
        others.iter().chain([&name]).for_each(|test| env.add_test(*test, paid));
    }
    env.add_filter(IN, contains);
    env.add_test(IN, contains);
    env.add_filter(ITEM, item);
    env.add_filter("attr", item);
    env.add_filter("unique", |state: &State, values: Value, named: Kwargs| {
        pay_for_sorting(state, &values)?;
        filters::unique(state, values, named)
    });
    env.add_filter("sort", |state: &State, values: Value, named: Kwargs| {
        pay_for_sorting(state, &values)?;
        filters::sort(state, values, named)
    });
    env.add_filter("min", |state: &State, values: Value, named: Kwargs| {
        pay_for_sorting(state, &values)?;
        filters::min(state, values, named)
    });
    env.add_filter("max", |state: &State, values: Value, named: Kwargs| {
        pay_for_sorting(state, &values)?;
        filters::max(state, values, named)
    });
    env.add_filter("dictsort", |state: &State, values: &Value, named: Kwargs| {
        pay_for_sorting(state, values)?;
        filters::dictsort(values, named)
    });
}

/// Pays for comparing two values, up to the first difference. The result is true if there was none.
fn pay(state: &State, a: &Value, b: &Value, depth: usize) -> Result<bool, Error> {
    too_deep(depth)?;
    state.consume_fuel(1)?;
    let list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if list(a) && list(b) {
        for (x, y) in a.try_iter()?.zip(b.try_iter()?) {
            if !pay(state, &x, &y, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(a.len() == b.len());
    }
    if a.kind() == ValueKind::Map && b.kind() == ValueKind::Map {
        for key in a.try_iter()? {
            measure(state, &key, depth + 1)?;
            if !pay(state, &a.get_item(&key)?, &b.get_item(&key)?, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(a.len() == b.len());
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        pay_for_bytes(state, a.len().min(b.len()))?;
    }
    Ok(a == b)
}

/// `value in container`
fn contains(state: &State, value: &Value, container: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in container.try_iter()? {
                pay(state, &item, value, 0)?;
                if item == *value {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Bytes => {
            let text = format!("'in' needs a list, a map or a text, not {}", container.kind());
            Err(Error::new(ErrorKind::InvalidOperation, text))
        }
        _ => {
            pay_for_bytes(state, measure(state, value, 0)?)?;
            tests::is_in(state, value, container)
        }
    }
}

/// `of[key]`: a map looks at all of the key, and a value that can only be walked is walked.
fn item(state: &State, of: &Value, key: &Value) -> Result<Value, Error> {
    pay_for_bytes(state, measure(state, key, 0)?)?;
    if of.kind() == ValueKind::Iterable {
        pay_for_bytes(state, of.len().unwrap_or(0).saturating_mul(32))?;
    }
    of.get_item(key)
}

/// Each value is compared with some of the others.
fn pay_for_sorting(state: &State, values: &Value) -> Result<(), Error> {
    let rounds = usize::BITS - values.len().unwrap_or(0).leading_zeros();
    pay_for_bytes(state, measure(state, values, 0)?.saturating_mul(rounds as usize))
}

/// Methods of lists and maps look for their arguments.
pub(super) fn pay_for_method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<(), Error> {
    if name == "count" {
        measure(state, value, 0)?;
    }
    args.iter().try_for_each(|v| pay_for_bytes(state, measure(state, v, 0)?))
}
