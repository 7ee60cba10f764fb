//! Device specs in JSON: an array of devices, or an object with `devices` and `links`.

use serde_json::{Map, Value};

use super::device::{Device, Kind, Link, MAX_DEVICES};
use super::finder::Finder;
use super::inventory::Inventory;
use super::spec::{shown, too_many};
use super::{cpu, profile};
use crate::error::{Error, Result};

pub(super) fn parse(text: &str, finder: &dyn Finder) -> Result<Inventory> {
    let value: Value = serde_json::from_str(text).map_err(|e| Error::invalid(format!("device spec: {e}")))?;
    let (devices, links) = match value {
        Value::Array(devices) => (devices, Vec::new()),
        Value::Object(mut o) => {
            let mut list = |key: &str| match o.remove(key) {
                None => Ok(Vec::new()),
                Some(Value::Array(a)) => Ok(a),
                Some(_) => Err(Error::invalid(format!("device spec: {key} is no array"))),
            };
            let lists = (list("devices")?, list("links")?);
            if let Some(key) = o.keys().next() {
                return Err(Error::invalid(format!(
                    "device spec: '{}' is not known, expected devices or links",
                    shown(key)
                )));
            }
            lists
        }
        _ => return Err(Error::invalid("device spec: expected an array or an object")),
    };
    if devices.is_empty() {
        return Err(Error::invalid("device spec: no device is described"));
    }
    let mut inventory = Inventory::default();
    for (i, v) in devices.into_iter().enumerate() {
        Fields::new(v, format!("devices[{i}]"))?.devices(finder, &mut inventory)?;
        too_many(&inventory)?;
    }
    for (i, v) in links.into_iter().enumerate() {
        let link = Fields::new(v, format!("links[{i}]"))?.link(inventory.devices.len())?;
        if [link.a, link.b].iter().any(|d| inventory.devices[*d as usize].ordinal.is_some()) {
            let text = format!("device spec: links[{i}]: links of devices that are there are proved, not described");
            return Err(Error::invalid(text));
        }
        inventory.links.push(link);
    }
    Ok(inventory)
}

/// The fields of one object. Each is taken out when it is read, so a field that is left at the end is unknown.
struct Fields {
    place: String,
    map: Map<String, Value>,
}

