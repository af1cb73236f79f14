//! What is appended while a run goes on: events, which are its history, and log lines, which its plugins write.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::agent_record::{Failure, Was};
use super::approving::ApprovalChange;
use super::document::StatusReason;
use super::held::HeldThen;
use super::status::{AgentState, RunStatus};
use crate::ids::{AgentId, AttemptKey, CommandId, RunId};
use crate::playbook::ClusterGuards;
use crate::time::Timestamp;

/// One line of a run's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunEvent {
    /// The run that the event belongs to.
    pub run: RunId,
    /// Sequence within the run, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Who asked for it, as the person gave it. `None` if no person did.
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Happened {
    /// The run changed its status.
    Status {
        /// The status before. `None` when the run was created.
        from: Option<RunStatus>,
        /// The status after.
        to: RunStatus,
        /// Why the status changed, if there is more to say.
        reason: Option<StatusReason>,
    },
    /// A stage began, and its agents are known.
    Stage {
        /// Name of the stage.
        stage: String,
        /// Its index in the playbook, from 0.
        index: u16,
        /// How many agents the stage has selected.
        selected: u32,
        /// Whether its steps are done once, on the run. It has no agents then, and what was selected is the run itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once: bool,
    },
    /// The strategy decided. `agent` events follow for the agents that it started or left out.
    Decision {
        /// Sequence of the last event that the strategy's roster reflected.
        roster: u64,
        /// What the strategy was asked with. `None` in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
        /// Number of the batch. `None` if no agent was started.
        batch: Option<u32>,
        /// Label of the batch, if the strategy gave one.
        label: Option<String>,
        /// How many agents the strategy started.
        started: u32,
        /// How many agents the strategy left out.
        skipped: u32,
        /// What the strategy asked for next, as text.
        next: String,
        /// Agents that are asked about their nodes before the strategy is asked the next time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refresh: Vec<AgentId>,
        /// The memo that the strategy returned, at most 64 KiB. Left out if it is the memo that the strategy was
        /// asked with, which is empty when a stage begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memo: Option<String>,
        /// Whom guards of the cluster hold now. Left out if they hold nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<HeldThen>,
    },
    /// The strategy was asked, but gave no decision that could be followed. The run pauses.
    NoDecision {
        /// Sequence of the last event that the strategy's roster reflected.
        roster: u64,
        /// What the strategy was asked with.
        asked: Asked,
        /// What stopped the strategy, for example `strategy-failed` or `out-of-time`. `None` if the host refused
        /// its decision.
        code: Option<String>,
        /// What happened, or why the decision was refused, as human-readable text.
        message: String,
        /// The sha256 of the refused decision, in hex. `None` if there was no decision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision_hash: Option<String>,
    },
    /// An agent changed its state.
    Agent {
        /// The agent.
        agent: AgentId,
        /// The state before. `None` when its record was made.
        from: Option<AgentState>,
        /// The state after.
        to: AgentState,
        /// The batch that the agent belongs to.
        batch: Option<u32>,
        /// Why the agent failed or was skipped, as human-readable text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Why the agent failed. Left out if the end of its last step already said so, and in a history that an
        /// early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// An agent has a new address.
    Moved {
        /// The agent.
        agent: AgentId,
        /// The base URL before.
        from: String,
        /// The base URL now.
        to: String,
    },
    /// What is known about an agent changed. The record has what is known now; this event has what was known
    /// before.
    AgentInfo {
        /// The agent.
        agent: AgentId,
        /// What was known before.
        was: Was,
    },
    /// An attempt of a step began on an agent.
    StepStarted {
        /// The agent.
        agent: AgentId,
        /// Name of the step.
        step: String,
        /// Number of the attempt.
        attempt: u32,
        /// Number of the earlier attempt whose action ended well but late. This attempt goes on with that result
        /// instead of doing the action again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        takes: Option<u32>,
    },
    /// A step was left out on an agent because its `when` was false.
    StepSkipped {
        /// The agent.
        agent: AgentId,
        /// Name of the step.
        step: String,
    },
    /// A step ended on an agent.
    StepEnded {
        /// The agent.
        agent: AgentId,
        /// Name of the step.
        step: String,
        /// Number of the attempt.
        attempt: u32,
        /// Why the attempt failed. `None` if it ended well.
        failure: Option<Failure>,
        /// The last action that the attempt had the agent do, by the identifier that the agent knows. `None` if
        /// there was no action, and in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<Uuid>,
    },
    /// An action ended after its attempt was over, because the time of the attempt had run out or the agent could
    /// not be reached.
    LateAction {
        /// The agent.
        agent: AgentId,
        /// Name of the step.
        step: String,
        /// Number of the attempt.
        attempt: u32,
        /// How the action ended, or that nobody waits for it any more, as human-readable text.
        outcome: String,
        /// The action, by the identifier that the agent knows. `None` in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<Uuid>,
    },
    /// The cluster has other guards than before, or the run learned of them.
    Guards {
        /// The guards that count from now on.
        guards: Arc<ClusterGuards>,
    },
    /// The run is going to end, and the stages that are always done come first.
    Closing {
        /// How the run ends: FAILED or CANCELLED.
        outcome: RunStatus,
        /// Why it ends.
        reason: StatusReason,
        /// Index of the stage that begins next. `None` if the present one is always done, and goes on.
        next: Option<u16>,
    },
    /// Somebody has approved what the run asks, or nobody did in time. A run whose playbook says only that it waits has no
    /// such events.
    Approval {
        /// Sequence of the event with which the run asked.
        question: u64,
        /// How many approvals count by now.
        given: u32,
        /// How many there must be.
        wanted: u32,
        /// What has become of the question.
        approval: ApprovalChange,
    },
    /// A person's command was applied or refused.
    Command {
        /// Identifier of the command.
        id: CommandId,
        /// The verb, for example `resume`.
        command: String,
        /// The agent that the command is about, if it is about one agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// Whether agents that are put back do all of their step again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
        /// Name of the signal, if the command sends one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// The guard of the cluster that does not count any more for the run, if the command asks for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        override_guard: Option<String>,
        /// Why, as the person gave it.
        why: Option<String>,
        /// Why the command was refused. `None` if it was applied.
        refused: Option<String>,
    },
}

impl Happened {
    /// The agent whose record the event is about, if it is about one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent { agent, .. }
            | Self::Moved { agent, .. }
            | Self::AgentInfo { agent, .. }
            | Self::StepStarted { agent, .. }
            | Self::StepSkipped { agent, .. }
            | Self::StepEnded { agent, .. }
            | Self::LateAction { agent, .. } => Some(agent),
            Self::Status { .. }
            | Self::Stage { .. }
            | Self::Decision { .. }
            | Self::NoDecision { .. }
            | Self::Guards { .. }
            | Self::Closing { .. }
            | Self::Approval { .. }
            | Self::Command { .. } => None,
        }
    }
}

