//! A grammar at work on one text.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::toktrie::TokenId;
use llguidance::{TokenParser, panic_utils};

use super::check::{self, Verdict};
use super::compile::{Kind, Params, compile};
use super::forced::forced;
use super::lexicon::Lexicon;
use super::limits;
use super::trigger::{Found, Trigger, Waiting};
use crate::error::{Error, Result, Status};
use crate::vocab::Vocab;

/// A grammar and how far a text has come in it. A copy shares what was compiled and goes its own way from then on.
#[derive(Clone)]
pub struct Grammar {
    vocab: Arc<Vocab>,
    lexicon: Arc<Lexicon>,
    trigger: Option<Arc<Trigger>>,
    /// The parser before its first token, for `reset` and `check`.
    start: TokenParser,
    parser: TokenParser,
    stage: Stage,
    /// The parser gave up: a limit was met. Every call says so until the next reset.
    failed: Option<Error>,
    /// The token that was accepted last.
    last: Option<TokenId>,
    mask: Vec<u32>,
    mask_is_current: bool,
    /// The tokens that must come next, once they were asked for.
    forced: Option<Vec<TokenId>>,
}

#[derive(Clone)]
enum Stage {
    /// No trigger was seen yet.
    Waiting(Waiting),
    /// The grammar says what may come.
    Armed,
    /// An end token was accepted.
    Ended,
}

impl Grammar {
    /// Compiles a grammar for the tokens of a vocabulary.
    ///
    /// # Errors
    /// `InvalidArgument`: the text is no grammar of that kind (the message says where), is longer than 1 MiB, nested
    /// deeper than 200 brackets or has more than 10,000 rules; no text satisfies it, or a rule never comes to an end; a
    /// trigger is empty, too long, or one too many.
    /// `Unsupported`: the schema uses a keyword that is not supported, the grammar takes more than the limits of
    /// `limits`, or the vocabulary has more tokens than a trie can hold. `OutOfMemory`.
    pub fn new(vocab: &Arc<Vocab>, kind: Kind, text: &str, params: &Params) -> Result<Grammar> {
        let lexicon = Lexicon::of(vocab)?;
        let mut start = compile(vocab, &lexicon, kind, text, params.start.as_deref())?;
        start.start_without_prompt();
        if !start.parser.can_advance() && !caught(|| start.is_accepting())? {
            return Err(Error::invalid("no text satisfies the grammar").subject("text"));
        }
        let trigger = caught(|| Trigger::new(params, vocab, lexicon.trie(), &mut start))??.map(Arc::new);
        let stage = Stage::first(trigger.as_deref());
        let parser = start.clone();
        let mask = crate::error::try_vec("a mask of tokens", lexicon.n_tokens().div_ceil(32), 0)?;
        Ok(Grammar {
            vocab: vocab.clone(),
            lexicon,
            trigger,
            start,
            parser,
            stage,
            failed: None,
            last: None,
            mask,
            mask_is_current: false,
            forced: None,
        })
    }

    /// The number of tokens that a mask has bits for: all of the vocabulary.
    pub fn n_tokens(&self) -> usize {
        self.lexicon.n_tokens()
    }

    /// Goes back to the beginning.
    pub fn reset(&mut self) {
        self.parser = self.start.clone();
        self.stage = Stage::first(self.trigger.as_deref());
        (self.failed, self.last) = (None, None);
        self.moved();
    }

    /// Forgets all that was known of the next token.
    fn moved(&mut self) {
        (self.mask_is_current, self.forced) = (false, None);
    }

    /// The tokens that may come next: bit `id % 32` of word `id / 32` is 1 if the text may go on with that token. All
    /// are 0 behind an end token, and where the text is complete and the vocabulary has no end token.
    ///
    /// # Errors
    /// `InvalidArgument`: the text is not complete and no token of the vocabulary can continue it. `Unsupported`: the
    /// grammar takes more than its limits allow here; every further call says so.
    pub fn mask(&mut self) -> Result<&[u32]> {
        if !self.mask_is_current {
            let n_words = self.mask.len();
            let mut mask = std::mem::take(&mut self.mask);
            mask.clear();
            mask.resize(n_words, 0);
            let made = self.make_mask(&mut mask);
            self.mask = mask;
            made?;
            self.mask_is_current = true;
        }
        Ok(&self.mask)
    }

