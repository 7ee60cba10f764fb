//! The sizes of recurrent layers, read from a file's keys.

use super::hparams::{Hparams, MAX_WIDTH};
use super::keys::Keys;
use crate::error::Result;
use crate::gguf::Value;
use crate::graph::{Convolve, Mamba, Mamba2};

/// The keys below `{arch}.ssm.` that several families have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ssm {
    pub n_inner: usize,
    pub n_state: usize,
    pub dt_rank: usize,
    pub n_taps: usize,
}

impl Ssm {
    /// # Errors
    /// `BadFile` for a missing key or a value out of range; the key is named.
    pub fn read(k: &Keys<'_>) -> Result<Ssm> {
        let size = |key: &str| k.size(key, MAX_WIDTH).map(|n| n as usize);
        let n_taps = k.size("ssm.conv_kernel", Convolve::MOST_TAPS as u32)?;
        if n_taps < 2 {
            return Err(k.bad("ssm.conv_kernel", n_taps, &format!("2 to {}", Convolve::MOST_TAPS)));
        }
        let (n_inner, n_state) = (size("ssm.inner_size")?, size("ssm.state_size")?);
        if n_inner.saturating_mul(n_state) > 1 << 30 {
            return Err(k.bad("ssm.state_size", n_state, &format!("at most {}", (1 << 30) / n_inner)));
        }
        Ok(Ssm { n_inner, n_state, dt_rank: size("ssm.time_step_rank")?, n_taps: n_taps as usize })
    }

    pub fn mamba(self, normed: bool) -> Mamba {
        let Ssm { n_inner, n_state, dt_rank, n_taps } = self;
        Mamba { n_inner, n_state, dt_rank, n_taps, normed }
    }

    /// Mamba-2, where the rank of steps is the number of heads.
    ///
    /// # Errors
    /// `BadFile` if heads or groups do not divide what they should.
    pub fn mamba2(self, k: &Keys<'_>) -> Result<Mamba2> {
        let Ssm { n_inner, n_state, dt_rank: n_head, n_taps } = self;
        let n_group = self.groups(k)?;
        self.heads(k)?;
        if n_inner % n_group != 0 {
            return Err(k.bad("ssm.group_count", n_group, &format!("a divisor of the inner size {n_inner}")));
        }
        Ok(Mamba2 { n_inner, n_state, n_head, n_group, n_taps })
    }

    /// Elements of a head: the rank of steps is the number of heads.
    ///
    /// # Errors
    /// `BadFile` if that does not divide the inner size.
    pub fn heads(&self, k: &Keys<'_>) -> Result<usize> {
        if !self.n_inner.is_multiple_of(self.dt_rank) {
            let expected = format!("a divisor of the inner size {}", self.n_inner);
            return Err(k.bad("ssm.time_step_rank", self.dt_rank, &expected));
        }
        Ok(self.n_inner / self.dt_rank)
    }

    /// The number of groups, which divides that of heads.
    ///
    /// # Errors
    /// `BadFile` if it does not.
    pub fn groups(&self, k: &Keys<'_>) -> Result<usize> {
        let n = k.size("ssm.group_count", MAX_WIDTH)? as usize;
        if !self.dt_rank.is_multiple_of(n) {
            return Err(k.bad("ssm.group_count", n, &format!("a divisor of the {} heads", self.dt_rank)));
        }
        Ok(n)
    }
}

/// True for each recurrent layer: `attention.recurrent_layers` is a bool per layer; without it every n-th layer is an
/// attention layer, n being `full_attention_interval` or 4.
///
/// # Errors
/// `BadFile` for an array that does not cover all layers.
pub(super) fn recurrent_layers(k: &Keys<'_>, h: &Hparams) -> Result<Vec<bool>> {
    let (key, n) = ("attention.recurrent_layers", h.n_layer as usize);
    if let Some(Value::Array(a)) = k.file.get(&k.name(key)) {
        let recurrent = |v: Value| if let Value::Bool(b) = v { Some(b) } else { v.as_int().map(|n| n != 0) };
        let all: Option<Vec<bool>> = a.iter().take(n).map(recurrent).collect();
        return all.filter(|all| all.len() == n).ok_or_else(|| {
            let found = format!("an array of {} {}", a.len(), a.elem_type().name());
            k.bad(key, found, &format!("a bool for each of the {n} layers"))
        });
    }
    let every = k.u32("full_attention_interval")?.unwrap_or(4);
    let every = k.in_range("full_attention_interval", every, MAX_WIDTH)?;
    Ok((1..=h.n_layer).map(|i| i % every != 0).collect())
}
