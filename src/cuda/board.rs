//! Which dies are on one board. A board of several dies has a switch of its own, so the tree of PCI devices that the
//! system shows tells: dies with one switch above them are neighbours, whatever numbers their buses have.

use std::path::{Path, PathBuf};

/// Where a die is on the PCI bus, as the driver tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub domain: u32,
    pub bus: u32,
    pub device: u32,
}

/// A number that dies of one board share, and no others. `group` is the driver's own number of a board of several dies;
/// `None`: it says that the die is alone, or nothing.
pub(super) fn board(at: Place, group: Option<u32>) -> u32 {
    let own = (at.domain << 8 | at.bus) & 0x7fff;
    let Some(group) = group else { return own };
    match switch(Path::new("/sys/bus/pci/devices"), at) {
        Some(bus) => bus,
        // Beyond the numbers of buses.
        None => 0x8000 | group & 0x7fff,
    }
}

/// The bus of the switch that is two bridges above a die: its port towards the host. A die of NVIDIA's must be there.
fn switch(devices: &Path, at: Place) -> Option<u32> {
    let link = devices.join(format!("{:04x}:{:02x}:{:02x}.0", at.domain, at.bus, at.device));
    let vendor = std::fs::read_to_string(link.join("vendor")).ok()?;
    if vendor.trim() != "0x10de" {
        return None;
    }
    above(&std::fs::canonicalize(link).ok()?)
}

/// Of `.../0000:03:00.0/0000:04:08.0/0000:05:00.0` the domain and bus of the first.
fn above(path: &Path) -> Option<u32> {
    let upper: PathBuf = path.parent()?.parent()?.to_path_buf();
    let mut numbers = upper.file_name()?.to_str()?.split(':');
    let hex = |s: Option<&str>| u32::from_str_radix(s?, 16).ok();
    // A root has two numbers, behind "pci".
    let (domain, bus, _device) = (hex(numbers.next())?, hex(numbers.next())?, numbers.next()?);
    Some(domain << 8 | bus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_two_bridges_up() {
        let root = "/sys/devices/pci0000:80/0000:80:02.0/0000:82:00.0";
        let die = |tail: &str| above(Path::new(&format!("{root}/{tail}")));
        // Boards at 05/06 and 83/84: the numbers alone would part them.
        assert_eq!(die("0000:83:08.0/0000:84:00.0"), Some(0x82));
        assert_eq!(die("0000:83:10.0/0000:85:00.0"), Some(0x82));
        // A card right below the root.
        assert_eq!(above(Path::new("/sys/devices/pci0000:00/0000:00:02.0/0000:05:00.0")), None);
        assert_eq!(above(Path::new("/")), None);
    }

    #[test]
    fn other_devices_tell_nothing() {
        let folder = std::env::temp_dir().join(format!("rekindle-board-{}", std::process::id()));
        let device = folder.join("0000:05:00.0");
        std::fs::create_dir_all(&device).unwrap();
        let at = Place { domain: 0, bus: 5, device: 0 };
        assert_eq!(switch(&folder, at), None);
        std::fs::write(device.join("vendor"), "0x8086\n").unwrap();
        assert_eq!(switch(&folder, at), None);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(board(at, None), 5);
    }
}
