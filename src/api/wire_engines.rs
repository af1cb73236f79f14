//! The types of requests and answers that are about engines.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{MAX_ACTOR, MAX_REASON};
use crate::run::{Digest, EngineId, Timestamp};

/// The engine that drives a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EngineRef {
    /// Identifier of the engine.
    pub id: EngineId,
    /// Name of the engine, for people; null if it has not reported yet.
    pub name: Option<String>,
    /// When it took up the run.
    pub since: Timestamp,
}

/// An engine that shares the store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EngineView {
    /// Identifier of the engine, a new one for each process.
    pub id: EngineId,
    /// Name of the engine, for people.
    pub name: String,
    /// Whether it takes up runs.
    pub state: EngineState,
    /// Runs that it drives, without those that only wait for their cluster, as it last reported: every 4 s.
    pub runs: u32,
    /// Runs that it has taken up and that only wait for their cluster, as it last reported.
    pub queued: u32,
    /// The most runs that it drives at the same time.
    pub max_runs: u32,
    /// Its version of Replibook.
    pub version: String,
    /// Name of its machine.
    pub host: String,
    /// Base URL of its server, if it is known.
    pub address: Option<String>,
    /// How many milliseconds its clock is ahead of the store's; negative if it is behind.
    pub clock_ahead: i64,
    /// When it started.
    pub started: Timestamp,
    /// When it last reported.
    pub seen: Timestamp,
    /// The files by which its server goes, with the digests of their contents; null where it has no such file. They are
    /// `policy`, `access`, `credentials` (only their names and what they are for) and `secrets` (only their names). What its
    /// version does not know is missing.
    #[serde(default)]
    pub files: BTreeMap<String, Option<Digest>>,
    /// Since when it is being drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<Timestamp>,
    /// Who asked for the draining, under the name that they gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_by: Option<String>,
    /// Why it is being drained, as given by whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_reason: Option<String>,
    /// Why it can't write to the store, as human-readable text. Only for the engine of the server that is asked,
    /// since no other server can learn of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Whether an engine takes up runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EngineState {
    /// It drives runs and takes up more.
    Active,
    /// It hands over its runs and takes up no more.
    Draining,
    /// It has reported nothing for as long as a lease lasts (15 s): others take over its runs.
    Silent,
    /// Its clock is more than 60 s off the store's: it keeps its runs and takes up no more.
    ClockOff,
    /// It is running, but can't write to the store, for example because the disk is full: its runs stand still.
    CantWrite,
}

impl EngineState {
    /// The word for it in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::ClockOff => "clock-off",
            Self::CantWrite => "cant-write",
        }
    }
}

/// Tells an engine to hand over its runs, or to take up runs again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainEngine {
    /// `true`: hand over all runs and take up no more; `false`: take up runs again.
    pub drain: bool,
    /// Who asks.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub actor: Option<String>,
    /// Why, for all who look at the engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_REASON))]
    pub reason: Option<String>,
}
