//! What engines say about themselves, and which of them are drained.

use replibook_core::run::{Digest, EngineId, Millis};
use replibook_store::{ENGINE_KEPT, Engine, EngineReport, POLICY_FILE};

use crate::backends::{Fixture, START};

fn report(id: &str, runs: u32) -> EngineReport {
    EngineReport {
        id: EngineId(id.to_owned()),
        name: format!("engine-{id}"),
        version: "1.2.3".to_owned(),
        host: "ünïcode.example.com".to_owned(),
        address: Some("http://127.0.0.1:8900".to_owned()),
        started: START,
        clock_ahead: -1_500,
        runs,
        queued: 7,
        max_runs: 1_000,
        files: [(POLICY_FILE.to_owned(), Some(Digest::of(&[7]))), ("none".to_owned(), None)].into(),
    }
}

async fn ids(on: &Fixture) -> Vec<String> {
    let engines = on.store.engines().await.unwrap();
    engines.into_iter().map(|engine| engine.report.id.0).collect()
}

pub(crate) async fn an_engine_is_listed_until_it_is_silent_for_long(on: Fixture) {
    assert_eq!(on.store.engines().await.unwrap(), []);
    let report_of = |id, runs| Engine { report: report(id, runs), seen: on.now(), draining: None };
    assert_eq!(on.store.put_engine(&report("b", 1)).await.unwrap(), report_of("b", 1));
    let first = on.store.put_engine(&report("a", 2)).await.unwrap();
    assert_eq!(on.store.engines().await.unwrap(), [first.clone(), report_of("b", 1)]);

    on.clock.advance(ENGINE_KEPT);
    // It goes by another policy now.
    let mut said = report("b", 3);
    said.files.insert(POLICY_FILE.to_owned(), Some(Digest::of(b"changed")));
    let later = on.store.put_engine(&said).await.unwrap();
    assert_eq!((&later.report, later.seen), (&said, on.now()));
    assert_eq!(on.store.engines().await.unwrap(), [first, later]);
    on.clock.advance(Millis(1));
    assert_eq!(ids(&on).await, ["b"], "the other one has been silent for too long");
    on.store.put_engine(&report("c", 0)).await.unwrap();
    on.store.put_engine(&report("a", 0)).await.unwrap();
    assert_eq!(ids(&on).await, ["a", "b", "c"]);

    on.store.remove_engine(&EngineId("b".to_owned())).await.unwrap();
    on.store.remove_engine(&EngineId("b".to_owned())).await.unwrap();
    assert_eq!(ids(&on).await, ["a", "c"]);
}

pub(crate) async fn an_engine_is_drained_until_it_is_undrained(on: Fixture) {
    let id = EngineId("a".to_owned());
    assert_eq!(on.store.drain_engine(&id, true, None, None).await.unwrap(), None);
    on.store.put_engine(&report("a", 2)).await.unwrap();
    assert_eq!(
        on.store.drain_engine(&id, false, None, None).await.unwrap().unwrap().draining,
        None
    );

    let since = on.now();
    let why = Some("new disk");
    let drained = on.store.drain_engine(&id, true, Some("ann"), why).await.unwrap().unwrap();
    let draining = drained.draining.clone().unwrap();
    assert_eq!((draining.since, draining.actor.as_deref()), (since, Some("ann")));
    assert_eq!(draining.reason.as_deref(), why);
    on.clock.advance(Millis(5_000));
    let again = on.store.drain_engine(&id, true, Some("bob"), Some("lunch")).await.unwrap();
    assert_eq!(again, Some(drained), "it was asked for already");

    // A report of the engine does not end the draining.
    let said = on.store.put_engine(&report("a", 1)).await.unwrap();
    assert_eq!((said.report.runs, said.draining), (1, Some(draining)));
    let undrained = on.store.drain_engine(&id, false, None, None).await.unwrap().unwrap();
    assert_eq!(undrained.draining, None);
    assert_eq!(on.store.put_engine(&report("a", 1)).await.unwrap().draining, None);

    on.clock.advance(Millis(ENGINE_KEPT.0 + 1));
    assert_eq!(on.store.drain_engine(&id, true, None, None).await.unwrap(), None, "it is gone");
}
