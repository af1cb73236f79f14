//! Runs that no engine drives, and which engines drive the others.

use replibook_core::run::{
    Command, CommandOutcome, EngineId, Millis, RunStatus, Timestamp, TroubleCode, Verb, Writes,
};
use replibook_store::memory::Damaged;
use replibook_store::{Abandon, Abandonment, Claim, Failed, Holder, Lease, Put, StoreError};

use crate::backends::{Fixture, LEASE, RETENTION};
use crate::damage::WAYS;
use crate::samples::{command, finished, new_run, only, progress, run_id};

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

fn numbers(leases: &[Lease]) -> Vec<u128> {
    leases.iter().map(|lease| lease.run.0.as_u128()).collect()
}

/// A paused run whose lease engine `a` holds.
async fn paused(on: &Fixture, n: u128) -> Lease {
    on.store.create_run(&new_run(n)).await.unwrap();
    let lease = on.claim("a").await;
    let writes = only(progress(RunStatus::Paused, on.now()));
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    lease
}

async fn park(on: &Fixture, lease: &Lease) -> bool {
    on.store.park(lease.run, lease.epoch, Timestamp::MAX).await.unwrap()
}

async fn claimed(on: &Fixture, name: &str) -> Vec<u128> {
    numbers(&on.store.claim(&engine(name), 9).await.unwrap())
}

async fn claimed_woken(on: &Fixture, name: &str) -> Vec<u128> {
    let woken = Claim { limit: 9, only_woken: true, ..Claim::default() };
    numbers(&on.store.claim_some(&engine(name), &woken).await.unwrap())
}

pub(crate) async fn a_claim_says_of_which_cluster_a_run_is_and_whose_it_was(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    assert_eq!(on.store.unclaimed().await.unwrap(), 1);
    let lease = on.claim("a").await;
    assert_eq!((lease.cluster.as_deref(), lease.from), (Some("mongo-eu"), None));
    assert_eq!(on.store.unclaimed().await.unwrap(), 0);
    let renewed = on.store.renew(&engine("a")).await.unwrap();
    assert_eq!((renewed[0].cluster.as_deref(), renewed[0].from.as_ref()), (None, None));

    on.clock.advance(LEASE);
    let taken = on.claim("b").await;
    assert_eq!(taken.from, Some(engine("a")));
    on.store.release(taken.run, taken.epoch).await.unwrap();
    assert_eq!(on.claim("c").await.from, None, "it was given back");
}

