//! The kernels compiled for each instruction set, and the choice among them at run time.
//!
//! A kernel is a generic function over `Simd` that is always inlined. `instruction_set!` makes a module per instruction
//! set, with functions that enable its instructions (`#[target_feature]`) and call the kernels with its vectors, so all
//! of a kernel is compiled with these instructions. Each is a function of its own that is never inlined, because a
//! compiler takes more than twice as long for a function of twice the length. The numbers behind its name are the
//! shapes of the kernels' inner loops: as many rows and tokens at once as that instruction set's registers hold.
//! `choose!` calls the module that belongs to an `Isa`.

// SAFETY: of the whole module: callers pass only an `Isa` that this processor has, and pointers as `Product` and
// `Source` say.
#![allow(unsafe_op_in_unsafe_fn)]

use super::acts::{self, Layout, Source, act_format};
use super::product::Product;
use super::weight::{HalfWeight, Weight};
use super::{few, float, half, panel, row, tile, vector};
use crate::cpu::isa::Isa;
#[cfg(target_arch = "aarch64")]
use crate::cpu::simd::neon::Neon;
use crate::cpu::simd::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{avx2::Avx2, avx512::Avx512};
use crate::quant::{Type, weight_types};

/// The formats of weights, under the names that the table of types has for them.
mod format {
    pub(super) use crate::cpu::matmul::{grid::*, ternary::*, weight::*};
}

/// Rows of a tile of weights of 16 bits, for a few tokens.
const TILE: usize = 8;

/// Takes the single tokens by eights, if there is a kernel for so many, by fours, twos and ones.
macro_rules! by_tokens {
    ($layout:expr, $first:ident, [$($eight:expr)?], $four:expr, $two:expr, $one:expr) => {
        let mut $first = 0;
        while $first < $layout.singles {
            match $layout.singles - $first {
                1 => ($one, $first += 1),
                2 | 3 => ($two, $first += 2),
                $(8.. => ($eight, $first += 8),)?
                _ => ($four, $first += 4),
            };
        }
    };
}

/// The kernel that the table of types names for a product's weights.
macro_rules! product_of {
    ($p:ident, $layout:ident; $($name:ident = $number:literal: $len:literal in $bytes:literal,
         cpu [$kind:ident $($kernel:ident)? $($cpu:literal)?], cuda [$($cuda:literal)?];)*) => {
        match $p.ty { $(Type::$name => product_of!(@$kind $($kernel)?, $p, $layout),)* }
    };
    (@float, $p:ident, $layout:ident) => { float($p, $layout) };
    (@half $kernel:ident, $p:ident, $layout:ident) => { half::<format::$kernel>($p, $layout) };
    (@quantised $kernel:ident, $p:ident, $layout:ident) => { quantised::<format::$kernel>($p, $layout) };
    // Plans with such weights are not loaded: `Kernels::supports` reads the same table.
    (@none, $p:ident, $layout:ident) => { unreachable!("no kernel for {}", $p.ty.name()) };
}

