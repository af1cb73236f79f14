//! Steps that reach more than their agent: requests over HTTP, and signals.

use replibook::agent::{Script, When};
use replibook::outbound::Exchange;
use replibook::run::{
    AgentId, AgentState, Answer, Command, CommandId, CommandOutcome, FailureReason,
    MAX_SIGNALS_OF_AGENT, MAX_SIGNALS_OF_RUN, Millis, RunId, RunStatus, SentSignal, Verb,
};
use replibook::store::memory::FaultMoment;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::Scene;

fn playbook(step: Value) -> String {
    playbook_of(&[step])
}

fn playbook_of(steps: &[Value]) -> String {
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "outside", "version": "1.0.0"},
        "spec": {"stages": [{
            "name": "only", "strategy": {"use": "all-at-once"}, "steps": steps,
        }]},
    })
    .to_string()
}

fn posts() -> String {
    let body = json!({"node": "${{ agent.id }}"});
    let with = json!({"url": "https://hooks.example.com/v1", "body": body, "timeout_seconds": 5});
    let retry = json!({"attempts": 2, "initial": "1s"});
    playbook(json!({"name": "tell", "use": "http", "with": with, "retry": retry}))
}

/// A step that waits for the signal `go` and has its payload as its result.
pub(crate) fn wait_step() -> Value {
    let with = json!({"name": "go", "timeout_seconds": 60});
    json!({"name": "wait", "use": "wait-signal", "with": with, "timeout": "10m"})
}

fn waits() -> String {
    playbook(wait_step())
}

pub(crate) async fn signal(
    scene: &Scene,
    run: RunId,
    name: &str,
    agent: Option<&str>,
    payload: Value,
) -> CommandId {
    let id = CommandId(Uuid::new_v4());
    let command = Command {
        id,
        run,
        verb: Verb::Signal,
        agent: agent.map(AgentId::from),
        again: false,
        signal: Some(SentSignal { name: name.to_owned(), payload: payload.into() }),
        override_guard: None,
        approves: None,
        actor: Some("ann".to_owned()),
        why: None,
        at: scene.now(),
        outcome: None,
        finish_ts: None,
    };
    scene.store.submit(&command).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn each_agent_sends_its_request_once_and_keeps_the_answer() {
    let scene = Scene::new(3).await;
    let run = scene.start_playbook(&posts()).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.needs, 3, "an older engine could not read the journals");
    let received = scene.outbound.received();
    assert_eq!(received.len(), 3);
    assert_eq!(scene.outbound.arrivals().len(), 3, "each has a key of its own");
    let sent = &received[0];
    assert_eq!(
        (sent.request.method().as_str(), sent.request.url()),
        ("POST", "https://hooks.example.com/v1")
    );
    assert_eq!(
        (sent.caller.playbook.as_str(), sent.caller.plugin.name.as_str()),
        ("outside", "http")
    );
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let result = records[1].results["tell"].value();
    assert_eq!(
        (&result["status"], &result["body"]),
        (&json!(200), &json!("{\"node\":\"node-1\"}"))
    );
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_arrived_is_sent_again_with_its_key() {
    let scene = Scene::new(1).await;
    scene.outbound.set_latency(Millis::from_secs(4));
    let run = scene.start_playbook(&posts()).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |_| !scene.outbound.received().is_empty()).await;
    engine.kill().await;
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let arrivals = scene.outbound.arrivals();
    assert_eq!(arrivals.values().copied().collect::<Vec<_>>(), [2], "one key, sent twice");
    engine.stop().await;
}

