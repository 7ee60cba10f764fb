//! A sequence from bytes. Nothing in them is believed before it was checked.

use std::io::Read;
use std::sync::atomic::Ordering;

use super::super::caches::Filled;
use super::super::model::{Model, State};
use super::super::room::make_room;
use super::{Checksum, MAGIC, PIECE, VERSION, fingerprint};
use crate::error::{Error, Result, Status, try_vec};

/// Bytes as they come.
struct Reader<'a> {
    from: &'a mut dyn Read,
    sum: Checksum,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(f32) -> bool,
    model: &'a Model,
}

impl Reader<'_> {
    /// # Errors
    /// `BadFile` if there are not so many, `Io`, `Cancelled`.
    fn take(&mut self, to: &mut [u8]) -> Result<()> {
        self.model.not_cancelled("loading a sequence")?;
        self.from.read_exact(to).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => bad(&format!("it ends at byte {} or soon after", self.done)),
            _ => Error::new(Status::Io, format!("the saved sequence cannot be read: {e}")),
        })?;
        self.sum.add(to);
        self.done += to.len() as u64;
        match (self.progress)(self.done as f32 / self.total.max(self.done) as f32) {
            true => Ok(()),
            false => Err(Error::new(Status::Cancelled, "loading a sequence was cancelled")),
        }
    }

    fn u32(&mut self) -> Result<u32> {
        let mut b = [0; 4];
        self.take(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    fn u64(&mut self) -> Result<u64> {
        let mut b = [0; 8];
        self.take(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }
}

fn bad(what: &str) -> Error {
    Error::bad_file(format!("the saved sequence is damaged: {what}"))
}

impl Model {
    /// Loads a sequence that `seq_save` has made, of `n_bytes` bytes, in place of what `seq` had. An error leaves the
    /// sequence as it was. `progress` gets the share done; false cancels.
    ///
    /// # Errors
    /// `BadFile` for bytes that are damaged or none of a saved sequence; `Unsupported` for those of another version,
    /// model or type of cache, naming it; `ContextFull` if there are too few free cells beside the sequence's own;
    /// `InvalidArgument` for a sequence id out of range or of a sequence that a generation has; `Cancelled`, `Busy`,
    /// `Io`, `Device`, `OutOfMemory`.
    pub fn seq_load(
        &self,
        seq: i32,
        from: &mut dyn Read,
        n_bytes: u64,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<()> {
        let _write = self.write()?;
        self.cancelled.store(false, Ordering::Relaxed);
        let mut state = self.state.write();
        let _saves = self.saves();
        let seq = state.caches.whole().check_seq(seq)?;
        self.claim(&mut state.caches, seq)?;
        let mut r = Reader { from, sum: Checksum::default(), done: 0, total: n_bytes, progress, model: self };
        self.read_head(&mut r)?;
        let scales = self.read_scales(&mut r)?;
        let length = r.u32()?;
        if length > self.n_positions as u32 {
            return Err(bad(&format!("a length of {length}")));
        }
        let tokens = match r.u32()? {
            0 => None,
            1 => Some(read_tokens(&mut r, length, self.info.n_vocab)?),
            n => return Err(bad(&format!("a flag of {n}"))),
        };
        state.caches.forget_passed()?;
        let n_caches = state.caches.iter().count();
        let mut filled = Vec::new();
        for cache in 0..n_caches {
            let positions = read_positions(&mut r, cache, length, self.info.n_ctx)?;
            let needed = positions.len();
            if cache == 0 {
                make_room(&mut state, &mut self.slots.lock(), needed, None);
            }
            let cells = state.caches.iter().nth(cache).map_or(Ok(Vec::new()), |c| c.find_free(needed))?;
            read_rows(&mut r, &mut state, cache, &cells)?;
            filled.push(Filled { positions, cells });
        }
        let recurrent = match length > 0 && state.caches.is_recurrent() {
            true => Some(state.caches.recurrent.as_ref().and_then(|r| r.free()).ok_or_else(no_cell)?),
            false => None,
        };
        if let Some(cell) = recurrent {
            read_rows(&mut r, &mut state, n_caches, &[cell])?;
        }
        let expected = r.sum.value();
        if r.u64()? != expected {
            return Err(bad("the checksum differs"));
        }
        if r.from.read(&mut [0]).is_ok_and(|n| n > 0) {
            return Err(bad(&format!("it goes on behind its end, byte {}", r.done)));
        }
        state.caches.restore(seq, &filled, recurrent, tokens, &scales)
    }

    fn read_head(&self, r: &mut Reader<'_>) -> Result<()> {
        let mut magic = [0; 8];
        r.take(&mut magic)?;
        if &magic != MAGIC {
            return Err(Error::bad_file("this is no saved sequence: it does not begin with RKNDLSEQ"));
        }
        let differs = |what: String| Err(Error::unsupported(format!("the saved sequence {what}")));
        let version = r.u32()?;
        if version != VERSION {
            return differs(format!("has version {version} of the form, expected {VERSION}"));
        }
        let types = (r.u32()?, r.u32()?);
        let (k, v) = (self.plan().type_k, self.plan().type_v);
        if types != (k as u32, v as u32) {
            let name = |n| crate::quant::Type::from_gguf(n).map_or("unknown", |t| t.name());
            return differs(format!(
                "has keys of {} and values of {}, this model caches {} and {}",
                name(types.0),
                name(types.1),
                k.name(),
                v.name()
            ));
        }
        if r.u64()? != fingerprint(self)? {
            return differs("is of another model".into());
        }
        Ok(())
    }

    /// The fingerprint says that both models have the same adapters.
    fn read_scales(&self, r: &mut Reader<'_>) -> Result<Vec<f32>> {
        let scales: Vec<f32> = (0..self.info.n_adapters).map(|_| r.u32().map(f32::from_bits)).collect::<Result<_>>()?;
        match scales.iter().find(|s| !s.is_finite()) {
            None => Ok(scales),
            Some(s) => Err(bad(&format!("a scale of {s}"))),
        }
    }
}

fn no_cell() -> Error {
    Error::new(Status::Internal, "no cell is free for a recurrent state")
}

fn read_tokens(r: &mut Reader<'_>, length: u32, n_vocab: u32) -> Result<Vec<i32>> {
    // The length comes from outside: memory is taken as bytes really come.
    let mut tokens: Vec<i32> = Vec::new();
    for first in (0..length).step_by(PIECE / 4) {
        let n = (length - first).min(PIECE as u32 / 4) as usize;
        let mut bytes = try_vec("tokens of a saved sequence", 4 * n, 0u8)?;
        r.take(&mut bytes)?;
        tokens.try_reserve(n).map_err(|_| Error::out_of_memory("tokens of a saved sequence", 4 * n as u64))?;
        // Each chunk has four bytes.
        tokens.extend(bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    }
    match tokens.iter().find(|t| u32::try_from(**t).map_or(true, |t| t >= n_vocab)) {
        None => Ok(tokens),
        Some(t) => Err(bad(&format!("a token {t}"))),
    }
}

/// The positions of a cache, ascending and below `length`. That of the whole context ends there.
fn read_positions(r: &mut Reader<'_>, cache: usize, length: u32, n_ctx: u32) -> Result<Vec<i32>> {
    let n_spans = r.u32()?;
    let (mut positions, mut next) = (Vec::new(), 0i64);
    for _ in 0..n_spans {
        let (pos, len) = (i64::from(r.u32()?.cast_signed()), r.u32()?);
        let end = pos + i64::from(len);
        if pos < next || len == 0 || end > i64::from(length) {
            return Err(bad(&format!("positions {pos} to {end} of cache {cache}")));
        }
        if positions.len() + len as usize > n_ctx as usize {
            let text = format!("the saved sequence has more positions than the context's {n_ctx}");
            return Err(Error::new(Status::ContextFull, text).amounts(end as u64, u64::from(n_ctx)));
        }
        positions.try_reserve(len as usize).map_err(|_| Error::out_of_memory("positions", 4 * u64::from(len)))?;
        positions.extend((pos..end).map(|p| p as i32));
        next = end;
    }
    match cache == 0 && next != i64::from(length) {
        true => Err(bad(&format!("{length} positions, of which the last is {next}"))),
        false => Ok(positions),
    }
}

/// Reads the rows of free cells.
fn read_rows(r: &mut Reader<'_>, state: &mut State, cache: usize, cells: &[u32]) -> Result<()> {
    let row = state.machine.row_bytes(cache);
    let piece = (PIECE / row.max(1)).clamp(1, cells.len().max(1));
    let mut rows = try_vec("rows of a saved sequence", piece * row, 0u8)?;
    for cells in cells.chunks(piece) {
        let rows = &mut rows[..cells.len() * row];
        r.take(rows)?;
        state.machine.write_rows(cache, cells, rows)?;
    }
    Ok(())
}
