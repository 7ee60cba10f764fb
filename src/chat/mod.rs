//! Chat templates: from the messages of a conversation to the text that the model was trained on.
//!
//! Files carry the template as a program in Jinja, written for transformers, which runs it with Python's jinja2. Here it runs in
//! minijinja, set up as transformers sets up jinja2 (`render`), with what Python has and Jinja templates use (`python`, `json`,
//! `date`). A template is code from a stranger: the steps it may take, its recursion and what it writes are limited.

mod compare;
mod compile;
mod constants;
mod date;
mod json;
mod message;
mod pay;
mod python;
mod render;
mod templates;

#[cfg(test)]
mod tests;

pub use message::{Message, Options};
pub use templates::Templates;
