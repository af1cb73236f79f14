//! Documents that can't be read, as damage leaves them in any store.

use semver::Version;

use crate::documents::LogCursor;
use replibook_core::run::{AgentSeq, AttemptKey, CommandId, Digest, RunId};

/// A document, or a part of one, that somebody damaged behind the store's back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damaged {
    /// The run's snapshot.
    Snapshot(RunId),
    /// The run's progress.
    Progress(RunId),
    /// An agent record.
    Record(RunId, AgentSeq),
    /// A journal.
    Journal(RunId, AttemptKey),
    /// An event, by its sequence.
    Event(RunId, u64),
    /// A log line.
    Line(RunId, LogCursor),
    /// A command.
    Command(CommandId),
    /// A playbook, by its name and version.
    Playbook(String, Version),
    /// A cluster, by its name.
    Cluster(String),
    /// A plugin.
    Plugin(Digest),
    /// The bytes of a plugin.
    PluginBytes(Digest),
    /// The lock of a cluster, by its name.
    Lock(String),
    /// The status by which a run is found.
    Status(RunId),
    /// The cluster by which a run is found.
    ClusterOf(RunId),
    /// The trouble of a run.
    Trouble(RunId),
}
