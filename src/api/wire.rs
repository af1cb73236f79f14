//! The types of requests and answers, shared by the server and `replictl`, and described by their comments in
//! `/openapi.json`.
//!
//! Agent records, journals, log lines and events are sent in the form that they have in [`crate::run`].

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Code;
use super::limits::{MAX_ACTOR, MAX_REASON};
use super::listed::at_most;
use crate::playbook::{ClusterGuards, Narrowing, PluginPin, Problem, Vcs};
use crate::run::{
    Abandoned, AgentId, AgentSeq, AgentState, Asks, Closing, Digest, Gone, Held, Journal,
    LastAnswer, LogLevel, MassAbsence, Millis, PassedOver, RetryOf, RunId, RunStatus, SentAction,
    Silent, Source, StatusReason, Timestamp, TroubleCode,
};
use crate::store::MAX_PUT;

pub use super::wire_access::{AccessNow, CanI, WhoAmI};
pub use super::wire_approvals::ApprovalView;
pub use super::wire_commands::{CommandView, SubmitCommand};
pub use super::wire_engines::{DrainEngine, EngineRef, EngineState, EngineView};
pub use super::wire_exec::{ExecCommand, HowMany, OutputView};
pub use super::wire_files::{FileContent, FileDiffers};
pub use super::wire_found::{FoundRuns, PART_OF_LIST};
pub use super::wire_login::IssuerView;
pub use super::wire_plan::{GuardsPlan, RunPlan, StagePlan};
pub use super::wire_plugins::{
    ImportProblem, ImportState, ImportView, PluginView, SignatureView, StartImport,
};
pub use super::wire_signals::SendSignal;
pub use super::wire_starts::{RetryRun, StartRun};

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Listing")]
pub struct Listing<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Pass this as `after` to get the next page; null: this was the last one.
    pub next: Option<String>,
    /// Items that can't be read. `a part of the list` stands for an unknown number of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedView>,
}

/// A document in the store that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DamagedView {
    /// Which document, for people: its kind and its key.
    pub what: String,
    /// Why it can't be read.
    pub why: String,
}

/// Applies a playbook: `POST /api/v1/playbooks`. With `?dry_run=true` it is only validated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPlaybook {
    /// The document's text, YAML or JSON.
    pub document: String,
    /// Digests of the plugins that were uploaded for `file:` sources or imported for `oci:` sources, by the name in
    /// the document. An `oci:` source without one stands for what was imported for it last.
    #[serde(default)]
    pub uploads: BTreeMap<String, Digest>,
}

/// Applies a cluster: `POST /api/v1/clusters`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyCluster {
    /// The document's text, YAML or JSON.
    pub document: String,
}

/// Applies several documents, all or none of them: `POST /api/v1/apply`. With `?dry_run=true` they are only
/// validated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyDocuments {
    /// The documents, at most 100. If two clusters have the same name, the later one counts.
    #[serde(deserialize_with = "at_most::<_, _, MAX_PUT>")]
    #[schemars(extend("maxItems" = MAX_PUT))]
    pub documents: Vec<ApplyDocument>,
}

/// One of several documents.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyDocument {
    /// The document's text, YAML or JSON: a playbook or a cluster.
    pub document: String,
    /// For a playbook: digests of the plugins that were uploaded for `file:` sources or imported for `oci:` sources,
    /// by the name in the document.
    #[serde(default)]
    pub uploads: BTreeMap<String, Digest>,
}

/// The result of applying several documents: all of them are applied.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedDocuments {
    /// One item for each document, in the order of the request.
    pub items: Vec<AppliedDocument>,
}

/// The result of applying one of several documents.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AppliedDocument {
    /// What happened to a playbook.
    Playbook(PlaybookView),
    /// What happened to a cluster.
    Cluster(ClusterView),
}

/// A playbook in answers: what the document resolves to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookView {
    /// Name of the playbook.
    pub name: String,
    /// Version of the playbook.
    pub version: String,
    /// One line that describes it.
    pub summary: Option<String>,
    /// Where the playbook is kept under version control; null if the document does not say.
    pub vcs: Option<Vcs>,
    /// Names of the stages, in order.
    pub stages: Vec<String>,
    /// The plugins, with the digests that they are pinned to, by the name in the document.
    pub plugins: BTreeMap<String, PluginPin>,
    /// Whose approvals let its runs go on; missing if they wait for nobody before they start, and anybody who may approve
    /// answers its strategies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// When it was first applied.
    pub applied_at: Timestamp,
    /// What the request did: `created`, `updated` (it could not be read any more) or `unchanged`; `valid` for a
    /// dry run; null in a read.
    #[schemars(extend("enum" = ["created", "updated", "unchanged", "valid", null]))]
    pub change: Option<String>,
    /// The document's text; only in a read of one playbook.
    pub document: Option<String>,
    /// Warnings: valid, but probably not intended. Only in the answer to applying it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Problem>,
}

