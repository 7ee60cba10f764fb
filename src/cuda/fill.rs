//! The fill ring: three page-locked pieces of the host's memory for each die, through which everything goes that comes
//! from elsewhere.
//!
//! A die copies from page-locked memory by itself, while the host does something else. So weights come in this way: the
//! host reads the next bytes of the file into a free piece and gives the die the order to copy them; then it reads into
//! the next piece, while the die copies. A piece is free again when the die has passed the mark behind its copy.
//! Activations take the same way between dies that cannot reach each other's memory: one die copies to a piece, the
//! other waits for the mark and copies from it, and the host waits for nobody.

use std::sync::atomic::{AtomicBool, Ordering};

use super::die::{Die, Event};
use super::driver::Ptr;
use crate::error::{Error, Result, Status};

/// Bytes of a piece, and pieces of a ring.
const PIECE: usize = 4 << 20;
const PIECES: usize = 3;
/// Bytes of a die's ring.
pub(crate) const RING_BYTES: usize = PIECE * PIECES;

/// A die's pieces of page-locked memory.
pub struct Ring {
    base: *mut u8,
    /// Marks of the ring's die: it has filled the piece, or emptied it.
    passed: [Event; PIECES],
    /// Marks of the ring's die in others' rings: it has emptied that piece of theirs.
    taken: [Event; PIECES],
    /// The mark behind which each piece is free again.
    free: [Option<Event>; PIECES],
    next: usize,
}

// SAFETY: an address of memory that nobody else uses.
unsafe impl Send for Ring {}
// SAFETY: as above; every use takes it mutably.
unsafe impl Sync for Ring {}

/// Bytes on their way through a piece of a ring.
pub struct Sent {
    piece: *mut u8,
    i: usize,
    bytes: usize,
}

/// The most bytes, and the most pieces of a ring, that may be on their way at once.
pub const MOST_SENT: (usize, usize) = (PIECE, PIECES);

/// Neighbouring bytes of a tensor, and their place in the arena.
pub struct Source<'a> {
    /// Reads so many bytes from so far into them.
    pub read: &'a dyn Fn(usize, &mut [u8]) -> Result<()>,
    pub bytes: usize,
    pub to: Ptr,
}

impl Ring {
    /// # Safety
    /// `base` begins RING_BYTES of page-locked memory, which the ring alone uses as long as it lives.
    pub unsafe fn new(die: &mut Die, base: *mut u8) -> Result<Ring> {
        let mut events = [die.event()?; 2 * PIECES];
        for event in &mut events[1..] {
            *event = die.event()?;
        }
        let [a, b, c, d, e, f] = events;
        Ok(Ring { base, passed: [a, b, c], taken: [d, e, f], free: [None; PIECES], next: 0 })
    }

    /// The next piece, its number, and what to wait for before it is written.
    fn take(&mut self) -> (*mut u8, usize, Option<Event>) {
        let i = self.next;
        self.next = (i + 1) % PIECES;
        (self.base.wrapping_add(i * PIECE), i, self.free[i].take())
    }

    /// Brings a tensor to its place; returns before the last bytes are there. `done` is told of bytes as they are read.
    ///
    /// # Errors
    /// `Cancelled` when `stop` is set; those of the reads and of the die.
    pub fn fill(&mut self, die: &Die, s: &Source<'_>, stop: &AtomicBool, done: &dyn Fn(usize)) -> Result<()> {
        for first in (0..s.bytes).step_by(PIECE) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::new(Status::Cancelled, "the load was cancelled"));
            }
            let n = PIECE.min(s.bytes - first);
            let (piece, i, free) = self.take();
            free.map_or(Ok(()), |event| die.reach(event))?;
            // SAFETY: the piece is the ring's own, and the die has done with it.
            (s.read)(first, unsafe { std::slice::from_raw_parts_mut(piece, n) })?;
            // SAFETY: page-locked, and not written again before the event; the plan gave the tensor its bytes.
            unsafe { die.copy_in(s.to.add(first), piece, n) }?;
            die.record(self.passed[i])?;
            self.free[i] = Some(self.passed[i]);
            done(n);
        }
        Ok(())
    }

    /// Hands bytes from `die`, whose ring this is, to another (its ring is `others`) by way of the host; both go on by
    /// themselves.
    ///
    /// # Safety
    /// Both addresses hold `bytes` bytes.
    pub unsafe fn hand(
        &mut self,
        die: &Die,
        from: Ptr,
        other: &Die,
        others: &Ring,
        to: Ptr,
        bytes: usize,
    ) -> Result<()> {
        for first in (0..bytes).step_by(PIECE) {
            let n = PIECE.min(bytes - first);
            // SAFETY: as the caller says.
            let sent = unsafe { self.send(die, from.add(first), n) }?;
            // SAFETY: as above.
            unsafe { self.receive(&sent, other, others, to.add(first)) }?;
        }
        Ok(())
    }

    /// Copies bytes, of one piece at most, from `die`, whose ring this is, to the host. Nothing waits for it but
    /// `receive`, which must follow before the ring has come round.
    ///
    /// # Safety
    /// The address holds `bytes` bytes.
    pub unsafe fn send(&mut self, die: &Die, from: Ptr, bytes: usize) -> Result<Sent> {
        let (piece, i, free) = self.take();
        free.map_or(Ok(()), |event| die.wait_for(event))?;
        // SAFETY: the piece is free when the stream gets there; its next use waits for the other die.
        unsafe { die.copy_out(piece, from, bytes) }?;
        die.record(self.passed[i])?;
        Ok(Sent { piece, i, bytes })
    }

    /// Copies what `send` has brought from this ring to another die.
    ///
    /// # Safety
    /// The address holds as many bytes.
    pub unsafe fn receive(&mut self, sent: &Sent, other: &Die, others: &Ring, to: Ptr) -> Result<()> {
        other.wait_for(self.passed[sent.i])?;
        // SAFETY: as the caller says; the piece is used again only behind the mark.
        unsafe { other.copy_in(to, sent.piece, sent.bytes) }?;
        other.record(others.taken[sent.i])?;
        self.free[sent.i] = Some(others.taken[sent.i]);
        Ok(())
    }
}
