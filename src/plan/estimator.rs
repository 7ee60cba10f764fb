//! What an estimator is: bytes and places for a request.

use super::params::Source;
use super::report::{DevicePlan, Exact, LayerPlan, Prediction};
use super::request::Request;
use crate::error::Result;
use crate::quant::Type;

/// One way to know what a model takes.
pub(super) trait Estimator {
    fn name(&self) -> &'static str;
    /// # Errors
    /// For what cannot be planned at all; a model that does not fit is a result.
    fn estimate(&self, r: &Request<'_>) -> Result<Estimate>;
}

/// What an estimator found.
pub(super) struct Estimate {
    pub n_layer: u32,
    pub n_ctx: u32,
    pub n_ctx_source: Source,
    pub type_k: Type,
    pub type_v: Type,
    pub fits: bool,
    /// One per device of the context.
    pub devices: Vec<DevicePlan>,
    pub layers: Vec<LayerPlan>,
    pub reasons: Vec<String>,
    pub prediction: Option<Prediction>,
    /// What loading needs; an estimate has none.
    pub exact: Option<Exact>,
}
