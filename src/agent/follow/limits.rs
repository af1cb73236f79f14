//! The limits of calls to agents, in one place, so that each can be weighed against the others. Tests replace
//! them as a whole.

use std::sync::Arc;

use crate::agent::AgentClient;
use crate::clock::Clock;
use crate::run::Millis;

/// The longest that something between us and an agent may hold a request and still hand it on: the time after
/// which we give up our own requests without an answer
/// ([`AgentHttpConfig::request_timeout`](crate::agent::AgentHttpConfig)), and proxies give up theirs. The time
/// that it takes to send a large request is added to both.
///
/// It can't be shorter for agents that answer 409 to a known identifier: the agent is looked at before each
/// POST that may be a second one, so we never find out that it would answer 409.
pub const LONGEST_HELD: Millis = Millis::from_secs(15);

/// The limits of calls to agents. [`Default`] has the values for real agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// Wait before the first look at an action or a node, so that a run does not wait long for an agent that
    /// does its work at once. Default: 50 ms.
    pub poll_initial: Millis,
    /// The longest wait between two looks: agents look at their queue every 10 s, and actions that take minutes
    /// need no more looks. Default: 5 s.
    pub poll_max: Millis,
    /// Wait after the first request that failed; doubled after each further one. Default: 200 ms.
    pub retry_initial: Millis,
    /// The longest wait after a request that failed. Default: 5 s.
    pub retry_max: Millis,
    /// An agent that gave no good answer for this long is unreachable. Long enough for a restart of the agent
    /// or its node. Default: 2 min.
    pub unreachable_after: Millis,
    /// Wait before asking again whether a POST may be sent: a lease is renewed every few seconds. Default: 200
    /// ms.
    pub guard_wait: Millis,
    /// How long a POST without an answer may still be on its way after its sender gave up or died. Only a look
    /// after this time proves that the agent does not know the action; after an earlier one, an agent that
    /// never answers 409 could run the action again. The sending time of a large request is added. Default:
    /// [`LONGEST_HELD`].
    pub settle: Millis,
    /// How long an agent may give no good answer before people are told. Most agents are back by then, and each
    /// notice is a write to the store. Default: 5 s.
    pub silent_after: Millis,
    /// How long an action may be NEW before its agent is asked for its queue, which shows what comes before the
    /// action. Default: 5 s.
    pub queue_after: Millis,
    /// How long an action may be NEW, with no other before it, until people are told. Agents look at their
    /// queue every 10 s by default, so a shorter wait means nothing. Default: 15 s.
    pub new_after: Millis,
    /// How long an agent may take to show its queue: meanwhile nobody looks at the action. Default: 2 s.
    pub queue_wait: Millis,
    /// The shortest time between two notices of the same kind, for example about the number of actions before
    /// this one. Each is a write to the store, and a cluster has thousands of agents. Default: 30 s.
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

/// What following a call needs. Cheap to clone; one context serves all calls.
#[derive(Clone)]
pub struct FollowContext {
    /// Sends the requests to agents.
    pub client: Arc<dyn AgentClient>,
    /// Where time comes from: tests pass a clock that they control.
    pub clock: Arc<dyn Clock>,
    /// Waits, time-outs and sizes.
    pub limits: AgentLimits,
}
