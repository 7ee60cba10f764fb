//! Device specs of names: `auto`, `cpu`, `k80:4,cpu`.

use super::device::MAX_DEVICES;
use super::finder::Finder;
use super::inventory::Inventory;
use super::{cpu, profile};
use crate::error::{Error, Result};

pub(super) fn parse(spec: &str, finder: &dyn Finder) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    if matches!(spec, "" | "auto") {
        inventory.add_found(finder, 0, MAX_DEVICES - 1)?;
        inventory.devices.push(cpu::find());
        return Ok(inventory);
    }
    let (mut at, mut boards) = (0, 0);
    for item in spec.split(',') {
        let name = item.trim();
        let fail = |why: String| Error::invalid(format!("device spec, character {}: {why}", at + 1));
        let (kind, count) = name.split_once(':').unwrap_or((name, "1"));
        match kind {
            "cuda" if inventory.devices.iter().any(|d| d.ordinal.is_some()) => {
                return Err(fail("cuda is named twice".to_owned()));
            }
            "cpu" if name == "cpu" => inventory.devices.push(cpu::find()),
            "cuda" if name == "cuda" => inventory.add_found(finder, 1, MAX_DEVICES - 1)?,
            "cuda" => {
                let n = number(count).ok_or_else(|| fail(no_number(count)))?;
                inventory.add_found(finder, n as usize, n as usize)?;
            }
            _ if profile::NAMES.contains(&kind) => {
                let n = number(count).ok_or_else(|| fail(no_number(count)))?;
                inventory.devices.extend((0..n).filter_map(|i| profile::find(kind, i, boards)));
                boards += n.div_ceil(profile::devices_per_board(kind));
            }
            "" => return Err(fail("a name is missing".to_owned())),
            _ => {
                let known = profile::NAMES.join(":N, ");
                return Err(fail(format!(
                    "'{}' is not known, expected auto, cpu, cuda, cuda:N, {known}:N or JSON",
                    shown(name)
                )));
            }
        }
        too_many(&inventory)?;
        at += item.chars().count() + 1;
    }
    Ok(inventory)
}

/// A number of devices that leaves room for the CPU.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| (1..MAX_DEVICES as u32).contains(n))
}
fn no_number(text: &str) -> String {
    format!("'{}' is no number of devices from 1 to {}", shown(text), MAX_DEVICES - 1)
}

/// The part of a caller's text that a message shows.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Refuses an inventory of too many devices.
///
/// # Errors
/// `InvalidArgument` for more than `MAX_DEVICES` devices.
pub(super) fn too_many(inventory: &Inventory) -> Result<()> {
    if inventory.devices.len() > MAX_DEVICES {
        return Err(Error::invalid(format!("the device spec names more than {MAX_DEVICES} devices")));
    }
    Ok(())
}