pub(crate) async fn of_a_full_cluster_only_runs_that_have_started_are_claimed(on: Fixture) {
    for n in 1..=3 {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let mut other = new_run(4);
    std::sync::Arc::make_mut(&mut other.run.snapshot).cluster = "other".to_owned();
    on.store.create_run(&other).await.unwrap();
    let first = on.store.claim(&engine("a"), 1).await.unwrap().remove(0);
    let writes = only(progress(RunStatus::Running, on.now()));
    on.store.commit(first.run, first.epoch, &writes).await.unwrap();
    on.store.release(first.run, first.epoch).await.unwrap();

    let full = ["mongo-eu".to_owned(), "a cluster that is not there".to_owned()];
    let claim = Claim { limit: 9, full: full.to_vec(), ..Claim::default() };
    assert_eq!(numbers(&on.store.claim_some(&engine("b"), &claim).await.unwrap()), [1, 4]);
    assert_eq!(on.store.claim_some(&engine("b"), &claim).await.unwrap(), []);
    assert_eq!(on.store.unclaimed().await.unwrap(), 2);
    // Nor are runs that the engine does not want.
    let claim = Claim { limit: 9, passed: vec![run_id(3), run_id(9)], ..Claim::default() };
    assert_eq!(numbers(&on.store.claim_some(&engine("b"), &claim).await.unwrap()), [2]);
    assert_eq!(claimed(&on, "b").await, [3]);
}

pub(crate) async fn who_holds_a_run_is_told_with_since_when(on: Fixture) {
    for n in 1..=3 {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&engine("a"), 2).await.unwrap();
    let since = on.now();
    on.clock.advance(Millis(LEASE.0 / 2));
    on.store.renew(&engine("a")).await.unwrap();
    let runs = [3, 2, 2, 1, 9].map(run_id);
    let holder = |n| Holder { run: run_id(n), engine: engine("a"), since };
    assert_eq!(on.store.holders(&runs).await.unwrap(), [holder(1), holder(2)]);
    assert_eq!(on.store.holders(&[]).await.unwrap(), []);
    on.store.release(leases[0].run, leases[0].epoch).await.unwrap();
    assert_eq!(on.store.holders(&runs).await.unwrap(), [holder(2)]);
    on.clock.advance(LEASE);
    assert_eq!(on.store.holders(&runs).await.unwrap(), []);
    assert_eq!(claimed(&on, "b").await, [1, 2, 3]);
    let now = on.now();
    let holder = Holder { run: run_id(3), engine: engine("b"), since: now };
    assert_eq!(on.store.holders(&[run_id(3)]).await.unwrap(), [holder]);
}

pub(crate) async fn a_parked_run_is_claimed_once_a_command_has_come(on: Fixture) {
    let lease = paused(&on, 1).await;
    assert!(park(&on, &lease).await);
    let again = on.store.park(lease.run, lease.epoch, Timestamp::MAX).await;
    assert!(matches!(again, Err(StoreError::Fenced { .. })), "{again:?}");
    // A late call with the old lease changes nothing.
    on.store.release(lease.run, lease.epoch).await.unwrap();
    on.clock.advance(RETENTION);
    on.store.rouse().await.unwrap();
    assert_eq!(claimed(&on, "b").await, []);
    assert_eq!(on.store.holders(&[lease.run]).await.unwrap(), []);
    assert_eq!(on.store.unclaimed().await.unwrap(), 0);

    let wanted = command(7, lease.run, on.now());
    assert_eq!(on.store.submit(&wanted).await.unwrap(), Put::Created);
    assert_eq!(on.store.unclaimed().await.unwrap(), 1);
    on.store.create_run(&new_run(0)).await.unwrap();
    let woken = Claim { limit: 9, only_woken: true, ..Claim::default() };
    let mut taken = on.store.claim_some(&engine("b"), &woken).await.unwrap();
    assert_eq!(numbers(&taken), [1], "no command came for the other one");
    let taken = taken.remove(0);
    assert_eq!(claimed(&on, "other").await, [0]);
    on.store.release(taken.run, taken.epoch).await.unwrap();
    assert_eq!(on.store.claim_some(&engine("b"), &woken).await.unwrap(), [], "it was taken up");
    let taken = on.claim("b").await;
    assert!(taken.epoch > lease.epoch);
    assert_eq!(taken.from, None);
    let waiting = on.store.waiting_commands(&engine("b"), 9).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&wanted));

    // A command that was asked for before does not wake the run again.
    let done = Command { outcome: Some(CommandOutcome::Applied), ..wanted.clone() };
    let writes = Writes { commands: vec![done], ..Writes::default() };
    on.store.commit(taken.run, taken.epoch, &writes).await.unwrap();
    assert!(park(&on, &taken).await);
    assert_eq!(on.store.submit(&wanted).await.unwrap(), Put::Unchanged);
    assert_eq!(claimed(&on, "b").await, []);

    let abandon = Abandon { actor: None, why: "gone".to_owned(), force: true };
    let given_up = on.store.abandon(lease.run, &abandon).await.unwrap();
    assert!(matches!(given_up, Abandonment::Begun(_)), "{given_up:?}");
    on.store.submit(&command(8, lease.run, on.now())).await.unwrap();
    assert_eq!(claimed(&on, "b").await, [], "nobody drives a run that was given up");
}

pub(crate) async fn a_parked_run_is_claimed_when_its_time_has_come(on: Fixture) {
    let lease = paused(&on, 1).await;
    let until = on.now().plus(RETENTION);
    assert!(on.store.park(lease.run, lease.epoch, until).await.unwrap());
    on.clock.advance(Millis(RETENTION.0 - 1));
    assert_eq!(claimed(&on, "b").await, []);
    on.clock.advance(Millis(1));
    assert_eq!(claimed(&on, "b").await, [1]);
}

pub(crate) async fn a_run_is_not_parked_while_a_command_waits(on: Fixture) {
    let lease = paused(&on, 1).await;
    on.store.submit(&command(7, run_id(2), on.now())).await.unwrap();
    on.store.submit(&command(8, lease.run, on.now())).await.unwrap();
    assert!(!park(&on, &lease).await);
    let writes = only(progress(RunStatus::Running, on.now()));
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    let outcome = Some(CommandOutcome::Refused { reason: "no".to_owned() });
    let done = Command { outcome, verb: Verb::Pause, ..command(8, lease.run, on.now()) };
    let writes = Writes { commands: vec![done], ..Writes::default() };
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    assert!(park(&on, &lease).await);
}

