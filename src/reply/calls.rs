//! The calls of a reply that count, and the text of one that does not count yet.

use super::ids::Ids;
use super::message::Event;
use super::part::Part;
use super::voice::Voice;

#[derive(Clone)]
pub(super) struct Calls {
    ids: Ids,
    /// The text that was read of a call that does not count yet.
    raw: String,
    /// A call counts and has not ended.
    open: bool,
    /// A call of this section counts.
    some: bool,
    n: u32,
}

impl Calls {
    pub fn new(ids: Ids) -> Calls {
        Calls { ids, raw: String::new(), open: false, some: false, n: 0 }
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Something opens that may hold calls; `text` was read of it.
    pub fn opens(&mut self, text: String) {
        (self.raw, self.some) = (text, false);
    }

    /// A call of the section that now ends counted.
    pub fn has_some(&self) -> bool {
        self.some
    }

    /// Keeps what was read of a call, in case that it is none.
    pub fn keep(&mut self, text: &str) {
        if !self.open {
            self.raw.push_str(text);
        }
    }

    /// Gives the text that was kept.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.raw)
    }

    /// Tells what the body of a call told. Once it has a name, it counts.
    pub fn tell(&mut self, parts: Vec<Part>, voice: &mut Voice) {
        let mut id = None;
        for part in parts {
            match part {
                Part::Id(text) => id = Some(text),
                Part::Name(name) => {
                    let index = self.n;
                    let id = id.take().unwrap_or_else(|| self.ids.id(index));
                    voice.events.push_back(Event::CallBegins { index, id, name });
                    (self.open, self.some, self.n) = (true, true, index + 1);
                    self.raw.clear();
                }
                Part::Arguments(text) => voice.arguments(self.n.saturating_sub(1), &text),
            }
        }
    }

    pub fn ends(&mut self, broken: bool, voice: &mut Voice) {
        self.open = false;
        voice.events.push_back(Event::CallEnds { index: self.n.saturating_sub(1), broken });
    }
}
