//! The switch of the drafts: they are made only while they win.
//!
//! # Problem
//!
//! A draft costs the time of the prediction layer, and of a batch that is larger than one token. It wins back a token's
//! time for each guess that was right. How often that is depends on the model and on the text, and what a batch costs
//! depends on the machine. So nothing can be said beforehand.
//!
//! # Idea
//!
//! Drafts have an account of time. A draft that leaves `n` tokens after a time `t` brings in `n` times the time of a
//! token without one, and takes out `t`. While the account is not in debt, drafts are made. A token without a draft
//! pays in a small share of its time, so that after some time a draft is tried again; drafts that never win cost that
//! share and what the account had at first. An account has bounds: drafts that have long won are given up soon after
//! they begin to lose, and a moment at which the machine stood still does not end them for ever.

/// Times in microseconds.
pub(super) struct Gain {
    /// A token without a draft takes so long, on average over the last ones.
    plain: f64,
    n_plain: u64,
    account: f64,
    /// Drafts since the last token without one.
    drafts: u32,
    /// Tokens of the next draft.
    length: usize,
    most: usize,
}

/// Tokens without a draft that are decoded before the first one: else nobody knows how long they take.
const FIRST: u64 = 2;
/// Weight of the last token in their average.
const LAST: f64 = 0.125;
/// The account at first, and its bounds, in tokens.
const START: f64 = 2.0;
const MOST: f64 = 16.0;
const LEAST: f64 = -64.0;
/// The share of its time that a token without a draft pays in.
const SHARE: f64 = 1.0 / 64.0;
/// Drafts in a row, before a token without one is measured again.
const IN_A_ROW: u32 = 32;

impl Gain {
    pub fn new(most: usize) -> Gain {
        Gain { plain: 0.0, n_plain: 0, account: 0.0, drafts: 0, length: most.min(2), most }
    }

    /// The tokens of the next draft; 0: the next token is decoded without one. `all`: it never is.
    pub fn length(&self, all: bool) -> usize {
        let measure = self.n_plain < FIRST || self.drafts >= IN_A_ROW;
        if !all && (measure || self.lost()) { 0 } else { self.length }
    }

    /// True if drafts are switched off.
    pub fn lost(&self) -> bool {
        self.account < 0.0
    }

    /// A token without a draft was decoded.
    pub fn plain(&mut self, us: f64) {
        self.n_plain += 1;
        self.drafts = 0;
        if self.n_plain <= FIRST {
            // The first token of all may wait for memory; the shorter time counts.
            self.plain = if self.n_plain == 1 { us } else { self.plain.min(us) };
            self.account = START * self.plain;
            return;
        }
        self.plain += (us - self.plain) * LAST;
        self.pay(us * SHARE);
    }

    /// A draft of `drafted` tokens was checked, of which `agreed` were right.
    pub fn draft(&mut self, us: f64, drafted: usize, agreed: usize) {
        self.drafts += 1;
        self.pay((agreed + 1) as f64 * self.plain - us);
        // One more than what was right last time.
        self.length = (agreed + 1).min(if agreed == drafted { drafted + 1 } else { drafted }).clamp(1, self.most);
    }

    fn pay(&mut self, us: f64) {
        self.account = (self.account + us).clamp(LEAST * self.plain, MOST * self.plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `n` tokens of 1000 us each; a draft of k tokens takes `cost(k)` and is right as often as `agree` says.
    /// Gives the time of all, and the number of drafts.
    fn run(n: usize, cost: impl Fn(usize) -> f64, agree: impl Fn(usize) -> usize) -> (f64, usize) {
        let (mut gain, mut time, mut tokens, mut drafts) = (Gain::new(4), 0.0, 0, 0);
        while tokens < n {
            match gain.length(false) {
                0 => {
                    gain.plain(1000.0);
                    (time, tokens) = (time + 1000.0, tokens + 1);
                }
                k => {
                    let agreed = agree(tokens).min(k);
                    gain.draft(cost(k), k, agreed);
                    (time, tokens, drafts) = (time + cost(k), tokens + agreed + 1, drafts + 1);
                }
            }
        }
        (time / tokens as f64, drafts)
    }

    #[test]
    fn a_useless_layer_costs_little() {
        for cost in [1100.0, 1500.0, 3000.0] {
            let (time, drafts) = run(256, |_| cost, |_| 0);
            assert!(time < 1030.0 && drafts > 1, "{cost}: {time}, {drafts} drafts");
            assert!(run(10_000, |_| cost, |_| 0).0 < 1020.0);
        }
    }

    #[test]
    fn a_good_layer_is_used_throughout() {
        let (time, drafts) = run(1000, |k| 1000.0 + 200.0 * k as f64, |_| 4);
        assert!(time < 400.0 && drafts > 150, "{time}, {drafts} drafts");
    }

    #[test]
    fn a_layer_that_begins_to_lose_is_given_up_and_tried_again() {
        // Useless between tokens 500 and 3000.
        let agree = |at: usize| if (500..3000).contains(&at) { 0 } else { 3 };
        let lost = run(3000, |k| 1000.0 + 200.0 * k as f64, agree).0;
        let again = run(9000, |k| 1000.0 + 200.0 * k as f64, agree).0;
        assert!(lost < 1000.0 && again < 700.0, "{lost} {again}");
    }
}
