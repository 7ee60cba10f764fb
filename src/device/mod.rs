//! Devices: their memory, bandwidth and links, found on this machine or described by the caller. Blocks of this
//! machine's memory are here too.

mod arena;
mod cpu;
mod device;
mod finder;
mod inventory;
mod json;
mod profile;
mod read;
mod spec;

pub use arena::{Arena, lock_pages};
pub use device::{Device, Kind, Link, MAX_DEVICES};
pub use finder::{Finder, Found};
pub use inventory::Inventory;
pub use read::free_memory;