/// A cluster in answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// Name of the cluster.
    pub name: String,
    /// Number of agents that the document lists.
    pub agents: u32,
    /// What keeps agents of the cluster from being started; missing if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<ClusterGuards>,
    /// When it was last changed.
    pub applied_at: Timestamp,
    /// What the request did: `created`, `updated` or `unchanged`; `valid` for a dry run; null in a read.
    #[schemars(extend("enum" = ["created", "updated", "unchanged", "valid", null]))]
    pub change: Option<String>,
    /// The document's text; only in a read of one cluster.
    pub document: Option<String>,
}

/// One agent of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClusterAgentView {
    /// Identifier of the agent.
    pub id: AgentId,
    /// Base URL of its API.
    pub address: String,
    /// Who named the agent: the Cluster object, or the platform.
    pub source: Source,
    /// Attributes of the Cluster object; for a discovered agent `node_class` and `node_group`, if the platform
    /// gives them. What the agent says about itself is in the records of runs.
    pub attributes: Map<String, Value>,
    /// Since when it is known from that source: a listed agent since the Cluster object was applied, a
    /// discovered one since this server first saw it.
    pub since: Timestamp,
    /// What the agent says about itself, if it was asked for this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<AgentNow>,
}

/// What an agent said about itself when it was asked just now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentNow {
    /// When its answer arrived, or the wait for it ended.
    pub asked_at: Timestamp,
    /// Age of the answer when this response was made, in milliseconds.
    pub age: Millis,
    /// The status of its node, a word in capitals; null if it gave no good answer.
    pub status: Option<String>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// Its store, with the version.
    pub store: Option<String>,
    /// Attributes that the agent reports.
    pub attributes: Map<String, Value>,
    /// Why there is no good answer; null if there is one.
    pub error: Option<String>,
}

/// The agents of a cluster as they are known now, one page: `GET /api/v1/clusters/{name}/agents`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClusterAgents {
    /// The agents, by identifier.
    pub items: Vec<ClusterAgentView>,
    /// Pass this as `after` to get the next page; null: this was the last one.
    pub next: Option<String>,
    /// How many agents this page leaves out only because they gave no answer: with an answer, the selector might pick
    /// them.
    #[serde(default)]
    pub undecided: u32,
    /// Whether this server follows the cluster, because it drives a run on it. Otherwise the platform was asked
    /// for this answer, or some seconds before.
    pub followed: bool,
    /// The platform that the Cluster object names; null if it names none.
    pub platform: Option<PlatformView>,
    /// Set when so many members are absent at once that they do not count as gone; otherwise null.
    pub mass_absence: Option<MassAbsence>,
}

/// The platform that knows the members of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlatformView {
    /// Base URL of the platform.
    pub url: String,
    /// Identifier that the cluster has there.
    pub cluster: String,
    /// Milliseconds from one question to the next.
    pub interval: Millis,
    /// The result of the last question; null before the first one has ended.
    pub last_answer: Option<LastAnswer>,
}

