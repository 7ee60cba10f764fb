//! The text of JSON strings: what escapes say, and the escapes of a text.

/// The text of a JSON string, which comes in pieces that may end inside an escape. The scanner has checked it.
#[derive(Debug, Clone, Default)]
pub(super) struct Unescape {
    /// The escape so far, from its backslash on. Halves of a pair wait for each other.
    waiting: String,
}

impl Unescape {
    /// Adds what `text`, a part of a string between its quotes, says.
    pub fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if self.waiting.is_empty() && c != '\\' {
                out.push(c);
                continue;
            }
            self.waiting.push(c);
            self.take(out);
        }
    }

    /// The string ends; a lone half of a pair becomes U+FFFD.
    pub fn end(&mut self, out: &mut String) {
        if !self.waiting.is_empty() {
            self.waiting.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn take(&mut self, out: &mut String) {
        let w = self.waiting.as_bytes();
        if w.len() == 2 && w[1] != b'u' {
            let c = match w[1] {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                _ => char::from(w[1]),
            };
            out.push(c);
            self.waiting.clear();
        } else if w.len() > 6 && (w[6] != b'\\' || (w.len() > 7 && w[7] != b'u')) {
            // A first half without a second one.
            let rest = self.waiting.split_off(6);
            self.waiting.clear();
            out.push(char::REPLACEMENT_CHARACTER);
            self.push(&rest, out);
        } else if w.len() == 6 || w.len() == 12 {
            let half = |from: usize| self.waiting.get(from..from + 4).and_then(|h| u16::from_str_radix(h, 16).ok());
            let first = half(2).unwrap_or(0xfffd);
            if w.len() == 6 && (0xd800..0xdc00).contains(&first) {
                return;
            }
            let both = [first, half(8).unwrap_or(0)];
            out.extend(
                char::decode_utf16(both[..w.len() / 6].iter().copied())
                    .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)),
            );
            self.waiting.clear();
        }
    }
}

/// Adds `text` as it stands inside the quotes of a JSON string.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_say_what_serde_says() {
        for text in [r"a\n\t\\\/\u00e9", r"\ud83d\ude00!", "é\\\"", "\u{1}".to_lowercase().as_str()] {
            let mut quoted = String::new();
            escape(text, &mut quoted);
            for (inner, want) in
                [(text, serde_json::from_str::<String>(&format!("\"{text}\"")).ok()), (&quoted, Some(text.into()))]
            {
                let Some(want) = want else { continue };
                let (mut u, mut out) = (Unescape::default(), String::new());
                inner.chars().for_each(|c| u.push(c.encode_utf8(&mut [0; 4]), &mut out));
                u.end(&mut out);
                assert_eq!(out, want);
            }
        }
        for (text, want) in
            [(r"\ud83dx", "\u{fffd}x"), (r"\ud83d\n", "\u{fffd}\n"), (r"\ud83d", "\u{fffd}"), (r"\ude00", "\u{fffd}")]
        {
            let (mut u, mut out) = (Unescape::default(), String::new());
            u.push(text, &mut out);
            u.end(&mut out);
            assert_eq!(out, want, "{text}");
        }
    }
}
