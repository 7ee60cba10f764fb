//! Looking for dies: the facts that the driver tells of each, the memory that it takes itself, and the dies that can
//! reach each other.
//!
//! The driver's own share of a die's memory is measured: a context with all kernels is made, the free memory is read, a
//! second such context is made, and the difference is what one takes. A plan subtracts that before it places anything.
//! Reach is proved: drivers report success where an IOMMU drops the data, so a pattern is copied both ways and read
//! back.

use std::ffi::{CStr, c_int};

use super::board::{self, Place};
use super::die::{Die, Pinned, Visit};
use super::driver::{Driver, NOWHERE, none};
use super::image::{self, Shelf};
use crate::device::{Arena, Device, Finder, Found, Kind};
use crate::error::{Error, Result};

// The driver's numbers of the attributes of a device.
const CLOCK_KHZ: c_int = 13;
const MULTIPROCESSORS: c_int = 16;
const PCI_BUS: c_int = 33;
const PCI_DEVICE: c_int = 34;
const MEMORY_CLOCK_KHZ: c_int = 36;
const MEMORY_BUS_BITS: c_int = 37;
const PCI_DOMAIN: c_int = 50;
const MAJOR: c_int = 75;
const MINOR: c_int = 76;
const MULTI_GPU_BOARD: c_int = 84;
const BOARD_GROUP: c_int = 85;

/// Bytes of a context with the kernels where they cannot be measured (K80: 93 to 102 MiB).
const CONTEXT_BYTES: u64 = 102 << 20;
/// Bytes that the driver takes later: it rounds three arenas up to 2 MiB, and needs a little for recorded steps, for
/// tables of other dies' memory, and for the code of kernels, which some drivers bring to the die at the first launch.
const LATER_BYTES: u64 = 16 << 20;

/// Bytes of the pattern that proves reach, and whose copies tell the speed.
const PATTERN_BYTES: usize = 1 << 20;

/// Looks for dies through the driver.
pub struct Search;

impl Finder for Search {
    fn all(&self, most: usize, strict: bool) -> Result<Found> {
        find(most, strict)
    }
    fn one(&self, ordinal: u32) -> Result<Device> {
        find_one(ordinal)
    }
}

/// Finds the dies, at most `most` of them. One that fails is an error if `strict`, else it is left out and noted.
///
/// # Errors
/// `Device` where there is no driver that serves or no device; those of the driver's calls, naming die and call.
fn find(most: usize, strict: bool) -> Result<Found> {
    let driver = Driver::open()?;
    let _visit = Visit::new(driver)?;
    let mut count = 0;
    // SAFETY: a place for the number.
    unsafe { driver.cuDeviceGetCount(NOWHERE, &mut count) }?;
    if count <= 0 {
        return Err(none("the NVIDIA driver finds no device"));
    }
    let mut found = Found { devices: Vec::new(), links: Vec::new(), notes: Vec::new() };
    let (mut dies, mut shelf) = (Vec::new(), Shelf::default());
    for ordinal in 0..count.min(most as c_int) {
        match measured(driver, ordinal, &mut shelf) {
            Ok((device, die)) => {
                found.devices.push(device);
                dies.push(die);
            }
            Err(e) if strict => return Err(e),
            Err(e) => found.notes.push(format!("CUDA device {ordinal} is not used: {}", e.message)),
        }
    }
    for b in 1..dies.len() {
        for a in 0..b {
            let reach = match prove(&mut dies, a, b) {
                Ok(reach) => reach,
                Err(e) if strict => return Err(e),
                Err(e) => {
                    found.notes.push(format!("devices {a} and {b} are not joined: {}", e.message));
                    continue;
                }
            };
            match reach {
                Reach::Proved(bandwidth) => found.links.push((a as u32, b as u32, bandwidth)),
                Reach::Lies => found.notes.push(format!(
                    "devices {a} and {b}: the driver promises peer copies, but the data does not arrive (an IOMMU?); \
                     copies go by way of the host"
                )),
                Reach::No => {}
            }
        }
    }
    Ok(found)
}

