//! A reply that is being read.

use std::collections::VecDeque;
use std::sync::Arc;

use super::detect::Probes;
use super::force::Force;
use super::format::Format;
use super::ids::Ids;
use super::message::{Event, Message};
use super::reader::Reader;
use super::tools::{Choice, Tools};
use crate::chat::{Options, Templates};
use crate::error::{Error, Result};
use crate::grammar::Grammar;
use crate::vocab::{Stream, TokenType, Vocab};

/// The things that tell how a reply is to be read. All may be left at their defaults.
#[derive(Debug, Clone, Default)]
pub struct Params<'a> {
    /// Those that the prompt was rendered with. Without tools there are no calls.
    pub chat: Options<'a>,
    pub choice: Choice,
    /// The prompt's text; its end tells if the reply begins within reasoning. `None`: the end of a prompt that the
    /// template makes of one message.
    pub prompt: Option<&'a str>,
    /// Makes the ids of calls; 0: others each time.
    pub seed: u64,
}

/// Reads one reply. A copy goes its own way from where it was made.
#[derive(Clone)]
pub struct Reply {
    vocab: Arc<Vocab>,
    format: Arc<Format>,
    stream: Stream,
    tools: Arc<Tools>,
    choice: Choice,
    /// The prompt has opened the reasoning.
    reasons: bool,
    reader: Reader,
    events: VecDeque<Event>,
    message: Message,
    finished: bool,
}

impl Reply {
    /// A reader for replies of a file with these templates. Where there is no template, all is content.
    ///
    /// # Errors
    /// `InvalidArgument`: the tools are no JSON array of tools, or the choice names a tool that is not among them. A
    /// template that fails is no error: it does not tell a format, and then all is content.
    pub fn new(vocab: &Arc<Vocab>, templates: &Templates, params: &Params) -> Result<Reply> {
        let tools = params.chat.tools.map(Tools::parse).transpose()?.unwrap_or_default();
        match &params.choice {
            Choice::Named(name) if !tools.has(name) => {
                return Err(Error::invalid(format!("tool_choice names '{name}', which is not among the tools"))
                    .subject("tool_choice"));
            }
            Choice::Required if tools.is_empty() => {
                return Err(Error::invalid("tool_choice is required, but there are no tools").subject("tool_choice"));
            }
            _ => {}
        }
        let tools = Arc::new(if params.choice == Choice::Never { Tools::default() } else { tools });
        let probes = Probes { templates, options: params.chat };
        let format = Arc::new(probes.format());
        let reasons = probes.opens_reasoning(&format, params.prompt);
        let reader = Reader::new(format.clone(), tools.clone(), Ids::new(params.seed), reasons);
        Ok(Reply {
            vocab: vocab.clone(),
            format,
            tools,
            choice: params.choice.clone(),
            reasons,
            stream: Stream::new(true),
            reader,
            events: VecDeque::new(),
            message: Message::default(),
            finished: false,
        })
    }

    /// The format's name.
    pub fn format(&self) -> &str {
        &self.format.name
    }

    /// The grammar that holds the reply to calls as its reader reads them: names of tools, arguments by their schemas.
    /// With `Choice::Auto` it waits until the model opens a call. With `Required` and `Named` it begins at once: after
    /// reasoning, if the format has it, which is free, one call or more (with `one` or `Named` exactly one) must come.
    /// Nothing follows the calls.
    ///
    /// # Errors
    /// `InvalidArgument`: there are no tools, or a schema is none. `Unsupported`: the template tells no format of
    /// calls, a name or a parameter cannot be written in it, or a schema has what grammars do not have.
    pub fn grammar(&self, one: bool) -> Result<Grammar> {
        let Reply { vocab, format, tools, choice, reasons, .. } = self;
        Force { vocab, format, tools, choice, reasons: *reasons, one }.grammar()
    }

    /// Reads a piece of text.
    ///
    /// # Errors
    /// `InvalidArgument`: the reply is finished.
    pub fn push(&mut self, text: &str) -> Result<()> {
        if self.finished {
            return Err(Error::invalid("the reply is finished").subject("text"));
        }
        self.reader.push(text);
        self.take();
        Ok(())
    }

    /// Reads a token. Control tokens count where the format has them as markers, and are nothing elsewhere.
    ///
    /// # Errors
    /// `InvalidArgument`: there is no such token, or the reply is finished.
    pub fn push_token(&mut self, token: i32) -> Result<()> {
        let kind = self.vocab.token_type(token)?;
        let text = String::from_utf8_lossy(self.vocab.token_text(token)?);
        let silent = kind == TokenType::Control || self.vocab.is_eog(token);
        if silent && !self.format.markers().any(|m| m.contains(&*text)) {
            return self.push("");
        }
        let text = self.stream.push(&self.vocab, token)?;
        self.push(&text)
    }

    /// Nothing follows. To finish again changes nothing.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            let rest = self.stream.flush();
            self.reader.push(&rest);
            self.reader.finish();
            self.take();
        }
    }

    /// The next event; `None`: nothing more is known yet.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All that was read so far.
    pub fn message(&self) -> &Message {
        &self.message
    }

    fn take(&mut self) {
        for event in self.reader.take() {
            self.message.add(&event);
            // A reply that nobody takes stays small.
            let event = if let Some(last) = self.events.back_mut() { last.join(event) } else { Some(event) };
            self.events.extend(event);
        }
    }
}
