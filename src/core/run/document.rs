//! The run as it is stored: a snapshot that never changes, and the progress that does. They are apart so that each
//! commit writes only the progress.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::agent_record::AgentRecord;
use super::approving::Question;
use super::closing::Closing;
use super::following::MassAbsence;
use super::format;
use super::held::Held;
use super::log_kept::LogKept;
use super::notice::{Silent, Unheard};
use super::outcome::{Gone, PassedOver};
use super::retry_of::RetryOf;
use super::secret::RunSeed;
use super::signal::Signal;
use super::status::{AgentState, RunStatus};
use crate::ids::{AgentId, AgentSeq, AttemptKey, Digest, RunId};
use crate::playbook::{
    ClusterGuards, Concurrency, Expr, ExprError, Narrowing, Playbook, Scope, SecretTokens, Stage,
    Template,
};
use crate::time::{Millis, Timestamp};

/// One execution of a playbook against a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Run {
    /// What the run was started with.
    pub snapshot: Arc<Snapshot>,
    /// How far the run has come.
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
    /// The parameters with defaults filled in; they fit the playbook's schema.
    pub params: Map<String, Value>,
    /// Name of the cluster.
    pub cluster: String,
    /// The finished run whose agents this run goes over again, and which of its agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryOf>,
    /// How the run is narrower than its playbook.
    #[serde(default, skip_serializing_if = "Narrowing::is_none")]
    pub narrowed: Narrowing,
    /// Who started the run, as the person gave it.
    pub started_by: Option<String>,
    /// When the run was created.
    pub created_at: Timestamp,
    /// From what the tokens of its secrets are made, if the playbook names any. It is in the store alone: neither the
    /// API nor an export shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub seed: Option<RunSeed>,
}

impl Snapshot {
    /// Whether the run needs its cluster for itself, and therefore the cluster's lock. Only a playbook that allows
    /// other runs beside its own needs no lock.
    pub fn locks_cluster(&self) -> bool {
        match self.playbook.concurrency {
            Concurrency::Queue | Concurrency::Reject => true,
            Concurrency::Allow => false,
        }
    }

    /// Digests of all plugins that the run pins. The store keeps their bytes as long as the run.
    pub fn pins(&self) -> BTreeSet<&Digest> {
        self.playbook.plugins.values().map(|pin| &pin.digest).collect()
    }

    /// The names of all secrets that the playbook lets any of its steps use.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let pinned = self.playbook.plugins.values().map(|pin| &pin.grants);
        let steps = self.playbook.stages.iter().flat_map(|stage| &stage.steps);
        let all = pinned.chain(steps.map(|step| &step.grants));
        all.flat_map(|grants| &grants.secrets).map(|grant| grant.name.as_str()).collect()
    }

    /// The tokens of the secrets that a template names, in an attempt. There are none in a run without a seed.
    pub(super) fn tokens(&self, attempt: AttemptKey, template: &Template) -> SecretTokens {
        let none = SecretTokens::default;
        self.seed
            .as_ref()
            .map_or_else(none, |seed| seed.tokens(self.id, attempt, template.secrets()))
    }

    /// The arguments of a stage's strategy, with the expressions filled in. They are the same each time.
    ///
    /// # Errors
    /// The error of the expression that failed.
    pub fn strategy_arguments(&self, stage: &Stage) -> Result<Value, ExprError> {
        self.with_scope(Value::Null, Value::Null, |scope| stage.strategy.with.render(scope))
    }

    /// Whether an expression holds for an agent, with the scope of a stage's selection. A strategy may ask that
    /// for many agents, so only what the expression looks at is copied.
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

    /// Calls `f` with a scope for expressions. `agent` is null if the expression is about no agent.
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

