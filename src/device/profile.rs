//! Built-in descriptions of cards, with figures that were measured on them.

use super::device::{Device, Kind};

const MIB: u64 = 1 << 20;

/// Names of the profiles.
pub(super) const NAMES: [&str; 1] = ["k80"];

/// Device `index` of a row of like devices; boards are numbered from `first_board`.
pub(super) fn find(name: &str, index: u32, first_board: u32) -> Option<Device> {
    match name {
        "k80" => Some(k80(index, first_board)),
        _ => None,
    }
}

pub(super) fn devices_per_board(name: &str) -> u32 {
    if name == "k80" { 2 } else { 1 }
}

/// One GK210 die of a Tesla K80; a board has two. With ECC on, 11441 MiB are visible. 7 MiB of them are used when idle,
/// and 102 MiB once a context exists. Plain reads reach 147 to 159 GB/s at 875 MHz. The die has 13 multiprocessors of
/// 192 lanes. A board has PCIe 3.0 x16, 8 to 10 GB/s. (Public measurements on four dies, driver 470, CUDA 11.4.)
fn k80(index: u32, first_board: u32) -> Device {
    Device {
        name: "Tesla K80".to_owned(),
        kind: Kind::Cuda,
        total_bytes: 11441 * MIB,
        free_bytes: (11441 - 7) * MIB,
        driver_bytes: 102 * MIB,
        compute_major: 3,
        compute_minor: 7,
        read_bandwidth: 150e9,
        flops: 13.0 * 192.0 * 2.0 * 875e6,
        host_bandwidth: 8e9,
        board: first_board + index / 2,
        described: true,
        takes_layers: true,
        ordinal: None,
        image: String::new(),
    }
}
