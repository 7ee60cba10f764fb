//! Scales of blocks: halves as they lie there, and levels under a scale.

use half::f16;

/// The value of an IEEE half's bits.
pub fn half_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32_const()
}

pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Writes the nearest half and returns it.
pub(super) fn put_half(block: &mut [u8], at: usize, x: f32) -> f32 {
    let h = f16::from_f32_const(x);
    block[at..at + 2].copy_from_slice(&h.to_bits().to_le_bytes());
    h.to_f32_const()
}

pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The nearest level of `x` in `low..=high`.
pub(super) fn level(x: f32, low: i32, high: i32) -> i32 {
    (x.round_ties_even() as i32).clamp(low, high)
}
