//! Runs that have not started: queued, without a place, or beside other runs.

use std::sync::Arc;

use super::samples::*;
use super::*;
use crate::playbook::Concurrency;
use crate::run::{OnEngine, ReasonCode, Run, RunStatus, WaitsFor};

#[test]
fn a_run_says_whether_it_is_queued_or_waits_for_a_place() {
    let queued = with(RunStatus::Pending, |progress| {
        because(progress, ReasonCode::ClusterBusy, "waits for run 7 to end");
    });
    let place =
        |runs| Some(WaitsFor::Place(OnEngine { name: "engine-1".to_owned(), runs, max_runs: 10 }));
    let text = "The run has been PENDING since 2025-11-22T09:00:00Z (4m05s). It may start on cluster eu, and \
                waits for a place on its engine: engine-1 drives 10 of at most 10 runs. It starts by itself \
                once that engine has a place, or another one has room.";
    let known = Known { waits: place(10), ..NOBODY };
    check(&queued, &known, text, &["run cancel RUN"]);
    let effect = |run: &Run, known: &Known| explain(run, known, at(245)).next[0].effect.clone();
    assert_eq!(effect(&queued, &NOBODY), "take it out of the queue");
    assert_eq!(effect(&queued, &known), "end it before it starts", "its turn has come");

    let unserved = Known { waits: Some(WaitsFor::Engine), ..NOBODY };
    let told = explain(&queued, &unserved, at(245)).text;
    let both = "it waits for run 7 to end. It starts by itself when its turn comes. It waits for an engine: \
                none is there; start a server.";
    assert!(told.ends_with(both), "{told}");

    let mut beside = run(RunStatus::Pending);
    let mut snapshot = (*beside.snapshot).clone();
    snapshot.playbook.concurrency = Concurrency::Allow;
    beside.snapshot = Arc::new(snapshot);
    let text = "The run has been PENDING since 2025-11-22T09:00:00Z (4m05s). It may start on cluster eu beside \
                other runs, and does so by itself once an engine takes it up.";
    check(&beside, &NOBODY, text, &["run cancel RUN"]);
    assert_eq!(effect(&beside, &NOBODY), "end it before it starts");

    // Its cluster has guards.
    because(&mut beside.progress, ReasonCode::ClusterBusy, "waits for run 7 to end");
    let told = explain(&beside, &NOBODY, at(245)).text;
    assert!(told.contains("queued for cluster eu: it waits for run 7 to end"), "{told}");
}
