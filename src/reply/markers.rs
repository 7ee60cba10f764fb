//! Texts that mean something, found in a text that comes in pieces.
//!
//! A piece may end inside a marker. Then nothing is decided: the beginning of the marker waits for the next piece. So a
//! decision depends on the text alone, never on where it was cut. If one marker begins with another one, the longer one
//! wins.

/// A set of markers, each with its meaning.
#[derive(Debug, Clone)]
pub(super) struct Markers<T> {
    all: Vec<(String, T)>,
    /// True for bytes that begin a marker.
    first: [bool; 256],
}

/// The things that may stand at a place.
#[derive(Debug, PartialEq)]
pub(super) enum At<T> {
    /// A marker of so many bytes.
    Marker(usize, T),
    /// A text that may become a marker.
    Perhaps,
    Nothing,
}

impl<T: Copy> Markers<T> {
    /// Empty texts are left out.
    pub fn new(all: impl IntoIterator<Item = (String, T)>) -> Markers<T> {
        let mut m =
            Markers { all: all.into_iter().filter(|(text, _)| !text.is_empty()).collect(), first: [false; 256] };
        for (text, _) in &m.all {
            m.first[text.as_bytes()[0] as usize] = true;
        }
        m
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Looks at the beginning of `text`; `last`: nothing follows it.
    pub fn at(&self, text: &str, last: bool) -> At<T> {
        let text = text.as_bytes();
        match text.first() {
            None => return if last { At::Nothing } else { At::Perhaps },
            Some(b) if !self.first[*b as usize] => return At::Nothing,
            Some(_) => {}
        }
        let mut found: Option<(usize, T)> = None;
        for (marker, meaning) in &self.all {
            if text.starts_with(marker.as_bytes()) {
                if found.is_none_or(|(len, _)| len < marker.len()) {
                    found = Some((marker.len(), *meaning));
                }
            } else if !last && marker.as_bytes().starts_with(text) {
                return At::Perhaps;
            }
        }
        found.map_or(At::Nothing, |(len, meaning)| At::Marker(len, meaning))
    }

    /// The first place of `text` where something stands, and what; the length of `text` and nothing if there is none.
    pub fn find(&self, text: &str, last: bool) -> (usize, At<T>) {
        for (i, b) in text.bytes().enumerate() {
            // Markers begin where characters do.
            if self.first[b as usize] && text.is_char_boundary(i) {
                match self.at(&text[i..], last) {
                    At::Nothing => {}
                    found => return (i, found),
                }
            }
        }
        (text.len(), At::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_marker_wins_and_beginnings_wait() {
        let m = Markers::new([("<a>".to_owned(), 1), ("<a><b>".to_owned(), 2), (String::new(), 3)]);
        assert_eq!(m.find("x<a><b>", false), (1, At::Marker(6, 2)));
        assert_eq!(m.find("x<a>", false), (1, At::Perhaps));
        assert_eq!(m.find("x<a>", true), (1, At::Marker(3, 1)));
        assert_eq!(m.find("x<a>c", false), (1, At::Marker(3, 1)));
        assert_eq!(m.find("é<<é", true), (5 + 1, At::Nothing));
        assert_eq!(m.find("<<", false), (1, At::Perhaps));
        assert_eq!(m.at("", false), At::Perhaps);
    }
}
