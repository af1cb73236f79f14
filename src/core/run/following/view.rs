//! What is known of a cluster at one moment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::PlatformNode;
use super::change::MassAbsence;
use crate::playbook::Identity;
use crate::run::{AgentId, Timestamp};

/// The members of a cluster by their identifier.
pub type Members = BTreeMap<AgentId, Arc<KnownAgent>>;

/// Where the knowledge of an agent comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Cluster object lists it.
    Declared,
    /// A platform tells of it.
    Discovered,
}

impl Source {
    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Discovered => "discovered",
        }
    }
}

/// One member of a cluster, before it was asked about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAgent {
    /// Base URL of its API.
    pub address: String,
    /// Attributes of the Cluster object, or `node_class` and `node_group` of the platform.
    pub attributes: Map<String, Value>,
    /// Where the knowledge comes from.
    pub source: Source,
    /// Its place in the list of the Cluster object, from 0.
    pub place: Option<u32>,
    /// Since when it is known here, from this source.
    pub since: Timestamp,
    /// Whether what answers at the address has to be the agent.
    pub identity: Identity,
}

/// Members in the order in which a run takes them: those of the Cluster object as it lists them, then
/// the discovered ones by identifier.
pub fn in_order(members: &Members) -> Vec<(AgentId, Arc<KnownAgent>)> {
    let all = members.iter().map(|(id, agent)| (id.clone(), Arc::clone(agent)));
    let mut all: Vec<_> = all.collect();
    // It keeps the order of those without a place.
    all.sort_by_key(|(_, agent)| (agent.place.is_none(), agent.place));
    all
}

/// What came of a question to a platform.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The nodes of the cluster.
    Nodes(Vec<PlatformNode>),
    /// An answer that does not have the cluster.
    WithoutCluster,
    /// No answer, or none that can be read; with what happened, for people.
    Failed(String),
}

/// The last question to a platform that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LastAnswer {
    /// When it ended.
    pub at: Timestamp,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a question to a platform ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It answered with the cluster.
    Ok {
        /// Nodes of the cluster in the answer.
        nodes: u32,
        /// How many of these could not be used.
        left_out: u32,
    },
    /// It answered without the cluster: nobody joins, and nobody leaves.
    WithoutCluster,
    /// It did not answer as it should: nobody joins, and nobody leaves.
    Failed {
        /// What happened, for people.
        message: String,
    },
}

impl Outcome {
    /// What is wrong with the answer, for people; nothing where it was good.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Ok { .. } => None,
            Self::WithoutCluster => Some("it does not know the cluster"),
            Self::Failed { message } => Some(message),
        }
    }
}

/// How much is known of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The Cluster object was not read yet.
    Reading,
    /// The Cluster object is known, and its platform gave no answer with the cluster yet.
    Asking,
    /// All that there is to know.
    Settled,
}

/// What is known of a cluster at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    /// How much is known.
    pub phase: Phase,
    /// The members. The same allocation as long as they are the same.
    pub members: Arc<Members>,
    /// More members are absent than is believed; they are still among the members.
    pub mass_absence: Option<MassAbsence>,
    /// Members that join no run which has begun: they are absent with many others, which a person may have
    /// accepted, or only a run told of them, and the platform did not yet. The same allocation as long as
    /// they are the same.
    pub doubtful: Arc<BTreeSet<AgentId>>,
    /// What came of the last question to the platform; none before the first one ended, and where
    /// the Cluster object names no platform.
    pub last_answer: Option<LastAnswer>,
}

impl Membership {
    /// Whether nothing differs but the last answer of the platform. It costs no look at the members.
    pub fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.members, &other.members)
            && Arc::ptr_eq(&self.doubtful, &other.doubtful)
            && (self.phase, self.mass_absence) == (other.phase, other.mass_absence)
    }

    /// Where the members are.
    pub fn addresses(&self) -> HashSet<&str> {
        self.members.values().map(|agent| agent.address.as_str()).collect()
    }

    /// What is wrong with the last answer of the platform; nothing where it was good, or there is none.
    pub fn problem(&self) -> Option<&str> {
        self.last_answer.as_ref()?.outcome.problem()
    }
}