/// The kernels of one instruction set, with the shapes of their inner loops. `rows`: rows at once with 1, 2 and 4
/// tokens, in `float`. `tile`: rows and groups of tokens at once, and rows if one group is left. `panel`: rows and
/// tokens at once.
macro_rules! instruction_set {
    ($name:ident, $simd:ty, [$($feature:meta)?], rows $one:literal $two:literal $four:literal,
     tile $r:literal x $t:literal or $r1:literal x 1, panel $pr:literal x $pt:literal) => {
        mod $name {
            use super::*;

            unsafe fn quantised<W: Weight>(p: &Product, layout: &Layout) {
                if layout.groups > 0 {
                    quantised_tiles::<W>(p, layout);
                }
                if few::is_for(layout.singles) {
                    return quantised_few::<W>(p, layout);
                }
                by_tokens!(
                    layout,
                    first,
                    [],
                    quantised_rows::<W, 4>(p, layout, first),
                    quantised_rows::<W, 2>(p, layout, first),
                    quantised_rows::<W, 1>(p, layout, first)
                );
            }

            unsafe fn half<W: HalfWeight>(p: &Product, layout: &Layout) {
                if panel::is_for(p.n_tokens) {
                    return half_panels::<W>(p, layout);
                }
                by_tokens!(
                    layout,
                    first,
                    [half_rows::<W, 8, TILE>(p, layout, first)],
                    half_rows::<W, 4, TILE>(p, layout, first),
                    half_rows::<W, 2, TILE>(p, layout, first),
                    half_rows::<W, 1, 1>(p, layout, first)
                );
            }

            unsafe fn float(p: &Product, layout: &Layout) {
                if panel::is_for(p.n_tokens) {
                    return float_panels(p, layout);
                }
                by_tokens!(
                    layout,
                    first,
                    [],
                    float_rows::<$four, 4>(p, layout, first),
                    float_rows::<$two, 2>(p, layout, first),
                    float_rows::<$one, 1>(p, layout, first)
                );
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn quantised_tiles<W: Weight>(p: &Product, layout: &Layout) {
                tile::product::<$simd, W, $r, $t, $r1>(p, layout)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn quantised_few<W: Weight>(p: &Product, layout: &Layout) {
                few::product::<$simd, W>(p, layout)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn quantised_rows<W: Weight, const T: usize>(p: &Product, layout: &Layout, first: usize) {
                row::product::<$simd, W, T>(p, layout, first)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn half_panels<W: HalfWeight>(p: &Product, layout: &Layout) {
                panel::product::<$simd, half::Halves<W>, $pr, $pt, $r1>(p, layout)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn half_rows<W: HalfWeight, const T: usize, const R: usize>(
                p: &Product,
                layout: &Layout,
                first: usize,
            ) {
                half::few::<$simd, W, T, R>(p, layout, first)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn float_panels(p: &Product, layout: &Layout) {
                panel::product::<$simd, float::Floats, $pr, $pt, $r1>(p, layout)
            }

            $(#[$feature])?
            #[inline(never)]
            unsafe fn float_rows<const R: usize, const T: usize>(p: &Product, layout: &Layout, first: usize) {
                float::few::<$simd, R, T>(p, layout, first)
            }

            pub(super) unsafe fn product(p: &Product, layout: &Layout) {
                weight_types!(product_of; p, layout)
            }

            $(#[$feature])?
            pub(super) unsafe fn prepare(s: &Source) {
                acts::prepare::<$simd>(s)
            }

            $(#[$feature])?
            pub(super) unsafe fn vector<O: vector::Operation>(o: &mut O) -> f32 {
                o.run::<$simd>()
            }
        }
    };
}

instruction_set!(portable, Portable, [], rows 1 1 1, tile 2 x 1 or 2 x 1, panel 2 x 1);
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2, Avx2, [target_feature(enable = "avx2,fma,f16c")], rows 2 2 1, tile 1 x 1 or 1 x 1, panel 2 x 2);
#[cfg(target_arch = "x86_64")]
instruction_set!(
    avx512,
    Avx512,
    [target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")],
    rows 1 4 2,
    tile 4 x 2 or 8 x 1,
    panel 8 x 3
);
#[cfg(target_arch = "aarch64")]
instruction_set!(neon, Neon, [target_feature(enable = "neon")], rows 2 1 1, tile 2 x 1 or 2 x 1, panel 2 x 2);

macro_rules! choose {
    ($isa:expr, $call:ident $args:tt) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::$call $args,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::$call $args,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::$call $args,
            _ => portable::$call $args,
        }
    };
}

/// Prepares activations.
///
/// # Safety
/// This processor must have `isa`; the pointers must be as `Kernels::prepare_acts` says.
pub(super) unsafe fn prepare(isa: Isa, s: &Source) {
    choose!(isa, prepare(s))
}

/// Computes a product.
///
/// # Safety
/// This processor must have `isa`; the pointers must be as `Kernels::matmul` says.
pub(super) unsafe fn product(isa: Isa, p: &Product) {
    let layout = Layout::new(act_format(p.ty), p.n_tokens, p.n_cols);
    choose!(isa, product(p, &layout))
}

/// Computes a vector operation.
///
/// # Safety
/// This processor must have `isa`.
pub(super) unsafe fn vector<O: vector::Operation>(isa: Isa, mut o: O) -> f32 {
    choose!(isa, vector(&mut o))
}
