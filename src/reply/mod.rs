//! Replies read back: what a model writes becomes reasoning, content and calls of tools.
//!
//! Each family of models writes these in a form of its own, which its chat template shows. A format is described by its
//! markers (`format`; `formats` has the known ones). `detect` tells the format of a template by what the template
//! writes. One reader (`reader`) reads all formats, piece by piece, and gives events (`message`).
//!
//! A reply is text from a stranger: whatever does not fit the format is content.

mod body;
mod calls;
mod detect;
mod escapes;
mod force;
mod format;
mod formats;
mod ids;
mod json;
mod loose;
mod markers;
mod message;
mod named;
mod object;
mod part;
mod quoted;
mod reader;
mod reply;
mod signs;
mod tagged;
mod tools;
mod voice;

pub use message::{Event, Message, ToolCall};
pub use reply::{Params, Reply};
pub use tools::{Choice, Tools};