    fn make_mask(&mut self, mask: &mut [u32]) -> Result<()> {
        match &self.stage {
            Stage::Ended => return Ok(()),
            Stage::Waiting(waiting) => {
                set_all(mask, self.lexicon.n_tokens());
                if let Some(trigger) = &self.trigger {
                    trigger.refused(waiting).for_each(|token| clear(mask, token));
                }
                return Ok(());
            }
            Stage::Armed => (),
        }
        let complete = self.is_complete()?;
        if let Some(token) = self.find_forced()?.first() {
            set(mask, *token);
            return Ok(());
        }
        if self.parser.parser.can_advance() {
            let made = self.run(|p| p.compute_mask());
            match made {
                Ok(set) => mask.iter_mut().zip(set.as_slice()).for_each(|(word, from)| *word = *from),
                // Nothing follows; that is no failure where the text may end.
                Err(_) if complete && self.parser.stop_reason().is_ok() => self.failed = None,
                Err(_) if self.parser.stop_reason().is_ok() => return Err(self.fail(no_token())),
                Err(e) => return Err(e),
            }
        }
        for end in self.lexicon.ends() {
            if complete { set(mask, *end) } else { clear(mask, *end) }
        }
        if complete || mask.iter().any(|word| *word != 0) { Ok(()) } else { Err(self.fail(no_token())) }
    }

    /// Goes on by a token.
    ///
    /// # Errors
    /// `InvalidArgument`: the grammar does not allow it here, the text has ended, or there is no such token; nothing
    /// has changed then. `Unsupported`: as for [`Grammar::mask`].
    pub fn accept(&mut self, token: i32) -> Result<()> {
        self.vocab.token_type(token)?;
        let id = token as TokenId;
        match &self.stage {
            Stage::Ended => return Err(self.refused(token, "the text has ended")),
            _ if self.lexicon.is_end(id) => {
                if !self.is_complete()? {
                    return Err(self.refused(token, "the text is not complete"));
                }
                self.stage = Stage::Ended;
            }
            Stage::Waiting(waiting) => {
                let waiting = waiting.clone();
                self.watch(token, waiting)?;
            }
            Stage::Armed => self.consume(&[id], token)?,
        }
        self.last = Some(id);
        self.moved();
        Ok(())
    }

    /// A token while the grammar waits.
    fn watch(&mut self, token: i32, mut waiting: Waiting) -> Result<()> {
        let Some(trigger) = self.trigger.clone() else { return Ok(()) };
        if trigger.is_token(&waiting, token) {
            if trigger.is_described() {
                self.consume(&[token as TokenId], token)?;
            }
            self.stage = Stage::Armed;
        } else if let Some(Found(text)) = trigger.watch(&mut waiting, &self.vocab.piece(token, true)?) {
            let tokens = self.lexicon.trie().greedy_tokenize(&text);
            let spelled: usize = tokens.iter().map(|t| self.lexicon.trie().token(*t).len()).sum();
            if spelled < text.len() {
                return Err(self.refused(token, "the vocabulary has no tokens for the text behind the trigger"));
            }
            self.consume(&tokens, token)?;
            self.stage = Stage::Armed;
        } else {
            self.stage = Stage::Waiting(waiting);
        }
        Ok(())
    }

    fn consume(&mut self, ids: &[TokenId], token: i32) -> Result<()> {
        // This is asked before, because a parser that met a wrong token is of no use any more.
        if self.run(|p| p.validate_tokens_raw(ids))? < ids.len() {
            return Err(self.refused(token, "the grammar does not allow it here"));
        }
        for id in ids {
            self.run(|p| p.consume_token(*id))?;
        }
        Ok(())
    }

