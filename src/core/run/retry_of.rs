//! Selects the agents of a finished run that another run goes over again. The API and the driver both ask these
//! rules, so they can't disagree.

use serde::{Deserialize, Serialize};

use super::agent_record::{AgentRecord, Failure, FailureReason};
use super::stages::CameTo;
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
    /// use replibook_core::run::{AgentState, CameTo, RetryOf};
    ///
    /// let run = "0192a3b4-0000-7000-8000-000000000001".parse()?;
    /// let retry = RetryOf { run, failed: true, skipped: false, unfinished: true };
    /// let ended = CameTo::default();
    /// assert_eq!(retry.to_string(), "failed and unfinished");
    /// assert!(retry.may_take(AgentState::Failed, &ended));
    /// assert!(!retry.may_take(AgentState::Done, &ended));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_take(&self, state: AgentState, run: &CameTo) -> bool {
        // The stages before the end of a run also take in agents that had not come to their end.
        let left = self.unfinished && (run.between || run.closing);
        match state {
            AgentState::Failed => self.failed || self.unfinished,
            AgentState::Skipped => self.failed || self.skipped || left,
            AgentState::Pending | AgentState::Running | AgentState::Added => self.unfinished,
            AgentState::Done => left || self.skipped && run.closing,
            AgentState::Removed => false,
        }
    }

    /// Whether the agent with this record of the finished run is taken. `run` is how far that run came.
    pub fn takes(&self, record: &AgentRecord, run: &CameTo) -> bool {
        if record.agent.is_run() {
            // A new run goes through the stages on the run anyway.
            return false;
        }
        let is_cut_off = |error: &Failure| error.reason == FailureReason::Cancelled;
        let failed = record.past.iter().filter(|past| past.state == AgentState::Failed);
        let (cut_off, failed): (Vec<_>, Vec<_>) =
            failed.partition(|past| past.error.as_ref().is_some_and(is_cut_off));
        let failed_before = record.removed_from == Some(AgentState::Failed) || !failed.is_empty();
        match record.state {
            _ if record.bystander => false,
            AgentState::Failed if record.error.as_ref().is_some_and(is_cut_off) => self.unfinished,
            AgentState::Failed => self.failed,
            AgentState::Skipped if failed_before => self.failed,
            AgentState::Skipped if !cut_off.is_empty() => self.unfinished,
            AgentState::Pending | AgentState::Running | AgentState::Added => self.unfinished,
            AgentState::Done | AgentState::Skipped => self.takes_settled(record, run),
            AgentState::Removed => false,
        }
    }

    /// The same for an agent that did not fail, and came to its end in the last stage. What counts is how it came through
    /// the stages before those that are done before the end of a run.
    fn takes_settled(&self, record: &AgentRecord, run: &CameTo) -> bool {
        let last = run.stage;
        let before = record.past.iter().rev().find(|past| past.stage <= last);
        let (stage, state) = match before {
            Some(past) if record.stage > last => (past.stage, past.state),
            // An agent that the run came to know only then was in none of those stages.
            None if record.stage > last => return false,
            Some(_) | None => (record.stage, record.state),
        };
        let never_came = self.unfinished && run.between && stage < last;
        match state {
            AgentState::Pending | AgentState::Running | AgentState::Added => self.unfinished,
            AgentState::Skipped => self.skipped || never_came,
            AgentState::Done => never_came,
            AgentState::Failed | AgentState::Removed => false,
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
    use crate::run::{AgentId, AgentSeq, PastStage, Timestamp};

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
        let run = CameTo::default();
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
        let run = CameTo { stage: 1, between: true, closing: false };
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

    #[test]
    fn what_came_before_the_end_counts_and_not_the_stages_that_are_always_done() {
        let run = CameTo { stage: 0, between: false, closing: true };
        let none =
            RetryOf { run: RunId(Uuid::nil()), failed: false, skipped: false, unfinished: false };
        let was = |state, error: Option<Failure>| {
            let past = PastStage { state, error, ..failed_before().past[0].clone() };
            AgentRecord { stage: 2, past: vec![past], ..record(AgentState::Done) }
        };
        let cut_off = failed(FailureReason::Cancelled).error;
        let skipped = |record| AgentRecord { state: AgentState::Skipped, ..record };
        for (record, kind) in [
            (was(AgentState::Pending, None), "unfinished"),
            (was(AgentState::Done, None), "no"),
            (was(AgentState::Skipped, None), "skipped"),
            (skipped(was(AgentState::Done, None)), "no"),
            (skipped(was(AgentState::Failed, None)), "failed"),
            (skipped(was(AgentState::Failed, cut_off)), "unfinished"),
        ] {
            for retry in [
                RetryOf { failed: true, ..none },
                RetryOf { skipped: true, ..none },
                RetryOf { unfinished: true, ..none },
            ] {
                let takes = retry.takes(&record, &run);
                assert_eq!(takes, retry.to_string() == kind, "{record:?} {retry}");
                assert!(retry.may_take(record.state, &run) || !takes, "{record:?}");
            }
        }
    }
}
