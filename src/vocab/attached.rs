//! A place for what another room makes of a vocabulary, once, and all users of the vocabulary share.

use std::any::Any;
use std::sync::Arc;

use crate::sync::Mutex;

use super::Vocab;
use crate::error::Result;

#[derive(Default)]
pub(super) struct Attached(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl Vocab {
    /// The value that `make` makes of this vocabulary: made at the first call, the same for every later one. Others
    /// wait while it is being made; if that fails, the next call tries again. There is room for one thing of one type:
    /// a call with another type makes that one anew and keeps it instead.
    ///
    /// It must not hold the vocabulary's `Arc`, or neither would ever be freed.
    pub fn attached<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut place = self.attached.0.lock();
        if let Some(Ok(there)) = place.clone().map(Arc::downcast::<T>) {
            return Ok(there);
        }
        let made = Arc::new(make()?);
        *place = Some(made.clone());
        Ok(made)
    }
}
