//! The face of a finder of CUDA devices. The room of the driver, `cuda`, implements it.

use super::device::Device;
use crate::error::Result;

/// The CUDA devices of this machine that a finder found.
#[derive(Debug, Default)]
pub struct Found {
    pub devices: Vec<Device>,
    /// Pairs of them that copy to each other without the host, and the speed in bytes per second. A copy in each
    /// direction has proved it.
    pub links: Vec<(u32, u32, f64)>,
    /// Texts for people about devices that were left out, and about links that the driver promised but that do not
    /// work.
    pub notes: Vec<String>,
}

/// Looks for CUDA devices on this machine. This room knows no driver, so the finder is handed in from above.
pub trait Finder {
    /// Finds at most `most` devices. A device that fails is an error if `strict`, else it is left out and noted.
    ///
    /// # Errors
    /// `Device` if there is no driver of use, or no device.
    fn all(&self, most: usize, strict: bool) -> Result<Found>;

    /// Finds the driver's device `ordinal`. It does not matter if others fail.
    ///
    /// # Errors
    /// As above.
    fn one(&self, ordinal: u32) -> Result<Device>;
}
