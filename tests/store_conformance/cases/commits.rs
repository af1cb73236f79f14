//! Commits: all or nothing, in order, fenced, and bounded.

use replibook_core::run::{
    AgentState, Answer, Answered, CallName, CommandOutcome, Happened, LogLevel, RunId, RunStatus,
    Writes,
};
use replibook_store::{MAX_COMMIT_BYTES, MAX_COMMIT_DOCUMENTS, Store, StoreError, commit_bytes};
use serde_json::json;

use crate::backends::Fixture;
use crate::samples::{event, journal, key, line, new_run, one_of_each, progress, record, run_id};

const _: () = assert!(
    MAX_COMMIT_DOCUMENTS >= 1_000 && MAX_COMMIT_BYTES >= 4 * 1024 * 1024,
    "tests/run_core/world.rs has runs commit so much"
);

/// Everything that a store has of a run, except the run's first event.
async fn all(store: &dyn Store, run: RunId) -> Writes {
    let mut commands = vec![];
    if let Some(command) = store.command(one_of_each(run).commands[0].id).await.unwrap() {
        commands.push(command);
    }
    Writes {
        progress: store.run(run).await.unwrap().map(|run| run.progress),
        records: store.records(run, None, None, 1_000).await.unwrap(),
        journals: store.journals(run, None, None, 1_000).await.unwrap(),
        logs: store.logs(run, None, None, 1_000).await.unwrap(),
        events: store.events(run, 1, 1_000).await.unwrap(),
        commands,
    }
}

pub(super) async fn assert_has(store: &dyn Store, run: RunId, expected: &Writes) {
    assert_eq!(format!("{:#?}", all(store, run).await), format!("{expected:#?}"));
}

pub(crate) async fn a_commit_writes_every_kind_of_document(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let writes = one_of_each(run_id(1));
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    assert_has(&*on.store, run_id(1), &writes).await;
    // Another run has nothing of it.
    let other = all(&*on.store, run_id(2)).await;
    assert_eq!((other.records.len(), other.events.len(), other.logs.len()), (0, 0, 0));
}

pub(crate) async fn a_commit_replaces_documents_of_the_same_key(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let mut writes = one_of_each(run_id(1));
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();

    let record = &mut writes.records[0];
    record.state = AgentState::Done;
    record.ended_at = Some(on.now());
    let journal = &mut writes.journals[0];
    let pending = journal.pending.take().unwrap();
    journal.answers.push(Answered {
        name: CallName::RunAction,
        arguments_hash: pending.arguments_hash,
        at: on.now(),
        answer: Answer::RunAction(Ok(json!({"moved": 3}).into())),
        bytes: None,
    });
    writes.commands[0].outcome = Some(CommandOutcome::Applied);
    writes.progress = Some(progress(RunStatus::Paused, on.now()));
    let changed = Writes { logs: vec![], events: vec![], ..writes.clone() };
    on.store.commit(lease.run, lease.epoch, &changed).await.unwrap();
    assert_has(&*on.store, run_id(1), &writes).await;
    let running = on.store.records(run_id(1), Some(AgentState::Running), None, 10).await.unwrap();
    assert_eq!(running, []);
}

pub(crate) async fn repeating_a_commit_changes_nothing(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let writes = one_of_each(run_id(1));
    for _ in 0..3 {
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    assert_has(&*on.store, run_id(1), &writes).await;
}

pub(crate) async fn a_commit_without_the_lease_writes_nothing(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let before = all(&*on.store, run_id(1)).await;
    let without_progress = Writes { progress: None, ..one_of_each(run_id(1)) };
    for writes in [one_of_each(run_id(1)), without_progress] {
        for epoch in [0, lease.epoch + 1, u64::MAX] {
            let error = on.store.commit(lease.run, epoch, &writes).await.unwrap_err();
            assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
            assert!(!error.retryable());
        }
    }
    assert_has(&*on.store, run_id(1), &before).await;
}

pub(crate) async fn a_commit_that_is_too_large_writes_nothing(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let run = run_id(1);
    let before = all(&*on.store, run).await;
    let lines = |count: u32, bytes: usize| {
        let mut lines: Vec<_> = (0..count).map(|n| line(run, 2, Some(0), n)).collect();
        lines.iter_mut().for_each(|line| line.message = "x".repeat(bytes));
        lines
    };
    let most = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap();
    let many = Writes { logs: lines(most, 1), ..one_of_each(run) };
    let error = on.store.commit(run, lease.epoch, &many).await.unwrap_err();
    let found = MAX_COMMIT_DOCUMENTS + 4;
    assert!(
        matches!(error, StoreError::TooLarge { unit: "documents", found: f, .. } if f == found)
    );

    let large = Writes { logs: lines(10, MAX_COMMIT_BYTES / 8), ..one_of_each(run) };
    assert!(commit_bytes(&large) > MAX_COMMIT_BYTES);
    let error = on.store.commit(run, lease.epoch, &large).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { unit: "bytes", .. }), "{error}");
    assert!(!error.retryable());
    assert_has(&*on.store, run, &before).await;

    let most = Writes { logs: lines(most - 4, 1), ..one_of_each(run) };
    on.store.commit(run, lease.epoch, &most).await.unwrap();
}

