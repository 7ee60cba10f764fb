//! The CPU and the machine's memory.

use std::fs;

use super::device::{Device, Kind};

pub(super) fn find() -> Device {
    let total = memory_line("MemTotal:").unwrap_or_else(physical_bytes);
    let available = memory_line("MemAvailable:").unwrap_or(total);
    // A container may be allowed less memory than the machine has.
    let limit = cgroup_limit();
    Device {
        name: cpu_name(),
        kind: Kind::Cpu,
        total_bytes: limit.map_or(total, |(max, _)| max.min(total)),
        free_bytes: limit.map_or(available, |(max, used)| max.saturating_sub(used).min(available)),
        driver_bytes: 0,
        compute_major: 0,
        compute_minor: 0,
        read_bandwidth: 0.0,
        flops: 0.0,
        host_bandwidth: 0.0,
        board: 0,
        described: false,
        takes_layers: true,
        ordinal: None,
        image: String::new(),
    }
}

fn memory_line(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn physical_bytes() -> u64 {
    // SAFETY: sysconf only reads system constants.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(size).unwrap_or(0))
}

/// (limit, used) of the version 2 control group that this process sees, if one is set.
fn cgroup_limit() -> Option<(u64, u64)> {
    let read = |f: &str| fs::read_to_string(format!("/sys/fs/cgroup/{f}")).ok()?.trim().parse::<u64>().ok();
    // Pages of files that were read count as used here, but the system takes them back when memory is short.
    let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
    let lines = stat.lines().filter_map(|l| l.split_once(' '));
    let files =
        lines.filter(|(k, _)| matches!(*k, "inactive_file" | "active_file")).filter_map(|(_, n)| n.parse::<u64>().ok());
    Some((read("memory.max")?, read("memory.current")?.saturating_sub(files.sum())))
}

fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find(|l| l.starts_with("model name"))
        .and_then(|l| l.split_once(':'))
        .map(|(_, n)| n.trim().to_owned());
    name.unwrap_or_else(|| format!("CPU ({})", std::env::consts::ARCH))
}
