//! A device and a link between two.

/// The most devices of a context, more than any machine of today has. Sets of devices are bit masks, and this bounds
/// them.
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
    /// Bytes that could be allocated when the inventory was made.
    pub free_bytes: u64,
    /// Bytes of these that the driver takes as soon as a program uses the device: for its context and loaded modules.
    pub driver_bytes: u64,
    /// CUDA compute capability; 0.0 for the CPU.
    pub compute_major: u32,
    pub compute_minor: u32,
    /// Speed of plain reads from its memory, in bytes per second; 0 if not known.
    pub read_bandwidth: f64,
    /// Multiplications and additions of float32 per second, both counted; 0 if not known.
    pub flops: f64,
    /// Speed of copies to and from the host's memory, in bytes per second; 0 if not known.
    pub host_bandwidth: f64,
    /// Number of the board that it sits on. Devices of one board share its link to the host.
    pub board: u32,
    /// True if the caller described it. A plan may use it; a load cannot.
    pub described: bool,
    /// True if layers may be placed here. The CPU is in every inventory, since the host reads the token embedding, but
    /// it computes layers only if the spec names it.
    pub takes_layers: bool,
    /// The driver's number of a CUDA device that was found.
    pub ordinal: Option<u32>,
    /// The image of the kernels that it runs, as a text for people; empty if it runs none.
    pub image: String,
}

/// A link: two devices copy to each other over it without the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    pub a: u32,
    pub b: u32,
    /// Bytes per second.
    pub bandwidth: f64,
}
