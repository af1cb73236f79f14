//! `finish_ts` and what follows from it.

use replibook_core::run::{AgentState, EngineId, Millis, RunId, RunStatus, Timestamp, Writes};
use replibook_store::{Created, MAX_COMMIT_DOCUMENTS, Store, StoreError};

use crate::backends::{Fixture, RETENTION};
use crate::samples::{
    command, event, finished, finishing, line, new_run, one_of_each, only, page, record, run_id,
};

/// The `finish_ts` of everything except the run, by kind.
async fn stamps(store: &dyn Store, run: RunId) -> Vec<(&'static str, Option<Timestamp>)> {
    let mut stamps = vec![];
    let mut add = |kind, finish_ts| stamps.push((kind, finish_ts));
    for record in store.records(run, None, None, 1_000).await.unwrap() {
        add("agent record", record.finish_ts);
    }
    for journal in store.journals(run, None, None, 1_000).await.unwrap() {
        add("journal", journal.finish_ts);
    }
    for line in store.logs(run, None, None, 1_000).await.unwrap() {
        add("log line", line.finish_ts);
    }
    for event in store.events(run, 0, 1_000).await.unwrap() {
        add("event", event.finish_ts);
    }
    if let Some(command) = store.command(command(1, run, Timestamp::default()).id).await.unwrap() {
        add("command", command.finish_ts);
    }
    stamps
}

pub(crate) async fn every_kind_of_record_gets_its_finish_ts_and_the_run_last(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    store.commit(run, lease.epoch, &one_of_each(run)).await.unwrap();
    let at = on.now();
    store.commit(run, lease.epoch, &only(finishing(at))).await.unwrap();
    on.clock.advance(Millis(5));
    assert!(stamps(&**store, run).await.iter().all(|(_, finish_ts)| finish_ts.is_none()));

    assert_eq!(store.stamp(run, lease.epoch, at).await.unwrap(), 6);
    let kinds = ["agent record", "journal", "log line", "event", "event", "command"];
    let all = kinds.map(|kind| (kind, Some(at)));
    assert_eq!(stamps(&**store, run).await, all);
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(found.progress.finish_ts, None, "the run comes last");

    // A document that has its stamp keeps it.
    assert_eq!(store.stamp(run, lease.epoch, on.now()).await.unwrap(), 0);
    assert_eq!(stamps(&**store, run).await, all);

    // Documents that are written later get the same stamp.
    let mut last = only(finished(at));
    last.events = vec![event(run, 9)];
    last.events[0].finish_ts = Some(at);
    store.commit(run, lease.epoch, &last).await.unwrap();
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(found.progress.finish_ts, Some(at));
    assert_eq!(stamps(&**store, run).await.len(), 7);
    assert!(stamps(&**store, run).await.iter().all(|(_, finish_ts)| *finish_ts == Some(at)));
}

pub(crate) async fn stamping_goes_in_bounded_chunks(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    for n in [1, 2] {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 2).await.unwrap();
    let epoch = leases[0].epoch;
    let most = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap();
    let records = (0..most).map(|seq| record(run, seq, AgentState::Pending)).collect();
    let lines = (0..most).map(|n| line(run, 2, None, n)).collect();
    let progress = one_of_each(run).progress;
    let writes = Writes { progress: progress.clone(), records, ..Writes::default() };
    store.commit(run, epoch, &writes).await.unwrap();
    let writes = Writes { progress, logs: lines, ..Writes::default() };
    store.commit(run, epoch, &writes).await.unwrap();

    let mut stamped = vec![];
    while stamped.last() != Some(&0) {
        stamped.push(store.stamp(run, epoch, on.now()).await.unwrap());
    }
    assert_eq!(stamped, [1_000, 1_000, 1, 0]);
    let found = stamps(&**store, run).await;
    assert_eq!(found.len(), 2_001);
    assert!(found.iter().all(|(_, finish_ts)| *finish_ts == Some(on.now())));
    assert_eq!(stamps(&**store, run_id(2)).await, [("event", None)], "of another run");
}

pub(crate) async fn stamping_needs_the_lease(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let error = on.store.stamp(lease.run, lease.epoch + 1, on.now()).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
    assert_eq!(stamps(&*on.store, lease.run).await, [("event", None)]);
}

/// Run number 1, which has finished now with one document of each kind, and run number 2, which goes on.
async fn one_finished_one_going(on: &Fixture) {
    for n in [1, 2] {
        let mut new = new_run(n);
        new.idempotency_key = Some(n.to_string());
        on.store.create_run(&new).await.unwrap();
    }
    let leases = on.store.claim(&EngineId("e".to_owned()), 2).await.unwrap();
    for lease in &leases {
        let mut writes = one_of_each(lease.run);
        writes.commands = vec![command(lease.run.0.as_u128(), lease.run, on.now())];
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    on.store.stamp(run_id(1), leases[0].epoch, on.now()).await.unwrap();
    let last = only(finished(on.now()));
    on.store.commit(run_id(1), leases[0].epoch, &last).await.unwrap();
}

pub(crate) async fn expired_documents_are_never_returned(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    one_finished_one_going(&on).await;
    on.clock.advance(RETENTION);
    assert_eq!(stamps(&**store, run).await.len(), 6, "not yet");
    assert!(store.run(run).await.unwrap().is_some());

    on.clock.advance(Millis(1));
    assert_eq!(stamps(&**store, run).await, []);
    assert_eq!(store.run(run).await.unwrap(), None);
    let agent = record(run, 0, AgentState::Running).agent;
    assert_eq!(store.record(run, &agent).await.unwrap(), None);
    let of_state = store.records(run, Some(AgentState::Running), None, 10).await.unwrap();
    assert_eq!(of_state, []);
    assert_eq!(store.logs(run, Some(&agent), None, 10).await.unwrap(), []);
    let listed = store.runs(&Default::default(), &page(None, 10)).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.id()).collect::<Vec<_>>(), [run_id(2)]);
    let error = store.commit(run, 1, &one_of_each(run)).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { .. }), "{error}");

    // A page is filled with documents that are still there.
    let listed = store.runs(&Default::default(), &page(None, 1)).await.unwrap();
    assert_eq!(listed.len(), 1);
    // The key of the expired run is free again.
    let mut new = new_run(3);
    new.idempotency_key = Some("1".to_owned());
    assert_eq!(store.create_run(&new).await.unwrap(), Created::New(run_id(3)));
}

pub(crate) async fn expired_documents_are_swept_within_the_limit(on: Fixture) {
    let store = &on.store;
    one_finished_one_going(&on).await;
    on.clock.advance(RETENTION);
    assert_eq!(store.sweep(100).await.unwrap(), 0);
    on.clock.advance(Millis(1));
    assert_eq!(store.sweep(0).await.unwrap(), 0);
    // A back end whose server removes documents by itself has nothing to do here. What one call removes is
    // bounded.
    let mut removed = vec![];
    while removed.last() != Some(&0) {
        removed.push(store.sweep(4).await.unwrap());
    }
    assert!(removed == [4, 3, 0] || removed == [0], "{removed:?}");
    let going = store.run(run_id(2)).await.unwrap().unwrap();
    assert_eq!(going.progress.status, RunStatus::Running);
    assert_eq!(stamps(&**store, run_id(2)).await.len(), 5);
    assert_eq!(store.run(run_id(1)).await.unwrap(), None);
}
