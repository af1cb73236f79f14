//! The run as it is kept: a snapshot that never changes, and the progress that does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::agent_record::AgentRecord;
use super::following::MassAbsence;
use super::format;
use super::log_kept::LogKept;
use super::notice::{Silent, Unheard};
use super::outcome::{Gone, PassedOver};
use super::retry_of::RetryOf;
use super::status::{AgentState, RunStatus};
use crate::ids::{AgentId, AgentSeq, Digest, RunId};
use crate::playbook::{Concurrency, Expr, ExprError, Playbook, Scope, Stage};
use crate::time::{Millis, Timestamp};

/// One execution of a playbook against a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Run {
    /// What the run was started with.
    pub snapshot: Arc<Snapshot>,
    /// How far it is.
    pub progress: Progress,
}

impl Run {
    /// Identifier of the run.
    pub fn id(&self) -> RunId {
        self.snapshot.id
    }
}

/// What a run was started with. Nothing that is applied later changes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Snapshot {
    /// Identifier of the run.
    pub id: RunId,
    /// The whole playbook, with every plugin pinned by its digest.
    pub playbook: Playbook,
    /// The parameters, defaults filled in; they fit the playbook's schema.
    pub params: Map<String, Value>,
    /// Name of the cluster.
    pub cluster: String,
    /// The finished run whose agents this one goes over again, and which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryOf>,
    /// Who started it, as they said.
    pub started_by: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Snapshot {
    /// Whether the run needs its cluster for itself, and so the cluster's lock: unless its playbook
    /// allows others beside it.
    pub fn locks_cluster(&self) -> bool {
        match self.playbook.concurrency {
            Concurrency::Queue | Concurrency::Reject => true,
            Concurrency::Allow => false,
        }
    }

    /// Digests of all plugins that the run pins: their bytes are kept as long as the run.
    pub fn pins(&self) -> BTreeSet<&Digest> {
        self.playbook.plugins.values().map(|pin| &pin.digest).collect()
    }

    /// The arguments of a stage's strategy, with the expressions filled in: the same each time.
    ///
    /// # Errors
    /// What went wrong in an expression.
    pub fn strategy_arguments(&self, stage: &Stage) -> Result<Value, ExprError> {
        self.with_scope(Value::Null, Value::Null, |scope| stage.strategy.with.render(scope))
    }

    /// Whether an expression holds for an agent, which it sees as the selection of a stage does. A
    /// strategy may ask that for each of many agents, so only what the expression looks at is copied.
    pub(super) fn holds_for(
        &self,
        record: &AgentRecord,
        expression: &Expr,
    ) -> Result<bool, ExprError> {
        let used = |path: &[&str], value: &dyn Fn() -> Value| match expression.looks_at(path) {
            true => value(),
            false => Value::Null,
        };
        let of_agent = |name: &str, value: &dyn Fn() -> Value| used(&["agent", name], value);
        let agent = json!({
            "id": of_agent("id", &|| json!(record.agent)),
            "address": of_agent("address", &|| json!(record.address)),
            "attributes": of_agent("attributes", &|| json!(record.attributes)),
            "node": of_agent("node", &|| Value::clone(&record.node)),
            "store": of_agent("store", &|| record.datastore.store.clone()),
            "shards": of_agent("shards", &|| record.datastore.shards.clone()),
        });
        let params = used(&["params"], &|| Value::Object(self.params.clone()));
        let run = used(&["run"], &|| json!({"id": self.id, "started_by": self.started_by}));
        let cluster = used(&["cluster"], &|| json!({"name": self.cluster}));
        let steps = Value::Null;
        expression.eval_bool(&Scope {
            params: &params,
            agent: &agent,
            steps: &steps,
            run: &run,
            cluster: &cluster,
        })
    }

    /// Lets `f` see the scope of expressions, for an agent or for none.
    pub(super) fn with_scope<T>(
        &self,
        agent: Value,
        steps: Value,
        f: impl Fn(&Scope<'_>) -> T,
    ) -> T {
        let params = Value::Object(self.params.clone());
        let run = json!({"id": self.id, "started_by": self.started_by});
        let cluster = json!({"name": self.cluster});
        f(&Scope { params: &params, agent: &agent, steps: &steps, run: &run, cluster: &cluster })
    }
}

/// How far a run is. Every commit of a run writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Progress {
    /// The format that an engine has to know to go on with the run; engines that don't leave it alone. It is 1
    /// where nothing is said.
    #[serde(default = "format::first", skip_serializing_if = "format::is_first")]
    pub needs: u32,
    /// The status.
    pub status: RunStatus,
    /// Why it has that status, where there is more to say.
    pub reason: Option<StatusReason>,
    /// Since when.
    pub since: Timestamp,
    /// Sequence of the next event of the history, from 1.
    pub next_event: u64,
    /// Number of agent records by state.
    pub counts: BTreeMap<AgentState, u32>,
    /// The present stage.
    pub stage: StageProgress,
    /// More members of the cluster are absent at once than is believed without a person.
    #[serde(default)]
    pub mass_absence: Option<MassAbsence>,
    /// Whether agents that have started stop after their present call, while the run is paused.
    #[serde(default)]
    pub hold: bool,
    /// Since when they do.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// How long they did so far, without the present hold.
    #[serde(default)]
    pub held: Millis,
    /// Agents with a call in flight that give no good answer.
    #[serde(default, skip_serializing_if = "Silent::is_nobody")]
    pub silent: Silent,
    /// Failures of the whole run that count for a budget.
    #[serde(default)]
    pub failures: u32,
    /// Of those, how many a person has accepted by resuming the run.
    #[serde(default)]
    pub accepted_failures: u32,
    /// Failures of steps that were passed over so far.
    #[serde(default)]
    pub passed_over: PassedOver,
    /// Agents that were selected when a stage began, or that joined and were taken into it, of all stages
    /// so far: who takes part in two of them counts twice.
    #[serde(default)]
    pub selected: u32,
    /// Of the agents that a run goes over again, those that had left when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// How many agents came to which [`outcome`](AgentRecord::outcome) over all stages; empty until how
    /// the run ends is settled, and of runs of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<AgentState, u32>,
    /// What there is of the log, and what of it had to go.
    #[serde(default, skip_serializing_if = "LogKept::is_empty")]
    pub log: LogKept,
    /// What a stage ended with whose budget was exceeded, and which a person let go on: the run ends
    /// in FAILED then.
    #[serde(default)]
    pub exceeded: Option<String>,
    /// When it began to go (left PENDING).
    pub started_at: Option<Timestamp>,
    /// How the run ends, once that is settled (from FINISHING on): DONE, FAILED or CANCELLED.
    pub outcome: Option<RunStatus>,
    /// The one moment that all records of the run get as `finish_ts`, fixed on entering FINISHING.
    pub finishing_at: Option<Timestamp>,
    /// Written last, when all its records have theirs. Retention counts from here.
    pub finish_ts: Option<Timestamp>,
}

