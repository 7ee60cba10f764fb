//! The inventory: the devices that there are, and the links among them.

use super::device::{Device, Kind, Link};
use super::finder::Finder;
use crate::error::{Error, Result, Status};

/// The devices, dies first and the CPU last, and the links among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub devices: Vec<Device>,
    pub links: Vec<Link>,
    /// Texts for the caller about the search for devices: for instance, why no GPU is used.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Adds the CUDA devices of this machine, at most `most`. It fails if there are fewer than `least`.
    pub(super) fn add_found(&mut self, finder: &dyn Finder, least: usize, most: usize) -> Result<()> {
        let found = match finder.all(most, least > 0) {
            Err(e) if least == 0 => {
                self.notes.push(format!("no GPU is used: {}", e.message));
                return Ok(());
            }
            found => found?,
        };
        if found.devices.len() < least {
            let text = format!("{least} CUDA devices were asked for, {} found", found.devices.len());
            return Err(Error::new(Status::Device, text));
        }
        let first = self.devices.len() as u32;
        self.devices.extend(found.devices);
        self.links.extend(found.links.into_iter().map(|(a, b, bandwidth)| Link {
            a: first + a,
            b: first + b,
            bandwidth,
        }));
        self.notes.extend(found.notes);
        Ok(())
    }

    /// Moves the CPU behind the dies. Links still join the same devices.
    pub(super) fn cpu_last(&mut self) {
        let Some(at) = self.devices.iter().position(|d| d.kind == Kind::Cpu) else { return };
        let cpu = self.devices.remove(at);
        self.devices.push(cpu);
        let last = self.devices.len() as u32 - 1;
        let moved = |i: u32| match i.cmp(&(at as u32)) {
            std::cmp::Ordering::Less => i,
            std::cmp::Ordering::Equal => last,
            std::cmp::Ordering::Greater => i - 1,
        };
        for link in &mut self.links {
            (link.a, link.b) = (moved(link.a), moved(link.b));
        }
    }

    /// The index of the CPU, which every inventory has.
    pub fn cpu(&self) -> usize {
        self.devices.len() - 1
    }

    /// The devices to which device `a` has a link.
    pub fn peers(&self, a: usize) -> impl Iterator<Item = usize> {
        (0..self.devices.len()).filter(move |b| *b != a && self.link(a, *b).is_some())
    }

    /// The speed of the link between two devices in bytes per second, if they have one.
    pub fn link(&self, a: usize, b: usize) -> Option<f64> {
        let joins = |l: &&Link| [(l.a, l.b), (l.b, l.a)].contains(&(a as u32, b as u32));
        self.links.iter().find(joins).map(|l| l.bandwidth)
    }
}
