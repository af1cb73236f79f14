//! What is known of the engines that share a store.

use serde::{Deserialize, Serialize};

use super::time::Skew;
use replibook_core::run::{EngineId, Millis, Timestamp};

/// How long an engine that says nothing any more is still listed: long enough for a person who is called because
/// of it to see which one it was.
pub const ENGINE_KEPT: Millis = Millis::from_secs(10 * 60);

/// What an engine reports about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its identifier, a new one for each process.
    pub id: EngineId,
    /// Its name for people.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Name of its machine.
    pub host: String,
    /// Base URL of the server that it is in; none where there is none.
    pub address: Option<String>,
    /// When it started, by the store's time.
    pub started: Timestamp,
    /// How many milliseconds its clock is ahead of the store's; negative if it is behind.
    pub clock_ahead: i64,
    /// Runs that it drives, without those that only wait for their cluster.
    pub runs: u32,
    /// Runs that it has taken up and that only wait for their cluster.
    pub queued: u32,
    /// The most runs that it drives at the same time.
    pub max_runs: u32,
}

impl EngineReport {
    /// How far its clock is off the store's. If that is too much, it takes no runs.
    pub const fn skew(&self) -> Skew {
        Skew::from_millis(self.clock_ahead)
    }
}

/// An engine as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// What it said last.
    pub report: EngineReport,
    /// When that was, by the store's time.
    pub seen: Timestamp,
    /// Whether it is to hand over its runs and take no more.
    pub draining: Option<Draining>,
}

/// That an engine is to hand over its runs and take no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Since when, by the store's time.
    pub since: Timestamp,
    /// Who asked for it, as they named themselves.
    pub actor: Option<String>,
    /// Why, as they said.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Draining {
    /// What is kept of an engine that is to be drained from now on.
    pub(super) fn new(since: Timestamp, actor: Option<&str>, reason: Option<&str>) -> Self {
        Self { since, actor: actor.map(str::to_owned), reason: reason.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_an_earlier_version_kept_has_no_reason() {
        let known = Draining::new(Timestamp::from_millis(7), Some("ann"), None);
        let mut kept = serde_json::to_value(&known).unwrap();
        assert!(kept.as_object_mut().unwrap().remove("reason").is_some());
        assert_eq!(serde_json::from_value::<Draining>(kept).unwrap(), known);
    }
}
