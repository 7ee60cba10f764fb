//! The input of a template: messages, and everything else that it may ask for.

use minijinja::Value;

use super::json;
use crate::error::{Error, Result};

/// One message of a conversation. A field that is `None` is absent for the template, except for the content, which is
/// none then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// system, user, assistant, tool, or another role that the template knows.
    pub role: &'a str,
    pub content: Option<&'a str>,
    pub name: Option<&'a str>,
    /// The model's thoughts before its answer; templates see them as `reasoning_content` and as `thinking`.
    pub reasoning: Option<&'a str>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<&'a str>,
    /// A JSON array of the calls that the assistant made.
    pub tool_calls: Option<&'a str>,
    /// A JSON object with further fields, which win over those above.
    pub fields: Option<&'a str>,
}

/// The things that a template gets besides the messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The name of one of the file's templates. `None` means `tool_use` if there are tools and the file has that one,
    /// else `default`.
    pub name: Option<&'a str>,
    /// A template instead of the file's.
    pub text: Option<&'a str>,
    /// Ends the prompt with the beginning of the assistant's next message.
    pub add_generation_prompt: bool,
    /// A JSON array of the tools that the model may call.
    pub tools: Option<&'a str>,
    /// A JSON object with further variables, `enable_thinking` for example.
    pub variables: Option<&'a str>,
    /// The time for templates that ask for the date, in seconds since 1970 UTC; `None` means now.
    pub now: Option<i64>,
}

impl Message<'_> {
    /// The message as the template sees it; `index` is its place in the conversation.
    pub(super) fn value(&self, index: usize) -> Result<Value> {
        let mut map: Vec<(String, Value)> = Vec::new();
        // If a key comes again, its last value counts.
        let mut set = |key: &str, value: Value| map.push((key.to_owned(), value));
        set("role", self.role.into());
        set("content", self.content.map_or(Value::from(()), Value::from));
        for (key, text) in [
            ("name", self.name),
            ("thinking", self.reasoning),
            ("reasoning_content", self.reasoning),
            ("tool_call_id", self.tool_call_id),
        ] {
            if let Some(text) = text {
                set(key, text.into());
            }
        }
        if let Some(text) = self.tool_calls {
            let calls = json::parse(text, &format!("messages[{index}].tool_calls"), json::Kind::Array)?;
            set("tool_calls", json::value(&calls));
        }
        if let Some(text) = self.fields {
            let fields = json::parse(text, &format!("messages[{index}].fields"), json::Kind::Object)?;
            for (key, v) in fields.as_object().into_iter().flatten() {
                set(key, json::value(v));
            }
        }
        Ok(Value::from_pairs(map))
    }

    /// The bytes that the template may have to read.
    pub(super) fn len(&self) -> usize {
        [Some(self.role), self.content, self.name, self.reasoning, self.tool_call_id, self.tool_calls, self.fields]
            .into_iter()
            .flatten()
            .map(str::len)
            .sum()
    }
}

/// The variables of a rendering. `special` are the texts of special tokens.
pub(super) fn context(special: &[(&'static str, String)], messages: &[Message], options: &Options) -> Result<Value> {
    let mut map: Vec<(String, Value)> = Vec::new();
    map.extend(special.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())));
    map.push(("documents".to_owned(), ().into()));
    if let Some(text) = options.variables {
        let variables = json::parse(text, "variables", json::Kind::Object)?;
        for (key, v) in variables.as_object().into_iter().flatten() {
            if ["messages", "tools", "add_generation_prompt"].contains(&key.as_str()) {
                let text = format!("variables has '{key}', which has its own parameter");
                return Err(Error::invalid(text).subject("variables"));
            }
            map.push((key.clone(), json::value(v)));
        }
    }
    let messages: Result<Vec<Value>> = messages.iter().enumerate().map(|(i, m)| m.value(i)).collect();
    map.push(("messages".to_owned(), messages?.into()));
    let tools = match options.tools {
        Some(text) => json::value(&json::parse(text, "tools", json::Kind::Array)?),
        None => ().into(),
    };
    map.push(("tools".to_owned(), tools));
    map.push(("add_generation_prompt".to_owned(), options.add_generation_prompt.into()));
    Ok(Value::from_pairs(map))
}
