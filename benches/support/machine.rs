//! The machine, its load, and the date: a figure means nothing without them.

use std::fs;
use std::thread::available_parallelism;

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}

/// The value of the first line of a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().trim_start_matches(':').trim().to_owned())
}

/// Processor, cores, memory, kernel.
pub(super) fn machine() -> String {
    let unknown = || "unknown".to_owned();
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let cores = available_parallelism().map_or(0, usize::from);
    let kib = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let kernel = first_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown);
    format!("{processor}, {cores} cores, {:.1} GiB RAM, Linux {kernel}", kib / 1024.0 / 1024.0)
}

/// How many processes ran or waited, on average over 1, 5 and 15 minutes.
pub(super) fn load() -> String {
    let text = first_line("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The present time, in UTC and to the second.
pub(super) fn date() -> String {
    let now = jiff::Timestamp::now();
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    seconds.to_string()
}