/// The driver's device `ordinal` alone, so that a failure of another one does not matter.
///
/// # Errors
/// As for `find`.
fn find_one(ordinal: u32) -> Result<Device> {
    let driver = Driver::open()?;
    let _visit = Visit::new(driver)?;
    let mut count = 0;
    // SAFETY: a place for the number.
    unsafe { driver.cuDeviceGetCount(NOWHERE, &mut count) }?;
    if ordinal >= count.max(0).cast_unsigned() {
        return Err(none(format!("there is no CUDA device {ordinal}, the NVIDIA driver finds {count}")));
    }
    measured(driver, ordinal.cast_signed(), &mut Shelf::default()).map(|(device, _)| device)
}

/// Opens a die for a model: with its kernels, without memory.
pub fn open(device: &Device, index: u32, shelf: &mut Shelf) -> Result<Die> {
    let driver = Driver::open()?;
    let _visit = Visit::new(driver)?;
    let mut die = Die::open(driver, device.ordinal.map_or(-1, |n| n as c_int), index)?;
    die.load_kernels((device.compute_major, device.compute_minor), shelf)?;
    Ok(die)
}

/// A die, and the memory that it has for a program: a second context with the kernels shows what one takes.
fn measured(driver: Driver, ordinal: c_int, shelf: &mut Shelf) -> Result<(Device, Die)> {
    let mut device = look(driver, ordinal)?;
    let mut start = || {
        let mut die = Die::open(driver, ordinal, ordinal as u32)?;
        die.load_kernels((device.compute_major, device.compute_minor), shelf)?;
        Ok::<Die, Error>(die)
    };
    let die = start()?;
    let with_one = die.memory()?.0;
    device.driver_bytes = LATER_BYTES
        + match start().and_then(|second| second.memory()) {
            Ok((with_two, _)) => with_one.saturating_sub(with_two),
            // The die allows one context only, or has no room for a second.
            Err(e) if e.detail.subject == "cuCtxCreate_v2" => CONTEXT_BYTES,
            Err(e) => return Err(e),
        };
    device.free_bytes = with_one.saturating_add(device.driver_bytes).min(device.total_bytes);
    Ok((device, die))
}

/// The driver's facts about a device, before anything is made on it.
fn look(driver: Driver, ordinal: c_int) -> Result<Device> {
    let on = ordinal as u32;
    let (mut device, mut bytes, mut name) = (0, 0usize, [0; 128]);
    // SAFETY: places for the results, with their sizes.
    unsafe {
        driver.cuDeviceGet(on, &mut device, ordinal)?;
        driver.cuDeviceGetName(on, name.as_mut_ptr(), name.len() as c_int - 1, device)?;
        driver.cuDeviceTotalMem_v2(on, &mut bytes, device)?;
    }
    let ask = |attribute: c_int| {
        let mut value = 0;
        // SAFETY: a place for the number.
        unsafe { driver.cuDeviceGetAttribute(on, &mut value, attribute, device) }?;
        Ok::<c_int, Error>(value)
    };
    let (major, minor) = (ask(MAJOR)?, ask(MINOR)?);
    let place = Place { domain: ask(PCI_DOMAIN)? as u32, bus: ask(PCI_BUS)? as u32, device: ask(PCI_DEVICE)? as u32 };
    let group = if ask(MULTI_GPU_BOARD)? != 0 { Some(ask(BOARD_GROUP)? as u32) } else { None };
    let lanes = f64::from(ask(MULTIPROCESSORS)?) * lanes(major);
    // Plain reads reach 0.65 of the data sheet on Kepler with ECC (147 to 159 of 240 GB/s), some 0.85 on later cards.
    let share = if major <= 3 { 0.65 } else { 0.85 };
    let read = f64::from(ask(MEMORY_CLOCK_KHZ)?) * 1e3 * 2.0 * f64::from(ask(MEMORY_BUS_BITS)?) / 8.0 * share;
    Ok(Device {
        // SAFETY: the last byte stayed zero.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        kind: Kind::Cuda,
        total_bytes: bytes as u64,
        free_bytes: bytes as u64,
        driver_bytes: 0,
        compute_major: major as u32,
        compute_minor: minor as u32,
        read_bandwidth: read,
        flops: lanes * 2.0 * f64::from(ask(CLOCK_KHZ)?) * 1e3,
        host_bandwidth: 0.0,
        board: board::board(place, group),
        described: false,
        takes_layers: true,
        ordinal: Some(on),
        image: image::pick(major as u32, minor as u32).map_or_else(|why| why, |c| c.describe()),
    })
}

