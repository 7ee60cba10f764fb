//! The reader: a reply's text goes in piece by piece, events come out.
//!
//! One automaton reads all formats. It is in content, in reasoning, in a section between calls, or in a call. In each
//! place it knows which markers may come. It decides by the text alone: where a marker may have begun, it waits. So the
//! events, joined, are the same however the text was cut.
//!
//! A call counts once its name is known and its arguments begin. What was read of it before is kept (`raw`). If it turns
//! out to be no call, that text is content, and reading goes on behind it; nothing is read twice, so the time is linear.
//! A call that counts and breaks off later ends as broken.
//!
//! White space between markers and content belongs to neither and is left out.

use std::collections::VecDeque;
use std::sync::Arc;

use super::body::Reading;
use super::format::Format;
use super::ids::Ids;
use super::json::is_space;
use super::markers::{At, Markers};
use super::message::Event;
use super::part::{Outcome, Part};
use super::tools::Tools;

/// What a marker opens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Opens {
    Reasoning(usize),
    Section(usize),
    /// Calls whose opening marker is that of this one.
    Call(usize),
    Nothing,
}

/// What may come in a section.
#[derive(Debug, Clone, Copy)]
enum Inside {
    Close,
    Call(usize),
}

/// White space, as JSON has it.
const SPACES: [char; 4] = [' ', '\n', '\r', '\t'];

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
    ids: Ids,
    /// Markers in content, and those where nothing was said yet.
    markers: Markers<Opens>,
    first_markers: Markers<Opens>,
    ends_of_reasoning: Vec<Markers<()>>,
    inside: Vec<Markers<Inside>>,
    ends_of_calls: Vec<Markers<()>>,

    place: Place,
    /// The section that calls stand in.
    section: Option<usize>,
    /// Nothing was said since the beginning or the last thing that a marker closed.
    first: bool,
    /// White space is left out until something else comes.
    trims: bool,
    /// White space that is content if content follows it.
    space: String,
    /// What was read of a call that does not count yet.
    raw: String,
    /// A call counts and has not ended.
    open: bool,
    /// A call of this section counts.
    has_calls: bool,
    n_calls: u32,
    /// Text that waits for more.
    text: String,
    pub events: VecDeque<Event>,
}

