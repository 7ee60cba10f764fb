//! The inside of a call, read piece by piece.

use std::sync::Arc;

use super::format::{Body, Call};
use super::named::NamedBody;
use super::object::ObjectBody;
use super::part::{Outcome, Part};
use super::tools::Tools;

#[derive(Clone)]
pub(super) enum Reading {
    Object(ObjectBody),
    Named(Box<NamedBody>),
}

impl Reading {
    pub fn new(call: &Call, tools: &Arc<Tools>) -> Reading {
        match &call.body {
            Body::Object => Reading::Object(ObjectBody::new(call.open.is_empty().then(|| tools.clone()))),
            Body::Named(n) => Reading::Named(Box::new(NamedBody::new(n, call, tools))),
        }
    }

    /// Reads on; the result says how many bytes of `text` were read, which may be less than all if a marker may begin
    /// at its end. `last`: nothing follows.
    pub fn push(&mut self, text: &str, last: bool, out: &mut Vec<Part>) -> (usize, Outcome) {
        match self {
            Reading::Object(o) => o.push(text, out),
            Reading::Named(n) => n.push(text, last, out),
        }
    }
}
