//! What a test tells an agent in memory to do: its script and its faults. Kept apart from `fake`, so that the
//! vocabulary of tests is one short page.

use serde_json::Value;
use uuid::Uuid;

use super::client::{ActionPhase, AgentError, QueuedAction};
use crate::run::Millis;

/// What an agent does with actions.
#[derive(Clone, Debug, PartialEq)]
pub enum Script {
    /// They end in DONE.
    Succeed {
        /// When they end.
        when: When,
        /// The payload of their answer.
        payload: Value,
    },
    /// They end in FAILED.
    Fail {
        /// When they end.
        when: When,
        /// The message of their answer.
        message: String,
    },
    /// They stay RUNNING. A later script may end them.
    Stall,
    /// They are refused.
    Refuse {
        /// The message of the refusal.
        message: String,
    },
    /// They are accepted, and later the agent no longer knows them.
    Forget {
        /// When the agent forgets them.
        when: When,
    },
}

/// When an action ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the first look after this many looks that found it still running.
    Looks(u32),
    /// So long after the action was scheduled.
    After(Millis),
}

/// What goes wrong with one POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The POST takes effect; its answer is lost.
    DropAnswer,
    /// The POST takes effect this long after its sender gave up.
    LateEffect(Millis),
    /// Something holds the POST for this long before the agent gets it, even if the sender dies meanwhile.
    Hold(Millis),
    /// The POST is lost on its way, and its sender can't know that.
    DropRequest,
    /// The agent answers 503, and the POST has no effect.
    Break,
    /// The POST takes effect; its answer can't be read.
    GarbleAnswer,
    /// The POST is lost on its way, and something else sends an answer that can't be read.
    GarbleRequest,
}

/// What an agent does with a POST of an action that it already knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownId {
    /// Answers that it knows the action (409).
    #[default]
    Conflict,
    /// Runs it again, as older agents do.
    RunAgain,
}

/// What an agent says when it is asked for its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FakeQueue {
    /// The agent's actions that have not ended, after other actions of these kinds, the first of which is
    /// RUNNING.
    After(Vec<String>),
    /// The agent has no such route.
    #[default]
    Missing,
    /// The answer is not a queue.
    Garbage,
    /// No answer comes for a long time.
    Hangs,
}

impl FakeQueue {
    /// What an agent says whose unfinished actions have the identifiers `open`; `None` if it does not answer.
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

/// A request that reached an agent, by what it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To schedule this action.
    Post(Uuid),
    /// How far this action is.
    Look(Uuid),
    /// For the queue of actions.
    Queue,
    /// For the node.
    Node,
    /// For the store.
    Store,
    /// For the shards.
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
