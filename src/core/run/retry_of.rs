//! Selects the agents of a finished run that another run goes over again. The API and the driver both ask these
//! rules, so they can't disagree.

use serde::{Deserialize, Serialize};

use super::agent_record::{AgentRecord, FailureReason};
use super::document::Progress;
use super::status::AgentState;
use crate::ids::RunId;

/// Which agents of a finished run are gone over again. At least one kind of agents is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryOf {
    /// The finished run.
    pub run: RunId,
    /// Whether to take the agents that failed in any stage of that run.
    pub failed: bool,
    /// Whether to take the agents that were skipped in its last stage.
    pub skipped: bool,
    /// Whether to take the agents that were not started or were cut off. If the run ended between two stages: also
    /// those that the second stage never came to.
    pub unfinished: bool,
}

impl RetryOf {
    /// Whether an agent that the finished run left in `state` may be taken. [`Self::takes`] tells for its record
    /// whether it is. `run` is how far the finished run came.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentState, Progress, RetryOf, RunStatus, Timestamp};
    ///
    /// let run = "0192a3b4-0000-7000-8000-000000000001".parse()?;
    /// let retry = RetryOf { run, failed: true, skipped: false, unfinished: true };
    /// let ended = Progress::new(RunStatus::Failed, Timestamp::from_millis(0));
    /// assert_eq!(retry.to_string(), "failed and unfinished");
    /// assert!(retry.may_take(AgentState::Failed, &ended));
    /// assert!(!retry.may_take(AgentState::Done, &ended));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn may_take(&self, state: AgentState, run: &Progress) -> bool {
        let never_came = self.unfinished && run.is_between_stages();
        match state {
            AgentState::Failed => self.failed || self.unfinished,
            AgentState::Skipped => self.failed || self.skipped || never_came,
            AgentState::Pending | AgentState::Running | AgentState::Added => self.unfinished,
            AgentState::Done => never_came,
            AgentState::Removed => false,
        }
    }

    /// Whether the agent with this record of the finished run is taken. `run` is how far that run came.
    pub fn takes(&self, record: &AgentRecord, run: &Progress) -> bool {
        let cut_off = record.error.as_ref().is_some_and(|f| f.reason == FailureReason::Cancelled);
        let failed_before = record.removed_from == Some(AgentState::Failed)
            || record.past.iter().any(|past| past.state == AgentState::Failed);
        let never_came =
            self.unfinished && run.is_between_stages() && record.stage < run.stage.index;
        match record.state {
            AgentState::Failed if cut_off => self.unfinished,
            AgentState::Failed => self.failed,
            AgentState::Skipped if failed_before => self.failed,
            AgentState::Skipped => self.skipped || never_came,
            AgentState::Pending | AgentState::Running | AgentState::Added => self.unfinished,
            AgentState::Done => never_came,
            AgentState::Removed => false,
        }
    }
}

impl std::fmt::Display for RetryOf {
    /// The kinds that are chosen, as text: `failed and skipped`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds =
            [(self.failed, "failed"), (self.skipped, "skipped"), (self.unfinished, "unfinished")];
        let chosen: Vec<_> = kinds.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        match chosen.as_slice() {
            [] => f.write_str("no"),
            [all @ .., last] if !all.is_empty() => write!(f, "{} and {last}", all.join(", ")),
            [only, ..] => f.write_str(only),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::run::{AgentId, AgentSeq, Failure, PastStage, RunStatus, StageProgress, Timestamp};

    fn record(state: AgentState) -> AgentRecord {
        let (run, agent) = (RunId(Uuid::nil()), AgentId::from("node-1"));
        AgentRecord { state, ..AgentRecord::new(run, AgentSeq(0), agent, String::new(), 1) }
    }

    fn failed(reason: FailureReason) -> AgentRecord {
        let (message, step) = (String::new(), "restart".to_owned());
        let error = Some(Failure { reason, message, step, at: Timestamp::from_millis(0) });
        AgentRecord { error, ..record(AgentState::Failed) }
    }

    fn failed_before() -> AgentRecord {
        let past = PastStage {
            stage: 0,
            state: AgentState::Failed,
            batch: None,
            error: None,
            skip_reason: None,
            started_at: None,
            ended_at: None,
        };
        AgentRecord { past: vec![past], ..record(AgentState::Skipped) }
    }

    #[test]
    fn each_agent_is_of_one_kind_and_what_is_taken_may_be() {
        let cases = [
            (failed(FailureReason::ActionFailed), "failed"),
            (failed(FailureReason::Cancelled), "unfinished"),
            (failed_before(), "failed"),
            (record(AgentState::Skipped), "skipped"),
            (record(AgentState::Pending), "unfinished"),
            (record(AgentState::Running), "unfinished"),
            (record(AgentState::Added), "unfinished"),
            (record(AgentState::Done), "no"),
            (record(AgentState::Removed), "no"),
        ];
        let none =
            RetryOf { run: RunId(Uuid::nil()), failed: false, skipped: false, unfinished: false };
        let kinds = [
            RetryOf { failed: true, ..none },
            RetryOf { skipped: true, ..none },
            RetryOf { unfinished: true, ..none },
        ];
        let run = Progress::new(RunStatus::Done, Timestamp::from_millis(0));
        for (record, kind) in cases {
            for retry in kinds {
                let takes = retry.takes(&record, &run);
                assert_eq!(takes, retry.to_string() == kind, "{record:?} {retry}");
                assert!(retry.may_take(record.state, &run) || !takes, "{record:?}");
            }
        }
        let all = RetryOf { failed: true, skipped: true, unfinished: true, ..none };
        assert_eq!(all.to_string(), "failed, skipped and unfinished");
    }

    #[test]
    fn where_a_run_ended_between_two_stages_the_second_never_came_to_anybody() {
        let stage = StageProgress { index: 1, entering: true, ..StageProgress::default() };
        let new = Progress::new(RunStatus::Cancelled, Timestamp::from_millis(0));
        let run = Progress { stage, ..new };
        let none =
            RetryOf { run: RunId(Uuid::nil()), failed: false, skipped: false, unfinished: false };
        let retry = RetryOf { unfinished: true, ..none };
        let entered = |state| AgentRecord { stage: 1, ..record(state) };
        for (record, expected) in [
            (record(AgentState::Done), true),
            (record(AgentState::Skipped), true),
            (record(AgentState::Removed), false),
            (failed(FailureReason::ActionFailed), false),
            (failed_before(), false),
            (entered(AgentState::Pending), true),
            (entered(AgentState::Skipped), false),
        ] {
            assert_eq!(retry.takes(&record, &run), expected, "{record:?}");
            assert!(retry.may_take(record.state, &run) || !expected, "{record:?}");
            let others = RetryOf { failed: true, ..none };
            assert!(record.state != AgentState::Done || !others.takes(&record, &run));
        }
    }
}
