//! The forms that a stage may have: what its steps are done on, and when each of them is done.

use serde::{Deserialize, Serialize};

use super::model::Stage;

impl Stage {
    /// Index of the first step with this role; `None` if there is no such step.
    pub fn first_of(&self, role: StepRole) -> Option<u16> {
        let first = self.steps.iter().position(|step| step.role == role)?;
        u16::try_from(first).ok()
    }
}

/// What the steps of a stage are done on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StageOn {
    /// On each of the agents that the stage selects.
    #[default]
    Agents,
    /// Once, on the run as a whole.
    Run,
}

impl StageOn {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(crate) const fn is_agents(&self) -> bool {
        matches!(self, Self::Agents)
    }
}

/// When a step is done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StepRole {
    /// In its turn.
    #[default]
    Main,
    /// After a main step has failed.
    Rescue,
    /// After all others, whatever became of them.
    Finally,
}

impl StepRole {
    /// All roles, in the order in which their steps are done.
    pub const ALL: [Self; 3] = [Self::Main, Self::Rescue, Self::Finally];

    /// The key of a stage that has the steps with this role.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "steps",
            Self::Rescue => "rescue",
            Self::Finally => "finally",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(crate) const fn is_main(&self) -> bool {
        matches!(self, Self::Main)
    }
}
