//! The events of a reply, and the message that they make together.

use serde_json::{Value, json};

/// One thing that a reply says. The pieces of a kind that follow each other belong together.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Reasoning(String),
    Content(String),
    /// A call begins; `index` counts the calls of a reply from 0.
    CallBegins {
        index: u32,
        id: String,
        name: String,
    },
    /// A piece of the arguments' JSON.
    Arguments {
        index: u32,
        text: String,
    },
    /// A call ends; `broken`: its arguments are not whole, since the text went on with something else or ended.
    CallEnds {
        index: u32,
        broken: bool,
    },
    /// The end of the reply. Nothing follows.
    End,
}

impl Event {
    /// Adds an event to the one before it, if both are pieces of the same. Otherwise it comes back.
    pub(super) fn join(&mut self, next: Event) -> Option<Event> {
        match (self, next) {
            (Event::Content(text), Event::Content(more)) | (Event::Reasoning(text), Event::Reasoning(more)) => {
                text.push_str(&more);
                None
            }
            (Event::Arguments { text, .. }, Event::Arguments { text: more, .. }) => {
                text.push_str(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// A call of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, as far as it came.
    pub arguments: String,
    pub broken: bool,
}

/// All that a reply has said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub reasoning: String,
    pub content: String,
    pub calls: Vec<ToolCall>,
}

impl Message {
    /// Adds what an event says.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Reasoning(text) => self.reasoning.push_str(text),
            Event::Content(text) => self.content.push_str(text),
            Event::CallBegins { id, name, .. } => {
                let (id, name) = (id.clone(), name.clone());
                self.calls.push(ToolCall { id, name, ..ToolCall::default() });
            }
            Event::Arguments { text, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(text);
                }
            }
            Event::CallEnds { broken, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.broken = *broken;
                }
            }
            Event::End => {}
        }
    }

    /// The message in the form of OpenAI's interface. Without content and with calls, the content is null;
    /// `reasoning_content` and `tool_calls` are there if there are any.
    pub fn json(&self) -> String {
        let content = if self.content.is_empty() && !self.calls.is_empty() {
            Value::Null
        } else {
            Value::from(self.content.as_str())
        };
        let mut message = json!({"role": "assistant", "content": content});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            let call = |c: &ToolCall| json!({"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}});
            message["tool_calls"] = self.calls.iter().map(call).collect();
        }
        message.to_string()
    }
}
