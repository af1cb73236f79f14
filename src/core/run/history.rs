//! What is appended while a run goes: events and log lines.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::agent_record::{Failure, Was};
use super::document::StatusReason;
use super::status::{AgentState, RunStatus};
use crate::ids::{AgentId, AttemptKey, CommandId, RunId};
use crate::time::Timestamp;

/// One line of a run's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunEvent {
    /// The run.
    pub run: RunId,
    /// Sequence within the run, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it, where somebody did.
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
        /// Before; none when the run was created.
        from: Option<RunStatus>,
        /// After.
        to: RunStatus,
        /// Why.
        reason: Option<StatusReason>,
    },
    /// A stage began: its agents are known.
    Stage {
        /// Name of the stage.
        stage: String,
        /// Its index in the playbook, from 0.
        index: u16,
        /// How many agents it has selected.
        selected: u32,
    },
    /// The strategy decided. The agents that it left out and started follow as `agent` events.
    Decision {
        /// Sequence of the last event that the strategy's roster reflected.
        roster: u64,
        /// What it was asked with; none in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
        /// Number of the batch; none when no agent was started.
        batch: Option<u32>,
        /// Label of the batch.
        label: Option<String>,
        /// How many agents it started.
        started: u32,
        /// How many it left out.
        skipped: u32,
        /// What it asked for next, in words.
        next: String,
        /// Agents that it wants asked about their nodes before it is asked the next time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refresh: Vec<AgentId>,
        /// The memo that it returned, at most 64 KiB; left out when it is the one it was asked with,
        /// which is empty when a stage begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memo: Option<String>,
    },
    /// The strategy was asked and there is no decision that could be obeyed. The run pauses.
    NoDecision {
        /// Sequence of the last event that the strategy's roster reflected.
        roster: u64,
        /// What it was asked with.
        asked: Asked,
        /// What stopped the strategy, for example `strategy-failed` or `out-of-time`; none when the
        /// host refused its decision.
        code: Option<String>,
        /// What happened, or why the decision was refused, for people.
        message: String,
        /// sha256 of the refused decision, in hex; none when there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision_hash: Option<String>,
    },
    /// An agent changed its state.
    Agent {
        /// The agent.
        agent: AgentId,
        /// Before; none when its record was made.
        from: Option<AgentState>,
        /// After.
        to: AgentState,
        /// The batch that it belongs to.
        batch: Option<u32>,
        /// Why it failed or was skipped, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// Why it failed; left out where the end of its last step already said so, and in a history that an
        /// early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// An agent has another address.
    Moved {
        /// The agent.
        agent: AgentId,
        /// Base URL before.
        from: String,
        /// Base URL now.
        to: String,
    },
    /// What is known about an agent changed. The record has what it is now; this has what it was.
    AgentInfo {
        /// The agent.
        agent: AgentId,
        /// What it was before.
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
        /// Number of the attempt before whose action ended well late: this one goes on with its result,
        /// and does not do it again.
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
        /// Why it failed; none when it ended well.
        failure: Option<Failure>,
        /// The last action that it had the agent perform, by which the agent knows it; none where it had
        /// it perform none, and in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<Uuid>,
    },
    /// An action ended whose attempt was over already, because its time had run out or its agent
    /// could not be reached.
    LateAction {
        /// The agent.
        agent: AgentId,
        /// Name of the step.
        step: String,
        /// Number of the attempt.
        attempt: u32,
        /// How it ended, in words; or that nobody waits for it any more.
        outcome: String,
        /// The action, by which the agent knows it; none in a history that an early version wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action_id: Option<Uuid>,
    },
    /// A person's command was applied or refused.
    Command {
        /// The command.
        id: CommandId,
        /// Its word, for example `resume`.
        command: String,
        /// The agent that it is about, where it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// Whether agents that are put back do all of their step again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
        /// Why, as the person said.
        why: Option<String>,
        /// Why it was refused; none when it was applied.
        refused: Option<String>,
    },
}

impl Happened {
    /// The agent whose record the event is about.
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
            | Self::Command { .. } => None,
        }
    }
}

/// What a strategy was asked with, beside what follows from the run's snapshot and its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Asked {
    /// The moment that it was told.
    pub at: Timestamp,
    /// The most agents that it was allowed to start.
    pub max_start: u32,
    /// The memo, where it is not that of the decision before: what changed nothing but the memo is not
    /// in the history if it went on for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// One line in the log of an attempt, or of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// The run.
    pub run: RunId,
    /// The attempt; none for a line of the strategy.
    pub attempt: Option<AttemptKey>,
    /// The agent; none for a line of the strategy.
    pub agent: Option<AgentId>,
    /// Name of the step, or of the stage for a line of the strategy.
    pub source: String,
    /// Number of the line within its attempt; for a line of the strategy, among those that follow the
    /// same event.
    pub line: u32,
    /// Sequence of the last event before it: with `agent` and `line` it gives an order.
    pub event: u64,
    /// Number of the line within the run, in the order of writing, from 1; 0 where an early version
    /// wrote it.
    #[serde(default)]
    pub number: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// Severity.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

/// Severity of a log line, the least severe first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// Ordinary.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Its word, as it is kept.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line as a plugin wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLine {
    /// Severity.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}
