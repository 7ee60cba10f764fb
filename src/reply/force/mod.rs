//! The grammar that holds a reply to calls: the markers of its format, the names of the tools, arguments by their
//! schemas.
//!
//! If the host leaves the choice to the model, the grammar waits for the marker that opens a call, and holds what
//! follows. If a call is required, it holds the reply from its beginning: reasoning, which is free, then the calls.

mod calls;
mod gemma;
mod lark;
mod members;
mod strings;
mod tagged;

use std::sync::Arc;

use super::format::{Body, Call, Format, Section};
use super::tools::{Choice, Tool, Tools};
use crate::error::{Error, Result};
use crate::grammar::{Apart, Grammar, Kind, Params};
use crate::vocab::Vocab;
use lark::{ANY, Lark, quoted};

/// All that a grammar is made of.
pub(super) struct Force<'a> {
    pub vocab: &'a Arc<Vocab>,
    pub format: &'a Format,
    pub tools: &'a Tools,
    pub choice: &'a Choice,
    /// The prompt has opened the reasoning.
    pub reasons: bool,
    /// Not more than one call.
    pub one: bool,
}

impl Force<'_> {
    pub fn grammar(&self) -> Result<Grammar> {
        let (text, params) = self.written()?;
        Grammar::new(self.vocab, Kind::Lark, &text, &params)
    }

    fn written(&self) -> Result<(String, Params)> {
        if self.tools.is_empty() {
            let text = "there are no tools that the reply may call, so there is no grammar for calls";
            return Err(Error::invalid(text).subject("tools"));
        }
        if self.format.calls.is_empty() {
            let text = "the chat template does not tell how calls are written, so there is no grammar for them";
            return Err(Error::unsupported(text).subject("template"));
        }
        let mut lark = Lark::new(self.vocab);
        let forms = Forms::of(self.format);
        let params = if *self.choice == Choice::Auto { self.triggers(&forms)? } else { Params::default() };
        let calls = self.calls(&forms, &mut lark, &params)?;
        let start = match (params.trigger_texts.is_empty(), self.format.reasoning.first()) {
            (false, _) => calls,
            (true, None) => format!("WS? {calls}"),
            (true, Some((open, close))) => {
                let close = close.first().map_or("", String::as_str);
                let free = lark.until(ANY, close);
                let header = self.format.header.as_ref().map(|h| format!("({})?", lark.marker(h))).unwrap_or_default();
                match self.reasons {
                    true => format!("{free} WS? {header} {calls}"),
                    false => format!("WS? ({} {free} WS?)? {header} {calls}", lark.marker(open)),
                }
            }
        };
        Ok((lark.finish(&start), params))
    }

    fn only_one(&self) -> bool {
        self.one || self.format.one_call || matches!(self.choice, Choice::Named(_))
    }

    fn allowed(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(|t| if let Choice::Named(name) = self.choice { t.name == *name } else { true })
    }

    /// The texts that arm the grammar.
    fn triggers(&self, forms: &Forms) -> Result<Params> {
        let mut texts: Vec<String> = Vec::new();
        match (&forms.bare, forms.sections.is_empty()) {
            (Some(bare), _) => {
                for tool in self.allowed() {
                    texts.extend(beginnings(self.format, bare, &tool.name));
                }
            }
            (None, false) => texts.extend(forms.sections.iter().map(|s| s.open.clone())),
            (None, true) => texts.extend(self.format.calls.iter().filter(|c| !c.only_first).map(|c| c.open.clone())),
        }
        texts.sort();
        texts.dedup();
        let trigger_texts = texts.into_iter().map(String::into_bytes).collect();
        let apart = self.format.reasoning.first().and_then(|(open, close)| {
            let close = close.first()?.clone().into_bytes();
            Some(Apart { open: open.clone().into_bytes(), close, begins: self.reasons })
        });
        Ok(Params { trigger_texts, from_trigger: forms.bare.is_some(), apart, ..Params::default() })
    }

    /// The calls; behind the trigger, if the grammar describes what follows it.
    fn calls(&self, forms: &Forms, lark: &mut Lark, params: &Params) -> Result<String> {
        let behind = !params.trigger_texts.is_empty() && !params.from_trigger;
        if let Some(section) = forms.sections.first() {
            let inside = self.inside(section, forms.main, lark)?;
            let whole = lark.rule(&format!("{} {inside}", lark.marker(&section.open)));
            let more = if self.only_one() || section.close.is_empty() { "" } else { &format!(" (WS? {whole})*") };
            return Ok(if behind { format!("{inside}{more}") } else { format!("{whole}{more}") });
        }
        let body = self.bodies(forms.main, lark)?;
        let main = lark.rule(&format!("{} {body}", lark.marker(&forms.main.open)));
        let first = match &forms.bare {
            Some(bare) => self.bodies(bare, lark)?,
            None if behind => body,
            None => main.clone(),
        };
        Ok(if self.only_one() { first } else { format!("{first} (WS? {main})*") })
    }

    /// A section behind its opening marker.
    fn inside(&self, section: &Section, form: &Call, lark: &mut Lark) -> Result<String> {
        let body = self.bodies(form, lark)?;
        let call = lark.rule(&format!("{} {body}", lark.marker(&form.open)));
        let close = lark.last_marker(&section.close);
        let (open, comma, end) = if section.list { ("\"[\" WS?", "\",\" WS?", "WS? \"]\"") } else { ("", "", "") };
        let more = if self.only_one() { "" } else { &format!("(WS? {comma} {call})*") };
        Ok(lark.rule(&format!("WS? {open} {call} {more} {end} {close}")))
    }

    /// The body of a call, behind its opening marker, for each tool.
    fn bodies(&self, form: &Call, lark: &mut Lark) -> Result<String> {
        let mut all = Vec::new();
        for tool in self.allowed() {
            let body =
                calls::body(self.format, form, tool, lark).map_err(|e| e.at(&format!("tool '{}'", tool.name)))?;
            all.push(lark.rule(&body));
        }
        let close = form.close.first().map(|close| lark.last_marker(close)).unwrap_or_default();
        Ok(lark.rule(&format!("({}) {close}", all.join(" | "))))
    }
}

/// The form of calls that is written, and the one at the beginning of a message, if that is another.
struct Forms<'f> {
    sections: &'f [Section],
    main: &'f Call,
    bare: Option<&'f Call>,
}

impl Forms<'_> {
    fn of(format: &Format) -> Forms<'_> {
        let main = format.calls.iter().find(|c| !c.only_first).unwrap_or(&format.calls[0]);
        let bare = format.calls.iter().find(|c| c.only_first && c.open.is_empty());
        Forms { sections: &format.sections, main, bare }
    }
}

/// The texts that a call of this tool begins with, where no marker does.
fn beginnings(format: &Format, form: &Call, name: &str) -> Vec<String> {
    match &form.body {
        Body::Object => {
            let (key, name) = (quoted(&format.keys.name), quoted(name));
            vec![format!("{{{key}: {name}"), format!("{{{key}:{name}")]
        }
        Body::Named(named) => vec![format!("{name}{}", named.ends.first().map_or("", String::as_str))],
    }
}
