//! The inventory: which devices there are and what is known of each.

mod cpu;

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cpu,
    Cuda,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cpu => "CPU",
            Kind::Cuda => "CUDA",
        }
    }
}

/// A device, found on this machine or described by the caller.
#[derive(Debug, Clone)]
pub struct Device {
    pub name: String,
    pub kind: Kind,
    pub total_bytes: u64,
    /// What could be allocated when the inventory was made.
    pub free_bytes: u64,
    /// CUDA compute capability; 0.0 for the CPU.
    pub compute_major: u32,
    pub compute_minor: u32,
    /// Plain reads from its memory, bytes per second; 0 where not known.
    pub read_bandwidth: f64,
    /// Devices of one board share its link to the host.
    pub board: u32,
    /// Described, not found: can be planned for, not loaded.
    pub described: bool,
}

#[derive(Debug, Clone)]
pub struct Inventory {
    pub devices: Vec<Device>,
}

impl Inventory {
    /// Makes the inventory from a device spec: "" or "auto" (everything found) or "cpu".
    ///
    /// # Errors
    /// `InvalidArgument` for a spec that does not parse, with the place.
    pub fn from_spec(spec: &str) -> Result<Inventory> {
        match spec.trim() {
            "" | "auto" | "cpu" => Ok(Inventory { devices: vec![cpu::find()] }),
            other => {
                let shown: String = other.chars().take(60).collect();
                Err(Error::invalid(format!("device spec '{shown}' is not known, expected 'auto' or 'cpu'")).subject("devices"))
            }
        }
    }
}