impl Fields {
    fn new(value: Value, place: String) -> Result<Fields> {
        match value {
            Value::Object(map) => Ok(Fields { place, map }),
            _ => Err(Error::invalid(format!("device spec: {place} is no object"))),
        }
    }
    fn bad(&self, field: &str, expected: &str) -> Error {
        Error::invalid(format!("device spec: {}.{field}: expected {expected}", self.place))
    }
    fn take<T>(&mut self, field: &str, expected: &str, f: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.map.remove(field) else { return Ok(None) };
        f(&value).map(Some).ok_or_else(|| self.bad(field, expected))
    }
    fn text(&mut self, field: &str) -> Result<Option<String>> {
        self.take(field, "a text", |v| v.as_str().map(str::to_owned))
    }
    fn bytes(&mut self, field: &str) -> Result<Option<u64>> {
        self.take(field, "a number of bytes", |v| v.as_u64().filter(|n| *n <= i64::MAX as u64))
    }
    fn rate(&mut self, field: &str) -> Result<Option<f64>> {
        self.take(field, "a number above zero, per second", |v| v.as_f64().filter(|f| *f > 0.0 && f.is_finite()))
    }
    fn small(&mut self, field: &str, most: usize) -> Result<Option<u32>> {
        self.take(field, &format!("a whole number up to {most}"), |v| {
            v.as_u64().filter(|n| *n <= most as u64).map(|n| n as u32)
        })
    }
    fn finish(&self) -> Result<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(Error::invalid(format!("device spec: {}.{} is not known", self.place, shown(key)))),
        }
    }

    /// Adds one device, or `count` like ones.
    fn devices(mut self, finder: &dyn Finder, into: &mut Inventory) -> Result<()> {
        let next_board = into.devices.iter().filter(|d| d.kind == Kind::Cuda).map(|d| d.board + 1).max().unwrap_or(0);
        let profile = self.text("profile")?;
        let kind = self.text("kind")?;
        let count = self.small("count", MAX_DEVICES)?.unwrap_or(1);
        if count == 0 {
            return Err(self.bad("count", "at least 1"));
        }
        let ordinal = self.small("ordinal", MAX_DEVICES)?;
        if let Some(n) = ordinal {
            if profile.is_some() || kind.as_deref() != Some("cuda") || count != 1 {
                return Err(self.bad("ordinal", "kind cuda, no profile and no count beside it"));
            }
            let mut device = finder.one(n).map_err(|e| e.at(&format!("device spec: {}", self.place)))?;
            // The caller may lower this. Two devices of the list may be the same card, each with a share of its memory.
            if let Some(free) = self.bytes("free_bytes")? {
                device.free_bytes = device.free_bytes.min(free);
            }
            self.finish()?;
            into.devices.push(device);
            return Ok(());
        }
        let mut first = match (profile.as_deref(), kind.as_deref()) {
            (Some(p), None | Some("cuda")) => {
                let known = || self.bad("profile", &format!("one of: {}", profile::NAMES.join(", ")));
                profile::find(p, 0, next_board).ok_or_else(known)?
            }
            (None, Some("cpu")) if count == 1 => cpu::find(),
            (None, Some("cuda")) => Device {
                name: "CUDA device".to_owned(),
                kind: Kind::Cuda,
                total_bytes: 0,
                free_bytes: 0,
                driver_bytes: 0,
                compute_major: 0,
                compute_minor: 0,
                read_bandwidth: 0.0,
                flops: 0.0,
                host_bandwidth: 0.0,
                board: next_board,
                described: true,
                takes_layers: true,
                ordinal: None,
                image: String::new(),
            },
            _ => return Err(self.bad("kind", "cpu (once) or cuda, or a profile instead")),
        };
        let total = self.bytes("total_bytes")?;
        if let Some(total) = total {
            (first.total_bytes, first.free_bytes, first.described) = (total, total, true);
        }
        if first.total_bytes == 0 {
            return Err(self.bad("total_bytes", "the bytes of its memory"));
        }
        if let Some(free) = self.bytes("free_bytes")? {
            if free > first.total_bytes {
                return Err(self.bad("free_bytes", &format!("at most the {} bytes that there are", first.total_bytes)));
            }
            (first.free_bytes, first.described) = (free, true);
        }
        first.name = self.text("name")?.unwrap_or(first.name);
        first.driver_bytes = self.bytes("driver_bytes")?.unwrap_or(first.driver_bytes);
        first.read_bandwidth = self.rate("read_bandwidth")?.unwrap_or(first.read_bandwidth);
        first.flops = self.rate("flops")?.unwrap_or(first.flops);
        first.host_bandwidth = self.rate("host_bandwidth")?.unwrap_or(first.host_bandwidth);
        let version = |v: &Value| {
            let (major, minor) = v.as_str()?.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        if let Some(version) = self.take("compute_capability", "a text like \"3.7\"", version)? {
            (first.compute_major, first.compute_minor) = version;
        }
        let board = self.small("board", u16::MAX as usize)?;
        self.finish()?;
        let per_board = profile.as_deref().map_or(1, profile::devices_per_board);
        for i in 0..count {
            into.devices.push(Device { board: board.unwrap_or(first.board + i / per_board), ..first.clone() });
        }
        Ok(())
    }

    fn link(mut self, n_devices: usize) -> Result<Link> {
        let ends = |v: &Value| {
            let ends: Vec<u64> = v.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
            match ends[..] {
                [a, b] if a != b && a.max(b) < n_devices as u64 => Some((a as u32, b as u32)),
                _ => None,
            }
        };
        let between = self.take("between", "two different devices, by their place in the list from 0", ends)?;
        let bandwidth = self.rate("bandwidth")?;
        self.finish()?;
        match (between, bandwidth) {
            (Some((a, b)), Some(bandwidth)) => Ok(Link { a, b, bandwidth }),
            (None, _) => Err(self.bad("between", "two devices")),
            (_, None) => Err(self.bad("bandwidth", "bytes per second")),
        }
    }
}
