use super::super::store::{Added, NewAction};
use super::*;
use crate::agent::ActionPhase;
use crate::clock::TokioClock;
use serde_json::Value;
use std::path::Path;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);
const ID: Uuid = Uuid::from_u128(1);
const RETENTION: Millis = Millis::from_secs(3_600);

fn worker(path: &Path) -> Worker {
    let config = "{ actions: { a.example.com/x: { command: [sh, -c, 'echo 5'] } } }";
    Worker {
        store: ActionStore::open(path).unwrap(),
        live: LiveOutput::default(),
        config: Arc::new(serde_yaml::from_str(config).unwrap()),
        clock: Arc::new(TokioClock::starting_at(START)),
        tick: Duration::from_secs(1),
        retention: RETENTION,
        stop: CancellationToken::new(),
    }
}

async fn add(worker: &Worker, kind: &str, args: Value) {
    let action = NewAction {
        id: ID,
        kind: kind.to_owned(),
        args: args.to_string(),
        metadata: "{}".to_owned(),
        created_time: START.to_string(),
    };
    let added = worker.store.add(action, worker.clock.now()).await.unwrap();
    assert_eq!(added, Added::Queued);
}

/// The state of a worker that does not purge.
fn progress(worker: &Worker) -> Progress {
    Progress::starting_at(worker.clock.now().plus(PURGE_EVERY))
}

fn payload(action: &Action) -> Value {
    serde_json::from_str(&action.payload).unwrap()
}

/// Runs one tick, and returns the action as it is afterwards.
async fn tick(worker: &Worker) -> Action {
    worker.tick(&mut progress(worker)).await.unwrap();
    worker.store.get(ID).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_loop_counts_once_per_tick_also_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sqlite");
    let first = worker(&path);
    add(&first, "agent.replicante.io/test.loop", json!({"target": 3})).await;
    for count in 1..3 {
        let action = tick(&first).await;
        assert_eq!(action.phase, ActionPhase::Running);
        assert_eq!(payload(&action), json!({"count": count, "target": 3}));
    }
    drop(first);
    let action = tick(&worker(&path)).await;
    assert_eq!((action.phase, action.executions), (ActionPhase::Done, 1));
    assert_eq!(payload(&action), json!({"count": 3, "target": 3}));
}

/// Begins the action with a command that outlives the worker, and returns the command.
async fn begin_command(worker: &Worker) -> (tokio::process::Child, ProcessId) {
    worker.store.take().await.unwrap().unwrap();
    let mut command = tokio::process::Command::new("sleep");
    command.arg("1000").process_group(0).kill_on_drop(true);
    let left = command.spawn().unwrap();
    let process = ProcessId::of(left.id().unwrap().try_into().unwrap()).unwrap();
    worker.store.starts(ID, &process).await.unwrap();
    (left, process)
}

#[tokio::test]
async fn a_command_that_was_let_go_is_ended_and_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sqlite");
    let first = worker(&path);
    add(&first, "a.example.com/x", Value::Null).await;
    // The agent dies between the start and the end of the command.
    let (mut left, _) = begin_command(&first).await;
    drop(first);
    let action = tick(&worker(&path)).await;
    assert_eq!((action.phase, action.executions), (ActionPhase::Failed, 1));
    let message = action.error.unwrap();
    assert!(message.starts_with("interrupted: the agent ended before the end"), "{message}");
    assert!(!left.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_command_that_was_not_let_go_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sqlite");
    let first = worker(&path);
    add(&first, "a.example.com/x", Value::Null).await;
    first.store.take().await.unwrap().unwrap();
    drop(first);
    let action = tick(&worker(&path)).await;
    assert_eq!((action.phase, action.executions), (ActionPhase::Done, 1));
}

#[tokio::test]
async fn what_a_command_left_has_to_be_gone_before_its_end_is_written_however_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(&folder.path().join("agent.sqlite"));
    add(&worker, "a.example.com/x", Value::Null).await;
    let action = worker.store.take().await.unwrap().unwrap();
    let Step::EndsAfter(end, process) = worker.step(&action).await.unwrap() else { panic!() };
    assert_eq!(end, ActionEnd::Done("5".to_owned()));
    let left = Left::of(ID, process);
    let mut ended = Some(Ended { id: ID, end, left: Some(left), kept: false, told: false });
    worker.finish(&mut ended).await.unwrap();
    assert!(ended.is_none());
    assert_eq!(worker.store.get(ID).await.unwrap().unwrap().phase, ActionPhase::Done);
}

