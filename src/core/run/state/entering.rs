//! Agents that are to be taken into a stage, and memberships that change while that goes on. One commit can't take
//! in all agents of a large cluster, so the rest waits here.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::weight::{datastore_bytes, json_bytes};
use crate::playbook::Identity;
use crate::run::{About, AgentId, AgentSeq, FailureReason, Member, Timestamp};

/// A member in the form in which its record takes it over: what is large is shared.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) agent: AgentId,
    pub(crate) address: String,
    pub(crate) about: About,
    pub(crate) declared: Arc<Map<String, Value>>,
    pub(crate) identity: Identity,
    /// When what answers at the address was found to be the agent. `None` if nothing answered.
    pub(crate) identified_at: Option<Timestamp>,
}

impl Arrival {
    /// Takes over a member that arrives at `now`.
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

    /// The approximate number of bytes that the agent's record takes.
    pub(crate) fn bytes(&self) -> usize {
        json_bytes(&self.about.node)
            + datastore_bytes(&self.about.datastore)
            + self.about.attributes.values().map(json_bytes).sum::<usize>()
    }
}

/// An agent that is taken into a stage.
#[derive(Clone, Debug)]
pub(crate) enum Joining {
    /// An agent that the run knows. Without an arrival, it has left the cluster.
    Known { seq: AgentSeq, arrival: Option<Arc<Arrival>>, standing: Standing },
    /// An agent that the run does not know yet.
    New { arrival: Arc<Arrival>, standing: Standing },
}

/// What the selection of the stage says about a member.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// The member takes part.
    In,
    /// The member takes no part, for this reason.
    Out(&'static str),
    /// The run does nothing to the member in any stage, and has its record only for guards.
    Bystander,
    /// The member takes part, but as one that has failed, because nothing may be sent to it.
    Fails {
        reason: FailureReason,
        message: String,
        /// Whether it is unknown if the stage selects the member.
        undecided: bool,
    },
}

/// What became of an agent's membership while its stage was being entered.
#[derive(Clone, Debug)]
pub(crate) enum Changed {
    Joined(Arc<Member>),
    Left,
    Moved(String),
}

impl Changed {
    /// Merges this change with an earlier change of the same agent. The later one counts, but a move only changes
    /// the address of an agent that joined, and changes nothing for one that left.
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
