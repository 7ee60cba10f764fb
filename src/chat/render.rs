//! Runs a template within limits, in the environment that transformers gives it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};

use super::pay::TooMuch;
use super::{Message, Options, compile, date, message, python, tags};
use crate::error::{Error, Result, Status};
use crate::{memory, threads};

/// The steps of a rendering (64 bytes written or copied count as one), and the additional ones for each message and
/// each byte that goes in. They are enough for a conversation of thousands of messages, and few enough to end an
/// endless loop soon.
const STEPS: u64 = 1_000_000;
const STEPS_PER_MESSAGE: u64 = 20_000;
const STEPS_PER_BYTE: u64 = 8;
/// The most steps, however much goes in.
const MOST_STEPS: u64 = 32_000_000;
/// The most bytes that a rendering may hold, and those for each byte that goes in. They are looked at before a value is
/// made, and one step may make a value twice as large as what was there.
const BYTES: usize = 12 << 20;
const BYTES_PER_BYTE: usize = 4;
/// The most bytes of a prompt.
const LONGEST: usize = 16 << 20;
/// The most levels of macros within macros and the like, in minijinja's units.
const DEEPEST: usize = 200;

/// A template's text, and the name of it for messages.
pub(super) struct Source<'a> {
    pub key: &'a str,
    pub text: &'a str,
    pub of_file: bool,
}

impl Source<'_> {
    pub fn error(&self, line: Option<usize>, what: &str) -> Error {
        let status = if self.of_file { Status::BadFile } else { Status::InvalidArgument };
        self.error_of(status, line, what)
    }

    fn error_of(&self, status: Status, line: Option<usize>, what: &str) -> Error {
        let line = line.map(|n| format!(" line {n}")).unwrap_or_default();
        Error::new(status, format!("chat template '{}'{line}: {what}", self.key)).subject(self.key)
    }

    fn explain(&self, e: &minijinja::Error) -> Error {
        let (mut kinds, mut what) = (Vec::new(), Vec::new());
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(e);
        while let Some(error) = next {
            if let Some(python::Raised(message)) = error.downcast_ref() {
                return self.error_of(Status::InvalidArgument, e.line(), &format!("refuses the messages: {message}"));
            }
            if error.is::<TooMuch>() {
                let text = format!("takes more than {BYTES} bytes of memory (and {BYTES_PER_BYTE} per byte of input)");
                return self.error(e.line(), &text);
            }
            if let Some(m) = error.downcast_ref::<minijinja::Error>() {
                kinds.push(m.kind());
                what.push(m.detail().map_or_else(|| m.kind().to_string(), |d| format!("{}: {d}", m.kind())));
            }
            next = error.source();
        }
        let unknown = |k: &ErrorKind| {
            matches!(
                k,
                ErrorKind::UnknownFilter
                    | ErrorKind::UnknownTest
                    | ErrorKind::UnknownFunction
                    | ErrorKind::UnknownMethod
            )
        };
        if kinds.contains(&ErrorKind::OutOfFuel) {
            let more = format!("{STEPS_PER_MESSAGE} for each message and {STEPS_PER_BYTE} for each byte of input");
            return self.error(e.line(), &format!("takes more than {STEPS} steps (and {more})"));
        }
        match kinds.iter().any(unknown) {
            true => self.error_of(Status::Unsupported, e.line(), &what.join(": ")),
            false => self.error(e.line(), &what.join(": ")),
        }
    }
}

/// The bytes of the stack on which a template runs, and those for each byte of the template besides. minijinja compiles
/// by recursion, and each byte of the template may nest an expression one level deeper. So the host's stack, which may
/// be small, is not used. Only the part of this one that is used takes memory, but all of it takes address space.
const STACK: usize = 8 << 20;
const STACK_PER_BYTE: usize = 1536;

/// The template in the form that minijinja gets. Its lines stay where they are.
fn prepared(text: &str) -> String {
    compile::with_checked_assignments(&tags::without_generation(text))
}

fn environment(steps: u64, now: i64) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(steps));
    env.set_recursion_limit(DEEPEST);
    python::install(&mut env);
    env.add_function("strftime_now", move |format: &str| date::strftime(now, format));
    env
}

pub(super) fn render(
    source: &Source,
    special: &[(&'static str, String)],
    messages: &[Message],
    options: &Options,
) -> Result<String> {
    let bytes = messages.iter().map(Message::len).sum::<usize>()
        + [options.tools, options.variables].into_iter().flatten().map(str::len).sum::<usize>();
    let more = (bytes as u64).saturating_mul(STEPS_PER_BYTE).saturating_add(messages.len() as u64 * STEPS_PER_MESSAGE);
    let steps = STEPS.saturating_add(more).min(MOST_STEPS);
    let most = bytes.saturating_mul(BYTES_PER_BYTE).saturating_add(BYTES);
    // The engine's own texts and lists are not asked for fallibly. So the system has to have room for all that a rendering
    // may hold; what is not touched takes no memory.
    drop(untouched(most)?);
    let run = || memory::limited(most, || render_here(source, special, messages, options, steps));
    // A panic goes on in the caller's thread, where it is caught.
    threads::scope(|scope| {
        let stack = STACK + source.text.len() * STACK_PER_BYTE;
        let thread = scope.start("rekindle-chat", stack, run);
        scope.join(thread.map_err(|e| e.at("the chat template"))?)?
    })
}

/// Address space that is given back untouched.
fn untouched(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes).map_err(|_| Error::out_of_memory("a rendering", bytes as u64))?;
    // Hidden from the compiler, which may leave out memory that nobody uses.
    Ok(std::hint::black_box(room))
}

fn render_here(
    source: &Source,
    special: &[(&'static str, String)],
    messages: &[Message],
    options: &Options,
    steps: u64,
) -> Result<String> {
    let context = message::context(special, messages, options)?;
    let text = prepared(source.text);
    let env = environment(steps, options.now.unwrap_or_else(date::now));
    let run = || {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        compile::run(&env, &compile::compile(source.key, &text, syntax)?, context)
    };
    let prompt = run().map_err(|e| source.explain(&e))?;
    if prompt.len() > LONGEST {
        return Err(source.error(None, &format!("writes {} bytes, at most {LONGEST} are taken", prompt.len())));
    }
    Ok(prompt)
}
