//! The speeds of a placement, predicted by the cost model.

use super::chain::Ranges;
use super::place::Segment;
use super::report::Prediction;
use super::request::Request;
use super::search::{Found, Model};
use super::units::Units;
use crate::error::Result;

impl Model {
    /// Predicts speeds with the layers on `segments`, and the experts of the first `split` ones on the CPU.
    pub fn predict(
        &self,
        r: &Request<'_>,
        units: &Units<'_>,
        found: &Found,
        segments: &[Segment],
        split: usize,
    ) -> Result<Prediction> {
        let mut chain = Ranges::new(units, found.types, found.n_ctx, r.batch.n_ubatch)?;
        chain.split = split;
        let batch = f64::from(r.batch.n_ubatch);
        let (mut decode, mut cached, mut prompt, mut slowest) = (0.0, 0.0, 0.0, chain.experts_seconds());
        let mut from = None;
        for s in segments {
            let t = chain.seconds(s.stage, s.first, s.end);
            let hop = chain.hop_seconds(from, Some(s.stage), 1.0);
            decode += t.decode + hop;
            cached += t.decode_per_cached;
            prompt += t.prompt + chain.hop_seconds(from, Some(s.stage), batch) / batch;
            slowest = slowest.max(t.decode + hop);
            from = Some(s.stage);
        }
        decode += chain.hop_seconds(from, None, 1.0);
        Ok(Prediction {
            decode: 1.0 / decode,
            decode_full: 1.0 / (decode + cached * f64::from(found.n_ctx)),
            prompt: 1.0 / prompt,
            pipelined: 1.0 / slowest,
        })
    }
}
