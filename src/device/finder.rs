//! How CUDA devices are looked for; the room of the driver implements it.

use super::device::Device;
use crate::error::Result;

/// CUDA devices of this machine, as a finder sees them.
#[derive(Debug, Default)]
pub struct Found {
    pub devices: Vec<Device>,
    /// Pairs of them that copy to each other without the host, both ways proved, and bytes per second.
    pub links: Vec<(u32, u32, f64)>,
    /// For people: devices that were left out, and links that the driver promised in vain.
    pub notes: Vec<String>,
}

/// Looks for CUDA devices on this machine. Descriptions need no driver, so whoever has one hands it in.
pub trait Finder {
    /// At most `most` devices. One that fails is an error if `strict`, else it is left out and noted.
    ///
    /// # Errors
    /// `Device` where there is no driver that serves, or no device.
    fn all(&self, most: usize, strict: bool) -> Result<Found>;

    /// The driver's device `ordinal` alone, whatever others do.
    ///
    /// # Errors
    /// As above.
    fn one(&self, ordinal: u32) -> Result<Device>;
}
