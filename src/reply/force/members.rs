//! Members of which some may be absent, with a separator between those that are there.

use super::lark::Lark;

/// `all`: rules in their order, and true for those that must be there.
pub(super) fn list(all: &[(String, bool)], comma: &str, lark: &mut Lark) -> String {
    // From the last one on: what follows where none was written yet, and where some were.
    let (mut first, mut rest) = (String::from("\"\""), String::new());
    for (member, required) in all.iter().rev() {
        let (some, none) = match required {
            true => (format!("{comma} {member} {rest}"), format!("{member} {rest}")),
            false => (format!("({comma} {member})? {rest}"), format!("{member} {rest} | {first}")),
        };
        (rest, first) = (lark.rule(&some), lark.rule(&none));
    }
    first
}

/// A key that needs no quotes.
pub(super) fn is_word(key: &str) -> bool {
    let mut chars = key.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
