//! What is kept of an agent's first failure while its rescue and finally steps are done.

use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// The failure with which an agent is going to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ending {
    /// Why the agent fails: its first failure, and in the message what failed after that.
    pub failure: Failure,
    /// Index of the step that failed first. After a retry by a person the agent goes on there.
    pub step: u16,
}

impl Ending {
    /// The first failure of the agent, at this step.
    pub(super) const fn of(failure: Failure, step: u16) -> Self {
        Self { failure, step }
    }

    /// The failure with which the agent ends if `last` is what failed last. The first failure stays the reason.
    pub(super) fn and(&self, last: &Failure) -> Failure {
        let first = &self.failure;
        if first.step == last.step {
            return last.clone();
        }
        let message =
            format!("{}; then step {} failed: {}", first.message, last.step, last.message);
        Failure { message: Failure::kept(message), ..first.clone() }
    }
}
