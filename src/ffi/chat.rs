//! Chat templates: a prompt is made from the messages of a conversation.

use std::ffi::c_char;

use super::error::rekindle_status;
use super::guard::guard;
use super::handle::{TextVocab, get};
use super::output;
use super::structs::{Struct, read_or_default, slice, text};
use super::vocab::rekindle_vocab;
use crate::chat::{Message, Options};
use crate::error::{Error, Result};

/// One message of a conversation. Texts are UTF-8 with a length; NULL means absent. The struct never grows: `fields`
/// takes whatever else a message may have.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_chat_message {
    /// system, user, assistant, tool, or another role that the template knows.
    pub role: *const c_char,
    pub role_len: usize,
    /// NULL where there is none, as with an assistant that only calls tools.
    pub content: *const c_char,
    pub content_len: usize,
    pub name: *const c_char,
    pub name_len: usize,
    /// The model's thoughts before its answer; templates see them as reasoning_content and as thinking.
    pub reasoning: *const c_char,
    pub reasoning_len: usize,
    /// The call that a tool's message answers.
    pub tool_call_id: *const c_char,
    pub tool_call_id_len: usize,
    /// A JSON array of the calls that the assistant made, each {"id", "type": "function", "function": {"name",
    /// "arguments"}}. Most templates want the arguments as an object, some want them as a text.
    pub tool_calls: *const c_char,
    pub tool_calls_len: usize,
    /// A JSON object with further fields of the message, which win over those above: {"content": […]} for content in
    /// parts, say.
    pub fields: *const c_char,
    pub fields_len: usize,
}

/// End the prompt with the beginning of the assistant's next message.
pub const REKINDLE_CHAT_GENERATION_PROMPT: u32 = 1;

/// For rekindle_chat_render. Texts are UTF-8 with a length; NULL means absent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rekindle_chat_params {
    /// sizeof(rekindle_chat_params), set by the caller.
    pub struct_size: u32,
    /// REKINDLE_CHAT_… added up.
    pub flags: u32,
    /// A JSON array of the tools that the model may call.
    pub tools: *const c_char,
    pub tools_len: usize,
    /// A JSON object with further variables of the template, {"enable_thinking": false} for example. They win over
    /// bos_token and the like.
    pub variables: *const c_char,
    pub variables_len: usize,
    /// The name of one of the file's templates. NULL means tool_use if there are tools and the file has that one, else
    /// default.
    pub template_name: *const c_char,
    pub template_name_len: usize,
    /// A Jinja template instead of the file's.
    pub template_text: *const c_char,
    pub template_text_len: usize,
    /// The time for templates that write the date, in seconds since 1970 UTC; for a local time add the offset. 0 means
    /// now, in UTC.
    pub now: i64,
}

// SAFETY: repr(C), no padding, zero is valid in every field.
unsafe impl Struct for rekindle_chat_params {
    const NAME: &'static str = "rekindle_chat_params";
}

/// A text that may be absent.
///
/// # Safety
/// As for `text`.
pub(super) unsafe fn optional<'a>(p: *const c_char, n: usize, name: &str) -> Result<Option<&'a str>> {
    if p.is_null() && n == 0 {
        return Ok(None);
    }
    // SAFETY: as the caller says.
    unsafe { text(p, n, name) }.map(Some)
}

/// # Safety
/// The message's texts are as long as it says.
unsafe fn message<'a>(m: &rekindle_chat_message, index: usize) -> Result<Message<'a>> {
    let name = |field: &str| format!("messages[{index}].{field}");
    // SAFETY: as the caller says.
    unsafe {
        if m.role_len == 0 {
            return Err(Error::invalid(format!("{} is empty", name("role"))).subject(name("role")));
        }
        Ok(Message {
            role: text(m.role, m.role_len, &name("role"))?,
            content: optional(m.content, m.content_len, &name("content"))?,
            name: optional(m.name, m.name_len, &name("name"))?,
            reasoning: optional(m.reasoning, m.reasoning_len, &name("reasoning"))?,
            tool_call_id: optional(m.tool_call_id, m.tool_call_id_len, &name("tool_call_id"))?,
            tool_calls: optional(m.tool_calls, m.tool_calls_len, &name("tool_calls"))?,
            fields: optional(m.fields, m.fields_len, &name("fields"))?,
        })
    }
}

