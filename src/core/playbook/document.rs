//! Documents as people write them. The types here are the one source of the format: the JSON Schemas of the kinds
//! are made from them, and their comments become the descriptions in those schemas.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::approvers::ApprovalFile;
use super::grants::HttpMethod;
use super::model::{BudgetScope, Concurrency, OnAdded, OnError, OnExceeded, OnRemoved};
use super::model_stage::StageOn;
use super::names::{LABEL_PATTERN, PLAYBOOK_NAME_PATTERN};
use super::secrets::{MAX_DESTINATIONS, MAX_SECRETS};
use super::units::amount_schema;
use crate::length::LENGTH_FORMAT;

/// The kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Kind {
    /// A playbook: what to do.
    Playbook,
    /// A cluster: a named set of agents.
    Cluster,
    /// A policy: which plugins a server takes. It is a file of the server, and is not applied.
    Policy,
    /// Who may do what on a server. It is a file of the server, and is not applied.
    Access,
    /// Nodes that have no agent. It is a file of the gateway, and is not applied.
    Inventory,
}

impl Kind {
    /// All kinds, in the order in which messages list them.
    pub const ALL: [Self; 5] =
        [Self::Playbook, Self::Cluster, Self::Policy, Self::Access, Self::Inventory];

    /// The word that names the kind in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Playbook => "Playbook",
            Self::Cluster => "Cluster",
            Self::Policy => "Policy",
            Self::Access => "Access",
            Self::Inventory => "Inventory",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The only version of the formats that there is.
pub(super) const API_VERSION: &str = "replicante.io/v1";

/// A playbook: which plugins do what to which agents, in which order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Playbook")]
pub(super) struct PlaybookFile {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    api_version: String,
    /// Kind of the document.
    #[schemars(extend("const" = "Playbook"))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    kind: String,
    /// What the playbook is called.
    pub(super) metadata: PlaybookMetadata,
    /// What the playbook does.
    pub(super) spec: PlaybookSpec,
}

/// What a playbook is called and where it comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybookMetadata {
    /// Name: lowercase letters, digits and dashes; a `team/` prefix is allowed.
    #[schemars(extend("pattern" = PLAYBOOK_NAME_PATTERN))]
    pub(super) name: String,
    /// Semantic version. Changed content under a known name and version is a conflict.
    pub(super) version: String,
    /// Where the document is kept under version control. Shown, never followed.
    #[serde(default)]
    pub(super) vcs: Option<VcsFile>,
}

/// Where a document is kept under version control.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VcsFile {
    /// URL of the repository.
    pub(super) repository: String,
    /// The commit.
    #[serde(default)]
    pub(super) commit: Option<String>,
    /// Path of the document in the repository.
    #[serde(default)]
    pub(super) path: Option<String>,
}

/// What a playbook does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybookSpec {
    /// What the playbook is for, in one line.
    #[serde(default)]
    pub(super) summary: Option<String>,
    /// Whether a run waits for people before it starts, and whose approvals count; `granted` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "granted"))]
    pub(super) approval: Option<ApprovalFile>,
    /// What happens when another run holds the cluster; `queue` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "queue"))]
    pub(super) concurrency: Option<Concurrency>,
    /// JSON Schema (2020-12) of the run's parameters, which are an object; without it a run takes no parameters.
    #[serde(default)]
    pub(super) params: Option<Map<String, Value>>,
    /// Plugins by the name that the stages use. Built-in plugins need no entry.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": LABEL_PATTERN}))]
    pub(super) plugins: BTreeMap<String, PluginFile>,
    /// The stages in order.
    #[schemars(length(min = 1))]
    pub(super) stages: Vec<StageFile>,
}

/// One plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginFile {
    /// `file:PATH` (uploaded by the client), `store:NAME@VERSION`, `oci://HOST/REPOSITORY:TAG` or
    /// `oci://HOST/REPOSITORY@sha256:DIGEST`.
    pub(super) source: String,
    /// `sha256:` and 64 hex digits that the bytes must have. Always pinned at import.
    #[serde(default)]
    pub(super) digest: Option<String>,
    /// What the plugin may reach; nothing when absent.
    #[serde(default)]
    pub(super) grants: GrantsFile,
}

/// What a plugin may reach.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantsFile {
    /// Kinds of action; a `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) actions: Vec<String>,
    /// Where HTTP requests may go: origins (`https://host:port`), or origins with methods and paths.
    #[serde(default)]
    pub(super) http: Vec<HttpGrantFile>,
    /// Names of signals that the plugin may wait for; a `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) signals: Vec<String>,
    /// Secrets that steps may use, and where each may be sent.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_SECRETS))]
    pub(super) secrets: Vec<SecretGrantFile>,
}

/// A secret, and where it may be sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SecretGrant")]
pub(super) struct SecretGrantFile {
    /// Name of the secret: that of its file under the server's `--secrets`.
    pub(super) name: String,
    /// Where it may be sent: origins (`https://host:port`) and kinds of action, of which a `*` at the end stands for any rest.
    #[schemars(extend("minItems" = 1, "maxItems" = MAX_DESTINATIONS))]
    pub(super) to: Vec<String>,
}

/// Where HTTP requests may go.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum HttpGrantFile {
    /// An origin, with all methods and paths.
    Origin(String),
    /// An origin with some methods or some paths.
    Limited(LimitedHttpFile),
}

