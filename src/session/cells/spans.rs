//! The positions of one sequence, as a list of spans in the order of positions. A span is neighbouring cells that hold
//! neighbouring positions, and is as long as possible.
//!
//! A batch lengthens the list at its end, and a window that moves on shortens it at its start. Both cost the same
//! however long it is, as the list is a ring (`VecDeque`). Positions are counted without looking at spans between,
//! since each span knows the number of positions before it.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::graph::Span;

#[derive(Clone, Default)]
pub(super) struct Spans(VecDeque<Listed>);

/// A span of the list.
#[derive(Clone, Copy)]
struct Listed {
    span: Span,
    /// Number of positions in the spans before it. Spans that were removed at the start of the list still count, so
    /// only differences mean anything.
    before: u32,
}

impl Listed {
    fn end(&self) -> i32 {
        self.span.pos + self.span.len as i32
    }

    /// The part of it with positions p0..p1.
    fn part(&self, p0: i32, p1: i32) -> Option<Listed> {
        let (pos, end) = (p0.max(self.span.pos), p1.min(self.end()));
        if pos >= end {
            return None;
        }
        let skipped = (pos - self.span.pos) as u32;
        let span = Span { cell: self.span.cell + skipped, pos, len: (end - pos) as u32 };
        Some(Listed { span, before: self.before + skipped })
    }
}

impl Spans {
    /// Empties the list. Its room stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn last(&self) -> Option<i32> {
        self.0.back().map(|s| s.end() - 1)
    }

    /// The spans of positions p0..p1.
    pub fn within(&self, p0: i32, p1: i32) -> impl Iterator<Item = Span> + '_ {
        let first = self.0.partition_point(|s| s.end() <= p0);
        self.0.range(first..).map_while(move |s| s.part(p0, p1)).map(|s| s.span)
    }

    /// The number of positions of p0..p1 that there are.
    pub fn count(&self, p0: i32, p1: i32) -> u32 {
        let before = |p: i32| match self.0.partition_point(|s| s.span.pos < p) {
            0 => self.0.front().map_or(0, |s| s.before),
            n => self.0[n - 1].before + self.0[n - 1].part(i32::MIN, p).map_or(0, |s| s.span.len),
        };
        before(p1).saturating_sub(before(p0))
    }

    /// Makes room for `n` more spans.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing changes. The functions below may return it too.
    pub fn reserve(&mut self, n: usize) -> Result<()> {
        let bytes = (self.0.len() + n) * size_of::<Listed>();
        self.0.try_reserve(n).map_err(|_| Error::out_of_memory("the positions of a sequence", bytes as u64))
    }

    /// Adds positions behind the last, for which there is room.
    pub fn push(&mut self, span: Span) {
        match self.0.back_mut() {
            Some(s) if s.span.cell + s.span.len == span.cell && s.end() == span.pos => s.span.len += span.len,
            last => {
                let before = last.map_or(0, |s| s.before + s.span.len);
                self.0.push_back(Listed { span, before });
            }
        }
    }

    /// Takes the last position away and gives its cell.
    pub fn pop(&mut self) -> Option<u32> {
        let last = self.0.back_mut()?;
        last.span.len -= 1;
        let cell = last.span.cell + last.span.len;
        if last.span.len == 0 {
            self.0.pop_back();
        }
        Some(cell)
    }

    /// Takes positions p0..p1 away and gives their spans.
    pub fn remove(&mut self, p0: i32, p1: i32, mut gone: impl FnMut(Span)) -> Result<()> {
        let first = self.0.partition_point(|s| s.end() <= p0);
        let end = self.0.partition_point(|s| s.span.pos < p1);
        if first >= end || p0 >= p1 {
            return Ok(());
        }
        let (head, tail) = (self.0[first].part(i32::MIN, p0), self.0[end - 1].part(p1, i32::MAX));
        if head.is_some() && tail.is_some() {
            self.reserve(1)?;
        }
        let mut n = 0;
        for s in self.0.drain(first..end).filter_map(|s| s.part(p0, p1)) {
            n += s.span.len;
            gone(s.span);
        }
        for (at, s) in (first..).zip([head, tail].into_iter().flatten()) {
            self.0.insert(at, s);
        }
        let behind = first + usize::from(head.is_some());
        if behind > 0 {
            self.0.range_mut(behind..).for_each(|s| s.before -= n);
        }
        Ok(())
    }

    /// A new list of positions p0..p1 alone.
    pub fn part(&self, p0: i32, p1: i32) -> Result<Spans> {
        let mut part = Spans::default();
        part.reserve(self.within(p0, p1).count())?;
        self.within(p0, p1).for_each(|span| part.push(span));
        Ok(part)
    }

    /// The list with positions p0..p1 moved by `delta`, each to the cell that `to` gives for its own. They meet no
    /// other position.
    pub fn shifted(&self, p0: i32, p1: i32, delta: i32, mut to: impl FnMut(u32) -> u32) -> Result<Spans> {
        let p1 = p1.max(p0);
        let mut spans: Vec<Span> = Vec::new();
        let n = self.0.len() + 2 + self.count(p0, p1) as usize;
        let bytes = (n * size_of::<Span>()) as u64;
        spans.try_reserve_exact(n).map_err(|_| Error::out_of_memory("the positions of a sequence", bytes))?;
        spans.extend(self.within(i32::MIN, p0).chain(self.within(p1, i32::MAX)));
        for span in self.within(p0, p1) {
            let moved = (0..span.len).map(|i| (span.cell + i, span.pos + i as i32 + delta));
            spans.extend(moved.map(|(cell, pos)| Span { cell: to(cell), pos, len: 1 }));
        }
        spans.sort_unstable_by_key(|s| s.pos);
        let mut list = Spans::default();
        list.reserve(spans.len())?;
        spans.into_iter().for_each(|span| list.push(span));
        Ok(list)
    }
}
