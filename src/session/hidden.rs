//! The rows that a prediction layer goes on with: for each sequence, what of it the layer has not seen yet.
//!
//! The layer reads token k together with the trunk's hidden row of token k - 1. So a sequence that the layer has seen
//! up to some position needs the hidden row before that position, and then for each token that the trunk has decoded
//! since the token and its row:
//!
//! ```text
//! position       0 . . . . . . 7 | 8   9   10
//! the layer      has seen these  | waiting: their tokens
//! rows                         7   8   9   10       the last one waits for a token that is not there yet
//! ```
//!
//! Rows may be missing: where a sequence was cut further back, its first token then gets a row of zeros, as the first
//! of all has. The layer guesses worse there, and the trunk checks every guess, so no text changes by it.

/// Tokens of each sequence that the prediction layer has not seen, with their rows.
pub(super) struct Hidden {
    n_embd: usize,
    seqs: Vec<Waiting>,
}

/// The tokens of a sequence that the layer has not seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    /// The position of the first of them.
    pub first: i32,
    pub tokens: Vec<i32>,
    /// The hidden row before each of them, and that of the last one. Empty: the layer has seen a token that the trunk
    /// has not.
    pub rows: Vec<f32>,
}

impl Waiting {
    /// True if nothing lacks before a token at `pos`.
    pub fn ends_at(&self, pos: i32) -> bool {
        !self.rows.is_empty() && self.first + self.tokens.len() as i32 == pos
    }
}

impl Hidden {
    pub fn new(n_embd: usize, n_seq_max: u32) -> Hidden {
        let start = Waiting { rows: vec![0.0; n_embd], ..Waiting::default() };
        Hidden { n_embd, seqs: vec![start; n_seq_max as usize] }
    }

    pub fn of(&mut self, seq: u32) -> &mut Waiting {
        &mut self.seqs[seq as usize]
    }

    /// Takes tokens that the trunk has decoded from `first` on, with their rows.
    pub fn add(&mut self, seq: u32, first: i32, tokens: &[i32], rows: &[f32]) {
        let w = &mut self.seqs[seq as usize];
        let end = w.first + w.tokens.len() as i32;
        if w.rows.is_empty() && end == first + 1 {
            // The layer has seen the first one, when it made a draft behind it.
            w.tokens.extend_from_slice(&tokens[1..]);
        } else {
            if w.rows.is_empty() || end != first {
                self.begin(seq, first);
            }
            let w = &mut self.seqs[seq as usize];
            w.tokens.extend_from_slice(tokens);
        }
        self.seqs[seq as usize].rows.extend_from_slice(rows);
    }

    /// The layer has seen the first `n` of the waiting tokens.
    pub fn seen(&mut self, seq: u32, n: usize) {
        let w = &mut self.seqs[seq as usize];
        w.first += n as i32;
        w.tokens.drain(..n);
        w.rows.drain(..n * self.n_embd);
        // A prompt has many rows, which are of no use any more.
        w.rows.shrink_to(4 * (w.tokens.len() + 1) * self.n_embd);
    }

    /// The layer has seen all that waited, and a token behind it that the trunk is to decode next.
    pub fn ahead(&mut self, seq: u32) {
        let w = &mut self.seqs[seq as usize];
        w.first += w.tokens.len() as i32 + 1;
        w.tokens.clear();
        w.rows.clear();
    }

    /// Cuts a sequence to `length` tokens.
    pub fn cut(&mut self, seq: u32, length: i32) {
        let w = &mut self.seqs[seq as usize];
        let n = length - w.first;
        if n >= 0 && !w.rows.is_empty() {
            w.tokens.truncate(n as usize);
            w.rows.truncate((n as usize + 1) * self.n_embd);
        } else {
            self.begin(seq, length);
        }
    }

    /// Lets a sequence go on at `first`, if the layer has not the tokens before that.
    pub fn begin(&mut self, seq: u32, first: i32) -> &Waiting {
        let w = &mut self.seqs[seq as usize];
        *w = Waiting { first, tokens: Vec::new(), rows: vec![0.0; self.n_embd] };
        w
    }

    /// Lets `dst` have the first `length` tokens of `src`.
    pub fn copy(&mut self, src: u32, dst: u32, length: i32) {
        self.seqs[dst as usize] = self.seqs[src as usize].clone();
        self.cut(dst, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(h: &mut Hidden, seq: u32, first: i32, tokens: &[i32], rows: &[f32]) {
        let w = h.of(seq);
        assert_eq!((w.first, &w.tokens[..], &w.rows[..]), (first, tokens, rows));
    }

    #[test]
    fn rows_stand_before_their_tokens() {
        let mut h = Hidden::new(1, 2);
        h.add(0, 0, &[5, 6, 7], &[50.0, 60.0, 70.0]);
        is(&mut h, 0, 0, &[5, 6, 7], &[0.0, 50.0, 60.0, 70.0]);
        h.seen(0, 2);
        is(&mut h, 0, 2, &[7], &[60.0, 70.0]);
        // A draft of two behind token 8, of which the trunk keeps one.
        h.ahead(0);
        h.add(0, 3, &[8, 9, 10], &[80.0, 90.0, 100.0]);
        h.cut(0, 5);
        is(&mut h, 0, 4, &[9], &[80.0, 90.0]);
        h.copy(0, 1, 4);
        is(&mut h, 1, 4, &[], &[80.0]);
        // A cut before what the layer has seen, and a sequence that begins anew.
        h.cut(0, 3);
        is(&mut h, 0, 3, &[], &[0.0]);
        h.add(0, 0, &[1], &[10.0]);
        is(&mut h, 0, 0, &[1], &[0.0, 10.0]);
    }
}