impl Progress {
    /// The progress of a run that was just created.
    pub fn new(status: RunStatus, now: Timestamp) -> Self {
        Self {
            needs: format::FIRST_FORMAT,
            status,
            reason: None,
            since: now,
            next_event: 1,
            counts: BTreeMap::new(),
            stage: StageProgress::default(),
            mass_absence: None,
            hold: false,
            held_since: None,
            held: Millis(0),
            silent: Silent::default(),
            failures: 0,
            accepted_failures: 0,
            passed_over: PassedOver::default(),
            selected: 0,
            gone: None,
            outcomes: BTreeMap::new(),
            log: LogKept::default(),
            exceeded: None,
            started_at: None,
            outcome: None,
            finishing_at: None,
            finish_ts: None,
        }
    }

    /// Whether the run is, or ended, between two stages: the next one takes agents in, and has not begun.
    pub const fn is_between_stages(&self) -> bool {
        self.stage.entering
    }

    /// Number of agent records in `state`.
    pub fn count(&self, state: AgentState) -> u32 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}

/// How far the present stage is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageProgress {
    /// Index of the stage in the playbook.
    pub index: u16,
    /// Agents that were selected when the stage started; percentages are of these.
    pub selected: u32,
    /// What the strategy returned as memo last time.
    pub memo: String,
    /// Whether that memo is in no event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untold_memo: bool,
    /// Decisions that started agents so far: the number of the last batch.
    pub batches: u32,
    /// What the strategy asked for after its last decision.
    pub next: Option<PlannedNext>,
    /// Agents that the strategy wants asked about their nodes before it is asked the next time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refresh: Vec<AgentSeq>,
    /// Agents that gave no good answer when that was done last.
    #[serde(default, skip_serializing_if = "Unheard::is_nobody")]
    pub unheard: Unheard,
    /// Decisions in a row that neither started an agent nor left one out.
    pub idle: u32,
    /// Failures in this stage that count for the budget.
    pub failures: u32,
    /// Whether agents are still being taken into the stage. Not used for the first one, which has
    /// the status STARTING for that.
    #[serde(default)]
    pub entering: bool,
    /// The next agent that a person's retry looks at, until it has looked at all.
    #[serde(default)]
    pub retrying: Option<AgentSeq>,
    /// Whether that retry does what ended well late again.
    #[serde(default)]
    pub retrying_again: bool,
    /// Agents that are asked again before the stage begins, since they did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
}

