//! Replies read back: reasoning, content and calls of tools.

use std::ffi::c_char;
use std::sync::Arc;

use crate::sync::Mutex;

use super::chat::optional;
use super::error::rekindle_status;
use super::grammar::rekindle_grammar;
use super::guard::guard;
use super::handle::{HostReply, TextVocab, create, destroy, get, only_user};
use super::output;
use super::structs::{Struct, check_out, place, read_or_default, text, write};
use super::vocab::rekindle_vocab;
use crate::chat::Options;
use crate::error::{Error, Result};
use crate::reply::{Choice, Event, Params, Reply};

/// A reply that is being read. One call at a time may use it; a second one gets REKINDLE_BUSY. It does not need the
/// vocabulary's handle any more.
pub struct rekindle_reply {
    _private: (),
}

/// For rekindle_reply_create. Give what the prompt was rendered with (rekindle_chat_params). Texts are UTF-8 with a
/// length; NULL means absent. All is copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_reply_params {
    /// sizeof(rekindle_reply_params), set by the caller.
    pub struct_size: u32,
    /// 0; none are known.
    pub flags: u32,
    /// A JSON array of the tools that the model may call, each {"type": "function", "function": {"name",
    /// "parameters"}}. Without tools nothing is a call.
    pub tools: *const c_char,
    pub tools_len: usize,
    /// As for rekindle_chat_render.
    pub variables: *const c_char,
    pub variables_len: usize,
    pub template_name: *const c_char,
    pub template_name_len: usize,
    pub template_text: *const c_char,
    pub template_text_len: usize,
    /// auto, none, required, or {"type": "function", "function": {"name": …}}. NULL is auto. With none, nothing is a
    /// call.
    pub tool_choice: *const c_char,
    pub tool_choice_len: usize,
    /// The prompt. Its end tells if the reply begins within reasoning. NULL: the end of a prompt that the template
    /// makes of one message.
    pub prompt: *const c_char,
    pub prompt_len: usize,
    /// Makes the ids of calls that the model gives none; the same number gives the same ids. 0: others each time.
    pub seed: u64,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_reply_params {
    const NAME: &'static str = "rekindle_reply_params";
}

