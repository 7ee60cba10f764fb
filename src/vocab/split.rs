//! Cuts a text into the words that BPE works on, by the rules of a pre-tokeniser (`rules`).

use std::ops::Range;

use regex::Regex;

use super::patterns::{Rule, Tail};
use crate::error::{Error, Result};

/// The compiled rules of one pre-tokeniser.
pub(super) struct Splitter {
    rules: Vec<(Regex, Tail)>,
}

impl Splitter {
    pub(super) fn new(rules: &[Rule]) -> Result<Splitter> {
        let compile = |r: &Rule| match Regex::new(r.pattern) {
            Ok(regex) => Ok((regex, r.tail)),
            Err(e) => Err(Error::new(crate::Status::Internal, format!("pre-tokeniser pattern {}: {e}", r.pattern))),
        };
        Ok(Splitter { rules: rules.iter().map(compile).collect::<Result<_>>()? })
    }

    /// The words of `text` in order, as byte ranges that cover it without gaps. Takes linear time.
    pub(super) fn split(&self, text: &str) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        if !text.is_empty() {
            pieces.push(0..text.len());
        }
        for (regex, tail) in &self.rules {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut(regex, *tail, &text[piece.clone()], piece.start, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

/// Appends the matches in `text` and the pieces between them, as ranges moved by `base`.
fn cut(regex: &Regex, tail: Tail, text: &str, base: usize, out: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(m) = regex.find_at(text, at).filter(|m| !m.is_empty()) {
        if m.start() > at {
            out.push(base + at..base + m.start());
        }
        let end = m.end() - given_back(m.as_str(), tail, m.end() == text.len());
        match tail {
            Tail::Halves => halves(&text[m.start()..end], base + m.start(), out),
            Tail::Thousands => thousands(m.as_str(), base + m.start(), out),
            _ => out.push(base + m.start()..base + end),
        }
        at = end;
    }
    if at < text.len() {
        out.push(base + at..base + text.len());
    }
}

/// The bytes at its end that a match leaves to the next one: see [`Tail`].
fn given_back(matched: &str, tail: Tail, at_end: bool) -> usize {
    if matches!(tail, Tail::Keep | Tail::Thousands) || at_end || !matched.chars().all(char::is_whitespace) {
        return 0;
    }
    match matched.chars().next_back() {
        Some('\r' | '\n') if tail != Tail::GiveBack => 0,
        Some(last) if last.len_utf8() < matched.len() => last.len_utf8(),
        _ => 0,
    }
}

/// Appends a match whole, or white space without a line break at its end in pieces: see [`Tail::Halves`].
fn halves(matched: &str, base: usize, out: &mut Vec<Range<usize>>) {
    if matched.ends_with(['\r', '\n']) || !matched.chars().all(char::is_whitespace) {
        out.push(base..base + matched.len());
        return;
    }
    let (mut left, mut longest) = (matched.chars().count(), 512);
    let (mut at, mut ends) = (0, matched.char_indices().map(|(i, c)| i + c.len_utf8()));
    while left > 0 {
        while longest > left {
            longest /= 2;
        }
        let end = ends.nth(longest - 1).unwrap_or(matched.len());
        out.push(base + at..base + end);
        (at, left) = (end, left - longest);
    }
}

/// Appends the groups of three digits of a number, the first of which may be shorter.
fn thousands(number: &str, base: usize, out: &mut Vec<Range<usize>>) {
    let (n, mut start) = (number.chars().count(), 0);
    for (i, c) in number.char_indices().enumerate().filter(|(i, _)| (n - 1 - i) % 3 == 0).map(|(_, at)| at) {
        let end = i + c.len_utf8();
        out.push(base + start..base + end);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::*;

    fn words<'a>(pre: &str, text: &'a str) -> Vec<&'a str> {
        let s = Splitter::new(rules::find(pre).unwrap().rules).unwrap();
        s.split(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn a_run_of_spaces_leaves_the_last_one_to_the_word() {
        assert_eq!(words("gpt-2", "a   b  \n c  "), ["a", "  ", " b", "  \n", " c", "  "]);
        assert_eq!(words("gpt-2", "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(words("llama-bpe", "a   b  \n c\n\nd  "), ["a", "  ", " b", "  \n", " c", "\n\n", "d", "  "]);
        assert_eq!(words("llama-bpe", "  1\u{3000}\u{3000}!"), [" ", " ", "1", "\u{3000}", "\u{3000}", "!"]);
    }

    #[test]
    fn digits_and_case_are_cut_by_family() {
        assert_eq!(words("llama-bpe", "x12345"), ["x", "123", "45"]);
        assert_eq!(words("qwen2", "x12"), ["x", "1", "2"]);
        assert_eq!(words("falcon", "12345678"), ["123", "456", "78"]);
        assert_eq!(words("gpt-4o", "HelloWorld's ÉTÉÉté/\n"), ["Hello", "World's", " ÉTÉÉté", "/\n"]);
        assert_eq!(words("tekken", "HelloWORLDx"), ["Hello", "WORLDx"]);
        assert_eq!(words("deepseek-coder", " if\nx 42 日本"), [" if", "\n", "x", " ", "4", "2", " ", "日本"]);
    }

    /// The reference's adapted forms do not tell these: letters by case, and what is around a number.
    #[test]
    fn models_own_expressions_know_case_and_edges() {
        assert_eq!(
            words("kimi-k2", "HelloWorld'll 東京éÉté 1234"),
            ["Hello", "World'll", " ", "東京", "é", "Été", " ", "123", "4"]
        );
        assert_eq!(words("youtu", "HelloWorld한국!"), ["Hello", "World", "한국", "!"]);
        assert_eq!(words("tiny_aya", "1234567 1234x"), ["1", "234", "567", " ", "123", "4", "x"]);
        assert_eq!(words("superbpe", "ab cd 12345e"), ["ab cd ", "12", "345", "e"]);
        assert_eq!(words("afmoe", "x12345"), ["x", "12", "345"]);
        assert_eq!(words("chameleon", "a    IMGIMGABZ1!"), ["a", "    ", "IMGIMGABZ", "1", "!"]);
    }

    #[test]
    fn long_white_space_is_cut_into_halves() {
        let lengths = |n: usize, end: &str| {
            let text = format!("{}{end}", " ".repeat(n));
            words("jais-2", &text).iter().map(|w| w.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(8, "x"), [4, 2, 1, 2]);
        assert_eq!(lengths(1300, ""), [512, 512, 256, 16, 4]);
        assert_eq!(lengths(6, "\nx"), [7, 1]);
    }

    #[test]
    fn every_rule_compiles_and_covers_the_text() {
        let text = "I'll  go\r\n\r\n to 東京 on\t2024-05-06\u{85} at 12:30,\u{a0}o'CLOCK!!\n\n \
                    🚀🚀 ÀÉ\u{301} <=> ७८ \u{0}\u{1f} ";
        for p in rules::all() {
            let s = Splitter::new(p.rules).unwrap();
            let pieces = s.split(text);
            assert_eq!(pieces.iter().map(|r| &text[r.clone()]).collect::<String>(), text, "{}", p.names[0]);
            assert!(pieces.iter().all(|r| !r.is_empty()), "{}", p.names[0]);
        }
    }
}
