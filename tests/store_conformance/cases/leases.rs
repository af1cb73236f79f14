//! Leases: one engine at a time, with an epoch that grows, and who may claim a run.

use std::collections::BTreeSet;
use std::time::Duration;

use replibook_core::run::{EngineId, KNOWN_FORMAT, Millis, Progress, RunStatus};
use replibook_store::{Lease, StoreError};

use crate::backends::{Fixture, LEASE};
use crate::samples::{finished, new_run, only, progress, run_id};
use crate::wait;

/// How long it may take until runs that were passed over are claimed.
const DEADLINE: Duration = Duration::from_secs(30);

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

async fn create(on: &Fixture, runs: impl IntoIterator<Item = u128>) {
    for n in runs {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
}

fn numbers(leases: &[Lease]) -> Vec<u128> {
    leases.iter().map(|lease| lease.run.0.as_u128()).collect()
}

async fn fenced(on: &Fixture, lease: &Lease) -> bool {
    let writes = only(progress(RunStatus::Running, on.now()));
    match on.store.commit(lease.run, lease.epoch, &writes).await {
        Ok(()) => false,
        Err(StoreError::Fenced { run, epoch }) => {
            assert_eq!((run, epoch), (lease.run, lease.epoch));
            true
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn runs_are_claimed_oldest_first(on: Fixture) {
    create(&on, [4, 2, 1, 3]).await;
    let first = on.store.claim(&engine("a"), 3).await.unwrap();
    assert_eq!(numbers(&first), [1, 2, 3]);
    assert!(first.iter().all(|lease| lease.until == on.now().plus(LEASE)));
    assert_eq!(numbers(&on.store.claim(&engine("b"), 3).await.unwrap()), [4]);
    assert_eq!(on.store.claim(&engine("a"), 3).await.unwrap(), []);
    for lease in &first {
        assert!(!fenced(&on, lease).await);
    }
}

pub(crate) async fn a_lease_is_renewed_until_it_expires(on: Fixture) {
    create(&on, [2, 1]).await;
    let claimed = on.store.claim(&engine("a"), 10).await.unwrap();
    on.clock.advance(Millis(LEASE.0 - 1));
    let renewed = on.store.renew(&engine("a")).await.unwrap();
    assert_eq!(numbers(&renewed), [1, 2]);
    for (before, after) in claimed.iter().zip(&renewed) {
        assert_eq!((after.run, after.epoch), (before.run, before.epoch));
        assert_eq!(after.until, on.now().plus(LEASE));
    }
    assert_eq!(on.store.renew(&engine("b")).await.unwrap(), []);
    assert_eq!(on.store.claim(&engine("b"), 10).await.unwrap(), []);
    on.clock.advance(LEASE);
    assert_eq!(on.store.renew(&engine("a")).await.unwrap(), []);
}

pub(crate) async fn a_run_is_taken_over_when_its_lease_has_expired(on: Fixture) {
    create(&on, [1]).await;
    let first = on.claim("a").await;
    on.clock.advance(Millis(LEASE.0 - 1));
    assert_eq!(on.store.claim(&engine("b"), 1).await.unwrap(), []);
    on.clock.advance(Millis(1));
    assert!(!fenced(&on, &first).await, "nobody has taken it");

    let second = on.claim("b").await;
    assert!(second.epoch > first.epoch);
    assert!(fenced(&on, &first).await);
    assert!(!fenced(&on, &second).await);
    assert_eq!(on.store.renew(&engine("a")).await.unwrap(), []);

    // An engine that takes its own run again gets a new epoch too.
    on.clock.advance(LEASE);
    let third = on.claim("b").await;
    assert!(third.epoch > second.epoch);
    assert!(fenced(&on, &second).await);
}

pub(crate) async fn a_released_run_is_free_at_once(on: Fixture) {
    create(&on, [1]).await;
    let (run, until) = (run_id(1), on.now());
    let unclaimed = Lease { run, epoch: 0, until, cluster: None, from: None };
    assert!(fenced(&on, &unclaimed).await);
    assert!(fenced(&on, &Lease { run: run_id(9), ..unclaimed }).await);

    let first = on.claim("a").await;
    on.store.release(first.run, first.epoch).await.unwrap();
    on.store.release(first.run, first.epoch).await.unwrap();
    assert!(fenced(&on, &first).await);
    assert_eq!(on.store.renew(&engine("a")).await.unwrap(), []);

    let second = on.claim("b").await;
    assert!(second.epoch > first.epoch);
    on.store.release(first.run, first.epoch).await.unwrap();
    assert!(!fenced(&on, &second).await, "the old lease is not this one");
    on.store.release(run_id(9), 1).await.unwrap();
}

pub(crate) async fn all_leases_of_an_engine_are_given_back_at_once(on: Fixture) {
    create(&on, [1, 2, 3]).await;
    let first = on.store.claim(&engine("a"), 2).await.unwrap();
    let other = on.claim("b").await;
    let done = &first[1];
    on.store.commit(done.run, done.epoch, &only(finished(on.now()))).await.unwrap();
    on.store.release_all(&engine("a")).await.unwrap();
    on.store.release_all(&engine("a")).await.unwrap();
    on.store.release_all(&engine("nobody")).await.unwrap();
    assert!(fenced(&on, &first[0]).await);
    assert!(!fenced(&on, &other).await, "it is another engine's");
    assert_eq!(on.store.renew(&engine("a")).await.unwrap(), []);

    let again = on.store.claim(&engine("b"), 9).await.unwrap();
    assert_eq!(numbers(&again), [1]);
    assert!(again[0].epoch > first[0].epoch);
}

pub(crate) async fn a_run_that_needs_a_newer_engine_is_left_alone(on: Fixture) {
    for (n, needs) in [(1, KNOWN_FORMAT + 1), (2, KNOWN_FORMAT), (3, KNOWN_FORMAT)] {
        let mut new = new_run(n);
        new.run.progress.needs = needs;
        on.store.create_run(&new).await.unwrap();
    }
    let leases = on.store.claim(&engine("a"), 9).await.unwrap();
    assert_eq!(numbers(&leases), [2, 3]);
    // A newer engine has had the run, and has written something new.
    let newer = Progress { needs: KNOWN_FORMAT + 1, ..progress(RunStatus::Running, on.now()) };
    on.store.commit(leases[0].run, leases[0].epoch, &only(newer.clone())).await.unwrap();
    on.store.release_all(&engine("a")).await.unwrap();
    let leases = on.store.claim(&engine("b"), 9).await.unwrap();
    assert_eq!(numbers(&leases), [3]);
    // The run is still shown.
    let shown = on.store.run(run_id(2)).await.unwrap().unwrap();
    assert_eq!(shown.progress, newer);
}

pub(crate) async fn finished_runs_are_neither_claimed_nor_renewed(on: Fixture) {
    create(&on, [1]).await;
    let lease = on.claim("a").await;
    on.store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    assert_eq!(on.store.renew(&engine("a")).await.unwrap(), []);
    on.clock.advance(LEASE);
    assert_eq!(on.store.claim(&engine("b"), 10).await.unwrap(), []);
    // The last commit can still be repeated if its answer was lost.
    on.store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
}

pub(crate) async fn two_engines_never_claim_the_same_run(on: Fixture) {
    create(&on, 0..40).await;
    let claims = (0..20).map(|n| {
        let store = on.store.clone();
        tokio::spawn(async move { store.claim(&engine(&format!("e{n}")), 3).await.unwrap() })
    });
    let mut claimed = vec![];
    for claim in claims.collect::<Vec<_>>() {
        claimed.extend(numbers(&claim.await.unwrap()));
    }
    // A run that others are about to claim is passed over. If none of them gets it, a later claim does.
    wait::until("all runs to be claimed", DEADLINE, async || {
        claimed.extend(numbers(&on.store.claim(&engine("next"), 40).await.unwrap()));
        (claimed.len() >= 40).then_some(())
    })
    .await;
    assert_eq!(claimed.len(), 40);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), (0..40).collect());
}
