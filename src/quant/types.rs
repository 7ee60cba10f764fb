//! The tensor types of GGUF: number, name, elements and bytes of a block.

macro_rules! types {
    ($($name:ident = $number:literal, $len:literal elements in $bytes:literal bytes;)*) => {
        /// A tensor type, by GGUF's name. All are known by size; `is_supported` tells which can be computed with.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Type { $($name = $number,)* }

        impl Type {
            /// The type with GGUF's number `n`.
            pub fn from_gguf(n: u32) -> Option<Type> {
                match n { $($number => Some(Type::$name),)* _ => None }
            }
            /// GGUF's name, as in "Q4_K".
            pub fn name(self) -> &'static str {
                match self { $(Type::$name => stringify!($name),)* }
            }
            /// Elements in a block.
            pub const fn block_len(self) -> usize {
                match self { $(Type::$name => $len,)* }
            }
            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Type::$name => $bytes,)* }
            }
        }
    };
}

types! {
    F32 = 0, 1 elements in 4 bytes;
    F16 = 1, 1 elements in 2 bytes;
    Q4_0 = 2, 32 elements in 18 bytes;
    Q4_1 = 3, 32 elements in 20 bytes;
    Q5_0 = 6, 32 elements in 22 bytes;
    Q5_1 = 7, 32 elements in 24 bytes;
    Q8_0 = 8, 32 elements in 34 bytes;
    Q8_1 = 9, 32 elements in 36 bytes;
    Q2_K = 10, 256 elements in 84 bytes;
    Q3_K = 11, 256 elements in 110 bytes;
    Q4_K = 12, 256 elements in 144 bytes;
    Q5_K = 13, 256 elements in 176 bytes;
    Q6_K = 14, 256 elements in 210 bytes;
    Q8_K = 15, 256 elements in 292 bytes;
    IQ2_XXS = 16, 256 elements in 66 bytes;
    IQ2_XS = 17, 256 elements in 74 bytes;
    IQ3_XXS = 18, 256 elements in 98 bytes;
    IQ1_S = 19, 256 elements in 50 bytes;
    IQ4_NL = 20, 32 elements in 18 bytes;
    IQ3_S = 21, 256 elements in 110 bytes;
    IQ2_S = 22, 256 elements in 82 bytes;
    IQ4_XS = 23, 256 elements in 136 bytes;
    I8 = 24, 1 elements in 1 bytes;
    I16 = 25, 1 elements in 2 bytes;
    I32 = 26, 1 elements in 4 bytes;
    I64 = 27, 1 elements in 8 bytes;
    F64 = 28, 1 elements in 8 bytes;
    IQ1_M = 29, 256 elements in 56 bytes;
    BF16 = 30, 1 elements in 2 bytes;
    TQ1_0 = 34, 256 elements in 54 bytes;
    TQ2_0 = 35, 256 elements in 66 bytes;
    MXFP4 = 39, 32 elements in 17 bytes;
    NVFP4 = 40, 64 elements in 36 bytes;
    Q1_0 = 41, 128 elements in 18 bytes;
}

impl Type {
    /// GGUF's number.
    pub fn gguf(self) -> u32 {
        self as u32
    }

    /// Bytes of a row of `n` elements; `None` if `n` is no multiple of the block length or the product overflows.
    pub fn row_bytes(self, n: usize) -> Option<usize> {
        if !n.is_multiple_of(self.block_len()) {
            return None;
        }
        (n / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether weights of this type can be computed with.
    pub fn is_supported(self) -> bool {
        use Type::*;
        let plain = matches!(self, F32 | F16 | BF16 | Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1);
        plain || matches!(self, Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_NL | IQ4_XS | MXFP4)
    }

    /// The type of that name, in any case ("q8_0").
    pub fn from_name(name: &str) -> Option<Type> {
        (0..64).filter_map(Type::from_gguf).find(|t| t.name().eq_ignore_ascii_case(name))
    }
}
