//! Two kinds of tags, found in a template's text before it is compiled: the assistant's marks for training, which
//! minijinja does not know, and assignments to attributes, of which `compile` has to see every one.

/// A place in a text.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes past a word that stands here.
    fn word(mut self, word: &str) -> Option<Cursor<'a>> {
        self.at += self.rest().starts_with(word).then_some(word.len())?;
        Some(self)
    }

    /// Goes past all characters of a kind.
    fn all(mut self, kind: impl Fn(char) -> bool) -> Cursor<'a> {
        self.at += self.rest().find(|c| !kind(c)).unwrap_or(self.rest().len());
        self
    }

    fn spaces(self) -> Cursor<'a> {
        self.all(char::is_whitespace)
    }

    /// Goes past at least one character of a kind.
    fn some(self, kind: impl Fn(char) -> bool) -> Option<Cursor<'a>> {
        let next = self.all(kind);
        (next.at > self.at).then_some(next)
    }

    /// The sign of a tag that tells what becomes of white space beside it.
    fn sign(self) -> (&'a str, Cursor<'a>) {
        let n = usize::from(self.rest().starts_with(['-', '+']));
        (&self.rest()[..n], Cursor { at: self.at + n, ..self })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// transformers has tags of its own that mark the assistant's texts for training: `{% generation %}` and
/// `{% endgeneration %}`. For a prompt they are a scope and nothing else, so they become `{% with %}`. Lines stay where
/// they are.
pub(super) fn without_generation(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, _) in text.match_indices("{%") {
        let (before, c) = Cursor { text, at: start + 2 }.sign();
        let c = c.spaces();
        let (end, c) = c.word("end").map_or(("", c), |c| ("end", c));
        let Some(c) = c.word("generation") else { continue };
        let (after, c) = c.spaces().sign();
        let (Some(c), true) = (c.word("%}"), start >= from) else { continue };
        out.push_str(&text[from..start]);
        out.push_str(&format!("{{%{before} {end}with {after}%}}"));
        from = c.at;
    }
    out + &text[from..]
}

/// The end of the next `{% set namespace.attribute =` from `from` on, behind the sign.
pub(super) fn assignment(text: &str, from: usize) -> Option<usize> {
    text[from..].match_indices("{%").find_map(|(start, _)| {
        let (_, c) = Cursor { text, at: from + start + 2 }.sign();
        let mut c = c.spaces().word("set")?.some(char::is_whitespace)?.some(is_word)?;
        let mut attributes = 0;
        while let Some(next) = c.spaces().word(".").and_then(|c| c.spaces().some(is_word)) {
            (c, attributes) = (next, attributes + 1);
        }
        let end = c.spaces().word("=").filter(|_| attributes > 0)?;
        Some(end.at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_for_training_become_scopes() {
        let text = "a{% generation %}b{%- endgeneration -%}c{%+generation+%}d{% generations %}{% x %}";
        assert_eq!(without_generation(text), "a{% with %}b{%- endwith -%}c{%+ with +%}d{% generations %}{% x %}");
        assert_eq!(without_generation("{%{% generation %}"), "{%{% with %}");
    }

    #[test]
    fn assignments_to_attributes_are_found() {
        let ends = |text: &str| assignment(text, 0).map(|end| text[..end].to_owned());
        assert_eq!(ends("{% set ns.a = 1 %}").unwrap(), "{% set ns.a =");
        assert_eq!(ends("{% set a = 1 %}{%-set\n ns . a.b\t= 2 %}").unwrap(), "{% set a = 1 %}{%-set\n ns . a.b\t=");
        assert_eq!(ends("{% set a = ns.b %}"), None);
        assert_eq!(ends("{% setting.a = 1 %}"), None);
        assert_eq!(ends("{% set ns. = 1"), None);
    }
}
