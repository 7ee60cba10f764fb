//! A device and a link between two.

/// More than any machine of today has; sets of devices are bit masks.
pub const MAX_DEVICES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub name: String,
    pub kind: Kind,
    pub total_bytes: u64,
    /// What could be allocated when the inventory was made.
    pub free_bytes: u64,
    /// What the driver takes of that as soon as a program uses the device: its context and loaded modules.
    pub driver_bytes: u64,
    /// CUDA compute capability; 0.0 for the CPU.
    pub compute_major: u32,
    pub compute_minor: u32,
    /// Plain reads from its memory, bytes per second; 0 where not known.
    pub read_bandwidth: f64,
    /// Multiplications and additions of float32 per second, both counted; 0 where not known.
    pub flops: f64,
    /// To and from the host's memory, bytes per second; 0 where not known.
    pub host_bandwidth: f64,
    /// Devices of one board share its link to the host.
    pub board: u32,
    /// Described, not found: can be planned for, not loaded.
    pub described: bool,
    /// Whether layers may be placed here. The CPU is in every inventory, since the host reads the token embedding, but
    /// computes layers only where the spec names it.
    pub takes_layers: bool,
    /// The driver's number of a CUDA device that was found.
    pub ordinal: Option<u32>,
    /// Which image of the kernels it runs, for people; empty where none.
    pub image: String,
}

/// What two devices can copy to each other without the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    pub a: u32,
    pub b: u32,
    /// Bytes per second.
    pub bandwidth: f64,
}
