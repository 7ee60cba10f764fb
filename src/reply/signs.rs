//! The markers of a format by the places where they count, made once for all replies of a template.

use super::format::Format;
use super::markers::Markers;
use super::tools::Tools;

/// The things that a marker opens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opens {
    Reasoning(usize),
    Section(usize),
    /// Calls whose opening marker is that of this one.
    Call(usize),
    Nothing,
}

/// The things that may come in a section.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inside {
    Close,
    Call(usize),
}

pub(super) struct Signs {
    pub in_content: Markers<Opens>,
    /// These count where nothing was said yet.
    pub first: Markers<Opens>,
    pub ends_of_reasoning: Vec<Markers<()>>,
    pub inside: Vec<Markers<Inside>>,
    pub ends_of_calls: Vec<Markers<()>>,
}

impl Signs {
    /// Without tools, nothing opens a call.
    pub fn new(format: &Format, tools: &Tools) -> Signs {
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
        Signs {
            in_content: Markers::new(later),
            first: Markers::new(first),
            ends_of_reasoning: ends.collect(),
            inside: inside.collect(),
            ends_of_calls: calls.iter().map(|c| c.closers()).collect(),
        }
    }
}
