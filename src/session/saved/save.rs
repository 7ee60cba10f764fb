//! A sequence to bytes.

use super::super::model::{Model, State};
use super::{Checksum, MAGIC, PIECE, VERSION, fingerprint};
use crate::error::{Error, Result, try_vec};
use crate::graph::Span;

/// Takes the bytes, piece by piece, and the share that is done by then.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8], f32) -> Result<()>;

struct Writer<'a, 'b> {
    sink: Sink<'a>,
    sum: Checksum,
    done: u64,
    total: u64,
    model: &'b Model,
}

impl Writer<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.model.not_cancelled("saving")?;
        self.sum.add(bytes);
        self.done += bytes.len() as u64;
        (self.sink)(bytes, self.done as f32 / self.total as f32)
    }
}

impl Model {
    /// The bytes that saving a sequence takes now.
    ///
    /// # Errors
    /// `InvalidArgument` for a sequence id out of range, or for one that cannot go on at its end.
    pub fn seq_saved_bytes(&self, seq: i32) -> Result<u64> {
        let state = self.look()?;
        let seq = self.whole_seq(&state, seq)?;
        Ok(self.head(&state, seq)?.len() as u64 + self.bodies(&state, seq).map(|b| b.bytes).sum::<u64>() + 8)
    }

    /// Saves a sequence: `sink` gets the bytes. The sequence does not change.
    ///
    /// # Errors
    /// As for `seq_saved_bytes`; those of `sink`; `Cancelled`, `Busy`, `Device`, `OutOfMemory`.
    pub fn seq_save(&self, seq: i32, sink: Sink<'_>) -> Result<()> {
        let _write = self.write()?;
        self.cancelled.store(false, std::sync::atomic::Ordering::Relaxed);
        let mut state = self.state.write();
        let _saves = self.saves();
        let seq = self.whole_seq(&state, seq)?;
        let head = self.head(&state, seq)?;
        let bodies: Vec<Body> = self.bodies(&state, seq).collect();
        let total = head.len() as u64 + bodies.iter().map(|b| b.bytes).sum::<u64>() + 8;
        let mut w = Writer { sink, sum: Checksum::default(), done: 0, total, model: self };
        w.put(&head)?;
        for body in bodies {
            let mut list = Vec::new();
            if let Some(spans) = &body.spans {
                list.extend((spans.len() as u32).to_le_bytes());
                spans.iter().for_each(|s| list.extend(s.pos.to_le_bytes().into_iter().chain(s.len.to_le_bytes())));
                w.put(&list)?;
            }
            let mut rows = try_vec("rows of a saved sequence", body.piece() * body.row, 0u8)?;
            for cells in body.cells.chunks(body.piece()) {
                let rows = &mut rows[..cells.len() * body.row];
                state.machine.read_rows(body.cache, cells, rows)?;
                w.put(rows)?;
            }
        }
        let sum = w.sum.value();
        w.put(&sum.to_le_bytes())
    }

    /// A sequence that can go on at its end.
    fn whole_seq(&self, state: &State, seq: i32) -> Result<u32> {
        let seq = state.caches.whole().check_seq(seq)?;
        if state.caches.can_go_on(seq) {
            return Ok(seq);
        }
        let text = format!("sequence {seq} cannot go on at its end, so it cannot be saved; rekindle_seq_cut cuts it");
        Err(Error::invalid(text).subject("seq_id"))
    }

    /// All that stands before the caches.
    fn head(&self, state: &State, seq: u32) -> Result<Vec<u8>> {
        let length = state.caches.length(seq) as u32;
        let tokens = state.caches.history.of(seq).filter(|t| t.len() == length as usize);
        let scales = state.caches.scales.of(seq);
        let bytes = 64 + 4 * (length as usize + scales.len());
        let mut head = Vec::new();
        head.try_reserve_exact(bytes).map_err(|_| Error::out_of_memory("a saved sequence", bytes as u64))?;
        head.extend(MAGIC);
        let (k, v) = (self.plan().type_k, self.plan().type_v);
        [VERSION, k as u32, v as u32].iter().for_each(|n| head.extend(n.to_le_bytes()));
        head.extend(fingerprint(self)?.to_le_bytes());
        scales.iter().for_each(|s| head.extend(s.to_le_bytes()));
        head.extend(length.to_le_bytes());
        head.extend(u32::from(tokens.is_some()).to_le_bytes());
        tokens.unwrap_or_default().iter().for_each(|t| head.extend(t.to_le_bytes()));
        Ok(head)
    }

    /// The parts behind it.
    fn bodies<'a>(&self, state: &'a State, seq: u32) -> impl Iterator<Item = Body> + 'a {
        let caches = &state.caches;
        let of_tokens = caches.iter().enumerate().map(move |(cache, cells)| {
            let mut spans = Vec::new();
            cells.spans(seq, &mut spans);
            let own = spans.iter().flat_map(|s| s.cell..s.cell + s.len).collect();
            // Neighbouring positions are one span, wherever their cells lie.
            let mut joined: Vec<Span> = Vec::new();
            for s in spans {
                match joined.last_mut() {
                    Some(last) if last.pos + last.len as i32 == s.pos => last.len += s.len,
                    _ => joined.push(s),
                }
            }
            Body::new(state, cache, own, Some(joined))
        });
        let recurrent = caches.recurrent.iter().filter_map(move |r| {
            let cell = r.cell(seq)?;
            Some(Body::new(state, caches.iter().count(), vec![cell], None))
        });
        of_tokens.chain(recurrent)
    }
}

/// The rows of a cache.
struct Body {
    cache: usize,
    cells: Vec<u32>,
    /// `None`: there is one row, that of recurrent layers.
    spans: Option<Vec<Span>>,
    /// Bytes of a cell's row, and of all.
    row: usize,
    bytes: u64,
}

impl Body {
    fn new(state: &State, cache: usize, cells: Vec<u32>, spans: Option<Vec<Span>>) -> Body {
        let row = state.machine.row_bytes(cache);
        let list = spans.as_ref().map_or(0, |s| 4 + 8 * s.len());
        Body { cache, bytes: (cells.len() * row + list) as u64, row, cells, spans }
    }

    /// Cells whose rows are read at once.
    fn piece(&self) -> usize {
        (PIECE / self.row.max(1)).clamp(1, self.cells.len().max(1))
    }
}
