//! A call that is a name and, behind a marker, its arguments.

use std::sync::Arc;

use super::format::{Arguments, Call, Named};
use super::json::{Scan, Scanner, is_space};
use super::loose::LooseBody;
use super::markers::{At, Markers};
use super::part::{Outcome, Part, within};
use super::tagged::TaggedBody;
use super::tools::Tools;

/// The most bytes of a name with what stands behind it, or of an id.
const LONGEST: usize = 1024;

#[derive(Clone, Copy)]
enum Behind {
    /// The arguments, behind the marker or with it.
    Arguments,
    WithIt,
    Id,
}

#[derive(Clone)]
enum Place {
    Name,
    Id,
    /// Before the first byte of the arguments.
    Start,
    Json(Scanner),
    Loose(Box<LooseBody>),
    Tagged(Box<TaggedBody>),
}

#[derive(Clone)]
pub(super) struct NamedBody {
    place: Place,
    spec: Named,
    ends: Markers<Behind>,
    closers: Markers<()>,
    known_only: bool,
    tools: Arc<Tools>,
    text: String,
    name: String,
    id: Option<String>,
}

impl NamedBody {
    pub fn new(spec: &Named, call: &Call, tools: &Arc<Tools>) -> NamedBody {
        let mut ends: Vec<(String, Behind)> = spec.ends.iter().map(|t| (t.clone(), Behind::Arguments)).collect();
        ends.extend(spec.stops.iter().map(|t| (t.clone(), Behind::WithIt)));
        ends.extend(spec.id.iter().map(|t| (t.clone(), Behind::Id)));
        NamedBody {
            place: Place::Name,
            spec: spec.clone(),
            ends: Markers::new(ends),
            closers: call.closers(),
            known_only: call.open.is_empty() && call.only_first,
            tools: tools.clone(),
            text: String::new(),
            name: String::new(),
            id: None,
        }
    }

    pub fn push(&mut self, text: &str, last: bool, out: &mut Vec<Part>) -> (usize, Outcome) {
        let mut at = 0;
        loop {
            let (used, outcome) = match &mut self.place {
                Place::Name | Place::Id => self.header(&text[at..], last),
                Place::Start => self.start(&text[at..], last, out),
                Place::Json(scanner) => json(scanner, &text[at..], out),
                Place::Loose(body) => body.push(&text[at..], last, out),
                Place::Tagged(body) => body.push(&text[at..], last, out),
            };
            at += used;
            if let Some(outcome) = outcome {
                return (at, outcome);
            }
        }
    }

    /// The name, or the id behind it.
    fn header(&mut self, text: &str, last: bool) -> (usize, Option<Outcome>) {
        let (n, found) = self.ends.find(text, last);
        let fits = within(self.text.len(), &text[..n], LONGEST);
        self.text.push_str(&text[..fits]);
        if self.text.len() > LONGEST {
            return (fits, Some(Outcome::Bad));
        }
        let At::Marker(len, behind) = found else {
            return (n, Some(if last { Outcome::Bad } else { Outcome::More }));
        };
        let said = std::mem::take(&mut self.text);
        if matches!(self.place, Place::Id) {
            self.id = Some(said.trim().to_owned()).filter(|id| !id.is_empty());
        } else {
            let name = said.trim();
            let name = if self.spec.header { name.split([' ', '\t', '\n', '<']).next().unwrap_or("") } else { name };
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return (n, Some(Outcome::Bad));
            }
            // Mere text may begin like this, too.
            if self.known_only && !self.tools.has(name) {
                return (n, Some(Outcome::Bad));
            }
            self.name = name.to_owned();
            if self.spec.in_id {
                self.id = Some(self.name.clone());
                let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
                self.name = name.strip_prefix("functions.").unwrap_or(name).to_owned();
                if self.name.is_empty() {
                    return (n, Some(Outcome::Bad));
                }
            }
        }
        self.place = if matches!(behind, Behind::Id) { Place::Id } else { Place::Start };
        (n + if matches!(behind, Behind::WithIt) { 0 } else { len }, None)
    }

    /// The name is told where arguments begin, or where the call ends without any.
    fn start(&mut self, text: &str, last: bool, out: &mut Vec<Part>) -> (usize, Option<Outcome>) {
        let spaces = text.bytes().take_while(|b| is_space(*b)).count();
        let rest = &text[spaces..];
        if rest.is_empty() && !last {
            return (spaces, Some(Outcome::More));
        }
        match &self.spec.arguments {
            Arguments::Json if rest.starts_with('{') => {
                self.tell(out);
                self.place = Place::Json(Scanner::new());
                (spaces, None)
            }
            Arguments::Json => match self.closers.at(rest, last) {
                At::Perhaps => (spaces, Some(Outcome::More)),
                At::Marker(..) => {
                    self.tell(out);
                    out.push(Part::Arguments("{}".to_owned()));
                    (spaces, Some(Outcome::Whole))
                }
                At::Nothing => (spaces, Some(Outcome::Bad)),
            },
            Arguments::Loose(close) => {
                let body = LooseBody::new(*close);
                if !rest.chars().next().is_some_and(|c| body.begins(c)) {
                    return (spaces, Some(Outcome::Bad));
                }
                self.tell(out);
                self.place = Place::Loose(Box::new(body));
                (spaces, None)
            }
            Arguments::Tagged(spec) => {
                let body = TaggedBody::new(spec, &self.name, &self.tools);
                match (body.opens(rest, last), self.closers.at(rest, last)) {
                    (At::Perhaps, _) | (At::Nothing, At::Perhaps) => return (spaces, Some(Outcome::More)),
                    (At::Nothing, At::Nothing) => return (spaces, Some(Outcome::Bad)),
                    _ => {}
                }
                self.place = Place::Tagged(Box::new(body));
                self.tell(out);
                (spaces, None)
            }
        }
    }

    fn tell(&mut self, out: &mut Vec<Part>) {
        out.extend(self.id.take().map(Part::Id));
        out.push(Part::Name(std::mem::take(&mut self.name)));
    }
}

/// Arguments in JSON go out as the model writes them.
fn json(scanner: &mut Scanner, text: &str, out: &mut Vec<Part>) -> (usize, Option<Outcome>) {
    let (mut at, mut outcome) = (0, Outcome::More);
    while at < text.len() && outcome == Outcome::More {
        match scanner.push(text.as_bytes()[at]) {
            Scan::More => at += 1,
            Scan::Ends => (at, outcome) = (at + 1, Outcome::Whole),
            Scan::Ended => outcome = Outcome::Whole,
            Scan::Bad => outcome = Outcome::Bad,
        }
    }
    if at > 0 {
        out.push(Part::Arguments(text[..at].to_owned()));
    }
    (at, Some(outcome))
}
