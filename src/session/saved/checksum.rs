//! The checksum of saved sequences: FNV-1a of 64 bits (Fowler, Noll, Vo; RFC 9923). Each byte changes the sum in a way
//! that can be undone, so a single wrong byte is always found, and other errors but for one in 2^64.

pub(super) struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3));
    }

    pub fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the RFC's test vectors.
    #[test]
    fn sums_are_those_of_the_standard() {
        for (text, sum) in
            [("", 0xcbf2_9ce4_8422_2325u64), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut c = Checksum::default();
            c.add(text.as_bytes());
            assert_eq!(c.value(), sum, "{text}");
        }
    }
}
