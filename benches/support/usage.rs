//! What a process used, as Linux tells it.

use std::collections::BTreeMap;
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`, fixed for programs whatever the kernel ticks at.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time (user and system) of a process so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    cpu_of(&format!("/proc/{pid}/stat")).unwrap_or_default().1
}

/// CPU time of the threads of a process so far, by name; numbers in names are left out, so that the
/// threads of a pool are one. Threads that have ended are not in it.
pub(crate) fn cpu_by_thread(pid: u32) -> BTreeMap<String, Duration> {
    let mut times = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        if let Some((name, time)) = cpu_of(&task.path().join("stat").display().to_string()) {
            let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
            *times.entry(name).or_default() += time;
        }
    }
    times
}

fn cpu_of(path: &str) -> Option<(String, Duration)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    // utime and stime are fields 14 and 15; `rest` begins with field 3.
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Some((name, Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)))
}

/// The most memory that a process had at once, in MiB.
pub(crate) fn peak_memory(pid: u32) -> f64 {
    status(pid, "VmHWM:")
}

/// The memory that a process has now, in MiB.
pub(crate) fn memory(pid: u32) -> f64 {
    status(pid, "VmRSS:")
}

fn status(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}
