//! Numbers about this process, under the names that every monitoring system knows.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::{Clock as _, SystemClock};

/// Numbers about this process. What the system does not tell is left out.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    started: f64,
}

impl Process {
    /// Of a process that has just begun.
    pub(super) fn new() -> Self {
        Self { started: SystemClock.now().as_millis() as f64 / 1_000.0 }
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

fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Without the one that it takes to look.
fn open_descriptors() -> Option<i64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(open.saturating_sub(1)).ok()
}
