//! Runs that can't go on: they are set aside, and later go on or are abandoned.

use replibook_core::run::{
    AgentState, EngineId, Happened, Millis, ReasonCode, RunId, RunStatus, Timestamp, Trouble,
    TroubleCode, Writes,
};
use replibook_store::memory::Damaged;
use replibook_store::{
    Abandon, Abandonment, Ending, Failed, Lease, Locked, MAX_COMMIT_DOCUMENTS, StoreError,
};

use crate::backends::{Fixture, LEASE, RETENTION};
use crate::damage::WAYS;
use crate::samples::{
    command, finished, key, line, new_run, one_of_each, only, page, record, run_id,
};

fn engine() -> EngineId {
    EngineId("e".to_owned())
}

fn failed(code: TroubleCode) -> Failed {
    Failed { code, message: format!("it is {}", code.as_str()) }
}

fn request(force: bool) -> Abandon {
    Abandon { actor: Some("ada".to_owned()), why: "it is stuck".to_owned(), force }
}

fn is_fenced<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Fenced { .. })), "{result:?}");
}

/// Claims runs number 1 and 2 of one cluster. The first has a document of every kind, and the lock.
async fn two_runs(on: &Fixture) -> Vec<Lease> {
    two_runs_from(on, 1).await
}

/// The same with another number for the first run.
async fn two_runs_from(on: &Fixture, number: u128) -> Vec<Lease> {
    for n in [number, number + 1] {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&engine(), 2).await.unwrap();
    let first = &leases[0];
    assert_eq!(on.store.lock_cluster(first.run, first.epoch).await.unwrap(), Locked::Held);
    let mut writes = one_of_each(first.run);
    writes.commands = vec![command(number, first.run, on.now())];
    on.store.commit(first.run, first.epoch, &writes).await.unwrap();
    leases
}

async fn set_aside(on: &Fixture, lease: &Lease, code: TroubleCode) -> Trouble {
    on.store.set_aside(lease.run, lease.epoch, &engine(), &failed(code)).await.unwrap()
}

/// Goes on with the end of a run until nothing is left to do now.
async fn end(on: &Fixture, run: RunId) -> Vec<Ending> {
    let mut steps = Vec::new();
    loop {
        let step = on.store.end_abandoned(run).await.unwrap();
        steps.push(step);
        if step != Ending::Going {
            return steps;
        }
    }
}

pub(crate) async fn a_run_that_is_set_aside_rests_and_its_engine_is_fenced(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    let trouble = set_aside(&on, &leases[0], TroubleCode::TooLarge).await;
    assert_eq!((trouble.run, trouble.cluster.as_deref()), (run, Some("mongo-eu")));
    assert_eq!((trouble.tries, trouble.since, trouble.tried_at), (1, on.now(), on.now()));
    assert_eq!(trouble.message, "it is too-large");
    assert_eq!(store.troubles(None, 9).await.unwrap(), std::slice::from_ref(&trouble));
    assert_eq!(store.troubles_of(&[run_id(2), run]).await.unwrap(), std::slice::from_ref(&trouble));
    is_fenced(store.commit(run, leases[0].epoch, &one_of_each(run)).await);
    is_fenced(
        store.set_aside(run, leases[0].epoch, &engine(), &failed(TroubleCode::Damaged)).await,
    );
    store.release(run, leases[0].epoch).await.unwrap();
    assert_eq!(store.claim(&engine(), 9).await.unwrap(), [], "it rests");
    assert_eq!(store.renew(&engine()).await.unwrap().len(), 1);

    on.clock.advance(Millis(trouble.rest().0 - 1));
    store.renew(&engine()).await.unwrap();
    assert_eq!(store.claim(&engine(), 9).await.unwrap(), []);
    on.clock.advance(Millis(1));
    let again = on.claim("f").await;
    assert!(again.run == run && again.epoch > leases[0].epoch + 1);
    let since = trouble.since;
    let trouble = set_aside(&on, &again, TroubleCode::TooLarge).await;
    assert_eq!((trouble.tries, trouble.since, trouble.tried_at), (2, since, on.now()));

    // Meanwhile the other run waits for it.
    let locked = store.lock_cluster(run_id(2), leases[1].epoch).await.unwrap();
    assert_eq!(locked, Locked::Waits { run, queued: 0 });
}

