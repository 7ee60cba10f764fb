//! The table of all kernels: of each its file, its name, the struct that it takes and the threads of its blocks.
//!
//! A [`Kernel`] is a place in this table. A die looks all of them up when it loads its images (`Die::load_kernels`), so
//! that a launch costs no search, and an image without one of them is told of before anything runs. The struct is part
//! of the kernel's type: no kernel can be launched with another's.

use std::marker::PhantomData;

use super::args::{
    ATTENTION_THREADS, Args, Attention, COLUMNS_THREADS, CONVOLVE_THREADS, Columns, Concat, Convolve, CopyCells,
    EACH_THREADS, Each, ExpertLists, GEMM_THREADS, Gate, Gemm, GemmExperts, KV_THREADS, LINEAR_ATTENTION_THREADS,
    LISTS_THREADS, LinearAttention, MATVEC_THREADS, Matvec, MatvecExperts, MatvecOne, NORM_SMALL_THREADS, NORM_THREADS,
    Norm, ROPE_THREADS, ROUTE_THREADS, Rope, RopeStore, Route, SCAN_THREADS, SELECT_THREADS, SUM_THREADS, Scale, Scan,
    SelectOutputs, Store, SumExperts, Turn,
};
use crate::error::{Error, Result, Status};
use crate::quant::Type;

/// A row of the table.
#[derive(Debug)]
pub struct Entry {
    /// The file of `kernels/`, without its ending.
    pub file: &'static str,
    pub name: &'static str,
    /// The name of its struct in `kernels/args.h`, and its bytes.
    pub args: &'static str,
    pub args_bytes: usize,
    /// Threads of a block.
    pub threads: usize,
}

impl Entry {
    const fn new<A: Args>(file: &'static str, name: &'static str, threads: usize) -> Entry {
        Entry { file, name, args: A::NAME, args_bytes: size_of::<A>(), threads }
    }
}

/// A kernel that takes an `A`.
pub struct Kernel<A> {
    /// Its place in the table.
    pub(super) index: usize,
    args: PhantomData<fn(&A)>,
}

impl<A> Clone for Kernel<A> {
    fn clone(&self) -> Kernel<A> {
        *self
    }
}
impl<A> Copy for Kernel<A> {}

impl<A: Args> Kernel<A> {
    const fn at(index: usize) -> Kernel<A> {
        Kernel { index, args: PhantomData }
    }
    pub fn entry(self) -> &'static Entry {
        &TABLE[self.index]
    }
    /// Threads of a block.
    pub fn threads(self) -> usize {
        self.entry().threads
    }
}

/// Kernels of which each weight type has one, in the table's order; and how many more a type of blocks has.
const OF_EACH_TYPE: usize = 8;
const MORE_OF_BLOCKS: usize = 4;