impl Reader {
    /// `reasons`: the prompt has opened the reasoning. Without tools, nothing is a call.
    pub fn new(format: Arc<Format>, tools: Arc<Tools>, ids: Ids, reasons: bool) -> Reader {
        let calls = if tools.is_empty() { &[][..] } else { &format.calls[..] };
        let sections = if tools.is_empty() { &[][..] } else { &format.sections[..] };
        let mut later: Vec<(String, Opens)> = format.frames.iter().map(|t| (t.clone(), Opens::Nothing)).collect();
        later.extend(sections.iter().enumerate().map(|(i, s)| (s.open.clone(), Opens::Section(i))));
        let mut first: Vec<_> = format.first_frames.iter().map(|t| (t.clone(), Opens::Nothing)).collect();
        for (i, call) in calls.iter().enumerate() {
            let into = if call.only_first { &mut first } else { &mut later };
            into.push((call.open.clone(), Opens::Call(i)));
        }
        let reasoning = format.reasoning.iter().enumerate().map(|(i, (open, _))| (open.clone(), Opens::Reasoning(i)));
        if format.reasoning_anywhere {
            later.extend(reasoning)
        } else {
            first.extend(reasoning)
        }
        first.extend(later.iter().cloned());
        let inside = sections.iter().map(|s| {
            let opens = calls.iter().enumerate().map(|(i, c)| (c.open.clone(), Inside::Call(i)));
            Markers::new(opens.chain([(s.close.clone(), Inside::Close)]))
        });
        let ends = format.reasoning.iter().map(|(_, close)| Markers::new(close.iter().map(|t| (t.clone(), ()))));
        Reader {
            markers: Markers::new(later),
            first_markers: Markers::new(first),
            ends_of_reasoning: ends.collect(),
            inside: inside.collect(),
            ends_of_calls: calls.iter().map(|c| c.closers()).collect(),
            place: if reasons { Place::Reasoning(0) } else { Place::Content },
            section: None,
            first: true,
            trims: reasons,
            space: String::new(),
            raw: String::new(),
            open: false,
            has_calls: false,
            n_calls: 0,
            text: String::new(),
            events: VecDeque::new(),
            format,
            tools,
            ids,
        }
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
            Place::Call(..) if self.open => self.breaks(),
            _ => {}
        }
        match self.place {
            Place::Section => self.leave_section(),
            Place::Opened(_) | Place::Call(..) => self.no_call(),
            _ => {}
        }
        if matches!(self.place, Place::Content) && !self.trims {
            let space = std::mem::take(&mut self.space);
            self.tell(true, space);
        }
        self.events.push_back(Event::End);
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
                let (n, found) = self.markers.find(text, last);
                self.say(true, &text[..n]);
                self.found(n, found, text)
            }
            Place::Reasoning(pair) => {
                let (n, found) = self.ends_of_reasoning[*pair].find(text, last);
                self.say(false, &text[..n]);
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
                self.keep(&text[..spaces]);
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
                match self.ends_of_calls[form].at(text, last) {
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
            self.say(true, &text[..spaces]);
            return Some(spaces);
        }
        match self.first_markers.at(text, last) {
            At::Nothing => {
                self.first = false;
                let bare = self.body_at(text, |call| call.only_first && call.open.is_empty());
                if let Some(form) = bare.filter(|_| !self.tools.is_empty()) {
                    self.raw = std::mem::take(&mut self.space);
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
            self.keep(&text[..n]);
            return Some(n);
        }
        match self.inside[section].at(text, last) {
            At::Perhaps => return None,
            At::Marker(len, Inside::Close) => {
                self.keep(&text[..len]);
                self.leave_section();
                return Some(len);
            }
            At::Marker(len, Inside::Call(form)) => {
                self.keep(&text[..len]);
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
        let mut id = None;
        for part in parts {
            match part {
                Part::Id(text) => id = Some(text),
                Part::Name(name) => {
                    let index = self.n_calls;
                    let id = id.take().unwrap_or_else(|| self.ids.id(index));
                    self.events.push_back(Event::CallBegins { index, id, name });
                    (self.open, self.has_calls, self.n_calls) = (true, true, index + 1);
                    self.raw.clear();
                }
                Part::Arguments(text) => self.arguments(text),
            }
        }
        self.keep(&text[..used]);
        match outcome {
            Outcome::More => return (used > 0).then_some(used),
            Outcome::Whole => self.place = Place::Behind(form),
            Outcome::Bad if self.open => self.breaks(),
            Outcome::Bad => self.no_call(),
        }
        Some(used)
    }

    /// Goes where a marker leads that was found `n` bytes on.
    fn found(&mut self, n: usize, found: At<Opens>, text: &str) -> Option<usize> {
        let At::Marker(len, opens) = found else { return (n > 0).then_some(n) };
        let space = std::mem::take(&mut self.space);
        match opens {
            Opens::Nothing => self.closes(),
            Opens::Reasoning(pair) => (self.place, self.trims) = (Place::Reasoning(pair), true),
            Opens::Section(i) => (self.section, self.place) = (Some(i), Place::Section),
            Opens::Call(i) => (self.section, self.place) = (None, Place::Opened(i)),
        }
        if matches!(self.place, Place::Section | Place::Opened(_)) {
            (self.raw, self.has_calls) = (space, false);
            self.keep(&text[n..n + len]);
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

    /// Keeps what was read of a call, in case that it is none.
    fn keep(&mut self, text: &str) {
        if !self.open {
            self.raw.push_str(text);
        }
    }

    /// What was read as a call is content.
    fn no_call(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        (self.place, self.section, self.first) = (Place::Content, None, false);
        self.say(true, &raw);
    }

    /// A call ends before it is whole, and its section with it.
    fn breaks(&mut self) {
        self.section = None;
        self.behind_call(true);
    }

    fn behind_call(&mut self, broken: bool) {
        self.open = false;
        self.events.push_back(Event::CallEnds { index: self.n_calls.saturating_sub(1), broken });
        match self.section {
            Some(_) => self.place = Place::Section,
            None => self.closes(),
        }
    }

    /// A section without calls is content.
    fn leave_section(&mut self) {
        self.section = None;
        if self.has_calls {
            self.raw.clear();
            self.closes();
        } else {
            self.no_call();
        }
    }

    /// Something has ended, and content may follow.
    fn closes(&mut self) {
        self.space.clear();
        (self.place, self.first, self.trims) = (Place::Content, true, true);
    }

    /// Content, or reasoning, without the white space at its ends.
    fn say(&mut self, content: bool, text: &str) {
        let text = if self.trims { text.trim_start_matches(SPACES) } else { text };
        let said = text.trim_end_matches(SPACES);
        if !said.is_empty() {
            self.trims = false;
            let space = std::mem::take(&mut self.space);
            self.tell(content, space + said);
        }
        if !self.trims {
            self.space.push_str(&text[said.len()..]);
        }
    }

    /// Adds to the last event, if that is one of the same kind, so that a reply that nobody takes stays small.
    fn tell(&mut self, content: bool, text: String) {
        match (self.events.back_mut(), content) {
            _ if text.is_empty() => {}
            (Some(Event::Content(last)), true) | (Some(Event::Reasoning(last)), false) => last.push_str(&text),
            (_, true) => self.events.push_back(Event::Content(text)),
            (_, false) => self.events.push_back(Event::Reasoning(text)),
        }
    }

    fn arguments(&mut self, text: String) {
        let index = self.n_calls.saturating_sub(1);
        match self.events.back_mut() {
            Some(Event::Arguments { text: last, .. }) => last.push_str(&text),
            _ => self.events.push_back(Event::Arguments { index, text }),
        }
    }
}
