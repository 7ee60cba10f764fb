//! The weight types of GGUF, a row each: all that the library knows of a type by name.

/// The table. `weight_types!(m; args)` expands to `m! { args; rows }`, so whoever needs something of every type (the
/// enum below, the CPU's choice of kernels) takes it from here, and no two lists can disagree.
///
/// A row says: name = GGUF's number: elements in bytes of a block, who computes products with such weights (and how),
/// and at which rate. A CPU has a kind of kernel (`float`, `half` or `quantised`) and the name of its format in
/// `cpu::matmul::weight`, or `none`; CUDA devices have one way or none. The rate is the share of a plain read that a
/// product of one token reaches. K80, of 150 GB/s: in a simulator of its generation the kernels here reach 87 to 105
/// with Q4_K, 91 with Q6_K, 96 with Q8_0 and 130 with F16; others' kernels reached 79 to 109 and 75 to 83 with the first
/// two on a card.
macro_rules! weight_types {
    ($then:ident; $($args:tt)*) => {
        $then! {
            $($args)*;
            F32 = 0: 1 in 4, cpu [float 0.85], cuda [0.85];
            F16 = 1: 1 in 2, cpu [half F16 0.85], cuda [0.85];
            Q4_0 = 2: 32 in 18, cpu [quantised Q4_0 0.75], cuda [0.6];
            Q4_1 = 3: 32 in 20, cpu [quantised Q4_1 0.75], cuda [0.6];
            Q5_0 = 6: 32 in 22, cpu [quantised Q5_0 0.75], cuda [0.6];
            Q5_1 = 7: 32 in 24, cpu [quantised Q5_1 0.75], cuda [0.6];
            Q8_0 = 8: 32 in 34, cpu [quantised Q8_0 0.75], cuda [0.65];
            Q8_1 = 9: 32 in 36, cpu [none], cuda [];
            Q2_K = 10: 256 in 84, cpu [quantised Q2K 0.75], cuda [0.6];
            Q3_K = 11: 256 in 110, cpu [quantised Q3K 0.75], cuda [0.6];
            Q4_K = 12: 256 in 144, cpu [quantised Q4K 0.75], cuda [0.66];
            Q5_K = 13: 256 in 176, cpu [quantised Q5K 0.75], cuda [0.6];
            Q6_K = 14: 256 in 210, cpu [quantised Q6K 0.75], cuda [0.6];
            Q8_K = 15: 256 in 292, cpu [none], cuda [];
            IQ2_XXS = 16: 256 in 66, cpu [quantised Iq2Xxs 0.75], cuda [];
            IQ2_XS = 17: 256 in 74, cpu [quantised Iq2Xs 0.75], cuda [0.35];
            IQ3_XXS = 18: 256 in 98, cpu [quantised Iq3Xxs 0.75], cuda [0.4];
            IQ1_S = 19: 256 in 50, cpu [quantised Iq1S 0.75], cuda [];
            IQ4_NL = 20: 32 in 18, cpu [quantised Iq4Nl 0.75], cuda [0.6];
            IQ3_S = 21: 256 in 110, cpu [quantised Iq3S 0.75], cuda [0.4];
            IQ2_S = 22: 256 in 82, cpu [quantised Iq2S 0.75], cuda [0.35];
            IQ4_XS = 23: 256 in 136, cpu [quantised Iq4Xs 0.75], cuda [0.6];
            I8 = 24: 1 in 1, cpu [none], cuda [];
            I16 = 25: 1 in 2, cpu [none], cuda [];
            I32 = 26: 1 in 4, cpu [none], cuda [];
            I64 = 27: 1 in 8, cpu [none], cuda [];
            F64 = 28: 1 in 8, cpu [none], cuda [];
            IQ1_M = 29: 256 in 56, cpu [quantised Iq1M 0.75], cuda [];
            BF16 = 30: 1 in 2, cpu [half Bf16 0.85], cuda [0.85];
            TQ1_0 = 34: 256 in 54, cpu [quantised Tq1_0 0.75], cuda [];
            TQ2_0 = 35: 256 in 66, cpu [quantised Tq2_0 0.75], cuda [];
            MXFP4 = 39: 32 in 17, cpu [quantised Mxfp4 0.75], cuda [0.6];
            NVFP4 = 40: 64 in 36, cpu [quantised Nvfp4 0.75], cuda [];
            Q1_0 = 41: 128 in 18, cpu [quantised Q1_0 0.75], cuda [];
            Q2_0 = 42: 64 in 18, cpu [quantised Q2_0 0.75], cuda [];
        }
    };
}
pub(crate) use weight_types;

macro_rules! types {
    (; $($name:ident = $number:literal: $len:literal in $bytes:literal,
         cpu [$kind:ident $($kernel:ident)? $($cpu:literal)?], cuda [$($cuda:literal)?];)*) => {
        /// A tensor type, by GGUF's name. All are known by size; [`Type::on_cpu`] and [`Type::on_cuda`] tell who
        /// computes with it.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Type { $($name = $number,)* }

        impl Type {
            /// All that are known.
            pub const ALL: &[Type] = &[$(Type::$name),*];

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
            /// The rate of products on the CPU; `None`: it has no kernels, nor are the values known.
            pub const fn cpu_rate(self) -> Option<f64> {
                match self { $(Type::$name => rate!($($cpu)?),)* }
            }
            /// The rate of products on CUDA devices; `None`: they have no kernels.
            pub const fn cuda_rate(self) -> Option<f64> {
                match self { $(Type::$name => rate!($($cuda)?),)* }
            }
        }
    };
}

macro_rules! rate {
    () => {
        None
    };
    ($rate:literal) => {
        Some($rate)
    };
}

weight_types!(types;);

impl Type {
    /// True if the CPU computes with such weights.
    pub const fn on_cpu(self) -> bool {
        self.cpu_rate().is_some()
    }
    /// True if CUDA devices compute with such weights.
    pub const fn on_cuda(self) -> bool {
        self.cuda_rate().is_some()
    }

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

    /// The type of that name, in any case ("q8_0").
    pub fn from_name(name: &str) -> Option<Type> {
        Type::ALL.iter().copied().find(|t| t.name().eq_ignore_ascii_case(name))
    }
}
