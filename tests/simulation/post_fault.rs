//! What happens to a request that schedules an action.

use crate::behind::Cut;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostFault {
    /// The request takes effect; its answer is lost.
    AnswerLost,
    /// The request takes effect this long after its sender was told that it failed.
    Late(u64),
    /// Something holds the request this long before the agent gets it; its answer comes after that.
    Held(u64),
    /// The request is lost on its way.
    Lost,
    /// The agent answers 503, and nothing takes effect.
    Broken,
    /// The request takes effect; its answer can't be read.
    Garbled,
    /// The request is lost on its way, and something else gives an answer that can't be read.
    Stray,
    /// Something on the way sends the request twice; the answer is that to the second one.
    Doubled,
    /// A gateway loses its connection to the node, and says so.
    Cut(Cut),
}
