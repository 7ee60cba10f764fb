//! The description of a format: how the replies of some models are written.
//!
//! A reply is content, with three kinds of things in it that markers announce. *Reasoning* stands between two markers.
//! *Calls* stand between an opening and a closing marker, alone or in a *section* with markers of its own. Markers that
//! only *frame* the content are left out. A format names these markers; the reader (`reader`) does the same for all.

use super::markers::Markers;

/// gemma's quote.
pub(super) const QUOTE: &str = "<|\"|>";

/// A way to write replies. `formats` has those that are known; `detect` makes one of a template's text.
#[derive(Debug, Clone, Default)]
pub struct Format {
    pub name: String,
    /// Pairs of markers. Reasoning begins where nothing was said yet, or anywhere.
    pub reasoning: Vec<(String, Vec<String>)>,
    pub reasoning_anywhere: bool,
    /// Markers that frame content, and those that do so only where nothing was said yet.
    pub frames: Vec<String>,
    pub first_frames: Vec<String>,
    /// Texts of templates that expect this format without writing it.
    pub hints: Vec<String>,
    pub sections: Vec<Section>,
    pub calls: Vec<Call>,
    /// The names of members of calls that are objects.
    pub keys: Keys,
    /// A message has one call at most.
    pub one_call: bool,
    /// This may stand between the reasoning and a call.
    pub header: Option<String>,
}

/// The members of an object that is a call, as they are written. (Reading knows more names.)
#[derive(Debug, Clone)]
pub struct Keys {
    pub name: String,
    pub arguments: String,
    pub id: Option<IdKey>,
}

#[derive(Debug, Clone)]
pub struct IdKey {
    pub key: String,
    /// A regular expression.
    pub pattern: &'static str,
    /// It comes before the name, or behind all others.
    pub first: bool,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys { name: "name".to_owned(), arguments: "arguments".to_owned(), id: None }
    }
}

/// Calls that stand together.
#[derive(Debug, Clone)]
pub struct Section {
    pub open: String,
    /// Empty: the section has no end of its own.
    pub close: String,
    /// Characters, besides white space, that separate the calls.
    pub between: &'static str,
    /// The calls are written as a list.
    pub list: bool,
}

/// One way to write a call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Empty: the call begins with its body, at the beginning of a message or in a section.
    pub open: String,
    /// It opens a call only where nothing was said yet.
    pub only_first: bool,
    pub body: Body,
    /// The first is the one to write; white space may stand before it. Empty: the call ends with its body.
    pub close: Vec<String>,
}

/// The text between the markers of a call.
#[derive(Debug, Clone)]
pub enum Body {
    /// A JSON object with the name and the arguments.
    Object,
    /// The name, then the arguments.
    Named(Box<Named>),
}

#[derive(Debug, Clone)]
pub struct Named {
    /// Markers between the name and the arguments; the first is the one to write.
    pub ends: Vec<String>,
    /// Markers that end the name and belong to what follows.
    pub stops: Vec<String>,
    /// A marker between the name and an id, which ends where the name would.
    pub id: Option<String>,
    /// The name is the first word, and others may follow it.
    pub header: bool,
    /// This may be written behind the name.
    pub note: Option<String>,
    /// The name stands in an id, functions.NAME:0.
    pub in_id: bool,
    pub arguments: Arguments,
}

/// A way to write arguments.
#[derive(Debug, Clone)]
pub enum Arguments {
    /// A JSON object.
    Json,
    /// In a program's notation, up to this bracket.
    Loose(u8),
    /// Each between markers: `open` key `key_end` … `value_open` value `close`.
    Tagged(Tagged),
}

impl Arguments {
    fn markers(&self) -> Vec<&str> {
        match self {
            Arguments::Json => Vec::new(),
            Arguments::Loose(_) => vec![QUOTE],
            Arguments::Tagged(t) => vec![&t.open, &t.key_end, &t.value_open, &t.close],
        }
    }
}

#[derive(Debug, Clone)]
pub struct Tagged {
    pub open: String,
    pub key_end: String,
    /// Empty: the value follows `key_end` at once.
    pub value_open: String,
    pub close: String,
    /// A line break behind the opening and before the closing marker does not belong to the value.
    pub lines: bool,
    /// Behind the key stands string="true" or string="false".
    pub typed: bool,
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|t| (*t).to_owned()).collect()
}

