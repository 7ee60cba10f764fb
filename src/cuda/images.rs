//! The images of all kernels. Written by kernels/build.py; do not edit.

use super::image::{Cubin, File};

/// The compute capability that the PTX was made for.
pub const PTX: (u32, u32) = (3, 7);

#[rustfmt::skip]
pub static FILES: &[File] = &[
    File {
        name: "attention",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/attention.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/attention.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/attention.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/attention.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/attention.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/attention.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/attention.ptx.z"),
    },
    File {
        name: "attention_prefill",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/attention_prefill.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/attention_prefill.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/attention_prefill.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/attention_prefill.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/attention_prefill.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/attention_prefill.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/attention_prefill.ptx.z"),
    },
    File {
        name: "columns",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/columns.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/columns.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/columns.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/columns.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/columns.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/columns.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/columns.ptx.z"),
    },
    File {
        name: "convolve",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/convolve.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/convolve.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/convolve.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/convolve.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/convolve.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/convolve.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/convolve.ptx.z"),
    },
    File {
        name: "elementwise",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/elementwise.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/elementwise.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/elementwise.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/elementwise.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/elementwise.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/elementwise.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/elementwise.ptx.z"),
    },
    File {
        name: "experts",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/experts.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/experts.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/experts.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/experts.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/experts.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/experts.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/experts.ptx.z"),
    },
    File {
        name: "gemm",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/gemm.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/gemm.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/gemm.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/gemm.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/gemm.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/gemm.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/gemm.ptx.z"),
    },
    File {
        name: "kv",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/kv.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/kv.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/kv.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/kv.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/kv.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/kv.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/kv.ptx.z"),
    },
    File {
        name: "linear_attention",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/linear_attention.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/linear_attention.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/linear_attention.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/linear_attention.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/linear_attention.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/linear_attention.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/linear_attention.ptx.z"),
    },
    File {
        name: "matvec",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/matvec.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/matvec.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/matvec.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/matvec.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/matvec.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/matvec.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/matvec.ptx.z"),
    },
    File {
        name: "matvec_grid",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/matvec_grid.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/matvec_grid.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/matvec_grid.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/matvec_grid.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/matvec_grid.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/matvec_grid.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/matvec_grid.ptx.z"),
    },
    File {
        name: "matvec_pairs",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/matvec_pairs.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/matvec_pairs.ptx.z"),
    },
    File {
        name: "matvec_plain",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/matvec_plain.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/matvec_plain.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/matvec_plain.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/matvec_plain.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/matvec_plain.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/matvec_plain.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/matvec_plain.ptx.z"),
    },
    File {
        name: "matvec_small",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/matvec_small.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/matvec_small.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/matvec_small.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/matvec_small.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/matvec_small.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/matvec_small.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/matvec_small.ptx.z"),
    },
    File {
        name: "norm",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/norm.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/norm.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/norm.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/norm.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/norm.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/norm.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/norm.ptx.z"),
    },
    File {
        name: "rope",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/rope.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/rope.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/rope.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/rope.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/rope.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/rope.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/rope.ptx.z"),
    },
    File {
        name: "rope_store",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/rope_store.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/rope_store.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/rope_store.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/rope_store.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/rope_store.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/rope_store.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/rope_store.ptx.z"),
    },
    File {
        name: "route",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/route.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/route.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/route.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/route.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/route.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/route.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/route.ptx.z"),
    },
    File {
        name: "scan",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/scan.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/scan.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/scan.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/scan.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/scan.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/scan.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/scan.ptx.z"),
    },
    File {
        name: "select_outputs",
        cubins: &[
        Cubin { major: 3, minor: 7, packed: include_bytes!("../../kernels/images/select_outputs.sm_37.cubin.z") },
        Cubin { major: 5, minor: 0, packed: include_bytes!("../../kernels/images/select_outputs.sm_50.cubin.z") },
        Cubin { major: 6, minor: 0, packed: include_bytes!("../../kernels/images/select_outputs.sm_60.cubin.z") },
        Cubin { major: 7, minor: 0, packed: include_bytes!("../../kernels/images/select_outputs.sm_70.cubin.z") },
        Cubin { major: 8, minor: 0, packed: include_bytes!("../../kernels/images/select_outputs.sm_80.cubin.z") },
        Cubin { major: 9, minor: 0, packed: include_bytes!("../../kernels/images/select_outputs.sm_90.cubin.z") },
        ],
        ptx: include_bytes!("../../kernels/images/select_outputs.ptx.z"),
    },
];