macro_rules! kernels {
    (
        $($file:literal: $($name:ident($args:ident, $threads:ident)),*;)*
        of each type: $($types:literal: $($ty:ident),*;)*
        of each type of blocks: $($blocks:literal: $($block:ident),*;)*
    ) => {
        /// The places of the kernels that stand alone; after `End` come those of each type.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum At { $($($name,)*)* End }

        $($(
            #[allow(non_upper_case_globals)]
            pub const $name: Kernel<$args> = Kernel::at(At::$name as usize);
        )*)*

        /// The types that kernels multiply by.
        const TYPES: &[Type] = &[$($(Type::$ty,)*)* $($(Type::$block,)*)*];
        /// Those of them that are no blocks come first.
        const N_PLAIN: usize = [$($(Type::$ty,)*)*].len();

        /// All kernels.
        pub static TABLE: &[Entry] = &[
            $($(Entry::new::<$args>($file, stringify!($name), $threads),)*)*
            $($(
                Entry::new::<MatvecOne>($types, concat!("matvec_", stringify!($ty), "_1"), MATVEC_THREADS),
                Entry::new::<Matvec>($types, concat!("matvec_", stringify!($ty), "_2"), MATVEC_THREADS),
                Entry::new::<Matvec>($types, concat!("matvec_", stringify!($ty), "_4"), MATVEC_THREADS),
                Entry::new::<Matvec>($types, concat!("matvec_", stringify!($ty), "_8"), MATVEC_THREADS),
                Entry::new::<MatvecExperts>($types, concat!("matvec_experts_", stringify!($ty)), MATVEC_THREADS),
                Entry::new::<Gemm>("gemm", concat!("gemm_", stringify!($ty)), GEMM_THREADS),
                Entry::new::<Gemm>("gemm", concat!("gemm_small_", stringify!($ty)), GEMM_THREADS),
                Entry::new::<GemmExperts>("gemm", concat!("gemm_experts_", stringify!($ty)), GEMM_THREADS),
            )*)*
            $($(
                Entry::new::<MatvecOne>($blocks, concat!("matvec_", stringify!($block), "_1"), MATVEC_THREADS),
                Entry::new::<Matvec>($blocks, concat!("matvec_", stringify!($block), "_2"), MATVEC_THREADS),
                Entry::new::<Matvec>($blocks, concat!("matvec_", stringify!($block), "_4"), MATVEC_THREADS),
                Entry::new::<Matvec>($blocks, concat!("matvec_", stringify!($block), "_8"), MATVEC_THREADS),
                Entry::new::<MatvecExperts>($blocks, concat!("matvec_experts_", stringify!($block)), MATVEC_THREADS),
                Entry::new::<Gemm>("gemm", concat!("gemm_", stringify!($block)), GEMM_THREADS),
                Entry::new::<Gemm>("gemm", concat!("gemm_small_", stringify!($block)), GEMM_THREADS),
                Entry::new::<GemmExperts>("gemm", concat!("gemm_experts_", stringify!($block)), GEMM_THREADS),
                Entry::new::<MatvecOne>($blocks, concat!("matvec_gated_", stringify!($block)), MATVEC_THREADS),
                Entry::new::<MatvecOne>($blocks, concat!("matvec_ahead_", stringify!($block), "_1"), MATVEC_THREADS),
                Entry::new::<MatvecExperts>(
                    $blocks,
                    concat!("matvec_ahead_experts_", stringify!($block)),
                    MATVEC_THREADS
                ),
                Entry::new::<MatvecOne>($blocks, concat!("matvec_ahead_gated_", stringify!($block)), MATVEC_THREADS),
            )*)*
        ];
    };
}