/// How far a run has come. Every commit of a run writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Progress {
    /// The format that an engine must know to go on with the run; an engine that does not know it leaves the run
    /// alone. 1 if the document does not say.
    #[serde(default = "format::first", skip_serializing_if = "format::is_first")]
    pub needs: u32,
    /// The status of the run.
    pub status: RunStatus,
    /// Why the run has that status, if there is more to say.
    pub reason: Option<StatusReason>,
    /// Since when the run has its status.
    pub since: Timestamp,
    /// What the run asks people, while it waits for their approval. `None` too in a run of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Sequence of the next event of the history. The first event has 1.
    pub next_event: u64,
    /// Number of agent records by state.
    pub counts: BTreeMap<AgentState, u32>,
    /// How far the present stage has come.
    pub stage: StageProgress,
    /// The guards of the cluster, as the run knows them.
    #[serde(default, skip_serializing_if = "guards_are_default")]
    pub guards: Arc<ClusterGuards>,
    /// The names of guards that a person has overridden for this run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overridden: BTreeSet<String>,
    /// The agents that guards hold.
    #[serde(default, skip_serializing_if = "Held::is_nobody")]
    pub held_agents: Held,
    /// Set while more members of the cluster are absent at once than is believed without a person's word.
    #[serde(default)]
    pub mass_absence: Option<MassAbsence>,
    /// Whether the run is held: agents that have started stop after their present calls while it is paused.
    #[serde(default)]
    pub hold: bool,
    /// Since when the run is held.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// How long the run was held in all, without the present hold.
    #[serde(default)]
    pub held: Millis,
    /// Agents that have a call in flight and give no usable answer.
    #[serde(default, skip_serializing_if = "Silent::is_nobody")]
    pub silent: Silent,
    /// Failures of the whole run that count against a budget.
    #[serde(default)]
    pub failures: u32,
    /// How many of those failures a person has accepted by resuming the run.
    #[serde(default)]
    pub accepted_failures: u32,
    /// Failures of steps that were passed over so far.
    #[serde(default)]
    pub passed_over: PassedOver,
    /// How many agents were selected when a stage began, or joined and were taken into it. It is a sum over all
    /// stages so far: an agent that takes part in two stages counts twice.
    #[serde(default)]
    pub selected: u32,
    /// If the run goes over the agents of another run again: those of them that had left when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// How many agents came to which [`outcome`](AgentRecord::outcome), over all stages. Empty until it is settled
    /// how the run ends, and in runs of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<AgentState, u32>,
    /// How much of the log is kept, and how much had to be dropped.
    #[serde(default, skip_serializing_if = "LogKept::is_empty")]
    pub log: LogKept,
    /// How many signals were sent to the run and its agents: the number of the last one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub signals_sent: u32,
    /// The signals to the whole run, in the order in which they came. Those to one agent are in its record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// How a stage ended whose budget was exceeded and which a person let go on. The run then ends in FAILED.
    #[serde(default)]
    pub exceeded: Option<String>,
    /// How the run ends once its last stages are done: it has failed or is cancelled, and has stages that are always done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// When the run began to go (left PENDING).
    pub started_at: Option<Timestamp>,
    /// How the run ends, once that is settled (from FINISHING on): DONE, FAILED or CANCELLED.
    pub outcome: Option<RunStatus>,
    /// The one moment that all records of the run get as `finish_ts`. It is fixed on entering FINISHING.
    pub finishing_at: Option<Timestamp>,
    /// When the run finished. It is written last, when all records have theirs. Retention counts from this moment.
    pub finish_ts: Option<Timestamp>,
}

