//! What became of the agents over all stages of a run, and which failures were passed over. An agent's state is
//! only that of its present stage, which does not tell the whole story.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::agent_record::{AgentRecord, FailureReason, PastStage};
use super::status::AgentState;
use crate::ids::AgentId;

/// How many of the agents that have left are named. Nobody reads more names.
pub const MAX_NAMED: usize = 5;

/// Failures of steps that the playbook passes over (`on_error: continue`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct PassedOver {
    /// How many steps failed; a step counts once for each agent on which it failed.
    pub failures: u32,
    /// How many agents such steps failed on.
    pub agents: u32,
}

impl PassedOver {
    /// Whether no failure was passed over.
    pub const fn is_none(&self) -> bool {
        self.failures == 0
    }
}

impl std::fmt::Display for PassedOver {
    /// For example `5 failures of steps passed over on 1 agent`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { failures, agents } = self;
        let one = |count: u32, word: &str| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let (failures, agents) = (one(*failures, "failure"), one(*agents, "agent"));
        write!(f, "{failures} of steps passed over on {agents}")
    }
}

/// Agents that a run was to go over again, but that have left the cluster since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Gone {
    /// How many agents have left.
    pub count: u32,
    /// The first [`MAX_NAMED`] of these agents.
    pub named: Vec<AgentId>,
}

impl Gone {
    /// Counts these agents and names the first of them, in the order that is given.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentId, Gone};
    ///
    /// let gone = Gone::of((1..=7).map(|number| AgentId(format!("n{number}"))));
    /// assert_eq!(
    ///     gone.to_string(),
    ///     "7 of those agents have left the cluster: n1, n2, n3, n4, n5 and 2 more",
    /// );
    /// ```
    pub fn of(agents: impl IntoIterator<Item = AgentId>) -> Self {
        let mut gone = Self::default();
        for agent in agents {
            gone.count = gone.count.saturating_add(1);
            if gone.named.len() < MAX_NAMED {
                gone.named.push(agent);
            }
        }
        gone
    }
}

