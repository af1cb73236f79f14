//! What tests tell agents in memory to do.

use serde_json::Value;
use uuid::Uuid;

use super::client::{ActionPhase, AgentError, QueuedAction};
use crate::run::Millis;

/// What an agent does with actions.
#[derive(Clone, Debug, PartialEq)]
pub enum Script {
    /// They end in DONE.
    Succeed {
        /// When.
        when: When,
        /// With this payload.
        payload: Value,
    },
    /// They end in FAILED.
    Fail {
        /// When.
        when: When,
        /// With this message.
        message: String,
    },
    /// They stay RUNNING. A later script may end them.
    Stall,
    /// They are refused.
    Refuse {
        /// With this message.
        message: String,
    },
    /// They are accepted, and later no longer known.
    Forget {
        /// When.
        when: When,
    },
}

/// When an action ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the first look after so many looks that found it still running.
    Looks(u32),
    /// So long after it was scheduled.
    After(Millis),
}

/// What goes wrong with one POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes effect; its answer is lost.
    DropAnswer,
    /// It takes effect this long after its sender gave up.
    LateEffect(Millis),
    /// Something holds it for this long before the agent gets it, even if its sender dies
    /// meanwhile.
    Hold(Millis),
    /// It is lost on its way, and its sender can't know that.
    DropRequest,
    /// The agent answers 503; no effect.
    Break,
    /// It takes effect; its answer can't be read.
    GarbleAnswer,
    /// It is lost on its way, and somebody else answers what can't be read.
    GarbleRequest,
}

/// What an agent does with a POST of an action that it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownId {
    /// Answers that it knows the action.
    #[default]
    Conflict,
    /// Runs it again, as older agents do.
    RunAgain,
}

/// What an agent says when it is asked for its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FakeQueue {
    /// Its actions that have not ended. Before them are others of these kinds, the first of which
    /// is RUNNING.
    After(Vec<String>),
    /// It has no such route.
    #[default]
    Missing,
    /// It answers something that is not a queue.
    Garbage,
    /// It does not answer for a long time.
    Hangs,
}

impl FakeQueue {
    /// What an agent says whose actions of these identifiers have not ended; none if it says nothing.
    pub(super) fn says(
        &self,
        address: &str,
        open: impl Iterator<Item = Uuid>,
    ) -> Option<Result<Vec<QueuedAction>, AgentError>> {
        let address = address.to_owned();
        let message = "not here".to_owned();
        match self {
            Self::Missing => Some(Err(AgentError::Refused { address, status: 404, message })),
            Self::Garbage => Some(Err(AgentError::Malformed { address, message })),
            Self::Hangs => None,
            Self::After(kinds) => {
                let of = |(number, kind): (usize, &String)| {
                    let phase = if number == 0 { ActionPhase::Running } else { ActionPhase::New };
                    let id = Uuid::from_u128(u128::MAX - number as u128);
                    QueuedAction { id, kind: kind.clone(), phase }
                };
                let others = kinds.iter().enumerate().map(of);
                let (kind, phase) = ("fake".to_owned(), ActionPhase::New);
                let own = open.map(|id| QueuedAction { id, kind: kind.clone(), phase });
                Some(Ok(others.chain(own).collect()))
            }
        }
    }
}

/// A request that reached an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To schedule the action.
    Post(Uuid),
    /// How far the action is.
    Look(Uuid),
    /// For the queue.
    Queue,
    /// About the node.
    Node,
    /// About the store.
    Store,
    /// About the shards.
    Shards,
}

pub(super) fn garbled(address: &str) -> AgentError {
    let message = "the body: found \"<html>\", expected a JSON object".to_owned();
    AgentError::Malformed { address: address.to_owned(), message }
}

pub(super) fn no_answer(address: &str) -> AgentError {
    let message = "connection reset".to_owned();
    AgentError::NoAnswer { address: address.to_owned(), message }
}