pub(crate) async fn a_run_is_parked_and_woken_by_no_command_that_is_damaged(on: Fixture) {
    for way in 0..WAYS {
        let n = 1 + u128::try_from(way).unwrap();
        let lease = paused(&on, n).await;
        let wanted = command(100 + n, lease.run, on.now());
        on.store.submit(&wanted).await.unwrap();
        assert!(!park(&on, &lease).await, "{way}");
        on.damage(&Damaged::Command(wanted.id), way).await;
        assert_eq!(on.store.waiting_commands(&engine("a"), 9).await.unwrap(), [], "{way}");
        assert!(park(&on, &lease).await, "{way}");
        assert_eq!(on.store.wake().await.unwrap(), 0, "{way}");
        assert_eq!(claimed(&on, "b").await, [], "{way}");
        assert_eq!(on.check().await.found, u64::try_from(way).unwrap() + 1, "{way}");

        // Other commands of the run still count.
        on.store.submit(&command(200 + n, lease.run, on.now())).await.unwrap();
        let taken = on.claim("b").await;
        assert!(!park(&on, &taken).await, "{way}");
        let waiting = on.store.waiting_commands(&engine("b"), 99).await.unwrap();
        assert_eq!(waiting.last().map(|command| command.id.0.as_u128()), Some(200 + n), "{way}");
    }
}

pub(crate) async fn a_command_that_an_earlier_version_took_wakes_its_run(on: Fixture) {
    let lease = paused(&on, 1).await;
    assert!(park(&on, &lease).await);
    on.store.submit(&command(7, lease.run, on.now())).await.unwrap();
    if on.forget_to_wake(lease.run).await {
        assert_eq!(claimed(&on, "b").await, []);
        assert_eq!(on.store.wake().await.unwrap(), 1);
    }
    assert_eq!(on.store.wake().await.unwrap(), 0);
    assert_eq!(claimed_woken(&on, "b").await, [1]);
    assert_eq!(on.store.waiting_commands(&engine("b"), 9).await.unwrap().len(), 1);
    assert_eq!(on.store.wake().await.unwrap(), 0);
    assert_eq!(claimed(&on, "c").await, [], "it has an engine");
}

pub(crate) async fn a_command_wakes_a_run_that_nobody_drives_whoever_had_it(on: Fixture) {
    for n in 1..=3 {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&engine("a"), 2).await.unwrap();
    on.store.release(leases[1].run, leases[1].epoch).await.unwrap();
    for n in 1..=3 {
        on.store.submit(&command(100 + n, run_id(n), on.now())).await.unwrap();
    }
    assert_eq!(claimed_woken(&on, "b").await, [2, 3], "the first one has its engine");
    assert_eq!(claimed_woken(&on, "b").await, []);

    // An engine that is gone has left its lease behind: the next engine is told whose it was.
    on.clock.advance(Millis(LEASE.0 - 1));
    on.store.renew(&engine("b")).await.unwrap();
    on.store.submit(&command(201, run_id(1), on.now())).await.unwrap();
    on.clock.advance(Millis(1));
    assert_eq!(claimed_woken(&on, "b").await, [], "the command came too early");
    on.store.submit(&command(202, run_id(1), on.now())).await.unwrap();
    let woken = Claim { limit: 9, only_woken: true, ..Claim::default() };
    let taken = on.store.claim_some(&engine("b"), &woken).await.unwrap();
    assert_eq!((numbers(&taken), taken[0].from.clone()), (vec![1], Some(engine("a"))));
    assert_eq!(taken[0].epoch, leases[0].epoch + 1);
}