/// Writes the prompt for a conversation of `n_messages` messages. The file's chat template makes it, and it is the
/// prompt that the transformers library renders. `params` may be NULL, which means the default template without the
/// beginning of an answer. Text: buffer, capacity, needed.
///
/// The prompt holds the texts of special tokens, BOS as well if the template writes it. So tokenise it with
/// REKINDLE_TEXT_PARSE_SPECIAL and without REKINDLE_TEXT_SPECIAL. Therefore a message with the text of a control token
/// can end its own turn: a host that lets strangers write should refuse such messages. The answer ends with a token
/// that rekindle_token_info calls is_eog.
///
/// A template is code from the file. Its steps (a million, 20000 for each message and 8 for each byte of the
/// conversation, at most 32 million), its memory (12 MiB and four bytes for each byte of the conversation, looked at
/// before each value is made), its depth and its output (16 MiB) are limited.
///
/// REKINDLE_NOT_FOUND: the file has no template, or none of that name. REKINDLE_INVALID_ARGUMENT: the template refuses
/// the messages (the error's text has its words), a parameter is no JSON, or template_text is bad. REKINDLE_BAD_FILE:
/// the file's template is bad or goes past a limit. REKINDLE_UNSUPPORTED: it uses a filter, test, function or method
/// that is not known. The error's text names the key and the line.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_chat_render(
    vocab: *const rekindle_vocab,
    messages: *const rekindle_chat_message,
    n_messages: usize,
    params: *const rekindle_chat_params,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_chat_render", || {
        let v = get::<TextVocab, _>(vocab)?;
        // SAFETY: the caller's struct, arrays and texts.
        let (p, messages) = unsafe {
            let messages = slice(messages, n_messages, "messages")?;
            let messages: Result<Vec<Message>> = messages.iter().enumerate().map(|(i, m)| message(m, i)).collect();
            (read_or_default(params)?, messages?)
        };
        if p.flags & !REKINDLE_CHAT_GENERATION_PROMPT != 0 {
            let known = REKINDLE_CHAT_GENERATION_PROMPT;
            return Err(Error::invalid(format!("flags is {:#x}, known are {known:#x}", p.flags)).subject("flags"));
        }
        // SAFETY: the caller's texts.
        let options = unsafe {
            Options {
                name: optional(p.template_name, p.template_name_len, "template_name")?,
                text: optional(p.template_text, p.template_text_len, "template_text")?,
                add_generation_prompt: p.flags & REKINDLE_CHAT_GENERATION_PROMPT != 0,
                tools: optional(p.tools, p.tools_len, "tools")?,
                variables: optional(p.variables, p.variables_len, "variables")?,
                now: Some(p.now).filter(|n| *n != 0),
            }
        };
        let prompt = v.chat.render(&messages, &options)?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(prompt.as_bytes(), buffer, capacity, needed) }
    })
}

/// Writes the text of a file's chat template. `name` NULL or "default" means the one without a name. Text: buffer,
/// capacity, needed.
///
/// REKINDLE_NOT_FOUND: the file has no template, or none of that name. REKINDLE_BAD_FILE: it is no UTF-8.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_chat_template(
    vocab: *const rekindle_vocab,
    name: *const c_char,
    name_len: usize,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_chat_template", || {
        let v = get::<TextVocab, _>(vocab)?;
        // SAFETY: the caller's text and buffer.
        unsafe {
            let name = optional(name, name_len, "name")?;
            output::text(v.chat.text(name)?.as_bytes(), buffer, capacity, needed)
        }
    })
}

/// Writes the name of the file's chat template `index`, counted from 0. If there is a default one, it is the first.
/// Text: buffer, capacity, needed.
///
/// REKINDLE_NOT_FOUND: there are not that many.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn rekindle_chat_template_name(
    vocab: *const rekindle_vocab,
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rekindle_status {
    guard("rekindle_chat_template_name", || {
        let v = get::<TextVocab, _>(vocab)?;
        let name = v.chat.names().nth(index as usize).ok_or_else(|| {
            let n = v.chat.names().count();
            Error::not_found(format!("the file has {n} chat templates, there is no template {index}")).subject("index")
        })?;
        // SAFETY: the caller's buffer.
        unsafe { output::text(name.as_bytes(), buffer, capacity, needed) }
    })
}