/// Float32 lanes of a multiprocessor.
fn lanes(major: c_int) -> f64 {
    match major {
        ..=3 => 192.0,
        5 | 8.. => 128.0,
        _ => 64.0,
    }
}

enum Reach {
    No,
    /// The driver says yes, but what was copied is not there.
    Lies,
    /// Bytes per second, of the slower way.
    Proved(f64),
}

/// Copies a pattern both ways and reads it back: drivers report success where an IOMMU drops the data.
fn prove(dies: &mut [Die], a: usize, b: usize) -> Result<Reach> {
    if !dies[a].can_reach(&dies[b])? || !dies[b].can_reach(&dies[a])? {
        return Ok(Reach::No);
    }
    dies[a].see(&dies[b])?;
    dies[b].see(&dies[a])?;
    Ok(match (copied(dies, a, b)?, copied(dies, b, a)?) {
        (Some(there), Some(back)) => Reach::Proved(there.min(back)),
        _ => Reach::Lies,
    })
}

/// Bytes per second of a copy from one die to another; `None` where it does not arrive.
fn copied(dies: &mut [Die], from: usize, to: usize) -> Result<Option<f64>> {
    let n = PATTERN_BYTES;
    let host = Arena::new("a pattern", 2 * n)?;
    // SAFETY: the arena outlives it.
    let _pinned = unsafe { Pinned::new(&dies[from], host.base(), 2 * n) }?;
    // SAFETY: the arena's own bytes; copies to them are done when they are read.
    let (sent, got) = unsafe { std::slice::from_raw_parts_mut(host.base(), 2 * n) }.split_at_mut(n);
    for (i, byte) in sent.iter_mut().enumerate() {
        *byte = (i as u32).wrapping_mul(2_654_435_761).wrapping_shr(24) as u8 ^ from as u8;
    }
    let (source, target) = (dies[from].allocate("a pattern", n)?, dies[to].allocate("a pattern", n)?);
    let sent_at = dies[from].event()?;
    let (start, end) = (dies[to].timed_event()?, dies[to].timed_event()?);
    let (x, y) = (&dies[from], &dies[to]);
    let mut copies = || {
        // SAFETY: all three places have n bytes, and the host's stay until the streams are done.
        unsafe {
            x.copy_in(source, sent.as_ptr(), n)?;
            y.fill(target, 0, n)?;
            x.record(sent_at)?;
            y.wait_for(sent_at)?;
            y.record(start)?;
            y.copy_from(target, x, source, n)?;
            y.record(end)?;
            y.copy_out(got.as_mut_ptr(), target, n)
        }
    };
    let outcome = copies();
    // Also after a failure, since the host's memory goes.
    let (x_done, y_done) = (x.finish(), y.finish());
    outcome.and(x_done).and(y_done)?;
    let seconds = y.seconds(start, end)?;
    dies[from].give(source)?;
    dies[to].give(target)?;
    Ok((sent == got).then(|| n as f64 / seconds.max(1e-6)))
}
