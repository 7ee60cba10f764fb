//! Drafts from the text so far: if its last tokens stood there before, what followed then is likely to follow again.
//!
//! ```text
//! text     . . . 7 8 9 a b c d . . . 7 8 9       the last four, three or two tokens, where they stood last
//! draft                a b c                     what followed there
//! ```
//!
//! The longest match counts, and of those the last. A text that does not repeat itself has few, so few drafts are made
//! in vain; `gain` stops them while they lose.

/// Tokens of a match: the most that are looked for, and the fewest that count.
const LONGEST: usize = 4;
const SHORTEST: usize = 2;

/// At most `n` tokens that are likely to follow `next`, which stands behind `text`.
pub(super) fn guess(text: &[i32], next: i32, n: usize) -> &[i32] {
    // (tokens that match, the place behind them)
    let mut best = (SHORTEST - 1, 0);
    for end in (1..text.len()).rev() {
        if text[end - 1] != next {
            continue;
        }
        let same = |i: &usize| end > *i && text.len() >= *i && text[end - 1 - i] == text[text.len() - i];
        let len = 1 + (1..LONGEST).take_while(same).count();
        if len > best.0 {
            best = (len, end);
            if len == LONGEST {
                break;
            }
        }
    }
    match best.1 {
        0 => &[],
        at => &text[at..text.len().min(at + n)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_counts_and_of_those_the_last() {
        let text = [1, 2, 3, 4, 50, 2, 3, 4, 60, 9, 3, 4, 70, 1, 2, 3];
        // 1 2 3 4 stood at the beginning, 3 4 later.
        assert_eq!(guess(&text, 4, 3), [50, 2, 3]);
        // 2 3 4 stood twice before.
        let text = [2, 3, 4, 50, 2, 3, 4, 60, 9, 2, 3];
        assert_eq!(guess(&text, 4, 2), [60, 9]);
        assert_eq!(guess(&text, 4, 0), [0; 0]);
    }

    #[test]
    fn one_token_alone_is_no_match() {
        assert_eq!(guess(&[4, 5, 6, 7], 4, 3), [0; 0]);
        assert_eq!(guess(&[], 4, 3), [0; 0]);
        assert_eq!(guess(&[4], 4, 3), [0; 0]);
        assert_eq!(guess(&[4, 4, 4], 4, 3), [4]);
    }
}
