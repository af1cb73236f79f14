//! States of runs and of agents, with the one table of transitions for each.

use serde::{Deserialize, Serialize};

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Waits for a person to approve it.
    PendingApprove,
    /// Queued: waits for its cluster.
    Pending,
    /// Its agent records are being made.
    Starting,
    /// Goes over the agents.
    Running,
    /// Starts no new agent until a person resumes it, or approves what its strategy asks.
    Paused,
    /// Waits for what is in flight, then ends as cancelled.
    Cancelling,
    /// Its records get their `finish_ts`.
    Finishing,
    /// Ended well, perhaps with failures within the budget.
    Done,
    /// Ended badly.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::PendingApprove,
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Cancelling,
        Self::Finishing,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The statuses that may follow this one: the transition table.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::RunStatus;
    ///
    /// assert_eq!(RunStatus::Pending.next(), [RunStatus::Starting, RunStatus::Finishing]);
    /// assert!(RunStatus::Finishing.is_settled() && !RunStatus::Finishing.is_final());
    /// assert_eq!(RunStatus::ALL.iter().filter(|status| status.is_final()).count(), 3);
    /// ```
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::PendingApprove => &[Self::Pending, Self::Finishing],
            Self::Pending => &[Self::Starting, Self::Finishing],
            Self::Starting => &[Self::Running, Self::Finishing],
            Self::Running => &[Self::Paused, Self::Cancelling, Self::Finishing],
            Self::Paused => &[Self::Running, Self::Cancelling, Self::Finishing],
            Self::Cancelling => &[Self::Finishing],
            Self::Finishing => &[Self::Done, Self::Failed, Self::Cancelled],
            Self::Done | Self::Failed | Self::Cancelled => &[],
        }
    }

    /// Whether the run has ended for good.
    pub const fn is_final(self) -> bool {
        self.next().is_empty()
    }

    /// Whether nothing is done to its agents any more: how the run ends is settled.
    pub const fn is_settled(self) -> bool {
        self.is_final() || matches!(self, Self::Finishing)
    }

    /// Whether its stages go, or would go but for a pause.
    pub const fn is_under_way(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::PendingApprove
            | Self::Pending
            | Self::Starting
            | Self::Cancelling
            | Self::Finishing
            | Self::Done
            | Self::Failed
            | Self::Cancelled => false,
        }
    }

    /// Whether the run holds the lock of its cluster.
    pub const fn holds_cluster(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Paused | Self::Cancelling | Self::Finishing => {
                true
            }
            Self::PendingApprove | Self::Pending | Self::Done | Self::Failed | Self::Cancelled => {
                false
            }
        }
    }

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingApprove => "PENDING_APPROVE",
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Cancelling => "CANCELLING",
            Self::Finishing => "FINISHING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// State of an agent in the present stage of a run.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentState {
    /// Joined while the run goes.
    Added,
    /// Waits to be started.
    Pending,
    /// Its steps are going on.
    Running,
    /// All its steps ended well.
    Done,
    /// A step failed.
    Failed,
    /// Takes no part.
    Skipped,
    /// Left while the run goes.
    Removed,
}

impl AgentState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Added,
        Self::Pending,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Skipped,
        Self::Removed,
    ];

    /// Every state, in the order in which people want to read the counts: settled states come first.
    pub const SETTLED_FIRST: [Self; 7] = [
        Self::Done,
        Self::Failed,
        Self::Skipped,
        Self::Running,
        Self::Pending,
        Self::Added,
        Self::Removed,
    ];

    /// The states that may follow this one: the transition table.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::AgentState;
    ///
    /// // An agent that failed can be put back in the queue, and one that is done can't.
    /// assert!(AgentState::Failed.next().contains(&AgentState::Pending));
    /// assert_eq!(AgentState::Done.next(), [AgentState::Removed]);
    /// ```
    pub const fn next(self) -> &'static [Self] {
        match self {
            // It can't be known whether the stage selects it.
            Self::Added => &[Self::Pending, Self::Failed, Self::Skipped, Self::Removed],
            Self::Pending => &[Self::Running, Self::Skipped, Self::Removed],
            // It may be known only now that it is not selected.
            Self::Running => &[Self::Done, Self::Failed, Self::Skipped, Self::Removed],
            Self::Done | Self::Skipped => &[Self::Removed],
            Self::Failed => &[Self::Pending, Self::Removed],
            Self::Removed => &[Self::Added],
        }
    }

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Removed => "REMOVED",
        }
    }
}

macro_rules! words {
    ($type:ident, $what:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let known = Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text));
                known.ok_or_else(|| UnknownWord {
                    what: $what,
                    found: text.to_owned(),
                    expected: Self::ALL.map(Self::as_str).join(", "),
                })
            }
        }
    };
}

words!(RunStatus, "a run status");
words!(AgentState, "an agent state");

/// The text names no status or state.
///
/// # Example
/// ```
/// use replibook_core::run::{AgentState, RunStatus};
///
/// assert_eq!("pending_approve".parse::<RunStatus>()?, RunStatus::PendingApprove);
/// let error = "STUCK".parse::<AgentState>().unwrap_err();
/// assert!(error.to_string().starts_with("\"STUCK\" is not an agent state; expected one of ADDED"));
/// # Ok::<(), replibook_core::run::UnknownWord>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{found:?} is not {what}; expected one of {expected}")]
pub struct UnknownWord {
    what: &'static str,
    found: String,
    expected: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_status_is_reached_and_every_run_can_end() {
        for status in RunStatus::ALL {
            let reached = RunStatus::ALL.iter().any(|from| from.next().contains(&status));
            assert!(reached || status == RunStatus::PendingApprove || status == RunStatus::Pending);
            let can_end = status.is_final() || status.next().contains(&RunStatus::Finishing);
            assert!(can_end || status == RunStatus::Finishing, "{status}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in AgentState::ALL {
            assert_eq!(state.as_str().to_lowercase().parse::<AgentState>().unwrap(), state);
        }
        let error = "GONE".parse::<RunStatus>().unwrap_err().to_string();
        assert!(error.contains("PENDING_APPROVE, PENDING, STARTING"), "{error}");
    }
}