impl std::fmt::Display for Gone {
    /// For example `2 of those agents have left the cluster: node-4, node-5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<_> = self.named.iter().map(AgentId::as_str).collect();
        let (verb, named) = (if self.count == 1 { "has" } else { "have" }, named.join(", "));
        write!(f, "{} of those agents {verb} left the cluster: {named}", self.count)?;
        match (self.count as usize).saturating_sub(self.named.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl AgentRecord {
    /// The worst state that the agent came to in any stage. FAILED is worse than not having come to an end, which
    /// is worse than DONE; DONE takes precedence over SKIPPED.
    pub fn outcome(&self) -> AgentState {
        let left_so = |reason| reason == Some(FailureReason::LeftCluster);
        let failed_before = |past: &PastStage| {
            past.state == AgentState::Failed
                || past.state == AgentState::Removed
                    && left_so(past.error.as_ref().map(|error| error.reason))
        };
        let failed = self.state == AgentState::Failed
            || self.removed_from == Some(AgentState::Failed)
            || self.state == AgentState::Removed
                && left_so(self.error.as_ref().map(|error| error.reason))
            || self.past.iter().any(failed_before);
        if failed {
            return AgentState::Failed;
        }
        let was = |state| self.past.iter().any(|past| past.state == state);
        match self.state {
            AgentState::Running | AgentState::Pending | AgentState::Added | AgentState::Removed => {
                self.state
            }
            AgentState::Failed | AgentState::Done | AgentState::Skipped => {
                if was(AgentState::Pending) {
                    AgentState::Pending
                } else if self.state == AgentState::Done || was(AgentState::Done) {
                    AgentState::Done
                } else {
                    AgentState::Skipped
                }
            }
        }
    }
}

impl FailureReason {
    /// Whether the reason shows that the playbook or a plugin is at fault, so that the failure would come again
    /// with the same version.
    pub const fn is_of_version(self) -> bool {
        match self {
            Self::PluginTrapped
            | Self::PluginOutOfTime
            | Self::PluginOutOfMemory
            | Self::PluginLimit
            | Self::NotDeterministic
            | Self::NotGranted
            | Self::BadArguments => true,
            Self::ActionFailed
            | Self::Unreachable
            | Self::WrongNode
            | Self::ActionLost
            | Self::StepFailed
            | Self::TimedOut
            | Self::PluginUnavailable
            | Self::SecretUnavailable
            | Self::Precondition
            | Self::Refused
            | Self::Malformed
            | Self::LeftCluster
            | Self::Cancelled => false,
        }
    }
}

/// How many agents came to which [`outcome`](AgentRecord::outcome).
pub fn outcomes<'a>(
    records: impl IntoIterator<Item = &'a AgentRecord>,
) -> BTreeMap<AgentState, u32> {
    let mut counts = BTreeMap::new();
    for record in records.into_iter().filter(|record| !record.bystander && !record.agent.is_run()) {
        *counts.entry(record.outcome()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::run::{AgentSeq, Failure, RunId, Timestamp};

    fn record(past: &[AgentState], state: AgentState) -> AgentRecord {
        let (run, agent) = (RunId(Uuid::nil()), AgentId::from("node-1"));
        let past = (0..).zip(past).map(|(stage, state)| PastStage {
            stage,
            state: *state,
            batch: None,
            error: None,
            skip_reason: None,
            started_at: None,
            ended_at: None,
        });
        let past = past.collect();
        AgentRecord { state, past, ..AgentRecord::new(run, AgentSeq(0), agent, String::new(), 1) }
    }

    #[test]
    fn the_worst_of_all_stages_counts() {
        use AgentState::{Added, Done, Failed, Pending, Removed, Running, Skipped};
        for (past, state, expected) in [
            (&[][..], Done, Done),
            (&[], Skipped, Skipped),
            (&[], Running, Running),
            (&[], Added, Added),
            (&[], Removed, Removed),
            (&[Failed], Skipped, Failed),
            (&[Failed], Removed, Failed),
            (&[Done, Failed], Skipped, Failed),
            (&[Done], Failed, Failed),
            (&[Done], Skipped, Done),
            (&[Skipped, Done], Skipped, Done),
            (&[Skipped], Skipped, Skipped),
            (&[Skipped], Done, Done),
            (&[Done], Pending, Pending),
            (&[Pending], Done, Pending),
            (&[Pending], Skipped, Pending),
            (&[Done], Removed, Removed),
            (&[Removed], Done, Done),
        ] {
            assert_eq!(record(past, state).outcome(), expected, "{past:?} {state}");
        }
        let failed_as_it_left = AgentRecord { removed_from: Some(Failed), ..record(&[], Removed) };
        assert_eq!(failed_as_it_left.outcome(), Failed);
        let mut counted = record(&[Removed], Done);
        let error = Failure::left_cluster("drain".to_owned(), Timestamp::from_millis(0));
        counted.past[0].error = Some(error.clone());
        assert_eq!(counted.outcome(), Failed);
        let counted = AgentRecord { error: Some(error), ..record(&[], Removed) };
        assert_eq!(outcomes(&[counted, record(&[], Done)]), [(Done, 1), (Failed, 1)].into());
    }

    #[test]
    fn those_who_left_are_named_up_to_a_number() {
        let gone =
            |count: usize| Gone::of((0..count).map(|n| AgentId(format!("node-{n}")))).to_string();
        assert_eq!(gone(1), "1 of those agents has left the cluster: node-0");
        assert_eq!(gone(2), "2 of those agents have left the cluster: node-0, node-1");
        assert!(gone(MAX_NAMED + 3).ends_with("node-3, node-4 and 3 more"));
    }

    #[test]
    fn what_was_passed_over_is_told_in_words() {
        let passed = PassedOver { failures: 5, agents: 1 };
        assert_eq!(passed.to_string(), "5 failures of steps passed over on 1 agent");
        let passed = PassedOver { failures: 1, agents: 1 };
        assert_eq!(passed.to_string(), "1 failure of steps passed over on 1 agent");
    }
}
