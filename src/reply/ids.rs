//! Names for calls that the model gave none.

use std::hash::{BuildHasher, RandomState};

/// Ids of nine letters and digits, as Mistral's templates want them.
#[derive(Debug, Clone)]
pub struct Ids {
    seed: u64,
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Ids {
    /// Seed 0: others each time.
    pub fn new(seed: u64) -> Ids {
        let seed = if seed == 0 { RandomState::new().hash_one(seed) } else { seed };
        Ids { seed }
    }

    /// The id of a reply's call.
    pub(super) fn id(&self, index: u32) -> String {
        // SplitMix64: neighbouring numbers give unlike ones.
        let mut x = self.seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        let mut id = String::new();
        for _ in 0..9 {
            id.push(char::from(LETTERS[(x % 62) as usize]));
            x /= 62;
        }
        id
    }
}