/// What a strategy was asked with, in addition to what follows from the run's snapshot and its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Asked {
    /// The moment that the strategy was told as the present.
    pub at: Timestamp,
    /// The most agents that it was allowed to start.
    pub max_start: u32,
    /// The memo, if it differs from the memo of the last decision in the history. Decisions that change only the
    /// memo are left out of the history when there are many in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// One line in the log of an attempt or of a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// The run that the line belongs to.
    pub run: RunId,
    /// The attempt that wrote the line. `None` for a line of the strategy.
    pub attempt: Option<AttemptKey>,
    /// The agent of that attempt. `None` for a line of the strategy.
    pub agent: Option<AgentId>,
    /// Name of the step, or of the stage for a line of the strategy.
    pub source: String,
    /// Number of the line within its attempt. For a line of the strategy: among the lines that follow the same
    /// event.
    pub line: u32,
    /// Sequence of the last event before the line. Together with `agent` and `line` it gives an order.
    pub event: u64,
    /// Number of the line within the run, in the order of writing, from 1. It is 0 in a line that an early version
    /// wrote.
    #[serde(default)]
    pub number: u64,
    /// When the line was committed.
    pub at: Timestamp,
    /// Severity of the line.
    pub level: LogLevel,
    /// The text of the line.
    pub message: String,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

/// Severity of a log line. The order is from the least severe to the most severe.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Interesting only for the plugin's author.
    Debug,
    /// An ordinary message.
    Info,
    /// Something that is worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The word for the severity, as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A log line as a plugin wrote it, not yet numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLine {
    /// Severity of the line.
    pub level: LogLevel,
    /// The text of the line.
    pub message: String,
}
