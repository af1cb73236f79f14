//! What this process itself is short of never counts against an agent.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AgentLimits, FollowContext, Start, info, run_action, wait_status};
use crate::agent::{
    ActionRequest, ActionStatus, AgentClient, AgentError, Asked, FakeAgents, QueuedAction,
    Scheduled, Script, When,
};
use crate::clock::{Clock, TokioClock};
use crate::run::{Millis, NodeInfo, Timestamp, Wanted};

const ADDRESS: &str = "http://a";

/// Agents that can't be asked before a moment.
struct ShortUntil {
    agents: FakeAgents,
    clock: Arc<dyn Clock>,
    until: Timestamp,
}

impl ShortUntil {
    fn check(&self, address: &str) -> Result<(), AgentError> {
        if self.clock.now() >= self.until {
            return Ok(());
        }
        let message = "this server has no descriptors left".to_owned();
        Err(AgentError::Short { address: address.to_owned(), message })
    }
}

#[async_trait]
impl AgentClient for ShortUntil {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.check(address)?;
        self.agents.schedule(address, request).await
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.check(address)?;
        self.agents.action(address, id).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.check(address)?;
        self.agents.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.check(address)?;
        self.agents.node(address).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.check(address)?;
        self.agents.store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.check(address)?;
        self.agents.shards(address).await
    }
}

/// One agent, and what it takes to follow calls to it: for ten times its patience it can't be asked.
fn short() -> (FakeAgents, FollowContext) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
    let agents = FakeAgents::new(clock.clone());
    agents.add(ADDRESS, Script::Succeed { when: When::Looks(1), payload: json!(7) });
    let limits = AgentLimits::default();
    let until = clock.now().plus(Millis(limits.unreachable_after.0 * 10));
    let client = ShortUntil { agents: agents.clone(), clock: clock.clone(), until };
    (agents, FollowContext { client: Arc::new(client), clock, limits })
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_and_then_goes_as_ever() {
    let (agents, ctx) = short();
    let request = ActionRequest {
        id: Uuid::from_u128(7),
        kind: "test".to_owned(),
        args: json!({}).into(),
        created_time: ctx.clock.now(),
        metadata: Default::default(),
    };
    let told = Arc::new(std::sync::Mutex::new(0));
    let watched = ctx.watched(None, false, {
        let told = Arc::clone(&told);
        move |_| {
            *told.lock().unwrap() += 1;
            true
        }
    });
    let answer =
        run_action(&watched, ADDRESS, &request, Start::default(), || {}, async || true).await;
    assert_eq!(answer.unwrap().as_str(), "7");
    assert_eq!(*told.lock().unwrap(), 0, "the agent was not silent");
    assert_eq!(agents.most_executions(), 1);
    let posts = agents.asked(ADDRESS).into_iter().filter(|(_, a)| matches!(a, Asked::Post(_)));
    assert_eq!(posts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_node_waits_and_so_does_a_wait_for_its_status() {
    let (_, ctx) = short();
    let found = info(&ctx, ADDRESS, Wanted::default()).await.unwrap();
    let (agents, ctx) = short();
    let statuses = [found.status];
    let timeout = Millis::from_secs(1);
    let seen = wait_status(&ctx, ADDRESS, &statuses, ctx.clock.now(), timeout, None).await;
    assert_eq!(seen.unwrap(), statuses[0]);
    assert_eq!(agents.asked(ADDRESS).len(), 1);
}
