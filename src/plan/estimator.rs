//! The face of an estimator, which finds bytes and places for a request.

use super::params::Source;
use super::report::{DevicePlan, Exact, LayerPlan, Prediction};
use super::request::Request;
use crate::error::Result;
use crate::quant::Type;

/// A way to know the bytes of a model: `search::Model` measures them, `family::Family` estimates them.
pub(super) trait Estimator {
    fn name(&self) -> &'static str;
    /// Finds bytes and places.
    ///
    /// # Errors
    /// For a request that cannot be planned at all. A model that does not fit is a result, not an error.
    fn estimate(&self, r: &Request<'_>) -> Result<Estimate>;
}

/// The result of an estimator.
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
    /// Everything that loading needs; `None` for a mere estimate.
    pub exact: Option<Exact>,
}
