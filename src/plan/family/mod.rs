use super::estimator::{Estimate, Estimator};
use super::request::Request;
use crate::error::{Error, Result};
pub(super) struct Family;
impl Estimator for Family {
    fn name(&self) -> &'static str {
        "family"
    }
    fn estimate(&self, r: &Request<'_>) -> Result<Estimate> {
        Err(Error::unsupported(format!("{}", r.architecture)))
    }
}