/// One schema for both forms: what is wrong with a mapping is then said at its place in it.
impl JsonSchema for HttpGrantFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpGrant".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = LimitedHttpFile::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        let text =
            "Where HTTP requests may go: an origin, or an origin with some methods or paths.";
        schema.insert("description".to_owned(), text.into());
        schema
    }
}

/// An origin that HTTP requests may go to, with some methods or to some paths.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LimitedHttp")]
pub(super) struct LimitedHttpFile {
    /// Origin (`https://host:port`).
    pub(super) origin: String,
    /// Methods; all when absent.
    #[serde(default)]
    pub(super) methods: Vec<HttpMethod>,
    /// Paths; all when absent. A `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) paths: Vec<String>,
}

/// One part of a playbook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StageFile {
    /// Name, unique in the playbook.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
    /// What the steps are done on: on each of the `agents`, or once on the `run`; `agents` when absent. A stage on the run
    /// has no agents, and so none of `select`, `strategy` and `membership`.
    #[serde(default)]
    #[schemars(extend("default" = "agents"))]
    pub(super) on: Option<StageOn>,
    /// Whether the stage is also done when the run ends before it, because it fails or is cancelled: then it comes before
    /// the run's end, and in a run that is cancelled within the time for that. `false` when absent.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(super) always: Option<bool>,
    /// Expression: which agents take part; all when absent.
    #[serde(default)]
    pub(super) select: Option<String>,
    /// Decides which agents go next. Only a stage on the run has none.
    #[serde(default)]
    pub(super) strategy: Option<StrategyFile>,
    /// How many agents may fail; none when absent.
    #[serde(default)]
    pub(super) budget: BudgetFile,
    /// What to do with agents that join or leave.
    #[serde(default)]
    pub(super) membership: Option<MembershipFile>,
    /// What is done on each agent, or once on the run, in order.
    #[schemars(length(min = 1))]
    pub(super) steps: Vec<StepFile>,
    /// What is done on an agent after one of its `steps` has failed, in order. The agent is FAILED all the same.
    #[serde(default)]
    pub(super) rescue: Vec<StepFile>,
    /// What is done last on each agent that began a step, whether its steps failed or not, in order.
    #[serde(default)]
    pub(super) finally: Vec<StepFile>,
}

/// The strategy of a stage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StrategyFile {
    /// A name in `plugins`, or of a built-in strategy.
    #[serde(rename = "use")]
    pub(super) uses: String,
    /// Arguments of the strategy; may hold `${{ expression }}`.
    #[serde(default)]
    pub(super) with: Map<String, Value>,
}

/// How many agents may fail before the run stops.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetFile {
    /// A number of agents such as `2`, or a share of the selected agents such as `10%`; 0 when absent.
    #[serde(default)]
    #[schemars(schema_with = "amount_schema")]
    #[schemars(extend("default" = 0))]
    pub(super) max_failed: Option<Value>,
    /// Over which agents failures are counted; `stage` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "stage"))]
    pub(super) scope: Option<BudgetScope>,
    /// What happens when more fail; `pause` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "pause"))]
    pub(super) on_exceeded: Option<OnExceeded>,
}

/// What a stage does with agents that join or leave while it is under way.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipFile {
    /// For an agent that joins; `include` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "include"))]
    pub(super) added: Option<OnAdded>,
    /// For an agent that leaves; `ignore` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "ignore"))]
    pub(super) removed: Option<OnRemoved>,
}

/// One step of a stage: exactly one of `use` and `action`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepFile {
    /// Name, unique in the stage; `steps.NAME.result` refers to it.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
    /// A name in `plugins`, or of a built-in step.
    #[serde(default, rename = "use")]
    pub(super) uses: Option<String>,
    /// Arguments of `use`; may hold `${{ expression }}`.
    #[serde(default)]
    pub(super) with: Option<Map<String, Value>>,
    /// A kind of action to run: short for `use: action`, with the grant of that kind.
    #[serde(default)]
    pub(super) action: Option<String>,
    /// Arguments of `action`; may hold `${{ expression }}`.
    #[serde(default)]
    pub(super) args: Option<Value>,
    /// Expression: the step is left out where it is false.
    #[serde(default)]
    pub(super) when: Option<String>,
    /// Expression: what must hold just before the step; it sees fresh information about the agent.
    #[serde(default)]
    pub(super) require: Option<String>,
    /// How long one attempt may take, for example `5m` or `1h30m`.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    pub(super) timeout: Option<String>,
    /// How often and when the step is tried again; never when absent.
    #[serde(default)]
    pub(super) retry: Option<RetryFile>,
    /// What a failure means for the agent; `fail` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "fail"))]
    pub(super) on_error: Option<OnError>,
}

/// How often and when a step is tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryFile {
    /// Attempts in all.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) attempts: u32,
    /// Wait before the second attempt, at most `max`; `1s` when absent.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    #[schemars(extend("default" = "1s"))]
    pub(super) initial: Option<String>,
    /// Each further wait is the wait before it, times this factor; 2 when absent.
    #[serde(default)]
    #[schemars(range(min = 1.0, max = 100.0))]
    #[schemars(extend("default" = 2))]
    pub(super) factor: Option<f64>,
    /// The longest wait; `1m` when absent.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    #[schemars(extend("default" = "1m"))]
    pub(super) max: Option<String>,
}
