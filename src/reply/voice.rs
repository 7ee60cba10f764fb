//! The events that a reader has to tell. White space between markers and content is left out of them.

use std::collections::VecDeque;

use super::message::Event;

/// White space, as JSON has it.
const SPACES: [char; 4] = [' ', '\n', '\r', '\t'];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Reasoning,
    Content,
}

#[derive(Clone)]
pub(super) struct Voice {
    /// White space is left out until something else comes.
    trims: bool,
    /// White space that is said if more follows it.
    space: String,
    pub events: VecDeque<Event>,
}

impl Voice {
    pub fn new(trims: bool) -> Voice {
        Voice { trims, space: String::new(), events: VecDeque::new() }
    }

    /// Reasoning, or content, without the white space at its ends.
    pub fn say(&mut self, kind: Kind, text: &str) {
        let text = if self.trims { text.trim_start_matches(SPACES) } else { text };
        let said = text.trim_end_matches(SPACES);
        if !said.is_empty() {
            self.trims = false;
            let space = std::mem::take(&mut self.space);
            self.tell(kind, &space);
            self.tell(kind, said);
        }
        if !self.trims {
            self.space.push_str(&text[said.len()..]);
        }
    }

    /// Something was said that ends: the space behind it is left out, and that before what follows.
    pub fn pauses(&mut self) {
        self.space.clear();
        self.trims = true;
    }

    /// The white space that waits.
    pub fn take_space(&mut self) -> String {
        std::mem::take(&mut self.space)
    }

    /// The end, in content: the white space there is some, too.
    pub fn ends_in_content(&mut self) {
        if !self.trims {
            let space = self.take_space();
            self.tell(Kind::Content, &space);
        }
    }

    /// Adds to the last event, if that is one of the same kind, so that a reply that nobody takes stays small.
    fn tell(&mut self, kind: Kind, text: &str) {
        match (self.events.back_mut(), kind) {
            _ if text.is_empty() => {}
            (Some(Event::Content(last)), Kind::Content) | (Some(Event::Reasoning(last)), Kind::Reasoning) => {
                last.push_str(text);
            }
            (_, Kind::Content) => self.events.push_back(Event::Content(text.to_owned())),
            (_, Kind::Reasoning) => self.events.push_back(Event::Reasoning(text.to_owned())),
        }
    }

    pub fn arguments(&mut self, index: u32, text: &str) {
        match self.events.back_mut() {
            _ if text.is_empty() => {}
            Some(Event::Arguments { text: last, .. }) => last.push_str(text),
            _ => self.events.push_back(Event::Arguments { index, text: text.to_owned() }),
        }
    }
}
