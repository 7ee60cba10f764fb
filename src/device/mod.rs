//! The inventory: which devices there are, found on this machine or described by the caller, and what is known of each.

mod cpu;
mod json;
mod profile;
mod spec;

use crate::cuda;
use crate::error::{Error, Result, Status};

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
    /// Whether layers may be placed here. The CPU is in every inventory, since the host reads the token embedding, but computes
    /// layers only where the spec names it.
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

/// The devices, dies first and the CPU last, and the links among them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub devices: Vec<Device>,
    pub links: Vec<Link>,
    /// What was learned while looking for devices that the caller should know: why no GPU is used, say.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Makes the inventory from a device spec:
    /// - "" or "auto": everything found on this machine; a CUDA device that fails is left out and noted;
    /// - names separated by commas: `cpu` (this machine's), `cuda` (its CUDA devices, `cuda:2` the first two), `k80:4` (four described
    ///   dies of the built-in profile);
    /// - JSON that describes devices (documented with `rekindle_context_params`).
    ///
    /// # Errors
    /// `InvalidArgument` for a spec that does not parse, with the place; `Device` where CUDA devices are named and not there or fail.
    pub fn from_spec(spec: &str) -> Result<Inventory> {
        let text = spec.trim();
        let mut inventory = if text.starts_with(['[', '{']) { json::parse(text) } else { spec::parse(text) }
            .map_err(|e| e.subject("devices"))?;
        match inventory.devices.iter().filter(|d| d.kind == Kind::Cpu).count() {
            0 => inventory.devices.push(Device { takes_layers: false, ..cpu::find() }),
            1 => inventory.cpu_last(),
            n => {
                return Err(
                    Error::invalid(format!("the device spec names {n} CPUs, expected at most one")).subject("devices")
                );
            }
        }
        let n = inventory.devices.len();
        if n > MAX_DEVICES {
            return Err(Error::invalid(format!("the device spec names {n} devices, expected at most {MAX_DEVICES}"))
                .subject("devices"));
        }
        Ok(inventory)
    }

    /// Adds the CUDA devices of this machine: at least `least` of them, or else it fails, and at most `most`.
    fn add_found(&mut self, least: usize, most: usize) -> Result<()> {
        let found = match cuda::find(most, least > 0) {
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

    /// Moves the CPU behind the dies; links keep their devices.
    fn cpu_last(&mut self) {
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

    /// The CPU, which every inventory has.
    pub fn cpu(&self) -> usize {
        self.devices.len() - 1
    }

    /// The devices that one has a link to.
    pub fn peers(&self, a: usize) -> impl Iterator<Item = usize> {
        (0..self.devices.len()).filter(move |b| *b != a && self.link(a, *b).is_some())
    }

    /// Bytes per second between two devices without the host, if they have a link.
    pub fn link(&self, a: usize, b: usize) -> Option<f64> {
        let joins = |l: &&Link| [(l.a, l.b), (l.b, l.a)].contains(&(a as u32, b as u32));
        self.links.iter().find(joins).map(|l| l.bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_last() {
        let names = |spec: &str| {
            let i = Inventory::from_spec(spec).unwrap();
            (i.devices.iter().map(|d| d.kind).collect::<Vec<_>>(), i.devices[i.cpu()].takes_layers)
        };
        assert_eq!(names("auto"), (vec![Kind::Cpu], true));
        assert_eq!(names(" cpu "), (vec![Kind::Cpu], true));
        assert_eq!(names("k80:2"), (vec![Kind::Cuda, Kind::Cuda, Kind::Cpu], false));
        assert_eq!(names("cpu, k80"), (vec![Kind::Cuda, Kind::Cpu], true));
        let json = r#"{"devices":[{"kind":"cpu"},{"profile":"k80","count":2}],"links":[{"between":[0,1],"bandwidth":5e9},
                       {"between":[1,2],"bandwidth":1e10}]}"#;
        let i = Inventory::from_spec(json).unwrap();
        assert_eq!((i.link(2, 0), i.link(0, 1), i.link(1, 2)), (Some(5e9), Some(1e10), None));
    }

    #[test]
    fn a_k80_is_what_was_measured() {
        let i = Inventory::from_spec("k80:3").unwrap();
        let d = &i.devices[0];
        assert_eq!((d.total_bytes >> 20, d.free_bytes >> 20, d.driver_bytes >> 20), (11441, 11434, 102));
        assert_eq!((d.compute_major, d.compute_minor, d.described, d.takes_layers), (3, 7, true, true));
        assert_eq!(i.devices[..3].iter().map(|d| d.board).collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn errors_say_where() {
        for (spec, part) in [
            ("k80:2,,cpu", "character 7"),
            ("k80:2,tpu", "'tpu'"),
            ("k80:0", "'0'"),
            ("k80:999", "999"),
            ("k80:x", "'x'"),
            ("cpu,cpu", "2 CPUs"),
            ("cpu:2", "'cpu:2'"),
            ("[{\"kind\":\"cuda\"", "line 1"),
            ("[{\"kind\":\"cuda\"}]", "devices[0].total_bytes"),
            ("[{\"kind\":\"tpu\"}]", "devices[0].kind"),
            ("[{\"profile\":\"k80\",\"colour\":1}]", "devices[0].colour"),
            ("[{\"profile\":\"k80\",\"free_bytes\":-1}]", "devices[0].free_bytes"),
            ("[{\"profile\":\"k80\",\"free_bytes\":99999999999}]", "devices[0].free_bytes"),
            ("[{\"profile\":\"k80\",\"read_bandwidth\":0}]", "devices[0].read_bandwidth"),
            ("[{\"profile\":\"k80\",\"compute_capability\":\"x\"}]", "devices[0].compute_capability"),
            (
                "{\"devices\":[{\"profile\":\"k80\"}],\"links\":[{\"between\":[0,7],\"bandwidth\":1}]}",
                "links[0].between",
            ),
            ("{\"devices\":3}", "devices"),
            ("[]", "no device"),
        ] {
            let e = Inventory::from_spec(spec).unwrap_err();
            assert!(e.message.contains(part), "{spec}: {e}");
            assert_eq!(e.detail.subject, "devices");
        }
    }
}
