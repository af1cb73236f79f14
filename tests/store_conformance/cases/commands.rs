//! Commands: kept once, found by the engine that has the run, and answered.

use replibook_core::run::{CommandOutcome, EngineId, Millis, Writes};
use replibook_store::Put;

use crate::backends::{Fixture, LEASE, RETENTION};
use crate::samples::{command, finished, finishing, new_run, only, run_id};

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

async fn waiting(on: &Fixture, name: &str, limit: u32) -> Vec<u128> {
    let found = on.store.waiting_commands(&engine(name), limit).await.unwrap();
    found.iter().map(|command| command.id.0.as_u128()).collect()
}

pub(crate) async fn a_command_is_kept_once(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let first = command(7, run_id(1), on.now());
    assert_eq!(on.store.submit(&first).await.unwrap(), Put::Created);
    assert_eq!(on.store.submit(&first).await.unwrap(), Put::Unchanged);
    let mut other = first.clone();
    other.why = None;
    assert_eq!(on.store.submit(&other).await.unwrap(), Put::Unchanged);
    assert_eq!(on.store.command(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(on.store.command(command(8, run_id(1), on.now()).id).await.unwrap(), None);

    // The first outcome stays, whatever comes later.
    let lease = on.claim("e").await;
    let refused = CommandOutcome::Refused { reason: "not now".to_owned() };
    let done = replibook_core::run::Command { outcome: Some(refused), ..first.clone() };
    let writes = Writes { commands: vec![done.clone()], ..only(finishing(on.now())) };
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    assert_eq!(on.store.submit(&first).await.unwrap(), Put::Unchanged);
    assert_eq!(on.store.command(first.id).await.unwrap(), Some(done));
}

pub(crate) async fn waiting_commands_are_those_of_the_runs_that_an_engine_holds(on: Fixture) {
    for n in 1..=3 {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    for (n, run, later) in [(30, 1, 2), (20, 2, 1), (10, 1, 1), (40, 2, 0), (50, 3, 0)] {
        let at = on.now().plus(Millis(later));
        on.store.submit(&command(n, run_id(run), at)).await.unwrap();
    }
    assert_eq!(waiting(&on, "a", 10).await, [0; 0], "no run is held");
    on.store.claim(&engine("a"), 2).await.unwrap();
    on.store.claim(&engine("b"), 1).await.unwrap();
    assert_eq!(waiting(&on, "a", 10).await, [40, 10, 20, 30], "oldest first");
    assert_eq!(waiting(&on, "a", 2).await, [40, 10]);
    assert_eq!(waiting(&on, "b", 10).await, [50]);
    assert_eq!(waiting(&on, "c", 10).await, [0; 0]);

    on.clock.advance(LEASE);
    assert_eq!(waiting(&on, "a", 10).await, [0; 0], "the leases have expired");
    on.store.claim(&engine("c"), 10).await.unwrap();
    assert_eq!(waiting(&on, "c", 10).await, [40, 50, 10, 20, 30]);
}

pub(crate) async fn a_command_with_an_outcome_no_longer_waits(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let mut first = command(1, run_id(1), on.now());
    on.store.submit(&first).await.unwrap();
    on.store.submit(&command(2, run_id(1), on.now())).await.unwrap();
    first.outcome = Some(CommandOutcome::Applied);
    let progress = on.store.run(run_id(1)).await.unwrap().unwrap().progress;
    let writes = Writes { commands: vec![first], ..only(progress) };
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    assert_eq!(waiting(&on, "e", 10).await, [2]);
}

pub(crate) async fn a_command_that_comes_late_expires_with_its_run(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let at = on.now();
    on.store.commit(lease.run, lease.epoch, &only(finishing(at))).await.unwrap();
    on.clock.advance(Millis(5));
    let (first, second) = (command(1, run_id(1), at), command(2, run_id(1), at));
    let of_no_run = command(3, run_id(9), at);

    on.store.submit(&first).await.unwrap();
    assert_eq!(waiting(&on, "e", 10).await, [1]);
    on.store.commit(lease.run, lease.epoch, &only(finished(at))).await.unwrap();
    on.store.submit(&second).await.unwrap();
    on.store.submit(&of_no_run).await.unwrap();
    for (command, finish_ts) in [(&first, at), (&second, at), (&of_no_run, on.now())] {
        let found = on.store.command(command.id).await.unwrap().unwrap();
        assert_eq!(found.finish_ts, Some(finish_ts));
    }
    assert_eq!(waiting(&on, "e", 10).await, [0; 0], "a finished run is held by nobody");

    on.clock.advance(RETENTION);
    assert_eq!(on.store.command(first.id).await.unwrap(), None);
    assert_eq!(on.store.submit(&first).await.unwrap(), Put::Created, "it was forgotten");
}