/// Agents that do not answer, and whose selection depends on what they would say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unanswered {
    /// How many there are.
    pub agents: u32,
    /// Some of them.
    pub first: Vec<AgentId>,
    /// Until when they are asked again; then the stage begins, and they take part as unreachable.
    pub until: Timestamp,
}

impl Unanswered {
    /// Agents that are named: with more nobody reads it to its end.
    pub const NAMED: usize = 4;
}

/// What a strategy asked for after its last decision, as far as the host still has to act on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "next")]
pub enum PlannedNext {
    /// Ask again when something changed.
    Wait,
    /// Ask again then at the latest.
    WaitUntil {
        /// The moment.
        at: Timestamp,
    },
    /// The stage is complete once nothing is in flight.
    Complete,
    /// The run fails once nothing is in flight.
    Abort {
        /// What it is that ends the run.
        code: ReasonCode,
        /// Why.
        reason: String,
    },
}

/// Why a run has its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StatusReason {
    /// The kind of reason, for programs.
    pub code: ReasonCode,
    /// What happened, for people.
    pub message: String,
}

impl StatusReason {
    /// Why a run is still queued: `holder` and, besides, `queued` others come first.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::StatusReason;
    ///
    /// let holder = "0192a3b4-0000-7000-8000-000000000001".parse()?;
    /// let reason = StatusReason::cluster_busy(holder, 2);
    /// assert_eq!(
    ///     reason.message,
    ///     format!("waits for run {holder} to end; 2 more are queued before it"),
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cluster_busy(holder: RunId, queued: u32) -> Self {
        let others = match queued {
            0 => String::new(),
            1 => "; 1 more is queued before it".to_owned(),
            _ => format!("; {queued} more are queued before it"),
        };
        let message = format!("waits for run {holder} to end{others}");
        Self { code: ReasonCode::ClusterBusy, message }
    }
}

/// The kinds of reason for a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonCode {
    /// The budget was exceeded.
    BudgetExceeded,
    /// A person asked for it.
    Operator,
    /// The strategy asks for approval.
    Approval,
    /// The playbook asks for approval before the start.
    ApprovalRequired,
    /// The strategy gave an error, trapped or went past a limit.
    StrategyFailed,
    /// The strategy could not be asked just now; the same question may be answered later.
    StrategyUnavailable,
    /// The host refused a decision of the strategy.
    DecisionRefused,
    /// The strategy ended the run.
    StrategyAborted,
    /// Another run comes first on the cluster.
    ClusterBusy,
    /// The cluster or its agents could not be worked out.
    StartFailed,
    /// An expression of the playbook has no value where the run needs one: the selection of a stage, or an
    /// argument of its strategy.
    ExpressionFailed,
    /// An agent joined or left, and the stage aborts the run then.
    MembershipChanged,
    /// Too many members of the cluster are absent at once.
    MassAbsence,
    /// A person gave up a run that could not go on by itself.
    Abandoned,
    /// Agents failed, within the budget, or failures of steps were passed over.
    SomeFailed,
    /// No stage selected any agent.
    NobodySelected,
    /// All went well.
    AllDone,
}

/// A run with all its records, as it was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The run.
    pub run: Run,
    /// All agent records, by sequence.
    pub records: Vec<super::AgentRecord>,
    /// The journals of the attempts that are going on.
    pub journals: Vec<super::Journal>,
}
