//! Chat templates make a prompt of the messages of a conversation, in the form of the texts that the model was trained
//! on.
//!
//! Files carry the template as a program in Jinja, a template language. It is written for the library transformers,
//! which runs it with Python's jinja2. Here it runs in minijinja, set up as transformers sets up jinja2 (`render`),
//! with those parts of Python that templates use (`python`, `json`, `date`). A template is code from a stranger, so its
//! steps, its recursion and its output are limited (`compile`, `pay`, `compare`).

mod compare;
mod compile;
mod constants;
mod date;
mod json;
mod message;
mod pay;
mod python;
mod render;
mod tags;
mod templates;
mod texts;

#[cfg(test)]
mod tests;

pub use message::{Message, Options};
pub use templates::Templates;
