//! Batch sizes: the caller's, else the family's, else the global default.

use super::params::{Params, Source};
use crate::arch::{BatchDefaults, GLOBAL_BATCH, batch_defaults};
use crate::error::{Error, Result};

/// The batch sizes for `architecture`, and their origin. If the caller gives one of n_batch and n_ubatch, it is used
/// for both. Neither is ever larger than the context.
pub(super) fn choose(architecture: &str, params: &Params, n_ctx: u32) -> Result<(BatchDefaults, Source)> {
    let (n_batch, n_ubatch) = (params.n_batch, params.n_ubatch);
    let (sizes, source) = match (n_batch, n_ubatch) {
        (0, 0) => match batch_defaults(architecture) {
            Some(sizes) => (sizes, Source::Family),
            None => (GLOBAL_BATCH, Source::Global),
        },
        (0, u) => (BatchDefaults { n_batch: u, n_ubatch: u }, Source::Caller),
        (b, 0) => (BatchDefaults { n_batch: b, n_ubatch: b }, Source::Caller),
        (b, u) => (BatchDefaults { n_batch: b, n_ubatch: u }, Source::Caller),
    };
    if sizes.n_ubatch > sizes.n_batch {
        return Err(Error::invalid(format!("n_ubatch is {n_ubatch}, more than n_batch {n_batch}")).subject("n_ubatch"));
    }
    Ok((sizes.within(n_ctx), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_before_family_before_global() {
        let with = |n_batch, n_ubatch| Params { n_batch, n_ubatch, ..Params::default() };
        let sizes =
            |p: &Params, arch, n_ctx| choose(arch, p, n_ctx).map(|(s, from)| (s.n_batch, s.n_ubatch, from)).unwrap();
        assert_eq!(sizes(&with(0, 0), "llama", 4096), (512, 512, Source::Family));
        assert_eq!(sizes(&with(0, 0), "unheard-of", 4096), (512, 512, Source::Global));
        assert_eq!(sizes(&with(64, 0), "llama", 4096), (64, 64, Source::Caller));
        assert_eq!(sizes(&with(64, 16), "llama", 4096), (64, 16, Source::Caller));
        assert_eq!(sizes(&with(0, 0), "llama", 100), (100, 100, Source::Family));
        assert_eq!(choose("llama", &with(16, 64), 4096).unwrap_err().detail.subject, "n_ubatch");
    }
}
