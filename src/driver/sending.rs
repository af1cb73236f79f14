//! Knows whether a request for the action of a call may have been sent. If none was, the action can't exist at the
//! agent, and the call can be given up without asking.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use crate::agent::{ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled};
use crate::run::NodeInfo;
use replibook_core::mutant;
use serde_json::Value;

/// What this process knows about the requests of one call.
#[derive(Debug)]
pub(super) struct Sent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// A request may have taken effect, or may still do so.
    perhaps: bool,
    /// No further request may be sent.
    closed: bool,
    /// Why the last request did not reach the agent, as human-readable text.
    failed: Option<String>,
}

impl Sent {
    /// `perhaps`: a request may have been sent already.
    pub(super) fn new(perhaps: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { perhaps, ..State::default() })))
    }

    /// If no request was sent that may have taken effect, forbids any further one and returns why none was sent.
    /// From then on it is certain that the call has no action.
    pub(super) fn close(&self) -> Option<String> {
        self.with(|state| {
            if state.perhaps && !mutant!(UnsentAssumed) {
                return None;
            }
            state.closed = true;
            let none = || "no request was made yet".to_owned();
            Some(state.failed.clone().unwrap_or_else(none))
        })
    }

    /// Asks whether a request may be sent now; None if not. A future that is dropped from here on may have sent
    /// it. Returns what [`failed`](Self::failed) needs to restore the state.
    fn begin(&self) -> Option<bool> {
        self.with(|state| {
            let before = state.perhaps;
            state.perhaps |= !state.closed;
            (!state.closed).then_some(before)
        })
    }

    /// The request had no effect, so the state is again what it was `before`.
    fn failed(&self, before: bool, error: &AgentError) {
        self.with(|state| {
            state.perhaps = before;
            state.failed = Some(error.to_string());
        });
    }

    /// Even the question that comes before a request failed.
    fn unreached(&self, error: &AgentError) {
        self.with(|state| state.failed = Some(error.to_string()));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An agent client for one call, which notes the requests that it sends.
pub(super) struct NotedAgents {
    pub(super) inner: Arc<dyn AgentClient>,
    pub(super) sent: Arc<Sent>,
}

#[async_trait]
impl AgentClient for NotedAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let Some(before) = self.sent.begin() else {
            // The call was given up: its task is about to be aborted, right here.
            return std::future::pending().await;
        };
        let scheduled = self.inner.schedule(address, request).await;
        if let Err(error) = &scheduled
            && !error.may_have_taken_effect()
        {
            self.sent.failed(before, error);
        }
        scheduled
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.inner.action(address, id).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.inner.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let node = self.inner.node(address).await;
        if let Err(error) = &node {
            self.sent.unreached(error);
        }
        node
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.shards(address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> AgentError {
        AgentError::Connect { address: "http://a".to_owned(), message: "refused".to_owned() }
    }

    #[test]
    fn nothing_was_sent_until_a_request_may_have_taken_effect() {
        let sent = Sent::new(false);
        let before = sent.begin().unwrap();
        sent.failed(before, &refused());
        assert_eq!(sent.close().unwrap(), "failed to connect to http://a: refused");
        assert_eq!(sent.begin(), None, "and nothing is any more");
        // The request is on its way, or was dropped while it was.
        let sent = Sent::new(false);
        sent.begin().unwrap();
        assert_eq!(sent.close(), None);
        // A later request that failed says nothing about the first one.
        let before = sent.begin().unwrap();
        sent.failed(before, &refused());
        assert_eq!(sent.close(), None);
        assert_eq!(Sent::new(true).close(), None, "by a process before");
    }
}