kernels! {
    "attention":
        attention_F32_F32_2(Attention, ATTENTION_THREADS),
        attention_F32_F32_4(Attention, ATTENTION_THREADS),
        attention_F32_F32_8(Attention, ATTENTION_THREADS),
        attention_F16_F16_2(Attention, ATTENTION_THREADS),
        attention_F16_F16_4(Attention, ATTENTION_THREADS),
        attention_F16_F16_8(Attention, ATTENTION_THREADS),
        attention_F16_Q8_0_2(Attention, ATTENTION_THREADS),
        attention_F16_Q8_0_4(Attention, ATTENTION_THREADS),
        attention_F16_Q8_0_8(Attention, ATTENTION_THREADS),
        attention_Q8_0_F16_2(Attention, ATTENTION_THREADS),
        attention_Q8_0_F16_4(Attention, ATTENTION_THREADS),
        attention_Q8_0_F16_8(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q8_0_2(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q8_0_4(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q8_0_8(Attention, ATTENTION_THREADS),
        attention_F16_Q4_0_2(Attention, ATTENTION_THREADS),
        attention_F16_Q4_0_4(Attention, ATTENTION_THREADS),
        attention_F16_Q4_0_8(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q4_0_2(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q4_0_4(Attention, ATTENTION_THREADS),
        attention_Q8_0_Q4_0_8(Attention, ATTENTION_THREADS),
        attention_Q4_0_Q4_0_2(Attention, ATTENTION_THREADS),
        attention_Q4_0_Q4_0_4(Attention, ATTENTION_THREADS),
        attention_Q4_0_Q4_0_8(Attention, ATTENTION_THREADS),
        attention_merge(Attention, ATTENTION_THREADS);
    "attention_prefill":
        attention_prefill_128(Attention, ATTENTION_THREADS),
        attention_prefill_256(Attention, ATTENTION_THREADS),
        attention_prefill_512(Attention, ATTENTION_THREADS),
        attention_prefill_alibi(Attention, ATTENTION_THREADS);
    "columns":
        columns(Columns, COLUMNS_THREADS),
        concat(Concat, COLUMNS_THREADS);
    "convolve":
        convolve_4(Convolve, CONVOLVE_THREADS),
        convolve_16(Convolve, CONVOLVE_THREADS);
    "elementwise":
        scale(Scale, EACH_THREADS),
        add(Each, EACH_THREADS),
        activation(Gate, EACH_THREADS),
        gate(Gate, EACH_THREADS),
        soft_cap(Each, EACH_THREADS);
    "experts":
        expert_lists(ExpertLists, LISTS_THREADS);
    "kv":
        store_F32(Store, KV_THREADS),
        store_F16(Store, KV_THREADS),
        store_Q8_0(Store, KV_THREADS),
        store_Q4_0(Store, KV_THREADS),
        copy_cells(CopyCells, KV_THREADS),
        turn_F32(Turn, KV_THREADS),
        turn_F16(Turn, KV_THREADS),
        turn_Q8_0(Turn, KV_THREADS),
        turn_Q4_0(Turn, KV_THREADS);
    "linear_attention":
        linear_attention_64(LinearAttention, LINEAR_ATTENTION_THREADS),
        linear_attention_128(LinearAttention, LINEAR_ATTENTION_THREADS),
        linear_attention_256(LinearAttention, LINEAR_ATTENTION_THREADS),
        linear_attention_by_row_64(LinearAttention, LINEAR_ATTENTION_THREADS),
        linear_attention_by_row_128(LinearAttention, LINEAR_ATTENTION_THREADS),
        linear_attention_by_row_256(LinearAttention, LINEAR_ATTENTION_THREADS);
    "matvec_pairs":
        matvec_Q4_K_Q6_K(MatvecOne, MATVEC_THREADS),
        matvec_Q5_K_Q6_K(MatvecOne, MATVEC_THREADS),
        matvec_ahead_Q4_K_Q6_K(MatvecOne, MATVEC_THREADS),
        matvec_ahead_Q5_K_Q6_K(MatvecOne, MATVEC_THREADS);
    "norm":
        norm(Norm, NORM_THREADS),
        norm_small(Norm, NORM_SMALL_THREADS);
    "rope":
        rope(Rope, ROPE_THREADS);
    "rope_store":
        rope_store(RopeStore, KV_THREADS);
    "route":
        route(Route, ROUTE_THREADS),
        route_many(Route, ROUTE_THREADS),
        sum_experts(SumExperts, SUM_THREADS);
    "scan":
        scan_16(Scan, SCAN_THREADS),
        scan_64(Scan, SCAN_THREADS);
    "select_outputs":
        select_outputs(SelectOutputs, SELECT_THREADS);
    of each type:
    "matvec_plain": F32, F16, BF16;
    of each type of blocks:
    "matvec_small": Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4;
    "matvec": Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS;
    "matvec_grid": IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S;
}

// These are the types that the table of types promises.
const _: () = {
    let (mut i, mut promised) = (0, 0);
    while i < Type::ALL.len() {
        promised += Type::ALL[i].on_cuda() as usize;
        i += 1;
    }
    let mut i = 0;
    while i < TYPES.len() {
        assert!(TYPES[i].on_cuda());
        i += 1;
    }
    assert!(TYPES.len() == promised);
};

/// The kernels of a weight type.
#[derive(Clone, Copy)]
pub struct OfType {
    first: usize,
    has_blocks: bool,
}

impl OfType {
    pub fn new(ty: Type) -> Result<OfType> {
        let at = TYPES.iter().position(|t| *t == ty).ok_or_else(|| no_kernel("multiply by", &[ty]))?;
        let blocks_before = at.saturating_sub(N_PLAIN);
        let first = At::End as usize + at * OF_EACH_TYPE + blocks_before * MORE_OF_BLOCKS;
        Ok(OfType { first, has_blocks: at >= N_PLAIN })
    }
    /// Products of one row. `ahead`: of blocks, the form that loads ahead.
    pub fn matvec_one(self, ahead: bool) -> Kernel<MatvecOne> {
        Kernel::at(self.first + if ahead && self.has_blocks { OF_EACH_TYPE + 1 } else { 0 })
    }
    /// Products of up to `most_rows` rows: 2, 4 or 8.
    pub fn matvec(self, most_rows: usize) -> Kernel<Matvec> {
        debug_assert!(matches!(most_rows, 2 | 4 | 8));
        Kernel::at(self.first + most_rows.ilog2() as usize)
    }
    pub fn matvec_experts(self, ahead: bool) -> Kernel<MatvecExperts> {
        Kernel::at(self.first + if ahead && self.has_blocks { OF_EACH_TYPE + 2 } else { 4 })
    }
    /// A gated pair of matrices of blocks.
    pub fn matvec_gated(self, ahead: bool) -> Option<Kernel<MatvecOne>> {
        self.has_blocks.then(|| Kernel::at(self.first + OF_EACH_TYPE + if ahead { 3 } else { 0 }))
    }
    pub fn gemm(self) -> Kernel<Gemm> {
        Kernel::at(self.first + 5)
    }
    pub fn gemm_small(self) -> Kernel<Gemm> {
        Kernel::at(self.first + 6)
    }
    pub fn gemm_experts(self) -> Kernel<GemmExperts> {
        Kernel::at(self.first + 7)
    }
}

/// Two matrices of one type and a third of another, in one launch.
pub fn matvec_pair(two: Type, third: Type, ahead: bool) -> Option<Kernel<MatvecOne>> {
    match (two, third, ahead) {
        (Type::Q4_K, Type::Q6_K, false) => Some(matvec_Q4_K_Q6_K),
        (Type::Q4_K, Type::Q6_K, true) => Some(matvec_ahead_Q4_K_Q6_K),
        (Type::Q5_K, Type::Q6_K, false) => Some(matvec_Q5_K_Q6_K),
        (Type::Q5_K, Type::Q6_K, true) => Some(matvec_ahead_Q5_K_Q6_K),
        _ => None,
    }
}

/// Plans promise no types without kernels, so this is a defect of the library's own.
fn no_kernel(does: &str, types: &[Type]) -> Error {
    let names: Vec<_> = types.iter().map(|ty| ty.name()).collect();
    Error::new(Status::Internal, format!("CUDA devices have no kernel to {does} {}", names.join(" and ")))
}

/// The kernel that stores keys or values of a type.
pub fn store(ty: Type) -> Result<Kernel<Store>> {
    match ty {
        Type::F32 => Ok(store_F32),
        Type::F16 => Ok(store_F16),
        Type::Q8_0 => Ok(store_Q8_0),
        Type::Q4_0 => Ok(store_Q4_0),
        _ => Err(no_kernel("store", &[ty])),
    }
}

/// The kernel that turns cached keys of a type.
pub fn turn(ty: Type) -> Result<Kernel<Turn>> {
    match ty {
        Type::F32 => Ok(turn_F32),
        Type::F16 => Ok(turn_F16),
        Type::Q8_0 => Ok(turn_Q8_0),
        Type::Q4_0 => Ok(turn_Q4_0),
        _ => Err(no_kernel("turn", &[ty])),
    }
}

/// The split form of attention for keys and values of these types: with 2, 4 or 8 query heads of a group at a time.
/// `None`: keys or values of F32 beside others, and keys of Q4_0 beside finer values, which nobody has a reason to use,
/// go by tiles.
pub fn attention_split(k: Type, v: Type) -> Option<[Kernel<Attention>; 3]> {
    match (k, v) {
        (Type::F32, Type::F32) => Some([attention_F32_F32_2, attention_F32_F32_4, attention_F32_F32_8]),
        (Type::F16, Type::F16) => Some([attention_F16_F16_2, attention_F16_F16_4, attention_F16_F16_8]),
        (Type::F16, Type::Q8_0) => Some([attention_F16_Q8_0_2, attention_F16_Q8_0_4, attention_F16_Q8_0_8]),
        (Type::Q8_0, Type::F16) => Some([attention_Q8_0_F16_2, attention_Q8_0_F16_4, attention_Q8_0_F16_8]),
        (Type::Q8_0, Type::Q8_0) => Some([attention_Q8_0_Q8_0_2, attention_Q8_0_Q8_0_4, attention_Q8_0_Q8_0_8]),
        (Type::F16, Type::Q4_0) => Some([attention_F16_Q4_0_2, attention_F16_Q4_0_4, attention_F16_Q4_0_8]),
        (Type::Q8_0, Type::Q4_0) => Some([attention_Q8_0_Q4_0_2, attention_Q8_0_Q4_0_4, attention_Q8_0_Q4_0_8]),
        (Type::Q4_0, Type::Q4_0) => Some([attention_Q4_0_Q4_0_2, attention_Q4_0_Q4_0_4, attention_Q4_0_Q4_0_8]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::images::FILES;
    use super::*;

    fn is<A: Args>(kernel: Kernel<A>, name: String) {
        let entry = kernel.entry();
        assert_eq!((entry.name, entry.args), (name.as_str(), A::NAME));
    }

    #[test]
    fn each_type_finds_its_own_kernels() {
        for ty in TYPES {
            let (of, name) = (OfType::new(*ty).unwrap(), ty.name());
            [2, 4, 8].into_iter().for_each(|n| is(of.matvec(n), format!("matvec_{name}_{n}")));
            for ahead in [false, true] {
                let form = if ahead && ty.block_len() > 1 { "ahead_" } else { "" };
                is(of.matvec_one(ahead), format!("matvec_{form}{name}_1"));
                is(of.matvec_experts(ahead), format!("matvec_{form}experts_{name}"));
                match of.matvec_gated(ahead) {
                    Some(kernel) => is(kernel, format!("matvec_{form}gated_{name}")),
                    None => assert_eq!(ty.block_len(), 1),
                }
            }
            is(of.gemm(), format!("gemm_{name}"));
            is(of.gemm_small(), format!("gemm_small_{name}"));
            is(of.gemm_experts(), format!("gemm_experts_{name}"));
        }
        assert!(OfType::new(Type::Q8_1).is_err());
        let cached = [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0];
        for k in cached {
            is(store(k).unwrap(), format!("store_{}", k.name()));
            is(turn(k).unwrap(), format!("turn_{}", k.name()));
            for (v, forms) in cached.into_iter().filter_map(|v| Some((v, attention_split(k, v)?))) {
                let names = [2, 4, 8].map(|n| format!("attention_{}_{}_{n}", k.name(), v.name()));
                forms.into_iter().zip(names).for_each(|(form, name)| is(form, name));
            }
        }
    }

    #[test]
    fn every_kernel_is_in_an_image_and_no_image_is_without() {
        for entry in TABLE {
            assert!(
                FILES.iter().any(|f| f.name == entry.file),
                "{}: there is no kernels/{}.cu",
                entry.name,
                entry.file
            );
        }
        for file in FILES {
            assert!(TABLE.iter().any(|entry| entry.file == file.name), "nobody launches kernels of {}", file.name);
        }
    }
}
