//! The reader: a reply's text goes in piece by piece, events come out.
//!
//! One automaton reads all formats. It is in content, in reasoning, in a section between calls, or in a call. In each
//! place it knows which markers may come. It decides by the text alone: where a marker may have begun, it waits. So the
//! events, joined, are the same however the text was cut.
//!
//! A call counts once its name is known and its arguments begin. The text that was read of it before is kept
//! (`calls`). If it turns out to be no call, that text is content, and reading goes on behind it; nothing is read
//! twice, so the time is linear. A call that counts and breaks off later ends as broken.
//!
//! White space between markers and content belongs to neither and is left out.

use std::sync::Arc;

use super::body::Reading;
use super::calls::Calls;
use super::format::Format;
use super::ids::Ids;
use super::json::is_space;
use super::markers::At;
use super::message::Event;
use super::part::Outcome;
use super::signs::{Inside, Opens, Signs};
use super::tools::Tools;
use super::voice::{Kind, Voice};

#[derive(Clone)]
enum Place {
    Content,
    Reasoning(usize),
    /// Between the calls of a section.
    Section,
    /// Behind a call's opening marker.
    Opened(usize),
    Call(usize, Reading),
    /// Behind a call's body; the number is that of its form.
    Behind(usize),
}

#[derive(Clone)]
pub(super) struct Reader {
    format: Arc<Format>,
    tools: Arc<Tools>,
    calls: Calls,
    signs: Arc<Signs>,

    place: Place,
    /// The section that calls stand in.
    section: Option<usize>,
    /// Nothing was said since the beginning or the last thing that a marker closed.
    first: bool,
    voice: Voice,
    /// Text that waits for more.
    text: String,
}

impl Reader {
    /// `reasons`: the prompt has opened the reasoning. Without tools, nothing is a call.
    pub fn new(format: Arc<Format>, tools: Arc<Tools>, ids: Ids, reasons: bool) -> Reader {
        Reader {
            signs: Arc::new(Signs::new(&format, &tools)),
            place: if reasons { Place::Reasoning(0) } else { Place::Content },
            section: None,
            first: true,
            voice: Voice::new(reasons),
            text: String::new(),
            format,
            tools,
            calls: Calls::new(ids),
        }
    }

    /// The events that are known now.
    pub fn take(&mut self) -> impl Iterator<Item = Event> {
        self.voice.events.drain(..)
    }

