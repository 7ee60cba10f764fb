//! What a host holds: a context, and the models that it loads there and decodes with.

mod context;

pub use context::{Context, LogFn, LogLevel};
