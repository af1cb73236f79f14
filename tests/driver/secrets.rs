//! Secrets of steps: they reach whom they are for, and nothing that is kept has them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use replibook::agent::{
    ActionRequest, ActionStatus, AgentClient, AgentError, FakeAgents, QueuedAction, Scheduled,
    Script, When,
};
use replibook::outbound::Exchange;
use replibook::run::{
    AgentSeq, AttemptKey, FailureReason, JsonText, Millis, NodeInfo, RunId, RunSeed, RunStatus,
    Verb,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::outside::{signal, wait_step};
use crate::scene::{Scene, address};

pub(crate) const VALUE: &str = "correct \"horse\" & battery";
pub(crate) const ORIGIN: &str = "https://events.example.com";

pub(crate) fn playbook(steps: Value) -> Value {
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "rotate", "version": "1.0.0"},
        "spec": {
            "params": {"type": "object", "properties": {"note": {"type": "string"}}},
            "stages": [{"name": "only", "strategy": {"use": "all-at-once"}, "steps": steps}],
        },
    })
}

pub(crate) fn tell(body: Value) -> Value {
    let headers = json!({"authorization": "Bearer ${{ secret(\"key\") }}"});
    let with = json!({"url": format!("{ORIGIN}/v1"), "headers": headers, "body": body});
    json!({"name": "tell", "use": "http", "with": with})
}

/// The playbook with a declaration of the step `http`, which then gets these grants alone.
fn declared(mut playbook: Value, grants: &Value) -> Value {
    playbook["spec"]["plugins"] = json!({"http": {"source": "file:http.wasm", "grants": grants}});
    playbook
}

/// All that the store has of a run, as text.
pub(crate) async fn kept(scene: &Scene, run: RunId) -> String {
    let store = &scene.store;
    let found = store.run(run).await.unwrap().unwrap();
    let parts = [
        serde_json::to_string(&found).unwrap(),
        serde_json::to_string(&store.records(run, None, None, 100).await.unwrap()).unwrap(),
        serde_json::to_string(&store.journals(run, None, None, 100).await.unwrap()).unwrap(),
        serde_json::to_string(&store.events(run, 0, 1_000).await.unwrap()).unwrap(),
        serde_json::to_string(&store.logs(run, None, None, 100).await.unwrap()).unwrap(),
    ];
    parts.concat()
}

