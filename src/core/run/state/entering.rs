//! Agents that are to be taken into a stage, and memberships that changed meanwhile.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::weight::{datastore_bytes, json_bytes};
use crate::playbook::Identity;
use crate::run::{About, AgentId, AgentSeq, FailureReason, Member, Timestamp};

/// A member as its record takes it over: what is large is shared.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) agent: AgentId,
    pub(crate) address: String,
    pub(crate) about: About,
    pub(crate) declared: Arc<Map<String, Value>>,
    pub(crate) identity: Identity,
    /// When what answers at its address was found to be the agent; none where nothing answered.
    pub(crate) identified_at: Option<Timestamp>,
}

impl Arrival {
    /// A member that comes at that moment.
    pub(crate) fn of(member: Member, now: Timestamp) -> Self {
        let identified_at = (!member.node.is_null()).then(|| member.asked_at.unwrap_or(now));
        let Member { agent, address, attributes, declared, node, datastore, identity, .. } = member;
        let about = About {
            attributes: Arc::new(attributes),
            node: Arc::new(node),
            datastore: Arc::new(datastore),
            seen_at: Some(now),
        };
        Self { agent, address, about, declared: Arc::new(declared), identity, identified_at }
    }

    /// About how many bytes its record takes.
    pub(crate) fn bytes(&self) -> usize {
        json_bytes(&self.about.node)
            + datastore_bytes(&self.about.datastore)
            + self.about.attributes.values().map(json_bytes).sum::<usize>()
    }
}

/// An agent that is taken into a stage.
#[derive(Clone, Debug)]
pub(crate) enum Joining {
    /// One that the run knows; without an arrival it has left the cluster.
    Known { seq: AgentSeq, arrival: Option<Arc<Arrival>>, standing: Standing },
    /// A new one.
    New { arrival: Arc<Arrival>, standing: Standing },
}

/// What the selection of the stage says of a member.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// It takes part.
    In,
    /// It does not.
    Out,
    /// It takes part as one that has failed, since nothing may be sent to it.
    Fails {
        reason: FailureReason,
        message: String,
        /// Whether it is unknown if the stage selects it.
        undecided: bool,
    },
}

/// What became of the membership of one agent while its stage was being entered.
#[derive(Clone, Debug)]
pub(crate) enum Changed {
    Joined(Arc<Member>),
    Left,
    Moved(String),
}

impl Changed {
    /// What of two changes of one agent is to be made: the last one counts.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        match (self, before) {
            (Self::Moved(address), Some(Self::Joined(member))) => {
                let member = Arc::unwrap_or_clone(member);
                Self::Joined(Arc::new(Member { address, ..member }))
            }
            (Self::Moved(_), Some(Self::Left)) => Self::Left,
            (last, _) => last,
        }
    }
}