    /// The tokens that must come next, because the grammar leaves one way to go on; often none. They may be accepted
    /// without a look at a mask.
    ///
    /// # Errors
    /// `Unsupported`: as for [`Grammar::mask`].
    pub fn forced(&mut self) -> Result<Vec<i32>> {
        Ok(self.find_forced()?.iter().map(|id| *id as i32).collect())
    }

    /// The first of them.
    ///
    /// # Errors
    /// `Unsupported`: as for [`Grammar::mask`].
    pub fn forced_next(&mut self) -> Result<Option<i32>> {
        Ok(self.find_forced()?.first().map(|id| *id as i32))
    }

    fn find_forced(&mut self) -> Result<&[TokenId]> {
        if self.forced.is_none() {
            let armed = matches!(self.stage, Stage::Armed) && self.parser.parser.can_advance();
            let (lexicon, last) = (self.lexicon.clone(), self.last);
            let found = if armed { self.run(|p| forced(&mut p.parser, &lexicon, last))? } else { Vec::new() };
            self.forced = Some(found);
        }
        Ok(self.forced.as_deref().unwrap_or_default())
    }

    /// True if the text may end here.
    ///
    /// # Errors
    /// `Unsupported`: as for [`Grammar::mask`].
    pub fn is_complete(&mut self) -> Result<bool> {
        match self.stage {
            Stage::Waiting(_) | Stage::Ended => Ok(true),
            Stage::Armed => self.run(|p| {
                let complete = p.is_accepting();
                p.parser.get_error().map_or(Ok(complete), |e| Err(e.message()))
            }),
        }
    }

    /// Holds a whole text against the grammar, from its beginning and without triggers. The text that is being
    /// written stays as it is. A token that the grammar names, rather than spells, stands in no text.
    ///
    /// # Errors
    /// `InvalidArgument`: the text is longer than 16 MiB. `Unsupported`: as for [`Grammar::mask`].
    pub fn check(&self, text: &[u8]) -> Result<Verdict> {
        limits::check_length("the text", text.len(), limits::LONGEST_CHECK)?;
        let mut parser = self.start.clone();
        caught(|| check::check(&mut parser, text))?.map_err(|e| limits::refused(&e, "text"))
    }

    /// Asks the parser; once it fails it stays so.
    fn run<T, E: std::fmt::Display>(
        &mut self,
        ask: impl FnOnce(&mut TokenParser) -> std::result::Result<T, E>,
    ) -> Result<T> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let parser = &mut self.parser;
        let answer = caught(|| ask(parser)).and_then(|a| a.map_err(|e| limits::refused(&e, "grammar")));
        answer.map_err(|mut e| {
            // Its text was right, so what it met now is a limit.
            if e.status == Status::InvalidArgument {
                e.status = Status::Unsupported;
            }
            self.fail(e)
        })
    }

    fn fail(&mut self, e: Error) -> Error {
        self.failed = Some(e.clone());
        e
    }

    fn refused(&self, token: i32, why: &str) -> Error {
        let text = self.vocab.piece(token, true).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Error::invalid(format!("token {token} ({text:?}) is refused: {why}")).subject("token")
    }
}

impl Stage {
    fn first(trigger: Option<&Trigger>) -> Stage {
        trigger.map_or(Stage::Armed, |trigger| Stage::Waiting(trigger.begin()))
    }
}

/// Runs a part of the parser. A panic there is a defect that must not take the host's process with it.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    panic_utils::catch_unwind(AssertUnwindSafe(|| Ok(work()))).map_err(|e| limits::refused(&e, "grammar"))
}

fn no_token() -> Error {
    Error::invalid("the text is not complete, and no token of the vocabulary can continue it").subject("grammar")
}

fn set(mask: &mut [u32], token: TokenId) {
    mask[token as usize / 32] |= 1 << (token % 32);
}

fn clear(mask: &mut [u32], token: TokenId) {
    mask[token as usize / 32] &= !(1 << (token % 32));
}

fn set_all(mask: &mut [u32], n: usize) {
    mask.fill(u32::MAX);
    if let (Some(last), 1..) = (mask.last_mut(), n % 32) {
        *last = (1 << (n % 32)) - 1;
    }
}
