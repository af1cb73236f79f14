//! Requests with secrets that don't go out at once, or that come back late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use replibook::agent::{
    ActionRequest, ActionStatus, AgentClient, AgentError, FakeAgents, QueuedAction, Scheduled,
    Script, When,
};
use replibook::outbound::{Outbound, Sending};
use replibook::run::{
    AgentState, FailureReason, HttpError, HttpResponse, Millis, NodeInfo, RunId, RunStatus,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::outside::store_answers_late;
use super::secrets::{VALUE, assert_clean, kept, playbook, tell};
use crate::scene::Scene;

const KIND: &str = "test.example.com/act";

/// What becomes of requests for actions.
#[derive(Clone, Copy)]
enum Way {
    /// The connection is refused.
    Refused,
    /// They are on their way when the engine dies, and arrive nowhere.
    Lost,
}

/// Agents that no request for an action reaches.
struct Unreached {
    agents: FakeAgents,
    way: Mutex<Way>,
    tries: AtomicU32,
}

impl Unreached {
    fn of(scene: &Scene, way: Way) -> Arc<Self> {
        let (agents, way) = (scene.agents.clone(), Mutex::new(way));
        Arc::new(Self { agents, way, tries: AtomicU32::new(0) })
    }

    fn tries(&self) -> u32 {
        self.tries.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl AgentClient for Unreached {
    async fn schedule(&self, at: &str, _: &ActionRequest) -> Result<Scheduled, AgentError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let way = *self.way.lock().unwrap();
        match way {
            Way::Refused => {
                let (address, message) = (at.to_owned(), "refused".to_owned());
                Err(AgentError::Connect { address, message })
            }
            Way::Lost => std::future::pending().await,
        }
    }

    async fn action(&self, at: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.agents.action(at, id).await
    }

    async fn queue(&self, at: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.agents.queue(at).await
    }

    async fn node(&self, at: &str) -> Result<NodeInfo, AgentError> {
        self.agents.node(at).await
    }

    async fn store(&self, at: &str) -> Result<Value, AgentError> {
        self.agents.store(at).await
    }

    async fn shards(&self, at: &str) -> Result<Value, AgentError> {
        self.agents.shards(at).await
    }
}

fn act() -> String {
    let args = json!({"password": "${{ secret('password') }}"});
    playbook(json!([{"name": "act", "action": KIND, "args": args}])).to_string()
}

/// Why the only agent of a paused run failed.
async fn failure(scene: &Scene, run: RunId) -> (FailureReason, String) {
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let error = records[0].error.clone().unwrap();
    (error.reason, error.message)
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_takes_a_secret_away_counts_before_each_request_for_an_action() {
    let scene = Scene::new(1).await;
    scene.secrets.put("password", VALUE);
    let run = scene.start_playbook(&act()).await.unwrap();
    let agents = Unreached::of(&scene, Way::Refused);
    let engine = scene.engine_of("engine-1", agents.clone());
    scene.until(run, |_| agents.tries() >= 2).await;
    scene.secrets.refuse("password", KIND);
    let tries = agents.tries();
    let (reason, message) = failure(&scene, run).await;
    assert_eq!(reason, FailureReason::NotGranted, "{message}");
    assert!(message.contains("secret-refused"), "{message}");
    assert_eq!(agents.tries(), tries, "no further request was sent");
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_action_that_never_arrived_and_may_not_be_sent_any_more_says_so() {
    let scene = Scene::new(1).await;
    scene.secrets.put("password", VALUE);
    let run = scene.start_playbook(&act()).await.unwrap();
    let agents = Unreached::of(&scene, Way::Lost);
    let engine = scene.engine_of("engine-1", agents.clone());
    scene.until(run, |_| agents.tries() == 1).await;
    engine.kill().await;
    scene.secrets.refuse("password", KIND);
    let engine = scene.engine("engine-2");
    let (reason, message) = failure(&scene, run).await;
    assert_eq!(reason, FailureReason::NotGranted, "it is not lost: {message}");
    assert!(message.contains("secret-refused"), "{message}");
    assert_eq!(scene.executions(), [0]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_scrubbed_of_what_was_sent_however_often_that_has_changed_since() {
    let scene = Scene::new(7).await;
    scene.secrets.put("key", VALUE);
    scene.outbound.set_latency(Millis::from_secs(25));
    for agent in 0..7 {
        let when = When::After(Millis::from_secs(2 * agent as u64 + 1));
        scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
    }
    let act = json!({"name": "act", "action": KIND});
    let text = playbook(json!([act, tell(json!("${{ secret('key') }}"))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    for sent in 1..=7 {
        scene.until(run, |_| scene.outbound.received().len() >= sent).await;
        scene.secrets.put("key", &format!("value number {sent}"));
    }
    let before = scene.store.run(run).await.unwrap().unwrap().progress;
    assert_eq!(before.count(AgentState::Done), 0, "the first has no answer yet: {before:?}");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}

/// A server that heeds keys: its answer to the first request, which has what that had, reaches only the second.
#[derive(Default)]
struct Heeding(Mutex<Vec<String>>);

#[async_trait]
impl Outbound for Heeding {
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        let mut headers = sending.request.headers().iter();
        let (_, bearer) = headers.find(|(name, _)| name == "authorization").unwrap();
        let first = {
            let mut all = self.0.lock().unwrap();
            all.push(bearer.clone());
            (all.len() > 1).then(|| all[0].clone())
        };
        match first {
            Some(first) => {
                let body = first.into_bytes().into();
                Ok(HttpResponse { status: 200, headers: Vec::new(), body })
            }
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_again_has_its_secret_as_it_is_by_then() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let run = scene.start_playbook(&playbook(json!([tell(Value::Null)])).to_string()).await;
    let (run, server) = (run.unwrap(), Arc::new(Heeding::default()));
    let engine = scene.engine_sending("engine-1", server.clone());
    scene.until(run, |_| !server.0.lock().unwrap().is_empty()).await;
    scene.secrets.put("key", "another value");
    store_answers_late(&scene).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let sent = server.0.lock().unwrap().clone();
    assert_eq!(sent, [format!("Bearer {VALUE}"), "Bearer another value".to_owned()]);
    let kept = kept(&scene, run).await;
    assert_clean(&kept);
    assert!(kept.contains("[secret]"), "{kept}");
    engine.stop().await;
}
