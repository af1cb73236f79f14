//! What a process has used, as the kernel counts it. All figures are zero once the process is gone.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The most memory that a process ever had in RAM, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Resets the peak of a process to the memory that it has now.
pub(crate) fn reset_peak_memory(pid: u32) {
    // 5 is the kernel's code for it. If the kernel refuses, the peak since the process started stays.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// CPU time of a process in user and kernel mode: of all its threads, ended ones included.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    stat(&format!("/proc/{pid}/stat")).map_or(Duration::ZERO, |(_, time)| time)
}

/// CPU time of the threads that are alive, by name. A number at the end of a name is left out.
pub(crate) fn cpu_by_thread(pid: u32) -> BTreeMap<String, Duration> {
    let mut times = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let Some((name, time)) = stat(&format!("{}/stat", task.path().display())) else { continue };
        let name = name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-');
        *times.entry(name.to_owned()).or_default() += time;
    }
    times
}

/// How many bytes this process has had written to the disk.
pub(crate) fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}

/// The name and the CPU time that a `stat` file gives.
fn stat(path: &str) -> Option<(String, Duration)> {
    let text = fs::read_to_string(path).ok()?;
    // The name is in brackets, and may hold brackets itself.
    let (name, rest) = (text.get(text.find('(')? + 1..text.rfind(')')?)?, text.rsplit_once(')')?.1);
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    // To programs, Linux always shows ticks of a hundredth of a second.
    Some((name.to_owned(), Duration::from_millis(ticks * 10)))
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Wall time and CPU time of this process since a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    cpu: Duration,
}

impl Usage {
    pub(crate) fn start() -> Self {
        Self { at: Instant::now(), cpu: cpu_time(std::process::id()) }
    }

    /// Wall time and CPU time since the start.
    pub(crate) fn since(&self) -> (Duration, Duration) {
        (self.at.elapsed(), cpu_time(std::process::id()).saturating_sub(self.cpu))
    }
}
