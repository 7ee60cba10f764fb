//! Bytes on a device.

/// Bytes on one device, by arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The weights arena.
    pub weights: u64,
    /// Weights used straight from the file's memory map; page cache, not the process's own.
    pub mapped: u64,
    /// The KV arena: caches of keys and values, and recurrent states.
    pub kv: u64,
    /// The recurrent states among them.
    pub states: u64,
    /// The compute arena.
    pub compute: u64,
    /// The driver's own share.
    pub driver: u64,
}

impl Memory {
    /// Bytes that are asked of the device: the three arenas and the driver's share.
    pub fn asked(&self) -> u64 {
        [self.weights, self.kv, self.compute, self.driver].into_iter().fold(0, u64::saturating_add)
    }
    /// Bytes that must fit into free memory. Mapped weights are among them: if they did not fit, they would be read
    /// from the disk again and again.
    pub fn needed(&self) -> u64 {
        self.asked().saturating_add(self.mapped)
    }
}