pub(crate) async fn a_run_that_goes_well_again_is_in_no_trouble(on: Fixture) {
    let store = &on.store;
    let leases = two_runs(&on).await;
    set_aside(&on, &leases[0], TroubleCode::Damaged).await;
    assert_eq!(store.rouse().await.unwrap(), 1, "at once");
    let again = on.claim("f").await;
    is_fenced(store.recover(again.run, leases[0].epoch).await);
    assert_eq!(store.troubles(None, 9).await.unwrap().len(), 1);
    store.recover(again.run, again.epoch).await.unwrap();
    store.recover(again.run, again.epoch).await.unwrap();
    assert_eq!(store.troubles(None, 9).await.unwrap(), []);
    assert_eq!(store.rouse().await.unwrap(), 0);
    store.commit(again.run, again.epoch, &one_of_each(again.run)).await.unwrap();
}

pub(crate) async fn the_trouble_of_a_run_that_ends_by_itself_goes_with_its_last_commit(
    on: Fixture,
) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    set_aside(&on, &leases[0], TroubleCode::Refused).await;
    store.rouse().await.unwrap();
    let again = on.claim("f").await;
    let end = only(finished(on.now()));
    is_fenced(store.commit(run, leases[0].epoch, &end).await);
    store.commit(run, again.epoch, &only(crate::samples::finishing(on.now()))).await.unwrap();
    assert_eq!(store.troubles(None, 9).await.unwrap().len(), 1, "it has not ended");
    store.commit(run, again.epoch, &end).await.unwrap();
    assert_eq!(store.troubles(None, 9).await.unwrap(), []);
    assert_eq!(store.troubles_of(&[run]).await.unwrap(), []);
    store.commit(run, again.epoch, &end).await.unwrap();
}