/// The store renews the leases of its engines, but does not answer them for 20 s: by then they have cut off their requests.
pub(crate) async fn store_answers_late(scene: &Scene) {
    scene.memory.faults().fail_calls(FaultMoment::After);
    scene.wait(Millis::from_secs(20)).await;
    scene.memory.faults().heal();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_cut_off_is_sent_again_once_the_lease_is_prolonged_after_all() {
    let scene = Scene::new(1).await;
    scene.outbound.set_latency(Millis::from_secs(25));
    let with = json!({"url": "https://hooks.example.com/v1", "timeout_seconds": 60});
    let text = playbook(json!({"name": "tell", "use": "http", "with": with}));
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |_| !scene.outbound.received().is_empty()).await;
    store_answers_late(&scene).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let arrivals = scene.outbound.arrivals();
    assert_eq!(arrivals.values().copied().collect::<Vec<_>>(), [2], "one key, sent twice");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_attempt_is_another_request() {
    let scene = Scene::new(1).await;
    scene.outbound.then(Exchange::AnswerLost);
    let run = scene.start_playbook(&posts()).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let arrivals = scene.outbound.arrivals();
    assert_eq!(arrivals.values().copied().collect::<Vec<_>>(), [1, 1]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_expected_fails_the_step() {
    let scene = Scene::new(1).await;
    scene.outbound.then(Exchange::Answered(404));
    let run = scene.start_playbook(&posts()).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let error = records[0].error.as_ref().unwrap();
    assert_eq!(error.reason, FailureReason::StepFailed);
    assert!(
        error.message.starts_with("found status 404, expected 200 to 299"),
        "{}",
        error.message
    );
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_signal_ends_the_waits_of_all_agents() {
    let scene = Scene::new(3).await;
    let run = scene.start_playbook(&waits()).await.unwrap();
    let engine = scene.engine("engine-1");
    let waits = |records: &[replibook::run::AgentRecord]| {
        records.iter().filter(|record| record.waits_for_signal.as_deref() == Some("go")).count()
    };
    scene.until(run, |run| run.progress.count(AgentState::Running) == 3).await;
    while waits(&scene.store.records(run, None, None, 10).await.unwrap()) < 3 {
        scene.wait(Millis(50)).await;
    }
    signal(&scene, run, "go", None, json!({"by": "ann"})).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!((done.progress.signals_sent, done.progress.signals.len()), (1, 1));
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    assert!(records.iter().all(|record| record.results["wait"].value() == json!({"by": "ann"})));
    assert_eq!(waits(&records), 0);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_came_before_is_kept_and_is_for_its_agent_alone() {
    let scene = Scene::new(2).await;
    let run = scene.start_playbook(&waits()).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 2).await;
    signal(&scene, run, "go", Some("node-1"), json!(1)).await;
    scene.until(run, |run| run.progress.count(AgentState::Done) == 1).await;
    // It comes while nobody drives the run.
    engine.kill().await;
    signal(&scene, run, "go", None, json!(2)).await;
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let results: Vec<_> = records.iter().map(|record| record.results["wait"].value()).collect();
    assert_eq!(results, [json!(2), json!(1)]);
    assert_eq!(records[1].signals.len(), 1);
    let journals = scene.store.journals(run, None, None, 10).await.unwrap();
    let numbers: Vec<u32> = journals.iter().flat_map(|journal| journal.received()).collect();
    assert_eq!(numbers, [2, 1]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_a_signal_times_out() {
    let scene = Scene::new(1).await;
    let run = scene.start_playbook(&waits()).await.unwrap();
    let engine = scene.engine("engine-1");
    let from = scene.now();
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert!(scene.now().since(from) >= Millis::from_secs(60));
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    let error = records[0].error.as_ref().unwrap();
    assert_eq!(error.reason, FailureReason::TimedOut);
    let journals = scene.store.journals(run, None, None, 10).await.unwrap();
    assert!(matches!(journals[0].answers[0].answer, Answer::WaitSignal(Err(_))));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_nothing_may_wait_for_is_refused() {
    let scene = Scene::new(1).await;
    let run = scene.start_playbook(&waits()).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    for (name, agent, expected) in [
        ("stop", None, "no step of its playbook may wait for the signal \"stop\""),
        ("go", Some("node-9"), "it has no agent node-9"),
    ] {
        let id = signal(&scene, run, name, agent, Value::Null).await;
        let outcome = loop {
            let command = scene.store.command(id).await.unwrap().unwrap();
            match command.outcome {
                Some(outcome) => break outcome,
                None => scene.wait(Millis(100)).await,
            }
        };
        let CommandOutcome::Refused { reason } = outcome else { panic!("it was applied") };
        assert!(reason.ends_with(expected), "{reason}");
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_very_many_signals_a_run_keeps_as_many_as_it_may() {
    let scene = Scene::new(1).await;
    let when = When::After(Millis::from_secs(3_000));
    scene.script(0, Script::Succeed { when, payload: json!(null) });
    let act = json!({"name": "act", "action": "test.example.com/act"});
    let run = scene.start_playbook(&playbook_of(&[act, wait_step()])).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    let mut sent = Vec::new();
    for number in 0..10_000 {
        // Every other one is for the agent alone.
        let to = (number % 2 == 0).then_some("node-0");
        sent.push(signal(&scene, run, "go", to, json!(number)).await);
    }
    let (mut applied, mut refused) = (0, 0);
    for id in sent {
        let outcome = loop {
            match scene.store.command(id).await.unwrap().unwrap().outcome {
                Some(outcome) => break outcome,
                None => scene.wait(Millis::from_secs(1)).await,
            }
        };
        match outcome {
            CommandOutcome::Applied => applied += 1,
            CommandOutcome::Refused { reason } => {
                assert!(reason.contains("signals already, which is the most"), "{reason}");
                refused += 1;
            }
        }
    }
    let most = MAX_SIGNALS_OF_RUN + MAX_SIGNALS_OF_AGENT;
    assert_eq!((applied, refused), (most, 10_000 - most));
    let kept = scene.store.run(run).await.unwrap().unwrap();
    assert_eq!(kept.progress.signals.len(), MAX_SIGNALS_OF_RUN);
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    assert_eq!(records[0].signals.len(), MAX_SIGNALS_OF_AGENT);
    // What holds all of that goes on.
    scene.command(run, Verb::Cancel).await;
    scene.until(run, |run| run.progress.status == RunStatus::Cancelling).await;
    engine.stop().await;
}
