//! The steps that a template pays for its work on values. The engine counts them; here they are worked out.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use crate::memory;

/// The most levels of a value that is written out.
const DEEPEST: usize = 100;

/// Bytes that an item of a list takes, and at least those of a text that an item is.
const ITEM: usize = 64;

/// The rendering holds more memory than it may.
#[derive(Debug)]
pub(super) struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too much memory")
    }
}

impl std::error::Error for TooMuch {}

/// Pays for a value of so many bytes before it is made.
pub(super) fn pay_for_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    if !memory::has_room(bytes) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value").with_source(TooMuch));
    }
    state.consume_fuel(bytes as u64 / 64)
}

/// Pays for a list of so many items before it is made.
pub(super) fn pay_for_items(state: &State, n: usize) -> Result<(), Error> {
    pay_for_bytes(state, n.saturating_mul(ITEM))
}

/// Only namespaces can change, so only they could come to hold themselves.
pub(super) fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|o| o.type_name().ends_with("::Namespace"))
}

/// Pays for walking through a value, each time that a shared part is met, and refuses one that is too deep to walk.
/// Gives the approximate number of bytes that it has as a text.
pub(super) fn measure(state: &State, value: &Value, depth: usize) -> Result<usize, Error> {
    too_deep(depth)?;
    if depth > 0 && is_namespace(value) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a namespace is within another value"));
    }
    state.consume_fuel(1)?;
    if !memory::has_room(0) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value").with_source(TooMuch));
    }
    let mut bytes = 8;
    match value.kind() {
        ValueKind::String => bytes += value.as_str().map_or(0, str::len),
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                bytes += measure(state, &item, depth + 1)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                bytes += measure(state, &key, depth + 1)? + measure(state, &value.get_item(&key)?, depth + 1)?;
            }
        }
        _ => bytes += 32,
    }
    Ok(bytes)
}

pub(super) fn too_deep(depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("a value has more than {DEEPEST} levels")));
    }
    Ok(())
}
