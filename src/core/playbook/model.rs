//! The resolved playbook, which is what the engine works with. It is valid by construction: only
//! [`resolve`](super::resolve) makes one from a document. A run's snapshot holds it whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::approvers::Approvers;
use super::dialect::Dialect;
use super::expr::Expr;
use super::grants::Grants;
use super::guards::ClusterGuards;
use super::model_stage::{StageOn, StepRole};
use super::plugin_info::{Provenance, SignedBy};
use super::template::Template;
use crate::ids::{AgentId, Digest};
use crate::time::Millis;

/// A playbook, resolved: every default filled in, every plugin pinned by its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Playbook {
    /// Name: a DNS label, perhaps with a `team/` prefix.
    pub name: String,
    /// Version of the content under that name.
    pub version: Version,
    /// What the playbook is for, in one line.
    pub summary: Option<String>,
    /// Where the document is kept under version control.
    pub vcs: Option<Vcs>,
    /// Whether a run waits for a person before it starts.
    pub approval: Approval,
    /// Whose approvals count, before the start and where a strategy asks.
    #[serde(default, skip_serializing_if = "Approvers::is_anybody")]
    pub approvers: Approvers,
    /// What happens when another run holds the cluster.
    pub concurrency: Concurrency,
    /// JSON Schema of the run's parameters.
    pub params: Value,
    /// Every plugin that a stage uses, built-in plugins included, by the name that the stages use.
    pub plugins: BTreeMap<String, PluginPin>,
    /// The stages in order. There is at least one.
    pub stages: Vec<Stage>,
}

/// Where a document is kept under version control. Kept and shown, never followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Vcs {
    /// URL of the repository.
    pub repository: String,
    /// The commit.
    pub commit: Option<String>,
    /// Path of the document in the repository.
    pub path: Option<String>,
}

/// Whether a person must approve a run before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// The run starts at once.
    Granted,
    /// The run waits in `PENDING_APPROVE`.
    Required,
}

/// What a run does when another run holds its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// Waits in `PENDING` until the cluster is free.
    Queue,
    /// Is refused when it is started.
    Reject,
    /// Runs beside the others.
    Allow,
}

/// Which of the two worlds a plugin implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Decides which agents go next.
    Strategy,
    /// Does the work for one agent.
    Step,
}

impl PluginKind {
    /// The word that messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strategy => "strategy",
            Self::Step => "step",
        }
    }
}

/// One plugin as the playbook pins it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PluginPin {
    /// Where the bytes came from: `file:…`, `store:NAME@VERSION`, `oci://…` or
    /// `builtin:NAME`.
    pub source: String,
    /// Digest of the plugin's bytes.
    pub digest: Digest,
    /// Which world the plugin implements.
    pub kind: PluginKind,
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// What the playbook lets the plugin reach.
    pub grants: Grants,
    /// Where the bytes came from, as far as that was known when the playbook was applied; null for those that came
    /// with an early version, and for built-in plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Who had signed the bytes when the playbook was applied, of those whose keys the policy had then: each signature
    /// was checked. Empty if there was no policy, for what came with an early version, and for built-in plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<SignedBy>,
}

/// One part of a playbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stage {
    /// Name, unique in the playbook.
    pub name: String,
    /// What the steps are done on.
    #[serde(default, skip_serializing_if = "StageOn::is_agents")]
    pub on: StageOn,
    /// Whether the stage is also done when the run ends before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// Which agents take part. `None` selects all.
    pub select: Option<Expr>,
    /// Decides which agents go next. A stage on the run has none.
    #[serde(default, skip_serializing_if = "StrategyUse::is_none")]
    pub strategy: StrategyUse,
    /// How many agents may fail.
    pub budget: Budget,
    /// What to do with agents that join or leave.
    pub membership: Membership,
    /// What is done on each agent, in order: the main steps, of which there is at least one, then those of `rescue`, then
    /// those of `finally`.
    pub steps: Vec<Step>,
}

/// The strategy of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StrategyUse {
    /// Name in [`Playbook::plugins`]. Empty where there is no strategy, because the stage is on the run.
    pub plugin: String,
    /// The arguments of the strategy; expressions in them see `params`, `run` and `cluster`.
    pub with: Template,
}