/// Creates a reader for one reply of a model. `params` may be NULL. On success `*reply` is a handle that
/// rekindle_reply_destroy ends.
///
/// The chat template tells how the model writes: it is rendered with a message that calls a tool, and with one that
/// has reasoning, and what it writes is compared with the known formats. A template that fails tells nothing. If no
/// format is found, or the file has no template, all is content.
///
/// REKINDLE_INVALID_ARGUMENT: tools is no JSON array of tools with names, tool_choice is none of the above, or it asks
/// for a tool that is not there.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_create(
    vocab: *const rekindle_vocab,
    params: *const rekindle_reply_params,
    reply: *mut *mut rekindle_reply,
) -> rekindle_status {
    guard("rekindle_reply_create", || {
        let v = get::<TextVocab, _>(vocab)?;
        let out = place(reply, "reply")?;
        // SAFETY: the caller's struct and texts.
        let (p, choice, params) = unsafe {
            let p = read_or_default(params)?;
            let chat = Options {
                name: optional(p.template_name, p.template_name_len, "template_name")?,
                text: optional(p.template_text, p.template_text_len, "template_text")?,
                tools: optional(p.tools, p.tools_len, "tools")?,
                variables: optional(p.variables, p.variables_len, "variables")?,
                ..Options::default()
            };
            let choice = optional(p.tool_choice, p.tool_choice_len, "tool_choice")?;
            let prompt = optional(p.prompt, p.prompt_len, "prompt")?;
            (p, choice, Params { chat, prompt, seed: p.seed, ..Params::default() })
        };
        if p.flags != 0 {
            return Err(Error::invalid(format!("flags is {:#x}, none are known", p.flags)).subject("flags"));
        }
        let choice = choice.map(Choice::parse).transpose()?.unwrap_or_default();
        let reply = Reply::new(&v.vocab, &v.chat, &Params { choice, ..params })?;
        let handle = create(Arc::new(Mutex::new(HostReply { reply, taken: None })))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Destroys a reply. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rekindle_reply_destroy(reply: *mut rekindle_reply) -> rekindle_status {
    guard("rekindle_reply_destroy", || destroy::<Mutex<HostReply>, _>(reply))
}

fn with<T>(reply: *const rekindle_reply, work: impl FnOnce(&mut HostReply) -> Result<T>) -> Result<T> {
    let r = get::<Mutex<HostReply>, _>(reply)?;
    let mut r = only_user(&r, "reply")?;
    work(&mut r)
}

/// One call at most, for rekindle_reply_grammar.
pub const REKINDLE_REPLY_ONE_CALL: u32 = 1;

/// Makes the grammar that holds the model to calls of tools as it writes them and as this reader reads them: the
/// markers of its format, names of the tools, arguments by their schemas. Give it to a sampler or a generation, which
/// begins where the reply does. `flags` is REKINDLE_REPLY_ONE_CALL or 0. On success `*grammar` is a handle that
/// rekindle_grammar_destroy ends; it does not need the reply any more, and what the reply has read does not matter.
///
/// With tool_choice auto the grammar waits: the model may think and write what it likes. Once it opens a call outside
/// its reasoning, the grammar holds that call, further ones and the end. With required, or a tool's name, it holds the
/// reply from its beginning: reasoning, which is free, if the format has some; then one call or more (of a named tool
/// exactly one); then the end.
///
/// The schemas are those of REKINDLE_GRAMMAR_JSON_SCHEMA, arguments come in their order, and an object with properties
/// has no others. Where a format writes strings without JSON's quotes, they are held to enum, const, minLength,
/// maxLength and pattern, but not to format. It takes what rekindle_grammar_create takes.
///
/// REKINDLE_INVALID_ARGUMENT: there are no tools (or tool_choice is none), a schema is none, or flags are not known.
/// REKINDLE_UNSUPPORTED: the template does not tell how calls are written, the format cannot write a tool's name or
/// parameter, or a schema has what cannot be held; the message names the tool. REKINDLE_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_grammar(
    reply: *const rekindle_reply,
    flags: u32,
    grammar: *mut *mut rekindle_grammar,
) -> rekindle_status {
    guard("rekindle_reply_grammar", || {
        let out = place(grammar, "grammar")?;
        if flags & !REKINDLE_REPLY_ONE_CALL != 0 {
            let text = format!("flags is {flags:#x}, known are {REKINDLE_REPLY_ONE_CALL:#x}");
            return Err(Error::invalid(text).subject("flags"));
        }
        let grammar = with(reply, |r| r.reply.grammar(flags & REKINDLE_REPLY_ONE_CALL != 0))?;
        let handle = create(Arc::new(Mutex::new(grammar)))?;
        // SAFETY: not null, so the caller's place for the result.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Reads a piece of the reply's text: whole characters of UTF-8, of any number. Events, joined, do not depend on where
/// the text is cut. The text must show control tokens (rekindle_stream_create with REKINDLE_TEXT_PARSE_SPECIAL);
/// where that is not at hand, give the tokens (rekindle_reply_push_token).
///
/// REKINDLE_INVALID_ARGUMENT: the text is no UTF-8, or the reply is finished.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_push(
    reply: *mut rekindle_reply,
    text: *const c_char,
    text_len: usize,
) -> rekindle_status {
    guard("rekindle_reply_push", || {
        // SAFETY: the caller's text.
        let text = unsafe { self::text(text, text_len, "text") }?;
        with(reply, |r| r.reply.push(text))
    })
}

/// Reads a token of the reply. Control tokens, those that end a generation among them, count where the format has them
/// as markers; elsewhere they are nothing.
///
/// REKINDLE_INVALID_ARGUMENT: there is no such token, or the reply is finished.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_push_token(reply: *mut rekindle_reply, token: i32) -> rekindle_status {
    guard("rekindle_reply_push_token", || with(reply, |r| r.reply.push_token(token)))
}

/// Tells that nothing follows, so that what waited for more text is read. To finish again changes nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_finish(reply: *mut rekindle_reply) -> rekindle_status {
    guard("rekindle_reply_finish", || {
        with(reply, |r| {
            r.reply.finish();
            Ok(())
        })
    })
}

/// The kinds of events: nothing is known yet; a piece of reasoning or content; a call of a tool begins, brings a piece
/// of its arguments, ends; the end of the reply.
pub const REKINDLE_REPLY_NONE: i32 = 0;
pub const REKINDLE_REPLY_REASONING: i32 = 1;
pub const REKINDLE_REPLY_CONTENT: i32 = 2;
pub const REKINDLE_REPLY_CALL_BEGINS: i32 = 3;
pub const REKINDLE_REPLY_ARGUMENTS: i32 = 4;
pub const REKINDLE_REPLY_CALL_ENDS: i32 = 5;
pub const REKINDLE_REPLY_END: i32 = 6;

/// One thing that a reply says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_reply_event {
    /// sizeof(rekindle_reply_event), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_REPLY_…
    pub kind: i32,
    /// The number of the call, counted from 0.
    pub index: u32,
    /// With REKINDLE_REPLY_CALL_ENDS 1 if the arguments are not whole, since the reply went on with something else or
    /// ended; else 0.
    pub broken: u32,
    /// The piece of reasoning, content or arguments (of their JSON text), or the name of the tool that a call begins
    /// with: UTF-8 of text_len bytes, not NUL-terminated. It is valid until the next rekindle_reply_next or
    /// rekindle_reply_destroy of this reply.
    pub text: *const c_char,
    pub text_len: usize,
    /// With REKINDLE_REPLY_CALL_BEGINS the call's id, as long as the text; else NULL.
    pub id: *const c_char,
    pub id_len: usize,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_reply_event {
    const NAME: &'static str = "rekindle_reply_event";
}

/// Takes what the reply says: event by event, in order. Pieces of a kind that nobody took in between are one event. If
/// nothing more is known yet, `event->kind` is REKINDLE_REPLY_NONE; after REKINDLE_REPLY_END, which comes behind
/// rekindle_reply_finish, nothing follows.
///
/// White space between content and what is not content is left out. A call whose form is broken before its name and the
/// beginning of its arguments were read is content.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_next(
    reply: *mut rekindle_reply,
    event: *mut rekindle_reply_event,
) -> rekindle_status {
    guard("rekindle_reply_next", || {
        check_out(event)?;
        with(reply, |r| {
            r.taken = r.reply.next_event();
            let (kind, index, broken, text, id) = match &r.taken {
                None => (REKINDLE_REPLY_NONE, 0, false, "", None),
                Some(Event::Reasoning(text)) => (REKINDLE_REPLY_REASONING, 0, false, text.as_str(), None),
                Some(Event::Content(text)) => (REKINDLE_REPLY_CONTENT, 0, false, text.as_str(), None),
                Some(Event::CallBegins { index, id, name }) => {
                    (REKINDLE_REPLY_CALL_BEGINS, *index, false, name.as_str(), Some(id.as_str()))
                }
                Some(Event::Arguments { index, text }) => {
                    (REKINDLE_REPLY_ARGUMENTS, *index, false, text.as_str(), None)
                }
                Some(Event::CallEnds { index, broken }) => (REKINDLE_REPLY_CALL_ENDS, *index, *broken, "", None),
                Some(Event::End) => (REKINDLE_REPLY_END, 0, false, "", None),
            };
            let value = rekindle_reply_event {
                struct_size: 0,
                kind,
                index,
                broken: u32::from(broken),
                text: text.as_ptr().cast(),
                text_len: text.len(),
                id: id.map_or(std::ptr::null(), |id| id.as_ptr().cast()),
                id_len: id.map_or(0, str::len),
            };
            // SAFETY: the caller's struct.
            unsafe { write(event, &value) }
        })
    })
}

/// Writes all that was read so far as a message in the form of OpenAI's interface: {"role": "assistant", "content",
/// "reasoning_content", "tool_calls": [{"id", "type": "function", "function": {"name", "arguments"}}]}. Where there are
/// calls and no content, the content is null; without reasoning or calls these keys are absent. Text: buffer, capacity,
/// needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_json(
    reply: *const rekindle_reply,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_reply_json", || {
        let json = with(reply, |r| Ok(r.reply.message().json()))?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(json.as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes the name of the format that the template told: plain, hermes, harmony, … Text: buffer, capacity, needed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_reply_format(
    reply: *const rekindle_reply,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_reply_format", || {
        let name = with(reply, |r| Ok(r.reply.format().to_owned()))?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(name.as_bytes(), buffer, capacity, needed) }
    })
}
