//! Guards as they are kept: valid, with all defaults filled in.

use serde::{Deserialize, Serialize};

use crate::playbook::model::Amount;
use crate::time::{Millis, Timestamp};

/// The most guards of a cluster. A run counts each of its agents for each of them, and every commit of a run writes
/// all of them.
pub const MAX_GUARDS: usize = 16;

/// The most windows of a cluster. All of them are looked at for a decision, and every commit of a run writes them.
pub const MAX_WINDOWS: usize = 16;

/// The most freezes of a cluster: more than a year has. Every commit of a run writes all of them.
pub const MAX_FREEZES: usize = 32;

/// The most statuses that count as healthy. Every commit of a run writes them.
pub const MAX_HEALTHY: usize = 16;

/// The longest reason of a freeze, in characters. It is one line for people, and every commit of a run writes it.
pub const MAX_REASON_CHARS: usize = 120;

/// The longest window. A longer one would be a mistake.
pub(super) const MAX_WINDOW: Millis = Millis::from_secs(31 * 24 * 60 * 60);

/// The only healthy status, if the cluster does not say which statuses are.
pub const HEALTHY: &str = "HEALTHY";

/// The name of all windows of a cluster together, as if they were one guard.
pub const WINDOWS: &str = "windows";

/// The name of all freezes of a cluster together, as if they were one guard.
pub const FREEZE: &str = "freeze";

/// The name of what [closes](ClusterGuards::closed) a cluster to a run, as if it were a guard.
pub const CLOSED: &str = "closed";

/// What keeps agents of a cluster from being started, whatever a strategy decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ClusterGuards {
    /// How many agents may be out at once, in the order of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// The statuses of nodes that are not out.
    pub healthy: Vec<String>,
    /// When agents may be started; at any time if there is no window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// When agents may not be started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Why a run may start nobody for now, whatever the other guards say. Only runs are told so: no document has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

impl Default for ClusterGuards {
    fn default() -> Self {
        let healthy = vec![HEALTHY.to_owned()];
        let (guards, windows, freezes) = (Vec::new(), Vec::new(), Vec::new());
        Self { guards, healthy, windows, freezes, closed: None }
    }
}

/// A limit on how many agents may be out at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Guard {
    /// Name, unique in the cluster.
    pub name: String,
    /// `attributes.NAME`, where the values of that attribute are the groups. `None`: all agents are one group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How many agents of a group may be out. Shares are of the group.
    pub max_out: Amount,
    /// How many groups may have agents that are out. `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u32>,
}

/// A recurring time in which agents may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Window {
    /// When it opens, as a cron expression of five fields.
    pub every: String,
    /// For how long it is open.
    #[serde(rename = "for")]
    pub length: Millis,
    /// The time zone of `every`, by its name in the IANA database.
    pub zone: String,
}

/// A time in which no agent is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Freeze {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// Why, for people.
    pub reason: String,
}

impl ClusterGuards {
    /// The same guards, for a run that may start nobody for now: until it has the cluster for itself, or knows all of it.
    #[must_use]
    pub fn closed(&self, reason: &str) -> Self {
        Self { closed: Some(reason.to_owned()), ..self.clone() }
    }

    /// Whether the cluster is [closed](Self::closed) to the run.
    pub fn is_closed(&self) -> bool {
        // Some histories say so by a freeze that no document could have.
        let ends = (Timestamp::MIN, Timestamp::MAX);
        self.closed.is_some() || self.freezes.iter().any(|freeze| (freeze.from, freeze.to) == ends)
    }

    /// Whether nothing is guarded.
    pub fn guard_nothing(&self) -> bool {
        let Self { guards, healthy: _, windows, freezes, closed } = self;
        guards.is_empty() && windows.is_empty() && freezes.is_empty() && closed.is_none()
    }

    /// Whether these are the guards of a cluster whose document says nothing about any.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is a guard of this name. All windows together count as one guard, and so do all freezes.
    pub fn has(&self, name: &str) -> bool {
        match name {
            WINDOWS => !self.windows.is_empty(),
            FREEZE => !self.freezes.is_empty(),
            CLOSED => self.closed.is_some() || self.counts(CLOSED),
            _ => self.counts(name),
        }
    }

    /// Whether a guard of this name counts agents. One that is called [`CLOSED`] may be in a store: an early version took
    /// the name.
    pub fn counts(&self, name: &str) -> bool {
        self.guards.iter().any(|guard| guard.name == name)
    }

    /// Whether the guard of this name is the same in `other`. A guard that neither has is the same.
    pub(crate) fn same_in(&self, other: &Self, name: &str) -> bool {
        let named = |guards: &Self| guards.guards.iter().find(|guard| guard.name == name).cloned();
        match name {
            WINDOWS => self.windows == other.windows,
            FREEZE => self.freezes == other.freezes,
            CLOSED => self.closed == other.closed && named(self) == named(other),
            _ => named(self) == named(other),
        }
    }
}

impl Guard {
    /// The attribute whose values are the groups. `None`: all agents are one group.
    pub fn attribute(&self) -> Option<&str> {
        self.by.as_deref().map(|by| by.strip_prefix(ATTRIBUTES).unwrap_or(by))
    }
}

/// The beginning of a path that names an attribute of an agent.
pub(super) const ATTRIBUTES: &str = "attributes.";

#[cfg(test)]
mod tests {
    use super::*;

    /// As a version stored it in which no cluster was ever closed to a run.
    #[test]
    fn a_guard_may_be_called_closed_where_one_is_stored() {
        let read = |max_out: u32| -> ClusterGuards {
            let out = format!(r#"{{"count":{max_out}}}"#);
            let text = format!(r#"{{"guards":[{{"name":"closed","max_out":{out}}}]}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let one = read(1);
        assert!(one.has(CLOSED) && one.counts(CLOSED) && !one.is_closed());
        assert!(one.same_in(&read(1), CLOSED) && !one.same_in(&read(2), CLOSED));
        assert!(!one.same_in(&one.closed("it goes alone"), CLOSED));
        let none = ClusterGuards::default();
        assert!(!none.has(CLOSED) && none.closed("it goes alone").has(CLOSED));
    }

    #[test]
    fn a_closed_cluster_is_written_and_read_as_such() {
        let closed = ClusterGuards::default().closed("it goes alone");
        let text = serde_json::to_string(&closed).unwrap();
        let read: ClusterGuards = serde_json::from_str(&text).unwrap();
        assert!(read == closed && read.is_closed() && !read.guard_nothing());
        let open = ClusterGuards::default();
        assert!(!serde_json::to_string(&open).unwrap().contains("closed") && !open.is_closed());
        // Written before there was a word for it.
        let reason = "it goes alone".to_owned();
        let freezes = vec![Freeze { from: Timestamp::MIN, to: Timestamp::MAX, reason }];
        assert!(ClusterGuards { freezes, ..open }.is_closed());
    }
}
