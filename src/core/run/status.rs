//! The statuses of runs and the states of agents, each with one table of transitions. Every change goes through
//! these tables.

use serde::{Deserialize, Serialize};

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// The run waits for a person to approve it.
    PendingApprove,
    /// The run is queued and waits for its cluster.
    Pending,
    /// The run's agent records are being made.
    Starting,
    /// The run goes over the agents.
    Running,
    /// The run starts no further agents until a person resumes it, or approves what its strategy asks.
    Paused,
    /// The run waits for what is in flight, and then ends as CANCELLED.
    Cancelling,
    /// It is settled how the run ends, and its records get their `finish_ts`.
    Finishing,
    /// The run succeeded, perhaps with failures within the budget.
    Done,
    /// The run failed.
    Failed,
    /// A person ended the run.
    Cancelled,
}

impl RunStatus {
    /// All statuses.
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

    /// Whether it is settled how the run ends, so that nothing is done to its agents any more.
    pub const fn is_settled(self) -> bool {
        self.is_final() || matches!(self, Self::Finishing)
    }

    /// Whether the run's stages go on, or would go on but for a pause.
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

    /// Whether a run with this status has the lock of its cluster, if it needs the lock.
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

    /// The word that stands for the status in the API, on the command line and in documents.
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
    /// The agent joined while the run was going on.
    Added,
    /// The agent waits to be started.
    Pending,
    /// The agent's steps are going on.
    Running,
    /// The agent came through all of its steps.
    Done,
    /// A step failed, or nothing could be sent to the agent.
    Failed,
    /// The agent takes no part.
    Skipped,
    /// The agent left while the run was going on.
    Removed,
}

impl AgentState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Added,
        Self::Pending,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Skipped,
        Self::Removed,
    ];

    /// All states, in the order in which people want to read the counts: settled states come first.
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
    /// // An agent that failed can be put back in the queue, but an agent that is done can't.
    /// assert!(AgentState::Failed.next().contains(&AgentState::Pending));
    /// assert_eq!(AgentState::Done.next(), [AgentState::Removed]);
    /// ```
    pub const fn next(self) -> &'static [Self] {
        match self {
            // FAILED: it can't be found out whether the stage selects the agent.
            Self::Added => &[Self::Pending, Self::Failed, Self::Skipped, Self::Removed],
            Self::Pending => &[Self::Running, Self::Skipped, Self::Removed],
            // SKIPPED: it may become known only now that the stage does not select the agent.
            Self::Running => &[Self::Done, Self::Failed, Self::Skipped, Self::Removed],
            Self::Done | Self::Skipped => &[Self::Removed],
            Self::Failed => &[Self::Pending, Self::Removed],
            Self::Removed => &[Self::Added],
        }
    }

    /// The word that stands for the state in the API, on the command line and in documents.
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

/// The text is not the name of a status or state.
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