pub(crate) async fn troubles_are_listed_by_run_and_page(on: Fixture) {
    for n in [3, 1, 2] {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    for lease in on.store.claim(&engine(), 9).await.unwrap() {
        set_aside(&on, &lease, TroubleCode::Panicked).await;
    }
    let numbers = |found: Vec<Trouble>| -> Vec<u128> {
        found.iter().map(|trouble| trouble.run.0.as_u128()).collect()
    };
    assert_eq!(numbers(on.store.troubles(None, 2).await.unwrap()), [1, 2]);
    assert_eq!(numbers(on.store.troubles(Some(run_id(2)), 2).await.unwrap()), [3]);
    assert_eq!(numbers(on.store.troubles(None, 0).await.unwrap()), [0_u128; 0]);
    let of = on.store.troubles_of(&[run_id(3), run_id(9), run_id(1)]).await.unwrap();
    assert_eq!(numbers(of), [1, 3]);
}

/// Checks that everything of the run has this `finish_ts`, and expires with it.
async fn check_ended(on: &Fixture, run: RunId, at: Timestamp, readable: bool) {
    let store = &on.store;
    let found = store.read_run(run).await.unwrap().unwrap();
    let (status, finish_ts) = match &found {
        Ok(run) => (Some(run.progress.status), run.progress.finish_ts),
        Err(damaged) => (damaged.glance.status, damaged.glance.finish_ts),
    };
    assert_eq!((found.is_ok(), status, finish_ts), (readable, Some(RunStatus::Failed), Some(at)));
    let records = store.read_records(run, None, None, 9).await.unwrap();
    assert!(records.iter().flatten().all(|record| record.finish_ts == Some(at)));
    let journals = store.read_journals(run, None, None, 9).await.unwrap();
    assert!(journals.iter().flatten().all(|journal| journal.finish_ts == Some(at)));
    let lines = store.read_logs(run, None, None, 9).await.unwrap();
    assert!(lines.iter().flatten().all(|line| line.finish_ts == Some(at)));
    let events = store.read_events(run, 0, 9).await.unwrap();
    let events: Vec<_> = events.into_iter().flatten().collect();
    assert!(events.iter().all(|event| event.finish_ts == Some(at)));
    let told = events.iter().rev().take(2).map(|event| {
        let Happened::Status { to, reason: Some(reason), .. } = &event.what else {
            panic!("{event:?}")
        };
        (*to, reason.code)
    });
    let code = ReasonCode::Abandoned;
    assert_eq!(told.collect::<Vec<_>>(), [(RunStatus::Failed, code), (RunStatus::Finishing, code)]);
    let last = events.last().unwrap();
    assert_eq!(last.actor.as_deref(), Some("ada"));
    assert!(matches!(&last.what, Happened::Status { reason: Some(reason), .. }
        if reason.message == "abandoned by ada: it is stuck"));
    assert_eq!(store.troubles(None, 9).await.unwrap(), []);
    let known = store.troubles_of(&[run]).await.unwrap().pop().unwrap();
    assert_eq!(known.finish_ts, Some(at));

    on.clock.advance(RETENTION);
    on.clock.advance(Millis(1));
    assert!(store.read_run(run).await.unwrap().is_none());
    assert_eq!(store.read_records(run, None, None, 9).await.unwrap(), []);
    assert_eq!(store.read_events(run, 0, 9).await.unwrap(), []);
    assert_eq!(store.troubles_of(&[run]).await.unwrap(), []);
    let swept = store.sweep(100).await.unwrap();
    assert!(swept == 0 || swept > 5, "{swept}");
}

pub(crate) async fn an_abandoned_run_ends_with_all_its_records(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    set_aside(&on, &leases[0], TroubleCode::TooLarge).await;
    let at = on.now();
    let Abandonment::Begun(trouble) = store.abandon(run, &request(false)).await.unwrap() else {
        panic!("not begun");
    };
    assert_eq!(trouble.code, TroubleCode::TooLarge);
    assert_eq!(trouble.abandoned.as_ref().unwrap().at, at);
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(found.progress.status, RunStatus::Finishing);
    on.clock.advance(Millis(5));
    let again = store.abandon(run, &request(true)).await.unwrap();
    assert_eq!(again, Abandonment::Begun(trouble), "once");
    assert_eq!(store.rouse().await.unwrap(), 0);
    assert_eq!(store.claim(&engine(), 9).await.unwrap(), [], "nobody drives it");
    let locked = store.lock_cluster(run_id(2), leases[1].epoch).await.unwrap();
    assert_eq!(locked, Locked::Waits { run, queued: 0 }, "not before its end");
    assert_eq!(end(&on, run).await, [Ending::Going, Ending::Ended]);
    let locked = store.lock_cluster(run_id(2), leases[1].epoch).await.unwrap();
    assert_eq!(locked, Locked::Held);
    assert_eq!(end(&on, run).await, [Ending::Ended]);
    assert!(matches!(store.abandon(run, &request(false)).await.unwrap(), Abandonment::Begun(_)));
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(found.progress.outcome, Some(RunStatus::Failed));
    assert_eq!(found.progress.reason.unwrap().code, ReasonCode::Abandoned);
    let last = store.events(run, 0, 9).await.unwrap().last().unwrap().seq;
    assert_eq!(found.progress.next_event, last + 1);
    check_ended(&on, run, at, true).await;
}

pub(crate) async fn a_run_is_abandoned_whatever_of_it_is_damaged(on: Fixture) {
    let store = &on.store;
    let mut number = 1;
    for way in 0..WAYS {
        for what in [
            Damaged::Progress(run_id(number)),
            Damaged::Snapshot(run_id(number + 2)),
            Damaged::Record(run_id(number + 4), replibook_core::run::AgentSeq(0)),
            Damaged::Journal(run_id(number + 6), key(0, 0, 1)),
            Damaged::Command(command(number + 8, run_id(number), on.now()).id),
        ] {
            let (leases, run) = (two_runs_from(&on, number).await, run_id(number));
            let next = &leases[1];
            on.damage(&what, way).await;
            set_aside(&on, &leases[0], TroubleCode::Damaged).await;
            let at = on.now();
            let begun = store.abandon(run, &request(false)).await.unwrap();
            assert!(matches!(begun, Abandonment::Begun(_)), "{what:?}");
            assert_eq!(end(&on, run).await, [Ending::Going, Ending::Ended], "{what:?}");
            let locked = store.lock_cluster(next.run, next.epoch).await.unwrap();
            assert_eq!(locked, Locked::Held, "{what:?}");
            store.commit(next.run, next.epoch, &only(finished(at))).await.unwrap();
            let of_run = matches!(what, Damaged::Progress(_) | Damaged::Snapshot(_));
            check_ended(&on, run, at, !of_run).await;
            number += 2;
        }
    }
}

pub(crate) async fn a_run_that_goes_well_is_abandoned_only_by_force(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    let refused = store.abandon(run, &request(false)).await.unwrap();
    assert_eq!(refused, Abandonment::NotTroubled);
    store.commit(run, leases[0].epoch, &one_of_each(run)).await.unwrap();
    let at = on.now();
    let Abandonment::Begun(trouble) = store.abandon(run, &request(true)).await.unwrap() else {
        panic!("not begun");
    };
    assert_eq!(trouble.code, TroubleCode::Abandoned);
    is_fenced(store.commit(run, leases[0].epoch, &one_of_each(run)).await);
    is_fenced(store.stamp(run, leases[0].epoch, at).await);
    // The engine may still send something until its lease runs out.
    let until = at.plus(LEASE);
    assert_eq!(end(&on, run).await, [Ending::Going, Ending::Waits(until)]);
    let locked = store.lock_cluster(run_id(2), leases[1].epoch).await.unwrap();
    assert_eq!(locked, Locked::Waits { run, queued: 0 });
    on.clock.advance(LEASE);
    assert_eq!(end(&on, run).await, [Ending::Ended]);
    check_ended(&on, run, at, true).await;

    let unknown = store.abandon(run_id(9), &request(true)).await.unwrap();
    assert_eq!(unknown, Abandonment::Unknown);
    assert_eq!(store.end_abandoned(run_id(9)).await.unwrap(), Ending::Ended);
}

pub(crate) async fn a_run_that_has_finished_is_not_abandoned(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    store.commit(run, leases[0].epoch, &only(finished(on.now()))).await.unwrap();
    for force in [false, true] {
        let refused = store.abandon(run, &request(force)).await.unwrap();
        assert_eq!(refused, Abandonment::Finished);
    }
    assert_eq!(store.end_abandoned(run).await.unwrap(), Ending::Ended);
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(found.progress.status, RunStatus::Done);
}

pub(crate) async fn the_end_of_an_abandoned_run_goes_in_bounded_parts_and_goes_on(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    let most = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap();
    let progress = one_of_each(run).progress;
    let lines = (0..most).map(|n| line(run, 3, None, n)).collect();
    let records = (1..=most).map(|seq| record(run, seq, AgentState::Pending)).collect();
    for writes in [
        Writes { progress: progress.clone(), logs: lines, ..Writes::default() },
        Writes { progress: progress.clone(), records, ..Writes::default() },
    ] {
        store.commit(run, leases[0].epoch, &writes).await.unwrap();
    }
    set_aside(&on, &leases[0], TroubleCode::IllegalInput).await;
    store.abandon(run, &request(false)).await.unwrap();
    let at = on.now();
    assert_eq!(store.end_abandoned(run).await.unwrap(), Ending::Going);
    // The engine that was ending the run is gone. Another one finds the run and goes on.
    on.clock.advance(Millis(7));
    let left = store.troubles(None, 9).await.unwrap();
    assert!(left.len() == 1 && left[0].abandoned.is_some());
    assert_eq!(end(&on, run).await, [Ending::Going, Ending::Going, Ending::Ended]);
    let listed = store.runs(&Default::default(), &page(None, 9)).await.unwrap();
    assert_eq!(listed[1].progress.finish_ts, Some(at));
    let mut after = None;
    loop {
        let found = store.records(run, None, after, 1_000).await.unwrap();
        assert!(found.iter().all(|record| record.finish_ts == Some(at)));
        let Some(last) = found.last() else { break };
        after = Some(last.seq);
    }
}

pub(crate) async fn a_run_that_was_finishing_keeps_its_one_finish_time(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    let at = on.now();
    let last = only(crate::samples::finishing(at));
    store.commit(run, leases[0].epoch, &last).await.unwrap();
    store.stamp(run, leases[0].epoch, at).await.unwrap();
    on.clock.advance(Millis(9));
    set_aside(&on, &leases[0], TroubleCode::Refused).await;
    store.abandon(run, &request(false)).await.unwrap();
    assert_eq!(end(&on, run).await, [Ending::Ended]);
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!((found.progress.status, found.progress.finish_ts), (RunStatus::Failed, Some(at)));
    let events = store.events(run, 0, 9).await.unwrap();
    assert!(events.iter().all(|event| event.finish_ts == Some(at)));
}

pub(crate) async fn a_run_that_was_finishing_for_long_is_still_found_once_it_is_given_up(
    on: Fixture,
) {
    let (store, run) = (&on.store, run_id(1));
    let leases = two_runs(&on).await;
    let last = only(crate::samples::finishing(on.now()));
    store.commit(run, leases[0].epoch, &last).await.unwrap();
    set_aside(&on, &leases[0], TroubleCode::Refused).await;
    on.clock.advance(RETENTION);
    on.clock.advance(Millis(1));
    let at = on.now();
    store.abandon(run, &request(false)).await.unwrap();
    assert_eq!(end(&on, run).await, [Ending::Going, Ending::Ended]);
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!((found.progress.status, found.progress.finish_ts), (RunStatus::Failed, Some(at)));
    assert_eq!(found.progress.reason.unwrap().code, ReasonCode::Abandoned);
    let known = store.troubles_of(&[run]).await.unwrap().pop().unwrap();
    assert_eq!(known.finish_ts, Some(at));
    let events = store.events(run, 0, 9).await.unwrap();
    assert!(events.iter().all(|event| event.finish_ts == Some(at)), "{events:?}");
}