pub(crate) fn assert_clean(kept: &str) {
    let json = serde_json::to_string(VALUE).unwrap();
    for value in [VALUE, json.trim_matches('"'), "horse", "battery"] {
        assert!(!kept.contains(value), "{value} is kept: {kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_reaches_its_server_and_nothing_that_is_kept_has_it() {
    let scene = Scene::new(2).await;
    scene.secrets.put("key", "0123456789abcdef\n");
    scene.secrets.put("password", VALUE);
    let body = json!({"password": "${{ secret('password') }}", "node": "${{ agent.id }}"});
    let text = playbook(json!([tell(body)])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.needs, 4, "an older engine would send tokens");
    let received = scene.outbound.received();
    assert_eq!(received.len(), 2);
    for sending in received {
        let header = |name: &str| {
            let mut all = sending.request.headers().iter();
            all.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        assert_eq!(header("authorization").as_deref(), Some("Bearer 0123456789abcdef"));
        let body: Value = serde_json::from_slice(sending.request.body().bytes()).unwrap();
        assert_eq!(body["password"], VALUE, "it is escaped as JSON has it");
    }
    // The server returned the body, and the journal has what the step was given.
    let kept = kept(&scene, run).await;
    assert_clean(&kept);
    assert!(!kept.contains("0123456789abcdef"), "{kept}");
    assert!(kept.contains("[secret]") && kept.contains("replibook-secret.password."), "{kept}");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_engine_takes_secrets_out_of_the_answer_to_what_the_first_sent() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    scene.outbound.set_latency(Millis::from_secs(4));
    scene.secrets.put("password", VALUE);
    let text = playbook(json!([tell(json!("${{ secret('password') }}"))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |_| !scene.outbound.received().is_empty()).await;
    engine.kill().await;
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let arrivals = scene.outbound.arrivals();
    assert_eq!(arrivals.values().copied().collect::<Vec<_>>(), [2], "one key, sent twice");
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}

/// How the run of this playbook fails after `spoil`, before anything is sent to a server.
async fn fails(
    scene: &Scene,
    playbook: &Value,
    spoil: impl FnOnce(&Scene),
) -> (FailureReason, String) {
    let payload = json!({"ok": true});
    scene.script(0, Script::Succeed { when: When::After(Millis::from_secs(10)), payload });
    let run = scene.start_playbook(&playbook.to_string()).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |_| scene.executions() == [1]).await;
    spoil(scene);
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let error = records[0].error.clone().unwrap();
    assert_eq!(scene.outbound.received().len(), 0, "{error:?}");
    assert_clean(&kept(scene, run).await);
    engine.stop().await;
    (error.reason, error.message)
}

fn act() -> Value {
    json!({"name": "act", "action": "test.example.com/act"})
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_gone_too_large_or_unfit_has_an_error_of_its_own() {
    let large = "x".repeat(9_000);
    for (value, code) in [
        (None, "secret-gone"),
        (Some(large.as_str()), "secret-too-large"),
        (Some("short"), "secret-too-short"),
        (Some("two\nlines of it"), "secret-unfit"),
    ] {
        let scene = Scene::new(1).await;
        scene.secrets.put("key", VALUE);
        let spoil = |scene: &Scene| match value {
            Some(value) => scene.secrets.put("key", value),
            None => scene.secrets.remove("key"),
        };
        let steps = playbook(json!([act(), tell(Value::Null)]));
        let (reason, message) = fails(&scene, &steps, spoil).await;
        assert_eq!(reason, FailureReason::SecretUnavailable, "{message}");
        assert!(message.contains(code), "{code}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_needs_both_sides_for_where_it_goes() {
    let http = json!([ORIGIN, "https://other.example.com"]);
    let all = playbook(json!([act(), tell(Value::Null)]));
    // The playbook names the secret for another origin.
    let to = json!([{"name": "key", "to": ["https://other.example.com"]}]);
    let elsewhere = declared(all.clone(), &json!({"http": http.clone(), "secrets": to}));
    let both = json!([{"name": "key", "to": ["https://other.example.com", ORIGIN]}]);
    let granted = declared(all, &json!({"http": http, "secrets": both}));
    for (playbook, refused, code) in
        [(&elsewhere, false, "secret-elsewhere"), (&granted, true, "secret-refused")]
    {
        let scene = Scene::new(1).await;
        scene.secrets.put("key", VALUE);
        let spoil = |scene: &Scene| {
            if refused {
                scene.secrets.refuse("key", ORIGIN);
            }
        };
        let (reason, message) = fails(&scene, playbook, spoil).await;
        assert_eq!(reason, FailureReason::NotGranted, "{message}");
        assert!(message.contains(code), "{code}: {message}");
    }
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    scene.secrets.refuse("key", "https://other.example.com");
    let run = scene.start_playbook(&granted.to_string()).await.unwrap();
    let engine = scene.engine("engine-1");
    assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_the_secrets_of_a_run_leaves_it_to_one_that_has_them() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let run =
        scene.start_playbook(&playbook(json!([tell(Value::Null)])).to_string()).await.unwrap();
    let without = scene.engine_without_secrets("engine-1");
    scene.wait(Millis::from_secs(60)).await;
    let waiting = scene.store.run(run).await.unwrap().unwrap();
    assert_eq!(waiting.progress.status, RunStatus::Pending);
    assert_eq!(scene.outbound.received().len(), 0);
    // What a person asks for is done nevertheless.
    let cancelled =
        scene.start_playbook(&playbook(json!([tell(Value::Null)])).to_string()).await.unwrap();
    scene.wait(Millis::from_secs(2)).await;
    scene.command(cancelled, Verb::Cancel).await;
    assert_eq!(scene.until_final(cancelled).await.progress.status, RunStatus::Cancelled);
    let with = scene.engine("engine-2");
    assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    without.stop().await;
    with.stop().await;
}

/// Tokens that somebody may think of: of another seed, of another attempt, and one that was changed.
fn forged(run: RunId) -> Vec<String> {
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 2, attempt: 1 };
    let own = RunSeed::new([7; 32]);
    let other = AttemptKey { attempt: 2, ..key };
    let changed = own.token(run, key, "key").to_uppercase();
    vec![RunSeed::new([8; 32]).token(run, key, "key"), own.token(run, other, "key"), changed]
}

#[tokio::test(start_paused = true)]
async fn no_text_of_a_parameter_an_attribute_a_result_or_a_signal_becomes_a_secret() {
    let nil = RunId(Uuid::nil());
    for text in forged(nil) {
        let scene = Scene::new(1).await;
        scene.secrets.put("key", VALUE);
        let payload = json!({"note": text});
        scene.script(0, Script::Succeed { when: When::Looks(1), payload });
        scene
            .agents
            .set_attributes(&address(0), Map::from_iter([("note".to_owned(), json!(text))]));
        let body = json!({
            "param": "${{ params.note }}",
            "attribute": "${{ agent.attributes.note }}",
            "result": "${{ steps.act.result.note }}",
            "signal": "${{ steps.wait.result.note }}",
        });
        let document = playbook(json!([act(), wait_step(), tell(body)])).to_string();
        let params = Map::from_iter([("note".to_owned(), json!(text))]);
        let run = scene.start_playbook_with(&document, params).await.unwrap();
        let engine = scene.engine("engine-1");
        scene.until(run, |run| run.progress.status == RunStatus::Running).await;
        signal(&scene, run, "go", None, json!({"note": text})).await;
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
        let received = scene.outbound.received();
        let body = String::from_utf8(received[0].request.body().bytes().to_vec()).unwrap();
        assert!(!body.contains("horse"), "{body}");
        assert!(
            body.contains(&format!("\"param\":{}", json!(text))),
            "it is sent as it is: {body}"
        );
        assert!(body.contains("\"signal\":\"[secret]"), "{body}");
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn not_even_the_right_token_gets_in_from_outside() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let body = json!({"result": "${{ steps.act.result }}", "signal": "${{ steps.wait.result }}"});
    let text = playbook(json!([act(), wait_step(), tell(body)])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    // Somebody has read it where the step is kept, has the agent say it, and sends it.
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 2, attempt: 1 };
    let token = RunSeed::new([7; 32]).token(run, key, "key");
    let payload = json!({"key": token, token.as_str(): [token]});
    scene.script(0, Script::Succeed { when: When::Looks(1), payload });
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    signal(&scene, run, "go", None, json!([token])).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let received = scene.outbound.received();
    let body = String::from_utf8(received[0].request.body().bytes().to_vec()).unwrap();
    assert!(!body.contains("horse") && body.contains("[secret]key."), "{body}");
    assert!(body.contains("\"signal\":[\"[secret]key."), "{body}");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_with_the_secret_in_its_message_tells_nobody() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    scene.outbound.then(Exchange::Answered(403));
    let text = playbook(json!([tell(json!("no: ${{ secret('key') }}"))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let message = &records[0].error.as_ref().unwrap().message;
    assert!(message.ends_with("expected 200 to 299: no: [secret]"), "{message}");
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}

/// Agents that return the arguments of their actions.
struct Echoing {
    agents: FakeAgents,
    given: Mutex<Vec<JsonText>>,
}

#[async_trait]
impl AgentClient for Echoing {
    async fn schedule(&self, at: &str, request: &ActionRequest) -> Result<Scheduled, AgentError> {
        self.given.lock().unwrap().push(request.args.clone());
        self.agents.schedule(at, request).await
    }

    async fn action(&self, at: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let mut found = self.agents.action(at, id).await?;
        if let Some(status) = &mut found {
            let given = self.given.lock().unwrap();
            status.payload = given.last().cloned().unwrap_or_else(|| Value::Null.into());
        }
        Ok(found)
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

#[tokio::test(start_paused = true)]
async fn an_action_gets_the_secret_and_what_it_returns_is_kept_without() {
    let scene = Scene::new(1).await;
    scene.secrets.put("password", VALUE);
    let args = json!({"password": "${{ secret('password') }}"});
    let act = json!({"name": "act", "action": "test.example.com/act", "args": args});
    let run = scene.start_playbook(&playbook(json!([act])).to_string()).await.unwrap();
    let agents = Arc::new(Echoing { agents: scene.agents.clone(), given: Mutex::default() });
    let engine = scene.engine_of("engine-1", agents.clone());
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(agents.given.lock().unwrap()[0].value(), json!({"password": VALUE}));
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    assert_eq!(records[0].results["act"].value(), json!({"password": "[secret]"}));
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}
