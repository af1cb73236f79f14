//! How a run is going to end, which is kept while the stages that are always done go on.

use serde::{Deserialize, Serialize};

use super::document::{Progress, Run, StatusReason};
use super::status::RunStatus;

/// How a run is going to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Closing {
    /// FAILED or CANCELLED.
    pub outcome: RunStatus,
    /// Why the run ends.
    pub reason: StatusReason,
    /// Index of the stage in which it became known that the run ends.
    #[serde(default)]
    pub stage: u16,
    /// Whether a stage of agents was still to come, and none was under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub between: bool,
    /// How many failures there were by then. They don't count against the budgets of the stages that are always done.
    #[serde(default)]
    pub failures: u32,
    /// Whether the time for such stages is over, or a person ended them. No further one begins then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

impl Closing {
    /// The end of a run that has come as far as this.
    pub(super) fn of(outcome: RunStatus, reason: StatusReason, run: &Run) -> Self {
        let stage = &run.progress.stage;
        let between = (stage.entering || stage.once) && run.snapshot.has_agents_from(stage.index);
        let failures = run.progress.failures;
        Self { outcome, reason, stage: stage.index, between, failures, over: false }
    }
}

impl Progress {
    /// The status that says what may happen in the run. A run that is cancelled goes on like one that is RUNNING while its
    /// last stages are done.
    pub(super) fn acts_as(&self) -> RunStatus {
        let closes = self.closing.as_ref().is_some_and(|closing| !closing.over);
        match closes && self.status == RunStatus::Cancelling {
            true => RunStatus::Running,
            false => self.status,
        }
    }
}
