//! Numbers about this process, under the names that every monitoring system knows, so that ready-made
//! dashboards show them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::{Clock as _, SystemClock};

/// Collects numbers about this process. Those that the system does not give are left out.
#[derive(Debug)]
pub(super) struct Process {
    /// When the process started, in seconds since 1970.
    started: f64,
}

impl Process {
    /// Collects the numbers of the process that calls it.
    pub(super) fn new() -> Self {
        let now = SystemClock.now().as_millis() as f64 / 1_000.0;
        Self { started: now - age().unwrap_or(0.0) }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut number = |name: &str, help: &str, unit: Option<&Unit>, what: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, unit, what.metric_type())?;
            what.encode(encoder)
        };
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
        let help = "Time of processors spent.";
        number("process_cpu", help, Some(&Unit::Seconds), &ConstCounter::new(spent))?;
        let help = "When the process began, in seconds since 1970.";
        number("process_start_time", help, Some(&Unit::Seconds), &ConstGauge::new(self.started))?;
        if let Some(bytes) = resident() {
            let help = "Memory of the process that is in use.";
            number("process_resident_memory", help, Some(&Unit::Bytes), &ConstGauge::new(bytes))?;
        }
        if let Some(open) = open_descriptors() {
            number("process_open_fds", "Open descriptors.", None, &ConstGauge::new(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let help = "Descriptors that may be open.";
            number("process_max_fds", help, None, &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

/// The age of this process in seconds.
fn age() -> Option<f64> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may contain spaces. The start time is the 20th field after it.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some((uptime - ticks / TICKS).max(0.0))
}

/// Ticks per second in what Linux says about processes, on all its architectures.
const TICKS: f64 = 100.0;

fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

/// The number of open descriptors, without the one that it takes to look.
fn open_descriptors() -> Option<i64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(open.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_before_its_numbers_were_asked_for() {
        // A child that has just begun shows what the numbers mean.
        let now = SystemClock.now().as_millis() as f64 / 1_000.0;
        let child = std::process::Command::new("cat").arg("/proc/self/stat").output().unwrap();
        let stat = String::from_utf8(child.stdout).unwrap();
        let ticks: f64 =
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        assert!((uptime - ticks / TICKS).abs() < 60.0, "{uptime}, {ticks}");
        let started = Process::new().started;
        assert!(started <= now && now - started < 24.0 * 3_600.0, "{started}, {now}");
    }
}
