//! The limits of calls to agents, in one place.

use std::sync::Arc;

use crate::agent::AgentClient;
use crate::clock::Clock;
use crate::run::Millis;

/// The longest that something between us and an agent may hold a request and still hand it on: the time
/// after which we give up our own requests without an answer
/// ([`AgentHttpConfig::request_timeout`](crate::agent::AgentHttpConfig)), and proxies theirs. The time that it
/// takes to send a large request is added to both.
///
/// It can't be shortened for agents that answer 409 to a known identifier: they are looked at before each
/// POST that may be a second one, so they never get to show that they do.
pub const LONGEST_HELD: Millis = Millis::from_secs(15);

/// The limits of calls to agents. [`Default`] has the values for real agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// Wait before the first look at an action or a node: an agent that does its work at once should
    /// not be what a run waits for. Default: 50 ms.
    pub poll_initial: Millis,
    /// The longest wait between two looks: agents look at their queue every 10 s, and actions that
    /// take minutes need no more. Default: 5 s.
    pub poll_max: Millis,
    /// Wait after the first request that failed; doubled after each further one. Default: 200 ms.
    pub retry_initial: Millis,
    /// The longest wait after a request that failed. Default: 5 s.
    pub retry_max: Millis,
    /// An agent that gave no good answer for so long is unreachable. Long enough for a restart of
    /// the agent or its node. Default: 2 min.
    pub unreachable_after: Millis,
    /// Wait before the guard of POSTs is asked again: a lease is renewed every few seconds.
    /// Default: 200 ms.
    pub guard_wait: Millis,
    /// How long a POST without an answer may still be on its way after its sender gave up or died. Only a
    /// look later than this proves that the agent does not know the action. Agents that never answer 409
    /// would run it again. Longer for a large request. Default: [`LONGEST_HELD`].
    pub settle: Millis,
    /// How long an agent may give no good answer before people are told. Most agents are back by then, and
    /// what is told is written to the store. Default: 5 s.
    pub silent_after: Millis,
    /// How long an action may be NEW before its agent's queue is asked what comes before it. Default: 5 s.
    pub queue_after: Millis,
    /// How long it may be NEW, with no other before it, until people are told. Agents look at their queue
    /// every 10 s by default, so before that it means nothing. Default: 15 s.
    pub new_after: Millis,
    /// How long an agent may take to show its queue: meanwhile nobody looks at the action. Default: 2 s.
    pub queue_wait: Millis,
    /// The least time between two notices of the same kind, for example of how many come before an action.
    /// Each is a write to the store, and a cluster has thousands of agents. Default: 30 s.
    pub notice_again: Millis,
    /// Bytes of JSON that the payload of an action may have: it is kept in the journal and given to
    /// the step. Default: 1 MiB, as the interface of steps promises.
    pub payload_bytes: usize,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            poll_initial: Millis(50),
            poll_max: Millis::from_secs(5),
            retry_initial: Millis(200),
            retry_max: Millis::from_secs(5),
            unreachable_after: Millis::from_secs(120),
            guard_wait: Millis(200),
            settle: LONGEST_HELD,
            silent_after: Millis::from_secs(5),
            queue_after: Millis::from_secs(5),
            new_after: Millis::from_secs(15),
            queue_wait: Millis::from_secs(2),
            notice_again: Millis::from_secs(30),
            payload_bytes: 1024 * 1024,
        }
    }
}

/// What following a call needs. Cheap to clone; one serves all calls.
#[derive(Clone)]
pub struct FollowContext {
    /// Sends the requests.
    pub client: Arc<dyn AgentClient>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The limits.
    pub limits: AgentLimits,
}
