//! The words in which `args` describes structs and numbers, so that both the library's and the kernels' come of one
//! description.

use super::super::driver::Ptr;
use crate::graph;

/// A struct that a kernel takes, by value.
pub trait Args: Copy {
    const NAME: &'static str;
}

/// A type of a field: its holder here, and a kernel's word for it.
pub trait Field {
    type Held;
    #[cfg(test)]
    const C: &'static str;
}

macro_rules! fields {
    ($($ty:ty as $held:ty = $c:literal;)*) => {$(
        impl Field for $ty {
            type Held = $held;
            #[cfg(test)]
            const C: &'static str = $c;
        }
    )*};
}

fields! {
    i32 as i32 = "int ";
    i64 as i64 = "long long ";
    f32 as f32 = "float ";
    // Kernels count with `int`. The host's counts are of cells and tokens, which positions number, and those are `i32`.
    u32 as u32 = "int ";
    *const u8 as Ptr = "const unsigned char* ";
    *mut u8 as Ptr = "unsigned char* ";
    *const i32 as Ptr = "const int* ";
    *mut i32 as Ptr = "int* ";
    *const f32 as Ptr = "const float* ";
    *mut f32 as Ptr = "float* ";
    *const graph::Span as Ptr = "const Span* ";
    *const graph::Run as Ptr = "const Run* ";
    super::States as super::States = "States ";
}

/// A constant or a struct as the test writes it to `args.h`.
#[cfg(test)]
pub enum Described {
    Constant { docs: &'static [&'static str], name: &'static str, value: usize },
    Struct { docs: &'static [&'static str], name: &'static str, fields: &'static [DescribedField] },
}
#[cfg(test)]
pub struct DescribedField {
    pub docs: &'static [&'static str],
    pub c: &'static str,
    pub name: &'static str,
}

macro_rules! constants {
    ($($(#[doc = $doc:literal])* $name:ident = $value:expr;)*) => {
        // Some are the kernels' alone.
        $($(#[doc = $doc])* #[allow(dead_code)] pub const $name: usize = $value;)*

        #[cfg(test)]
        const CONSTANTS: &[Described] =
            &[$(Described::Constant { docs: &[$($doc),*], name: stringify!($name), value: $name }),*];
    };
}

/// A struct as the test is told of it.
#[cfg(test)]
macro_rules! described {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $ty:ty,)* }) => {
        Described::Struct {
            docs: &[$($about),*],
            name: stringify!($name),
            fields: &[$(DescribedField { docs: &[$($doc),*], c: <$ty as Field>::C, name: stringify!($field) }),*],
        }
    };
}

/// Structs of the graph's that kernels read in a micro-batch's tables.
macro_rules! tables {
    ($($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $ty:ty,)* })*) => {
        $(
            // The fields are those of the struct, in its order, and fill it.
            const _: () = {
                let mut end = 0;
                $(
                    assert!(std::mem::offset_of!(graph::$name, $field) == end);
                    end += size_of::<$ty>();
                    let _: fn(&graph::$name) -> &$ty = |whole| &whole.$field;
                )*
                assert!(size_of::<graph::$name>() == end);
            };
        )*

        #[cfg(test)]
        const TABLES: &[Described] =
            &[$(described!($(#[doc = $about])* $name { $($(#[doc = $doc])* $field: $ty,)* })),*];
    };
}

macro_rules! args {
    ($($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[doc = $about])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy)]
            pub struct $name {
                $($(#[doc = $doc])* pub $field: <$ty as Field>::Held,)*
            }

            impl Args for $name {
                const NAME: &'static str = stringify!($name);
            }

            // No hidden padding.
            const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<<$ty as Field>::Held>())*);
        )*

        #[cfg(test)]
        pub(super) const STRUCTS: &[Described] =
            &[$(described!($(#[doc = $about])* $name { $($(#[doc = $doc])* $field: $ty,)* })),*];
    };
}
