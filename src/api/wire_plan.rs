//! What a run would be: the answer when a start is only tried.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::playbook::{ClusterGuards, PluginPin};
use crate::run::{AgentId, HeldNow, RunStatus, Timestamp};

/// What a run would be if it were started now: `POST /api/v1/runs/plan`. Nothing of it is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunPlan {
    /// Name of the playbook.
    pub playbook: String,
    /// Version of the playbook.
    pub version: String,
    /// Name of the cluster.
    pub cluster: String,
    /// The status that the run would have at first.
    pub status: RunStatus,
    /// What would keep it waiting as things are now, for people, in the order in which it would wait.
    pub waits: Vec<String>,
    /// The parameters, with defaults filled in.
    pub params: Map<String, Value>,
    /// Number of agents of the cluster, as known now.
    pub agents: u32,
    /// What is wrong with the members that are known, such as a platform that does not answer; null if nothing is.
    pub members_problem: Option<String>,
    /// The guards of the cluster, which the run would keep; null if it has none.
    pub guards: Option<GuardsPlan>,
    /// The stages, in order.
    pub stages: Vec<StagePlan>,
    /// The plugins that the run would pin, with their grants, by the name in the playbook.
    pub plugins: BTreeMap<String, PluginPin>,
}

/// What such a run would find the guards of its cluster to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardsPlan {
    /// The guards, windows and freezes of the cluster, as they are now.
    pub guards: ClusterGuards,
    /// Whether agents may be started now, by windows and freezes.
    pub open: bool,
    /// Until when that stays so; null: until no time that is known.
    pub until: Option<Timestamp>,
    /// Why the cluster is frozen, if it is now.
    pub freeze: Option<String>,
    /// Whom the guards that count agents would hold now, by what the nodes said when they were asked for this. It will be
    /// judged anew at each start. Null if no guard counts agents, or if there are too many to be asked.
    #[serde(default)]
    pub held: Option<HeldNow>,
}

/// A stage of such a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StagePlan {
    /// Name of the stage.
    pub name: String,
    /// The name of its strategy in the playbook.
    pub strategy: String,
    /// The arguments of the strategy, with expressions filled in; null if one of them has no value.
    pub arguments: Value,
    /// The expression that selects its agents; null: all of them.
    pub select: Option<String>,
    /// Names of its steps, in order.
    pub steps: Vec<String>,
    /// How many agents it would select if it began now.
    pub selected: u32,
    /// The first of them, in the order in which a run takes agents.
    pub first: Vec<AgentId>,
    /// For how many agents this is not known: it depends on what they say, and they were not asked or did not answer.
    pub undecided: u32,
    /// Why the stage could not begin, for people: an expression that has no value. Null if it could.
    pub error: Option<String>,
}
