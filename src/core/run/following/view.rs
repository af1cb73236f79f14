//! What is known about a cluster at one moment. The parts that are large are shared, so that a view can be handed
//! to every run of the cluster.

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

/// Where an agent is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Cluster object lists the agent.
    Declared,
    /// A platform reports the agent.
    Discovered,
}

impl Source {
    /// The word that stands for the source in the API, on the command line and in documents.
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
    /// Base URL of the agent's API.
    pub address: String,
    /// Attributes of the Cluster object, or `node_class` and `node_group` from the platform.
    pub attributes: Map<String, Value>,
    /// Where the agent is known from.
    pub source: Source,
    /// Place of the agent in the list of the Cluster object, from 0. `None` if the object does not list it.
    pub place: Option<u32>,
    /// Since when the agent has been known here, from this source.
    pub since: Timestamp,
    /// Whether what answers at the address must be the agent.
    pub identity: Identity,
}

/// The members in the order in which a run takes them: first those of the Cluster object, in its order, then the
/// discovered ones by identifier.
pub fn in_order(members: &Members) -> Vec<(AgentId, Arc<KnownAgent>)> {
    let all = members.iter().map(|(id, agent)| (id.clone(), Arc::clone(agent)));
    let mut all: Vec<_> = all.collect();
    // The sort is stable, so agents without a place stay ordered by identifier.
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
    /// No answer came, or none that can be read. The text says what happened.
    Failed(String),
}

/// How the last question to a platform ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LastAnswer {
    /// When the question ended.
    pub at: Timestamp,
    /// How the question ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a question to a platform ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The platform answered with the cluster.
    Ok {
        /// How many nodes of the cluster the answer has.
        nodes: u32,
        /// How many of these nodes could not be used.
        left_out: u32,
    },
    /// The platform answered without the cluster. Nobody joins, and nobody leaves.
    WithoutCluster,
    /// The platform gave no usable answer. Nobody joins, and nobody leaves.
    Failed {
        /// What happened, as human-readable text.
        message: String,
    },
}

impl Outcome {
    /// What is wrong with the answer, as human-readable text. `None` if the answer was good.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Ok { .. } => None,
            Self::WithoutCluster => Some("it does not know the cluster"),
            Self::Failed { message } => Some(message),
        }
    }
}

/// How much is known about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The Cluster object was not read yet.
    Reading,
    /// The Cluster object is known, but its platform has not given an answer with the cluster yet.
    Asking,
    /// Everything is known that can be known.
    Settled,
}

/// What is known about a cluster at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    /// How much is known about the cluster.
    pub phase: Phase,
    /// The members. The allocation stays the same as long as they do.
    pub members: Arc<Members>,
    /// Set while more members are absent than is believed. The absent ones still count as members.
    pub mass_absence: Option<MassAbsence>,
    /// Members that join no run which has begun. They are absent together with many others, perhaps accepted by a
    /// person, or only a run has reported them so far and the platform has not. The allocation stays the same as
    /// long as they do.
    pub doubtful: Arc<BTreeSet<AgentId>>,
    /// What came of the last question to the platform. `None` before the first question has ended, and if the
    /// Cluster object names no platform.
    pub last_answer: Option<LastAnswer>,
}

impl Membership {
    /// Whether nothing differs except the last answer of the platform. The members need not be looked at for that.
    pub fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.members, &other.members)
            && Arc::ptr_eq(&self.doubtful, &other.doubtful)
            && (self.phase, self.mass_absence) == (other.phase, other.mass_absence)
    }

    /// The addresses of the members.
    pub fn addresses(&self) -> HashSet<&str> {
        self.members.values().map(|agent| agent.address.as_str()).collect()
    }

    /// What is wrong with the last answer of the platform. `None` if it was good, or if there is none.
    pub fn problem(&self) -> Option<&str> {
        self.last_answer.as_ref()?.outcome.problem()
    }
}