/// A run in answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Identifier of the run.
    pub id: RunId,
    /// Name of the playbook.
    pub playbook: String,
    /// Version of the playbook.
    pub version: String,
    /// Where the playbook is kept under version control; null if its document does not say.
    pub vcs: Option<Vcs>,
    /// Name of the cluster.
    pub cluster: String,
    /// Status of the run.
    pub status: RunStatus,
    /// Why it has that status, if there is a reason to tell.
    pub reason: Option<StatusReason>,
    /// What it asks people, while it waits for their approval: by whom, how many, until when, and who has approved it so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
    /// The engine that drives it now; only in the view of a single run, and missing while no engine drives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineRef>,
    /// What a run that could go on waits for: an engine, or a place in one. Then `reason` may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Why the run can't go on at all: it does nothing while it is in trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleView>,
    /// Since when it has that status.
    pub since: Timestamp,
    /// Sequence of the last event of its history; 0 if that can't be read.
    #[serde(default)]
    pub last_event: u64,
    /// Name of the present stage.
    pub stage: String,
    /// Index of the present stage in the playbook, from 0.
    #[serde(default)]
    pub stage_index: u16,
    /// Names of the playbook's stages, in order.
    #[serde(default)]
    pub stages: Vec<String>,
    /// Whether the steps of the present stage are done once, on the run: its counts are then those of `@run` alone.
    #[serde(default)]
    pub once: bool,
    /// Whether agents that have started stop after their present call (`pause-now`).
    #[serde(default)]
    pub hold: bool,
    /// Number of agents that were selected when the stage started.
    pub selected: u32,
    /// Number of agent records by state.
    pub counts: BTreeMap<AgentState, u32>,
    /// Agents with a call in flight that give no good answer.
    #[serde(default)]
    pub silent: Silent,
    /// Agents that the strategy named and that guards of the cluster hold; missing if there are none.
    #[serde(default, skip_serializing_if = "Held::is_nobody")]
    pub held: Held,
    /// The numbers (`seq`) of all agents that are held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_agents: Vec<AgentSeq>,
    /// Names of the guards that a person has overridden for this run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overridden: BTreeSet<String>,
    /// Failures in the present stage that counted for the budget.
    pub failures: u32,
    /// Failures in the whole run that counted for the budget.
    #[serde(default)]
    pub all_failures: u32,
    /// Failures of steps that were passed over (`on_error: continue`), in all stages.
    #[serde(default)]
    pub passed_over: PassedOver,
    /// Number of agents by their worst result in any stage; empty until the run has ended.
    #[serde(default)]
    pub outcomes: BTreeMap<AgentState, u32>,
    /// Whether the run is done and none of its stages selected any agent.
    #[serde(default)]
    pub nobody: bool,
    /// For a retry: those of its agents that had left when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// Lines that were removed from its log because it was full, by level: the oldest of the least severe go
    /// first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_lines: BTreeMap<LogLevel, u64>,
    /// The parameters, with defaults filled in.
    pub params: Map<String, Value>,
    /// The plugins that the run pins, by the name in the playbook.
    pub plugins: BTreeMap<String, PluginPin>,
    /// For a retry: the finished run whose agents it works on again, and which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryOf>,
    /// How the run ends once its last stages are done: it has failed or is cancelled, and has stages that are always done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// How the run is narrower than its playbook; missing if it is not.
    #[serde(default, skip_serializing_if = "Narrowing::is_none")]
    pub narrowed: Narrowing,
    /// Who started it.
    pub started_by: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it began to go; null before that.
    pub started_at: Option<Timestamp>,
    /// When it finished; null before that.
    pub finish_ts: Option<Timestamp>,
}

/// A journal in answers, with the actions that follow from it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JournalView {
    /// The journal, as it is kept.
    #[serde(flatten)]
    pub journal: Journal,
    /// The actions that the attempt had the agent perform.
    pub actions: Vec<SentAction>,
}

impl JournalView {
    /// A journal with the identifiers of its actions.
    pub fn of(journal: Journal) -> Self {
        Self { actions: journal.actions(), journal }
    }
}

/// Why an engine can't load or commit a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleView {
    /// The kind of trouble, for programs.
    pub code: TroubleCode,
    /// What happened, for people.
    pub message: String,
    /// Since when; missing while no engine has tried the run yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How often an engine has failed at it since then.
    #[serde(default)]
    pub tries: u32,
    /// Present when a person gave the run up: who, why and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<Abandoned>,
}

impl RunView {
    /// What keeps the run from going on, if it has not ended and nobody gave it up.
    pub fn set_aside(&self) -> Option<&TroubleView> {
        let trouble = self.trouble.as_ref().filter(|trouble| trouble.abandoned.is_none());
        trouble.filter(|_| self.finish_ts.is_none())
    }

    /// Whether a person gave the run up and it has not ended yet: it will soon do so by itself.
    pub fn is_given_up(&self) -> bool {
        let abandoned = self.trouble.as_ref().is_some_and(|trouble| trouble.abandoned.is_some());
        abandoned && self.finish_ts.is_none()
    }
}

/// Gives up a run that can't go on: `POST /api/v1/runs/{id}/abandon`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonRun {
    /// Why, for the history of the run.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub reason: String,
    /// Who asks.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub actor: Option<String>,
    /// Give up even a run that is in no trouble; `cancel` is better then, as it waits for actions in flight.
    #[serde(default)]
    pub force: bool,
}

/// An error (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDetails {
    /// Always `about:blank`: the kind is in `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the HTTP status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// Stable code, for programs.
    #[schemars(extend("enum" = Code::words()))]
    pub code: String,
    /// What is wrong with a document, if that is the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What is wrong with which of several documents, if that is the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentProblems>,
}

/// What is wrong with one of several documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentProblems {
    /// Its index in the request, from 0.
    pub document: u32,
    /// Its problems, as for a single document.
    pub problems: Vec<Problem>,
}