impl StrategyUse {
    fn is_none(&self) -> bool {
        self.plugin.is_empty()
    }
}

/// How many agents may fail before the run stops. The host enforces it, not the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Budget {
    /// The budget is exceeded when more agents than this have failed.
    pub max_failed: Amount,
    /// Over which agents failures are counted.
    pub scope: BudgetScope,
    /// What happens when the budget is exceeded.
    pub on_exceeded: OnExceeded,
}

/// A number of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Amount {
    /// A fixed number.
    Count(u32),
    /// Hundredths of a percent of the agents that were selected when the stage started.
    Share(u32),
}

impl Amount {
    /// The number of agents out of `selected`. A share is rounded down.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Amount;
    ///
    /// assert_eq!(Amount::Count(3).of(25), 3);
    /// assert_eq!(Amount::Share(1_000).of(25), 2, "10% of them, rounded down");
    /// ```
    pub fn of(self, selected: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Share(hundredths) => {
                let agents = u64::from(selected) * u64::from(hundredths) / 10_000;
                u32::try_from(agents).unwrap_or(u32::MAX)
            }
        }
    }
}

/// Over which agents a budget counts failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BudgetScope {
    /// The agents of the stage.
    Stage,
    /// The agents of the whole run.
    Run,
}

/// What happens when a budget is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExceeded {
    /// The run pauses; a person may resume it, which accepts the failures so far.
    Pause,
    /// The run fails once the agents in flight have ended.
    Abort,
}

/// What a stage does with agents that join or leave while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Membership {
    /// For an agent that joins.
    pub added: OnAdded,
    /// For an agent that leaves.
    pub removed: OnRemoved,
}

/// What a stage does with an agent that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnAdded {
    /// It takes part.
    Include,
    /// It is skipped.
    Skip,
    /// The run fails.
    Abort,
}

/// What a stage does about an agent that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRemoved {
    /// Nothing further.
    Ignore,
    /// It counts as failed.
    Fail,
    /// The run fails.
    Abort,
}

/// One step of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Step {
    /// Name, unique in the stage; `steps.<name>.result` refers to it.
    pub name: String,
    /// When the step is done.
    #[serde(default, skip_serializing_if = "StepRole::is_main")]
    pub role: StepRole,
    /// Name in [`Playbook::plugins`].
    pub plugin: String,
    /// The arguments of the step, with expressions.
    pub with: Template,
    /// What the plugin may reach in this step.
    pub grants: Grants,
    /// The step is left out where this is false. `None` never leaves it out.
    pub when: Option<Expr>,
    /// What must hold just before the step; it sees fresh information about the agent.
    pub require: Option<Expr>,
    /// How long one attempt may take. `None` means [`Step::DEFAULT_TIMEOUT`].
    pub timeout: Option<Millis>,
    /// How often and when the step is tried again.
    pub retry: Retry,
    /// What a failure of the step means for the agent.
    pub on_error: OnError,
}

impl Step {
    /// How long an attempt may take when the playbook does not say. A wait without end would keep the cluster
    /// locked for ever.
    pub const DEFAULT_TIMEOUT: Millis = Millis::from_secs(24 * 60 * 60);

    /// How long one attempt may take, with the default filled in.
    pub fn time_limit(&self) -> Millis {
        self.timeout.unwrap_or(Self::DEFAULT_TIMEOUT)
    }
}

/// How often and when a step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Retry {
    /// The number of attempts in all; 1 means no retry.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub initial: Millis,
    /// Each further wait is the wait before it, times this factor.
    pub factor: f64,
    /// The longest wait.
    pub max: Millis,
}

impl Retry {
    /// One attempt and no retry. The other fields are the defaults of a retry.
    pub const NONE: Self =
        Self { attempts: 1, initial: Millis(1_000), factor: 2.0, max: Millis(60_000) };
}

/// What a failure of a step means for its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The agent failed.
    Fail,
    /// The agent goes on with the next step.
    Continue,
}

