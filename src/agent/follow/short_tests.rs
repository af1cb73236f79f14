//! A shortage of this process itself never counts against an agent.

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
use crate::run::{CallError, Millis, NodeInfo, Timestamp, Wanted};

const ADDRESS: &str = "http://a";

/// Agents that can't be asked before `until`, because this process is short of descriptors.
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

/// One agent and a context to follow calls to it. It can't be asked for ten times as long as patience lasts.
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

/// Agents that are never reached. Every second request fails even before that, because all connections are in
/// use.
struct BlackHoles {
    clock: Arc<dyn Clock>,
    asked: std::sync::atomic::AtomicU64,
}

impl BlackHoles {
    async fn fail<T>(&self, address: &str) -> Result<T, AgentError> {
        let address = address.to_owned();
        let asked = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if asked.is_multiple_of(2) {
            self.clock.sleep(Millis::from_secs(1).to_std()).await;
            let message = "all 4 connections are in use".to_owned();
            return Err(AgentError::Short { address, message });
        }
        self.clock.sleep(Millis::from_secs(5).to_std()).await;
        Err(AgentError::Connect { address, message: "timed out".to_owned() })
    }
}

#[async_trait]
impl AgentClient for BlackHoles {
    async fn schedule(&self, address: &str, _: &ActionRequest) -> Result<Scheduled, AgentError> {
        self.fail(address).await
    }

    async fn action(&self, address: &str, _: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.fail(address).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.fail(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.fail(address).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.fail(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.fail(address).await
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_time_that_was_lost_is_given_back() {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
    let client = BlackHoles { clock: clock.clone(), asked: Default::default() };
    let limits = AgentLimits::default();
    let ctx = FollowContext { client: Arc::new(client), clock: clock.clone(), limits };
    let limit = ctx.limits.unreachable_after;
    let asked = info(&ctx, ADDRESS, Wanted::default());
    let answer = tokio::time::timeout(Millis(limit.0 * 4).to_std(), asked).await;
    let error = answer.expect("it ends").unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    let took = clock.now().since(Timestamp::from_millis(0));
    assert!(took >= limit, "{took:?}");
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
