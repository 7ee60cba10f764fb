//! The instruction set that the kernels use: the best that this processor has, or a lesser one if asked.

use crate::error::{Error, Result};

/// The environment variable that lowers the choice.
const VARIABLE: &str = "REKINDLE_CPU";

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Instructions that every processor of the target has.
    Portable,
    /// x86-64: AVX2, FMA, F16C.
    Avx2,
    /// x86-64: AVX-512 F, BW, VL, DQ, VNNI.
    Avx512,
    /// AArch64 NEON.
    Neon,
}

impl Isa {
    const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The best of this processor; `REKINDLE_CPU` (portable, avx2, avx512, neon) asks for another.
    ///
    /// # Errors
    /// `InvalidArgument` naming the variable if its value is unknown or this processor lacks the instructions.
    pub fn detect() -> Result<Isa> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Isa::best()),
            Some(value) => Isa::chosen(&value.to_string_lossy()),
        }
    }

    fn chosen(value: &str) -> Result<Isa> {
        let known = || Isa::ALL.map(Isa::name).join(", ");
        let isa = Isa::ALL.into_iter().find(|isa| isa.name() == value);
        let isa = isa.ok_or_else(|| Error::invalid(format!("{VARIABLE} is '{value}'; expected one of {}", known())))?;
        if isa.is_available() {
            Ok(isa)
        } else {
            Err(Error::invalid(format!("{VARIABLE} asks for '{value}', which this processor does not have")))
        }
    }

    fn best() -> Isa {
        [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// All that this processor can run, the portable one first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// True if this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// The name that `REKINDLE_CPU` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_takes_known_names_only() {
        assert_eq!(Isa::chosen("portable").unwrap(), Isa::Portable);
        for bad in ["", "AVX2", "sse9"] {
            assert!(Isa::chosen(bad).unwrap_err().to_string().contains(VARIABLE));
        }
        for isa in Isa::ALL {
            assert_eq!(Isa::chosen(isa.name()).is_ok(), Isa::available().contains(&isa));
        }
    }
}
