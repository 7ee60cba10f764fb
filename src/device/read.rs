//! Reading device specs: names or JSON.

use super::device::{Device, Kind, MAX_DEVICES};
use super::finder::Finder;
use super::inventory::Inventory;
use super::{cpu, json, spec};
use crate::error::{Error, Result};

impl Inventory {
    /// Makes the inventory from a device spec. A spec is one of these:
    /// - "" or "auto": all devices of this machine. A CUDA device that fails is left out and noted.
    /// - Names separated by commas: `cpu` (this machine's), `cuda` (its CUDA devices, `cuda:2` the first two), `k80:4`
    ///   (four described dies of the built-in profile).
    /// - JSON that describes devices (documented with `rekindle_context_params`).
    ///
    /// # Errors
    /// `InvalidArgument` for a spec that does not parse, with the place; `Device` if CUDA devices are named that are
    /// not there or fail.
    pub fn from_spec(spec: &str, finder: &dyn Finder) -> Result<Inventory> {
        let text = spec.trim();
        let mut inventory =
            if text.starts_with(['[', '{']) { json::parse(text, finder) } else { spec::parse(text, finder) }
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
}

/// Bytes of this machine's memory that are free at this moment.
pub fn free_memory() -> u64 {
    cpu::find().free_bytes
}

#[cfg(test)]
mod tests {
    use super::super::finder::Found;
    use super::*;
    use crate::error::Status;

    /// A machine without a driver.
    struct Nobody;

    impl Finder for Nobody {
        fn all(&self, _: usize, _: bool) -> Result<Found> {
            Err(Error::new(Status::Device, "no driver"))
        }
        fn one(&self, _: u32) -> Result<Device> {
            Err(Error::new(Status::Device, "no driver"))
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_last() {
        let names = |spec: &str| {
            let i = Inventory::from_spec(spec, &Nobody).unwrap();
            (i.devices.iter().map(|d| d.kind).collect::<Vec<_>>(), i.devices[i.cpu()].takes_layers)
        };
        assert_eq!(names("auto"), (vec![Kind::Cpu], true));
        assert_eq!(names(" cpu "), (vec![Kind::Cpu], true));
        assert_eq!(names("k80:2"), (vec![Kind::Cuda, Kind::Cuda, Kind::Cpu], false));
        assert_eq!(names("cpu, k80"), (vec![Kind::Cuda, Kind::Cpu], true));
        let json = r#"{"devices":[{"kind":"cpu"},{"profile":"k80","count":2}],
                       "links":[{"between":[0,1],"bandwidth":5e9},{"between":[1,2],"bandwidth":1e10}]}"#;
        let i = Inventory::from_spec(json, &Nobody).unwrap();
        assert_eq!((i.link(2, 0), i.link(0, 1), i.link(1, 2)), (Some(5e9), Some(1e10), None));
    }

    #[test]
    fn a_k80_is_what_was_measured() {
        let i = Inventory::from_spec("k80:3", &Nobody).unwrap();
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
            let e = Inventory::from_spec(spec, &Nobody).unwrap_err();
            assert!(e.message.contains(part), "{spec}: {e}");
            assert_eq!(e.detail.subject, "devices");
        }
    }
}
