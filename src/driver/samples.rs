//! Sample values for tests in and outside of the driver.

use std::collections::BTreeMap;

use crate::run::{EngineId, Timestamp};
use crate::store::EngineReport;

/// The report of an engine that drives this many runs.
pub(crate) fn report(id: &str, runs: u32, max_runs: u32) -> EngineReport {
    EngineReport {
        id: EngineId(id.to_owned()),
        name: id.to_owned(),
        version: String::new(),
        host: String::new(),
        address: None,
        started: Timestamp::default(),
        clock_ahead: 0,
        runs,
        queued: 0,
        max_runs,
        files: BTreeMap::new(),
    }
}