    /// Reads a piece.
    pub fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
        self.read(false);
    }

    /// The text is whole.
    pub fn finish(&mut self) {
        self.read(true);
        match self.place {
            Place::Behind(form) => self.behind_call(self.format.calls[form].needs_end()),
            Place::Call(..) if self.calls.is_open() => self.breaks(),
            _ => {}
        }
        match self.place {
            Place::Section => self.leave_section(),
            Place::Opened(_) | Place::Call(..) => self.no_call(),
            _ => {}
        }
        if matches!(self.place, Place::Content) {
            self.voice.ends_in_content();
        }
        self.voice.events.push_back(Event::End);
    }

    fn read(&mut self, last: bool) {
        let text = std::mem::take(&mut self.text);
        let mut at = 0;
        while at < text.len() {
            match self.step(&text[at..], last) {
                Some(used) => at += used,
                None => break,
            }
        }
        self.text.push_str(&text[at..]);
    }

    /// Reads on at the beginning of `text`, which is not empty. `None`: more text is needed. A step that reads nothing
    /// goes to another place.
    fn step(&mut self, text: &str, last: bool) -> Option<usize> {
        let spaces = text.bytes().take_while(|b| is_space(*b)).count();
        match &self.place {
            Place::Content if self.first => self.step_first(text, spaces, last),
            Place::Content => {
                let (n, found) = self.signs.in_content.find(text, last);
                self.voice.say(Kind::Content, &text[..n]);
                self.found(n, found, text)
            }
            Place::Reasoning(pair) => {
                let (n, found) = self.signs.ends_of_reasoning[*pair].find(text, last);
                self.voice.say(Kind::Reasoning, &text[..n]);
                match found {
                    At::Marker(len, ()) => {
                        self.closes();
                        Some(n + len)
                    }
                    _ => (n > 0).then_some(n),
                }
            }
            Place::Section => self.step_section(text, last),
            Place::Call(..) => self.step_call(text, last),
            // White space between the markers and the body of a call.
            Place::Opened(_) | Place::Behind(_) if spaces > 0 => {
                self.calls.keep(&text[..spaces]);
                Some(spaces)
            }
            Place::Opened(form) => {
                let open = &self.format.calls[*form].open;
                match self.body_at(text, |call| call.open == *open) {
                    Some(form) => self.begin(form),
                    None => self.no_call(),
                }
                Some(0)
            }
            Place::Behind(form) => {
                let form = *form;
                match self.signs.ends_of_calls[form].at(text, last) {
                    At::Perhaps => None,
                    At::Marker(len, ()) => {
                        self.behind_call(false);
                        Some(len)
                    }
                    At::Nothing => {
                        self.behind_call(self.format.calls[form].needs_end());
                        Some(0)
                    }
                }
            }
        }
    }

    /// Nothing was said yet: more may begin here than elsewhere.
    fn step_first(&mut self, text: &str, spaces: usize, last: bool) -> Option<usize> {
        if spaces > 0 {
            self.voice.say(Kind::Content, &text[..spaces]);
            return Some(spaces);
        }
        match self.signs.first.at(text, last) {
            At::Nothing => {
                self.first = false;
                let bare = self.body_at(text, |call| call.only_first && call.open.is_empty());
                if let Some(form) = bare.filter(|_| !self.tools.is_empty()) {
                    self.calls.opens(self.voice.take_space());
                    self.begin(form);
                }
                Some(0)
            }
            found => self.found(0, found, text),
        }
    }

    fn step_section(&mut self, text: &str, last: bool) -> Option<usize> {
        let Some(section) = self.section else {
            self.no_call();
            return Some(0);
        };
        let between = self.format.sections[section].between;
        let n = text.len() - text.trim_start_matches(|c: char| c.is_ascii_whitespace() || between.contains(c)).len();
        if n > 0 {
            self.calls.keep(&text[..n]);
            return Some(n);
        }
        match self.signs.inside[section].at(text, last) {
            At::Perhaps => return None,
            At::Marker(len, Inside::Close) => {
                self.calls.keep(&text[..len]);
                self.leave_section();
                return Some(len);
            }
            At::Marker(len, Inside::Call(form)) => {
                self.calls.keep(&text[..len]);
                self.place = Place::Opened(form);
                return Some(len);
            }
            At::Nothing => {}
        }
        match self.body_at(text, |call| !call.only_first && call.open.is_empty()) {
            Some(form) => self.begin(form),
            None => self.leave_section(),
        }
        Some(0)
    }

    fn step_call(&mut self, text: &str, last: bool) -> Option<usize> {
        let Place::Call(form, reading) = &mut self.place else { return None };
        let (form, mut parts) = (*form, Vec::new());
        let (used, outcome) = reading.push(text, last, &mut parts);
        self.calls.tell(parts, &mut self.voice);
        self.calls.keep(&text[..used]);
        match outcome {
            Outcome::More => return (used > 0).then_some(used),
            Outcome::Whole => self.place = Place::Behind(form),
            Outcome::Bad if self.calls.is_open() => self.breaks(),
            Outcome::Bad => self.no_call(),
        }
        Some(used)
    }

    /// Goes where a marker leads that was found `n` bytes on.
    fn found(&mut self, n: usize, found: At<Opens>, text: &str) -> Option<usize> {
        let At::Marker(len, opens) = found else { return (n > 0).then_some(n) };
        let space = self.voice.take_space();
        match opens {
            Opens::Nothing => self.closes(),
            Opens::Reasoning(pair) => {
                self.place = Place::Reasoning(pair);
                self.voice.pauses();
            }
            Opens::Section(i) => (self.section, self.place) = (Some(i), Place::Section),
            Opens::Call(i) => (self.section, self.place) = (None, Place::Opened(i)),
        }
        if matches!(self.place, Place::Section | Place::Opened(_)) {
            self.calls.opens(space);
            self.calls.keep(&text[n..n + len]);
        }
        Some(n + len)
    }

    /// The first form among some of which a body may begin here.
    fn body_at(&self, text: &str, wanted: impl Fn(&super::format::Call) -> bool) -> Option<usize> {
        let c = text.chars().next()?;
        self.format.calls.iter().position(|call| wanted(call) && call.begins(c))
    }

    fn begin(&mut self, form: usize) {
        self.place = Place::Call(form, Reading::new(&self.format.calls[form], &self.tools));
    }

    /// The text that was read as a call is content.
    fn no_call(&mut self) {
        let raw = self.calls.take();
        (self.place, self.section, self.first) = (Place::Content, None, false);
        self.voice.say(Kind::Content, &raw);
    }

    /// A call ends before it is whole, and its section with it.
    fn breaks(&mut self) {
        self.section = None;
        self.behind_call(true);
    }

    fn behind_call(&mut self, broken: bool) {
        self.calls.ends(broken, &mut self.voice);
        match self.section {
            Some(_) => self.place = Place::Section,
            None => self.closes(),
        }
    }

    /// A section without calls is content.
    fn leave_section(&mut self) {
        self.section = None;
        if self.calls.has_some() {
            self.calls.take();
            self.closes();
        } else {
            self.no_call();
        }
    }

    /// Something has ended, and content may follow.
    fn closes(&mut self) {
        (self.place, self.first) = (Place::Content, true);
        self.voice.pauses();
    }
}