/// A named set of agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cluster {
    /// Name: a DNS label.
    pub name: String,
    /// The agents that the document lists, in its order. Their identifiers are unique.
    pub agents: Vec<ClusterAgent>,
    /// The platform that is asked for further agents.
    pub discovery: Option<Discovery>,
    /// Files that secure connections to agents, as documents of earlier versions named them. A cluster that has them is
    /// read, and not used ([`outdated`](Self::outdated)).
    pub tls: Option<Tls>,
    /// The credentials for agents: a name under the server's `--credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// The dialect of the agent API that all agents speak; `None`: that is found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// The `cluster_id` that agents must report for their store. `None`: that of the platform, if there is a
    /// platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// What keeps agents of the cluster from being started, whatever a strategy decides.
    #[serde(default, skip_serializing_if = "ClusterGuards::is_default")]
    pub guards: ClusterGuards,
}

impl Cluster {
    /// The `cluster_id` that the agents must report for their store; `None` if it is not known.
    pub fn cluster_id(&self) -> Option<&str> {
        let of_platform = self.discovery.as_ref().map(|discovery| &discovery.cluster);
        self.cluster_id.as_ref().or(of_platform).map(String::as_str)
    }

    /// Why the cluster can't be used as it was stored, as human-readable text, with what to write instead. `None` if it
    /// can.
    pub fn outdated(&self) -> Option<String> {
        let Tls { .. } = self.tls.as_ref()?;
        let name = &self.name;
        Some(format!(
            "cluster {name} names files in `tls`, which a server does not open; apply it again with {CREDENTIALS_INSTEAD}"
        ))
    }
}

/// What to write in place of `tls`, as human-readable text.
pub(super) const CREDENTIALS_INSTEAD: &str = "`credentials: NAME`: a folder NAME under the server's --credentials, with \
     ca.pem, cert.pem and key.pem, and a for.yaml such as `{ use: agent, origins: [\"https://*.example.com:8000\"] }`";

/// One agent of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ClusterAgent {
    /// Identifier, unique in the cluster.
    pub id: AgentId,
    /// Base URL of the agent's API. It may have a path, and has no slash at its end.
    pub address: String,
    /// Attributes that override those that the agent reports: strings, numbers, booleans or null.
    pub attributes: Map<String, Value>,
    /// Whether what answers at the address must be the agent.
    #[serde(default, skip_serializing_if = "Identity::is_plain")]
    pub identity: Identity,
}

/// Whether what answers at an agent's address must be that agent. If so, the `node_id` that it reports is compared
/// with the agent's identifier before anything is sent to it, and its `cluster_id` with that of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// It must be. An agent that reports no `node_id` can't be compared, and takes part.
    #[default]
    Check,
    /// As `Check`, and the `cluster_id` in `info/store` must be this one. An agent that reports none takes part.
    In(Arc<str>),
    /// Nothing is compared.
    Ignore,
}

impl Identity {
    /// Whether anything is compared.
    pub const fn is_checked(&self) -> bool {
        match self {
            Self::Check | Self::In(_) => true,
            Self::Ignore => false,
        }
    }

    /// Whether only the `node_id` is compared.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::Check
    }

    /// The identity check in a cluster with this `cluster_id`, or with none that is known.
    pub(crate) fn in_cluster(&self, cluster_id: Option<&Arc<str>>) -> Self {
        match self {
            Self::Ignore => Self::Ignore,
            Self::Check | Self::In(_) => {
                cluster_id.map_or(Self::Check, |id| Self::In(Arc::clone(id)))
            }
        }
    }

    /// The `cluster_id` that the agent must report, if it is known.
    pub fn cluster_id(&self) -> Option<&str> {
        match self {
            Self::In(id) => Some(id),
            Self::Check | Self::Ignore => None,
        }
    }
}

/// A Replicante platform that is asked for the agents of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Discovery {
    /// Base URL of the platform.
    pub url: String,
    /// Identifier of the cluster on the platform.
    pub cluster: String,
    /// How often the platform is asked.
    pub interval: Millis,
    /// The credentials for the platform: a name under the server's `--credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// Paths, on the server, of the files that secure connections to agents. Documents of earlier versions named them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tls {
    /// Certificates that agents are checked against.
    pub ca: Option<String>,
    /// The engine's own certificate.
    pub cert: Option<String>,
    /// The key of that certificate.
    pub key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_selected_and_rounded_down() {
        assert_eq!(Amount::Share(1_000).of(12), 1);
        assert_eq!(Amount::Share(10_000).of(u32::MAX), u32::MAX);
        assert_eq!(Amount::Count(3).of(1), 3);
    }
}