pub(crate) async fn a_command_that_came_before_its_engine_left_wakes_the_run_after_that(
    on: Fixture,
) {
    for n in 1..=4 {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&engine("a"), 3).await.unwrap();
    for n in [1, 2] {
        on.store.submit(&command(100 + n, run_id(n), on.now())).await.unwrap();
    }
    assert_eq!(on.store.wake().await.unwrap(), 0, "they have their engine");
    on.store.release(leases[0].run, leases[0].epoch).await.unwrap();
    assert_eq!(on.store.wake().await.unwrap(), 1);
    assert_eq!(on.store.wake().await.unwrap(), 0);
    assert_eq!(claimed_woken(&on, "b").await, [1]);
    on.clock.advance(LEASE);
    on.store.renew(&engine("b")).await.unwrap();
    assert_eq!(on.store.wake().await.unwrap(), 2, "the leases of both engines are over");
    assert_eq!(claimed_woken(&on, "c").await, [1, 2]);
    assert_eq!(claimed(&on, "c").await, [3, 4]);

    // A command that is done wakes no run.
    let done = |n| Command {
        outcome: Some(CommandOutcome::Applied),
        ..command(100 + n, run_id(n), on.now())
    };
    for lease in on.store.renew(&engine("c")).await.unwrap() {
        let commands = vec![done(lease.run.0.as_u128())];
        let writes = Writes { commands, ..Writes::default() };
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    on.store.release_all(&engine("c")).await.unwrap();
    assert_eq!(on.store.wake().await.unwrap(), 0);
}

pub(crate) async fn runs_that_were_left_asleep_are_all_woken_however_many_they_are(on: Fixture) {
    const RUNS: u128 = 60;
    for n in 1..=RUNS {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    assert_eq!(on.store.claim(&engine("a"), 99).await.unwrap().len() as u128, RUNS);
    for n in 1..=RUNS {
        on.store.submit(&command(100 + n, run_id(n), on.now())).await.unwrap();
    }
    on.store.release_all(&engine("a")).await.unwrap();
    let mut woken = 0;
    loop {
        match on.store.wake().await.unwrap() {
            0 => break,
            some => woken += some,
        }
    }
    assert_eq!(u128::from(woken), RUNS);
    let woken = Claim { limit: 99, only_woken: true, ..Claim::default() };
    let taken = on.store.claim_some(&engine("b"), &woken).await.unwrap();
    assert_eq!(numbers(&taken), (1..=RUNS).collect::<Vec<_>>());
}

pub(crate) async fn no_command_wakes_a_run_that_rests_or_has_ended(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("a").await;
    let failed = Failed { code: TroubleCode::Refused, message: "no".to_owned() };
    let (run, epoch) = (lease.run, lease.epoch);
    let trouble = on.store.set_aside(run, epoch, &engine("a"), &failed).await.unwrap();
    on.store.submit(&command(101, run, on.now())).await.unwrap();
    assert_eq!(on.store.wake().await.unwrap(), 0);
    assert_eq!(claimed_woken(&on, "b").await, []);
    on.clock.advance(trouble.rest());
    assert_eq!(on.store.wake().await.unwrap(), 1);
    assert_eq!(claimed_woken(&on, "b").await, [1]);

    let lease = on.store.renew(&engine("b")).await.unwrap().remove(0);
    on.store.commit(run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    on.store.submit(&command(102, run, on.now())).await.unwrap();
    on.clock.advance(LEASE);
    assert_eq!(on.store.wake().await.unwrap(), 0);
    assert_eq!(claimed_woken(&on, "c").await, []);
}

pub(crate) async fn the_commands_that_wait_for_a_run_are_told_whoever_has_it(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let (first, now) = (run_id(1), on.now());
    let later = command(101, first, now.plus(Millis(5)));
    let wanted = [command(102, first, now), command(103, first, now), later.clone()];
    for asked in [&later, &wanted[1], &wanted[0]] {
        on.store.submit(asked).await.unwrap();
    }
    assert_eq!(on.store.unanswered(first).await.unwrap(), wanted);
    let lease = on.claim("a").await;
    on.store.create_run(&new_run(2)).await.unwrap();
    on.store.submit(&command(104, run_id(2), now)).await.unwrap();
    assert_eq!(on.store.unanswered(first).await.unwrap(), wanted);
    let done = Command { outcome: Some(CommandOutcome::Applied), ..wanted[0].clone() };
    let writes = Writes { commands: vec![done], ..Writes::default() };
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    on.damage(&Damaged::Command(wanted[1].id), 0).await;
    assert_eq!(on.store.unanswered(first).await.unwrap(), [later]);
    assert_eq!(on.store.unanswered(run_id(9)).await.unwrap(), []);
}

pub(crate) async fn of_a_command_and_a_parking_at_once_none_is_missed(on: Fixture) {
    for n in 1..=20 {
        let lease = paused(&on, n).await;
        let asked = {
            let (store, command) = (on.store.clone(), command(100 + n, lease.run, on.now()));
            tokio::spawn(async move { store.submit(&command).await.unwrap() })
        };
        let parked = park(&on, &lease).await;
        assert_eq!(asked.await.unwrap(), Put::Created);
        // Either its engine still has the run, or another engine may claim it.
        let taken = claimed(&on, "b").await;
        assert_eq!(taken, if parked { vec![n] } else { vec![] }, "run {n}");
    }
}

pub(crate) async fn parking_needs_the_lease(on: Fixture) {
    let lease = paused(&on, 1).await;
    let fenced = |parked| matches!(parked, Err(StoreError::Fenced { .. }));
    assert!(fenced(on.store.park(lease.run, lease.epoch + 1, Timestamp::MAX).await));
    assert!(fenced(on.store.park(run_id(9), 1, Timestamp::MAX).await));
    on.clock.advance(LEASE);
    on.claim("b").await;
    assert!(fenced(on.store.park(lease.run, lease.epoch, Timestamp::MAX).await));
}
