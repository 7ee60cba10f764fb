//! Batch sizes: the caller's, else the family's, else the global default.

use super::params::{Params, Source};
use crate::arch::{BatchDefaults, GLOBAL_BATCH, batch_defaults, is_encoder};
use crate::error::{Error, Result};

/// The batch sizes for `architecture`, and their origin. If the caller gives one of n_batch and n_ubatch, it is used
/// for both. Neither is ever larger than the context.
pub(super) fn choose(
    architecture: &str,
    params: &Params,
    n_ctx: u32,
    n_ctx_train: u32,
) -> Result<(BatchDefaults, Source)> {
    let (n_batch, n_ubatch) = (params.n_batch, params.n_ubatch);
    let (sizes, source) = match (n_batch, n_ubatch) {
        (0, 0) if is_encoder(architecture) => (of_encoder(n_ctx_train), Source::Family),
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

/// The most tokens of an encoder's text, unless the caller says more: longer texts take much memory.
const LONGEST_TEXT: u32 = 8192;
/// Tokens of an encoder's batch, in which many texts stand together.
const TEXTS: u32 = 2048;

/// The batch sizes of an encoder whose texts have up to `n_ctx` tokens. A text goes through the layers in one pass.
fn of_encoder(n_ctx: u32) -> BatchDefaults {
    let n_ubatch = n_ctx.clamp(GLOBAL_BATCH.n_ubatch, LONGEST_TEXT);
    BatchDefaults { n_batch: n_ubatch.max(TEXTS), n_ubatch }
}

/// The context of an encoder, if the caller gives none: it keeps no tokens, so this is the largest batch, all texts
/// together.
pub(super) fn encoder_context(params: &Params, n_ctx_train: u32) -> u32 {
    let own = params.n_batch.max(params.n_ubatch);
    if own > 0 { own } else { of_encoder(n_ctx_train).n_batch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_before_family_before_global() {
        let with = |n_batch, n_ubatch| Params { n_batch, n_ubatch, ..Params::default() };
        let sizes = |p: &Params, arch, n_ctx| {
            choose(arch, p, n_ctx, 4096).map(|(s, from)| (s.n_batch, s.n_ubatch, from)).unwrap()
        };
        assert_eq!(sizes(&with(0, 0), "llama", 4096), (512, 512, Source::Family));
        assert_eq!(sizes(&with(0, 0), "unheard-of", 4096), (512, 512, Source::Global));
        assert_eq!(sizes(&with(64, 0), "llama", 4096), (64, 64, Source::Caller));
        assert_eq!(sizes(&with(64, 16), "llama", 4096), (64, 16, Source::Caller));
        assert_eq!(sizes(&with(0, 0), "llama", 100), (100, 100, Source::Family));
        assert_eq!(sizes(&with(0, 0), "bert", 8192), (4096, 4096, Source::Family));
        assert_eq!(sizes(&with(0, 0), "bert", 300), (300, 300, Source::Family));
        assert_eq!(encoder_context(&with(0, 0), 512), 2048);
        assert_eq!(encoder_context(&with(0, 64), 512), 64);
        assert_eq!(choose("llama", &with(16, 64), 4096, 4096).unwrap_err().detail.subject, "n_ubatch");
    }
}