pub(crate) async fn one_document_may_have_any_size(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let mut writes = one_of_each(run_id(1));
    writes.journals[0].arguments = json!("x".repeat(MAX_COMMIT_BYTES + 1)).into();
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    let found = on.store.journals(run_id(1), None, None, 10).await.unwrap();
    assert!(found == writes.journals);
}

pub(crate) async fn commits_at_the_same_time_do_not_disturb_each_other(on: Fixture) {
    const RUNS: u128 = 30;
    for n in 0..RUNS {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let engine = replibook_core::run::EngineId("e".to_owned());
    let leases = on.store.claim(&engine, 100).await.unwrap();
    let commits = leases.into_iter().map(|lease| {
        let store = on.store.clone();
        tokio::spawn(async move {
            // For every third run the epoch is wrong, so its commits are fenced. Each run gets two commits at
            // once.
            let n = lease.run.0.as_u128();
            let epoch = if n % 3 == 0 { lease.epoch + 1 } else { lease.epoch };
            let mut writes = one_of_each(lease.run);
            writes.commands.clear();
            let mut again = writes.clone();
            again.events = vec![event(lease.run, 3)];
            let both = tokio::join!(
                store.commit(lease.run, epoch, &writes),
                store.commit(lease.run, epoch, &again)
            );
            (n, both.0.is_ok(), both.1.is_ok())
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        let (n, first, second) = commit.await.unwrap();
        let lost = n % 3 == 0;
        assert_eq!((first, second), (!lost, !lost), "{n}");
        let events = on.store.events(run_id(n), 0, 10).await.unwrap();
        let sequences: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(sequences, if lost { vec![1] } else { vec![1, 2, 3] });
        let records = on.store.records(run_id(n), None, None, 10).await.unwrap();
        assert_eq!(records.len(), usize::from(!lost));
    }
}

pub(crate) async fn values_survive_as_they_are(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let run = run_id(1);
    let mut writes = one_of_each(run);
    let value = json!({
        "least": i64::MIN, "most": u64::MAX, "null": null, "float": 1.5, "exp": 1e300,
        "floats": [0.1 + 0.2, f64::MIN_POSITIVE, f64::MAX, 5e-324, 123_456.789_012_345_67, 1.0 / 3.0],
        "text": "a\u{0}b \u{1F680} \"quoted\" \\ é", "": [[], {}, [null, false]],
        "z": 1, "a": 2,
    });
    writes.records[0].node = value.clone().into();
    writes.records[0].results.insert("drain".to_owned(), value.clone().into());
    writes.records[0].agent.0 = "node \u{1F680} 'quoted'".to_owned();
    writes.journals = vec![journal(run, key(u32::MAX, u16::MAX, u32::MAX))];
    writes.journals[0].arguments = value.into();
    writes.logs = vec![line(run, 2, None, u32::MAX)];
    writes.logs[0].level = LogLevel::Error;
    writes.logs[0].message = "\n\t\u{0}".to_owned();
    writes.events[0].actor = Some("Åsa".to_owned());
    writes.events[0].what = Happened::Agent {
        agent: writes.records[0].agent.clone(),
        from: None,
        to: AgentState::Pending,
        batch: Some(u32::MAX),
        why: None,
        failure: None,
    };
    writes.records.push(record(run, u32::MAX, AgentState::Removed));
    on.store.commit(run, lease.epoch, &writes).await.unwrap();
    assert_has(&*on.store, run, &writes).await;
    let found = on.store.record(run, &writes.records[0].agent).await.unwrap();
    assert_eq!(found.as_ref(), writes.records.first());
}