impl Format {
    pub fn new(name: &str) -> Format {
        Format { name: name.to_owned(), ..Format::default() }
    }
    pub fn reasoning(mut self, open: &str, close: &str) -> Format {
        self.reasoning.push((open.to_owned(), vec![close.to_owned()]));
        self
    }
    pub fn anywhere(mut self) -> Format {
        self.reasoning_anywhere = true;
        self
    }
    pub fn frames(mut self, all: &[&str]) -> Format {
        self.frames = texts(all);
        self
    }
    pub fn first_frames(mut self, all: &[&str]) -> Format {
        self.first_frames = texts(all);
        self
    }
    pub fn hints(mut self, all: &[&str]) -> Format {
        self.hints = texts(all);
        self
    }
    pub fn keys(mut self, name: &str, arguments: &str) -> Format {
        self.keys.name = name.to_owned();
        self.keys.arguments = arguments.to_owned();
        self
    }
    pub fn id_key(mut self, key: &str, pattern: &'static str, first: bool) -> Format {
        self.keys.id = Some(IdKey { key: key.to_owned(), pattern, first });
        self
    }
    pub fn one_call(mut self) -> Format {
        self.one_call = true;
        self
    }
    pub fn header(mut self, text: &str) -> Format {
        self.header = Some(text.to_owned());
        self
    }
    pub fn section(mut self, open: &str, close: &str, between: &'static str) -> Format {
        let (open, close) = (open.to_owned(), close.to_owned());
        self.sections.push(Section { open, close, between, list: between.contains('[') });
        self
    }
    pub fn call(mut self, open: &str, body: Body, close: &[&str]) -> Format {
        let (open, close) = (open.to_owned(), texts(close));
        self.calls.push(Call { open, only_first: false, body, close });
        self
    }
    /// All markers, in no order.
    pub(super) fn markers(&self) -> impl Iterator<Item = &str> {
        let reasoning = self.reasoning.iter().flat_map(|(open, close)| [open].into_iter().chain(close));
        let sections = self.sections.iter().flat_map(|s| [&s.open, &s.close]);
        let calls = self.calls.iter().flat_map(|c| [&c.open].into_iter().chain(&c.close));
        let named = self.calls.iter().filter_map(|c| if let Body::Named(n) = &c.body { Some(n) } else { None });
        let names = named.clone().flat_map(|n| n.ends.iter().chain(&n.stops).chain(&n.id));
        let arguments = named.flat_map(|n| n.arguments.markers());
        let texts = reasoning.chain(&self.frames).chain(&self.first_frames).chain(sections).chain(calls).chain(names);
        texts.map(String::as_str).chain(arguments).filter(|t| !t.is_empty())
    }

    /// A call that only opens where nothing was said yet.
    pub fn first_call(mut self, open: &str, body: Body, close: &[&str]) -> Format {
        self = self.call(open, body, close);
        self.calls.last_mut().into_iter().for_each(|c| c.only_first = true);
        self
    }
}

pub(super) fn named(ends: &[&str], arguments: Arguments) -> Named {
    Named { ends: texts(ends), stops: Vec::new(), id: None, header: false, note: None, in_id: false, arguments }
}

impl Named {
    pub fn stops(mut self, all: &[&str]) -> Named {
        self.stops = texts(all);
        self
    }
    pub fn id(mut self, marker: &str) -> Named {
        self.id = Some(marker.to_owned());
        self
    }
    /// `note`: what may follow the name.
    pub fn header(mut self, note: &str) -> Named {
        (self.header, self.note) = (true, Some(note.to_owned()));
        self
    }
    pub fn in_id(mut self) -> Named {
        self.in_id = true;
        self
    }
    pub fn body(self) -> Body {
        Body::Named(Box::new(self))
    }
}

pub(super) fn tagged(open: &str, key_end: &str, value_open: &str, close: &str) -> Tagged {
    let [open, key_end, value_open, close] = [open, key_end, value_open, close].map(str::to_owned);
    Tagged { open, key_end, value_open, close, lines: false, typed: false }
}

impl Tagged {
    pub fn typed(mut self) -> Tagged {
        self.typed = true;
        self
    }
    pub fn lines(mut self) -> Tagged {
        self.lines = true;
        self
    }
}

impl Call {
    pub(super) fn closers(&self) -> Markers<()> {
        Markers::new(self.close.iter().map(|t| (t.clone(), ())))
    }

    /// Only the closing marker tells that it is whole.
    pub(super) fn needs_end(&self) -> bool {
        let tagged = matches!(&self.body, Body::Named(named) if matches!(named.arguments, Arguments::Tagged(_)));
        tagged && !self.close.is_empty()
    }

    /// A body of this call may begin with this character.
    pub(super) fn begins(&self, c: char) -> bool {
        match &self.body {
            Body::Object => c == '{',
            Body::Named(_) => c.is_alphanumeric() || c == '_',
        }
    }
}