#[tokio::test]
async fn how_a_command_ended_outlives_the_agent_while_something_of_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sqlite");
    let first = worker(&path);
    add(&first, "a.example.com/x", Value::Null).await;
    let (mut left, process) = begin_command(&first).await;
    let end = ActionEnd::Done("5".to_owned());
    // Something of the command is still there.
    let remains = Some(Left::not_before(ID, process, first.clock.now().plus(RETENTION)));
    let mut ended = Some(Ended { id: ID, end, left: remains, kept: false, told: false });
    first.finish(&mut ended).await.unwrap();
    let action = first.store.get(ID).await.unwrap().unwrap();
    assert_eq!((action.phase, action.finished_time), (ActionPhase::Running, None));
    assert_eq!(action.payload, "null", "nobody is told");
    drop(first);
    let last = worker(&path);
    let action = tick(&last).await;
    assert!(!left.wait().await.unwrap().success());
    assert_eq!((action.phase, payload(&action)), (ActionPhase::Done, json!(5)));
    assert_eq!((action.executions, action.error), (1, None));
    assert_eq!(last.store.command_end(ID).await.unwrap(), None);
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sqlite");
    let first = worker(&path);
    add(&first, "a.example.com/x", Value::Null).await;
    first.store.take().await.unwrap().unwrap();
    let end = ActionEnd::Done("5".to_owned());
    let mut ended = Some(Ended { id: ID, end, left: None, kept: false, told: false });
    first.store.close();
    assert!(matches!(first.finish(&mut ended).await, Err(StoreError::Closed)));
    let second = worker(&path);
    let mut kept = Progress { ended, ..progress(&second) };
    second.tick(&mut kept).await.unwrap();
    let action = second.store.get(ID).await.unwrap().unwrap();
    assert_eq!((action.phase, payload(&action)), (ActionPhase::Done, json!(5)));
    assert!(kept.ended.is_none());
}

#[tokio::test]
async fn the_other_kinds_end_in_one_tick() {
    for (kind, phase, expected, error) in [
        ("agent.replicante.io/test.success", ActionPhase::Done, json!(null), None),
        (
            "agent.replicante.io/test.fail",
            ActionPhase::Failed,
            json!(null),
            Some("Test action failed as expected"),
        ),
        ("a.example.com/x", ActionPhase::Done, json!(5), None),
        (
            "gone.example.com/x",
            ActionPhase::Failed,
            json!(null),
            Some("the agent was restarted with a configuration without this kind"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(&folder.path().join("agent.sqlite"));
        add(&worker, kind, Value::Null).await;
        let action = tick(&worker).await;
        assert_eq!((action.phase, payload(&action)), (phase, expected), "{kind}");
        assert_eq!(action.error.as_deref(), error, "{kind}");
        assert!(action.finished_time.is_some() && action.executions == 1, "{kind}");
    }
}

#[tokio::test]
async fn a_loop_with_a_bad_target_fails() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(&folder.path().join("agent.sqlite"));
    add(&worker, "agent.replicante.io/test.loop", json!({"target": "many"})).await;
    let error = tick(&worker).await.error;
    assert_eq!(error.as_deref(), Some("args.target: found \"many\", expected a whole number"));
}

#[tokio::test(start_paused = true)]
async fn finished_actions_are_forgotten_after_their_retention() {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(&folder.path().join("agent.sqlite"));
    add(&worker, "agent.replicante.io/test.success", Value::Null).await;
    tick(&worker).await;
    let mut progress = Progress::starting_at(START);
    tokio::time::advance(RETENTION.to_std()).await;
    worker.tick(&mut progress).await.unwrap();
    assert!(worker.store.get(ID).await.unwrap().is_some());
    tokio::time::advance(PURGE_EVERY.to_std()).await;
    worker.tick(&mut progress).await.unwrap();
    assert_eq!(worker.store.get(ID).await.unwrap(), None);
}
