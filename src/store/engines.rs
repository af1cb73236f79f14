//! What is known of the engines that share a store. This is all that engines know of each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::time::Skew;
use replibook_core::run::{Digest, EngineId, Millis, Timestamp};

/// What the file of a server's policy is called in [`EngineReport::files`].
pub const POLICY_FILE: &str = "policy";

/// What the folder of a server's credentials is called there.
pub const CREDENTIALS_FOLDER: &str = "credentials";

/// What the folder of a server's secrets is called there.
pub const SECRETS_FOLDER: &str = "secrets";

/// What the file that says who may do what on a server is called there.
pub const ACCESS_FILE: &str = "access";

/// How long an engine that no longer reports is still listed: long enough for a person who is called because of it
/// to see which engine it was.
pub const ENGINE_KEPT: Millis = Millis::from_secs(10 * 60);

/// What an engine reports about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// The identifier of the engine, a new one for each process.
    pub id: EngineId,
    /// The name that people see.
    pub name: String,
    /// Version of the program, for example `0.1.0`.
    pub version: String,
    /// Name of the machine that the engine runs on; may be empty.
    pub host: String,
    /// Base URL of the server that the engine is part of. None if there is no server.
    pub address: Option<String>,
    /// When the engine started, by the store's time.
    pub started: Timestamp,
    /// How many milliseconds the engine's clock is ahead of the store's. Negative if it is behind.
    pub clock_ahead: i64,
    /// How many runs the engine drives, without those that only wait for their cluster.
    pub runs: u32,
    /// How many runs the engine has taken up that only wait for their cluster.
    pub queued: u32,
    /// The most runs that the engine drives at the same time.
    pub max_runs: u32,
    /// The files by which the engine's server goes, [`POLICY_FILE`], [`CREDENTIALS_FOLDER`], [`SECRETS_FOLDER`] and
    /// [`ACCESS_FILE`], with the digests of their contents: None where it has no such file. What the engine's version does not know is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Option<Digest>>,
}

impl EngineReport {
    /// How far the engine's clock is off the store's. If that is too far, the engine takes no runs.
    pub const fn skew(&self) -> Skew {
        Skew::from_millis(self.clock_ahead)
    }
}

/// An engine as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// The engine's last report.
    pub report: EngineReport,
    /// When the engine last reported, by the store's time.
    pub seen: Timestamp,
    /// Why the engine is to hand over its runs and take no more. None if it is not.
    pub draining: Option<Draining>,
}

/// The order to an engine to hand over its runs and take no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// When the order was given, by the store's time.
    pub since: Timestamp,
    /// Who gave it, as they named themselves.
    pub actor: Option<String>,
    /// Why, in their own words.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Draining {
    /// The order to an engine that is to be drained from now on.
    pub(super) fn new(since: Timestamp, actor: Option<&str>, reason: Option<&str>) -> Self {
        Self { since, actor: actor.map(str::to_owned), reason: reason.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_an_earlier_version_says_nothing_of_files() {
        let mut kept = serde_json::json!({
            "id": "a", "name": "a", "version": "0.1.0", "host": "", "address": null, "started": Timestamp::default(),
            "clock_ahead": 0, "runs": 1, "queued": 0, "max_runs": 9,
        });
        let report: EngineReport = serde_json::from_value(kept.clone()).unwrap();
        assert_eq!((report.files.len(), &serde_json::to_value(&report).unwrap()), (0, &kept));
        kept["files"] = serde_json::json!({ POLICY_FILE: Digest::of(b"x"), "other": null });
        let report: EngineReport = serde_json::from_value(kept.clone()).unwrap();
        assert_eq!(report.files[POLICY_FILE], Some(Digest::of(b"x")));
        assert_eq!((&report.files["other"], serde_json::to_value(&report).unwrap()), (&None, kept));
    }

    #[test]
    fn a_drain_that_an_earlier_version_kept_has_no_reason() {
        let known = Draining::new(Timestamp::from_millis(7), Some("ann"), None);
        let mut kept = serde_json::to_value(&known).unwrap();
        assert!(kept.as_object_mut().unwrap().remove("reason").is_some());
        assert_eq!(serde_json::from_value::<Draining>(kept).unwrap(), known);
    }
}