fn guards_are_default(guards: &ClusterGuards) -> bool {
    guards.is_default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Progress {
    /// The progress of a run that was just created.
    pub fn new(status: RunStatus, now: Timestamp) -> Self {
        Self {
            needs: format::FIRST_FORMAT,
            status,
            reason: None,
            since: now,
            question: None,
            next_event: 1,
            counts: BTreeMap::new(),
            stage: StageProgress::default(),
            guards: Arc::default(),
            overridden: BTreeSet::new(),
            held_agents: Held::default(),
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
            signals_sent: 0,
            signals: Vec::new(),
            exceeded: None,
            closing: None,
            started_at: None,
            outcome: None,
            finishing_at: None,
            finish_ts: None,
        }
    }

    /// Number of agent records in `state`.
    pub fn count(&self, state: AgentState) -> u32 {
        self.counts.get(&state).copied().unwrap_or(0)
    }
}

/// How far the present stage has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageProgress {
    /// Index of the stage in the playbook.
    pub index: u16,
    /// Whether the steps of the stage are done once, on the run. Its counts are then those of the run's own record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// How many agents were selected when the stage started. Shares are shares of this number.
    pub selected: u32,
    /// The memo that the strategy returned last time.
    pub memo: String,
    /// Whether that memo is not in any event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untold_memo: bool,
    /// How many decisions have named agents to start; this is the number of the last batch.
    pub batches: u32,
    /// What the strategy asked for after its last decision.
    pub next: Option<PlannedNext>,
    /// Agents that are asked about their nodes before the strategy is asked the next time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refresh: Vec<AgentSeq>,
    /// Agents that gave no usable answer when they were last asked for the strategy.
    #[serde(default, skip_serializing_if = "Unheard::is_nobody")]
    pub unheard: Unheard,
    /// Agents that the strategy named to start and that guards held when it last decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<AgentSeq>,
    /// How many decisions in a row neither started an agent nor left one out.
    pub idle: u32,
    /// Failures in this stage that count against its budget.
    pub failures: u32,
    /// Whether agents are still being taken into the stage. It is not used for the first stage, for which the run
    /// has the status STARTING.
    #[serde(default)]
    pub entering: bool,
    /// The next agent that a person's retry looks at. `None` once all were looked at.
    #[serde(default)]
    pub retrying: Option<AgentSeq>,
    /// Whether that retry does again what ended well but late.
    #[serde(default)]
    pub retrying_again: bool,
    /// Agents that did not answer, and that are asked again before the stage begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
}

/// Agents that do not answer, although their selection depends on what they would say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unanswered {
    /// How many agents there are.
    pub agents: u32,
    /// The first of them, at most [`Unanswered::NAMED`].
    pub first: Vec<AgentId>,
    /// Until when they are asked again. After that the stage begins, and they take part as unreachable.
    pub until: Timestamp,
}

impl Unanswered {
    /// How many of the agents are named. Nobody reads a longer list to its end.
    pub const NAMED: usize = 4;
}

/// What a strategy asked for after its last decision, as far as the host still has to act on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "next")]
pub enum PlannedNext {
    /// Ask the strategy again when something has changed.
    Wait,
    /// Ask the strategy again when something has changed, and at this moment at the latest.
    WaitUntil {
        /// The latest moment.
        at: Timestamp,
    },
    /// The stage is complete once nothing is in flight.
    Complete,
    /// The run fails once nothing is in flight.
    Abort {
        /// The kind of reason for which the run ends.
        code: ReasonCode,
        /// Why the run ends, as human-readable text.
        reason: String,
    },
}

/// Why a run has its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StatusReason {
    /// The kind of reason, for programs.
    pub code: ReasonCode,
    /// What happened, as human-readable text.
    pub message: String,
}

impl StatusReason {
    /// Why a run is still queued: `holder` goes before it, and so do `queued` further runs.
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
    /// A person asked for what the run does, for example for a pause.
    Operator,
    /// The strategy asks for approval.
    Approval,
    /// The playbook asks for approval before the start.
    ApprovalRequired,
    /// The run was not approved in time.
    ApprovalOverdue,
    /// The strategy gave an error, trapped, or exceeded a limit.
    StrategyFailed,
    /// The strategy could not be asked just now. The same question may be answered later.
    StrategyUnavailable,
    /// The host refused a decision of the strategy.
    DecisionRefused,
    /// The strategy ended the run.
    StrategyAborted,
    /// Another run comes first on the cluster.
    ClusterBusy,
    /// The cluster or its agents could not be worked out.
    StartFailed,
    /// An expression of the playbook has no value although the run needs it: the selection of a stage, or an
    /// argument of its strategy.
    ExpressionFailed,
    /// An agent joined or left, and the stage says that the run fails then.
    MembershipChanged,
    /// Too many members of the cluster are absent at once.
    MassAbsence,
    /// A person gave up a run that could not go on by itself.
    Abandoned,
    /// Agents failed within the budget, or failures of steps were passed over.
    SomeFailed,
    /// No stage selected any agent.
    NobodySelected,
    /// Everything went well.
    AllDone,
}

/// A run with all its records, as it was loaded from the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The run.
    pub run: Run,
    /// All agent records, by their sequence.
    pub records: Vec<super::AgentRecord>,
    /// The journals of the attempts that are not over.
    pub journals: Vec<super::Journal>,
}
