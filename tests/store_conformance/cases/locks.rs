//! The locks of clusters: one run at a time, in the order of creation.

use std::sync::Arc;

use replibook_core::playbook::Concurrency::{Allow, Queue, Reject};
use replibook_core::playbook::{Amount, Guard};
use replibook_core::run::{EngineId, Millis, RunId, RunStatus};
use replibook_store::{Cluster, Created, Lease, Locked, MAX_QUEUED, Object, StoreError};

use crate::backends::{Fixture, LEASE, RETENTION};
use crate::samples::{cluster, finished, finishing, new_run_on, only, progress, run_id};

const CLUSTER: &str = "mongo-eu";

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

/// Creates queued runs with these numbers, and claims all of them. Returns the leases, oldest run first.
async fn queue(on: &Fixture, runs: impl IntoIterator<Item = u128>) -> Vec<Lease> {
    for n in runs {
        create(on, n, Queue, RunStatus::Pending).await.unwrap();
    }
    on.store.claim(&engine("e"), 1_000).await.unwrap()
}

async fn create(
    on: &Fixture,
    n: u128,
    concurrency: replibook_core::playbook::Concurrency,
    status: RunStatus,
) -> Result<Created, StoreError> {
    on.store.create_run(&new_run_on(CLUSTER, n, concurrency, status)).await
}

async fn lock(on: &Fixture, lease: &Lease) -> Locked {
    on.store.lock_cluster(lease.run, lease.epoch).await.unwrap()
}

fn waits(run: u128, queued: u32) -> Locked {
    Locked::Waits { run: run_id(run), queued }
}

async fn set(on: &Fixture, lease: &Lease, status: RunStatus) {
    let writes = only(progress(status, on.now()));
    on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
}

async fn finish(on: &Fixture, lease: &Lease) {
    on.store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
}

pub(crate) async fn a_cluster_is_locked_by_one_run_until_it_is_finished(on: Fixture) {
    let leases = queue(&on, [1, 2]).await;
    assert_eq!(lock(&on, &leases[1]).await, waits(1, 0), "the older one comes first");
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held, "asking again is fine");
    assert_eq!(lock(&on, &leases[1]).await, waits(1, 0), "it has not started, but it will");
    for status in [RunStatus::Starting, RunStatus::Running, RunStatus::Paused] {
        set(&on, &leases[0], status).await;
        assert_eq!(lock(&on, &leases[1]).await, waits(1, 0), "{status}");
    }
    on.store.commit(run_id(1), leases[0].epoch, &only(finishing(on.now()))).await.unwrap();
    assert_eq!(lock(&on, &leases[1]).await, waits(1, 0), "not before it has its finish_ts");
    finish(&on, &leases[0]).await;
    assert_eq!(lock(&on, &leases[1]).await, Locked::Held);
}

pub(crate) async fn queued_runs_get_a_cluster_in_the_order_of_their_creation(on: Fixture) {
    let leases = queue(&on, [3, 1, 4, 2]).await;
    assert_eq!(lock(&on, &leases[3]).await, waits(1, 2));
    assert_eq!(lock(&on, &leases[1]).await, waits(1, 0));
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
    set(&on, &leases[0], RunStatus::Running).await;
    // The run that has the lock is not counted among the queued ones.
    assert_eq!(lock(&on, &leases[3]).await, waits(1, 2));
    finish(&on, &leases[0]).await;
    assert_eq!(lock(&on, &leases[3]).await, waits(2, 1));
    // A run that is cancelled in the queue holds up no other, whether it had the lock or not.
    on.store.commit(run_id(3), leases[2].epoch, &only(finishing(on.now()))).await.unwrap();
    assert_eq!(lock(&on, &leases[3]).await, waits(2, 0));
    assert_eq!(lock(&on, &leases[1]).await, Locked::Held);
    finish(&on, &leases[1]).await;
    assert_eq!(lock(&on, &leases[3]).await, Locked::Held);
}

pub(crate) async fn only_runs_that_wait_for_the_same_cluster_are_queued_before_one(on: Fixture) {
    create(&on, 1, Queue, RunStatus::PendingApprove).await.unwrap();
    create(&on, 2, Allow, RunStatus::Pending).await.unwrap();
    let elsewhere = new_run_on("other", 3, Queue, RunStatus::Pending);
    on.store.create_run(&elsewhere).await.unwrap();
    let leases = queue(&on, [4, 5]).await;
    // The others are not approved yet, need no lock, are on another cluster, or are younger.
    assert_eq!(lock(&on, &leases[3]).await, Locked::Held);
    assert_eq!(lock(&on, &leases[2]).await, Locked::Held);
    // Once approved, the run's place follows from its creation, except that it comes after the one that has
    // the lock.
    set(&on, &leases[0], RunStatus::Pending).await;
    assert_eq!(lock(&on, &leases[0]).await, waits(4, 0));
    assert_eq!(lock(&on, &leases[4]).await, waits(4, 1));
    finish(&on, &leases[3]).await;
    assert_eq!(lock(&on, &leases[4]).await, waits(1, 0));
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
}

pub(crate) async fn a_lock_outlives_the_lease_and_goes_with_the_run(on: Fixture) {
    let leases = queue(&on, [1, 2]).await;
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
    // The engine dies, and another one takes over both runs.
    on.clock.advance(LEASE);
    let taken = on.store.claim(&engine("b"), 10).await.unwrap();
    assert_eq!(lock(&on, &taken[1]).await, waits(1, 0));
    assert_eq!(lock(&on, &taken[0]).await, Locked::Held);
    on.store.release(run_id(1), taken[0].epoch).await.unwrap();
    assert_eq!(lock(&on, &taken[1]).await, waits(1, 0));
    let again = on.claim("c").await;
    finish(&on, &again).await;

    // Retention removes the run that had the lock last.
    on.clock.advance(Millis(RETENTION.0 + 1));
    on.store.sweep(100).await.unwrap();
    assert_eq!(on.store.run(run_id(1)).await.unwrap(), None);
    let taken = on.claim("d").await;
    assert_eq!(lock(&on, &taken).await, Locked::Held);
}

pub(crate) async fn a_lock_is_given_only_under_the_lease(on: Fixture) {
    create(&on, 1, Queue, RunStatus::Pending).await.unwrap();
    let fenced = async |run: RunId, epoch: u64| {
        let error = on.store.lock_cluster(run, epoch).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
    };
    fenced(run_id(1), 0).await;
    fenced(run_id(9), 1).await;
    let first = on.claim("a").await;
    fenced(run_id(1), first.epoch + 1).await;
    on.clock.advance(LEASE);
    let second = on.claim("b").await;
    fenced(run_id(1), first.epoch).await;
    on.store.release(run_id(1), second.epoch).await.unwrap();
    fenced(run_id(1), second.epoch).await;
    // None of these took the lock.
    let third = queue(&on, [0]).await;
    assert_eq!(lock(&on, &third[0]).await, Locked::Held);
}

pub(crate) async fn no_more_than_so_many_that_are_queued_are_counted(on: Fixture) {
    let most = u128::from(MAX_QUEUED);
    let leases = queue(&on, 0..most + 4).await;
    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
    let asked = [2, MAX_QUEUED, MAX_QUEUED + 1, MAX_QUEUED + 3];
    for (n, expected) in asked.into_iter().zip([1, MAX_QUEUED - 1, MAX_QUEUED, MAX_QUEUED]) {
        assert_eq!(lock(&on, &leases[n as usize]).await, waits(0, expected), "{n}");
    }
    set(&on, &leases[0], RunStatus::Running).await;
    assert_eq!(lock(&on, &leases[MAX_QUEUED as usize + 3]).await, waits(0, MAX_QUEUED));
}

/// One call tells all runs that wait what each of them would be told alone.
pub(crate) async fn queues_of_several_clusters_are_asked_for_at_once(on: Fixture) {
    let most = u128::from(MAX_QUEUED);
    let leases = queue(&on, 10..most + 20).await;
    for n in [1, 200] {
        let elsewhere = new_run_on("other", n, Queue, RunStatus::Pending);
        on.store.create_run(&elsewhere).await.unwrap();
    }
    create(&on, 2, Queue, RunStatus::PendingApprove).await.unwrap();
    create(&on, 3, Allow, RunStatus::Pending).await.unwrap();
    let names = [CLUSTER, "nobody", "other"].map(str::to_owned);
    let queues = async || on.store.queues(&names).await.unwrap();
    let found = queues().await;
    assert_eq!(found.iter().map(|queue| &queue.cluster).collect::<Vec<_>>(), names.each_ref());
    assert!(found.iter().all(|queue| queue.holder.is_none()), "{found:?}");
    let first: Vec<_> = (10..most + 12).map(run_id).collect();
    assert_eq!((&found[0].queued, found[1].queued.len()), (&first, 0));
    assert_eq!(found[2].queued, [1, 200].map(run_id));

    assert_eq!(lock(&on, &leases[0]).await, Locked::Held);
    for status in [RunStatus::Pending, RunStatus::Running] {
        set(&on, &leases[0], status).await;
        let found = queues().await;
        assert_eq!((found[0].holder, found[2].holder), (Some(run_id(10)), None), "{status}");
        for lease in &leases[1..] {
            let told = found[0].place_of(lease.run);
            assert_eq!(told, Some(lock(&on, lease).await), "{status}, {}", lease.run);
        }
    }
    assert_eq!(found[2].place_of(run_id(10)), None, "it is not queued there");
    finish(&on, &leases[0]).await;
    let found = queues().await;
    assert_eq!(found[0].holder, None);
    assert_eq!(found[0].place_of(run_id(11)), Some(Locked::Held), "it may ask");
    assert!(on.store.queues(&[]).await.unwrap().is_empty());
}

/// The lock goes to one run after another, and to each of them once.
pub(crate) async fn engines_that_ask_at_once_never_get_a_lock_twice(on: Fixture) {
    const RUNS: u128 = 6;
    let leases = queue(&on, 0..RUNS).await;
    let on = Arc::new(on);
    for turn in 0..RUNS {
        let asks = leases.iter().cloned().flat_map(|lease| [lease.clone(), lease]).map(|lease| {
            let on = on.clone();
            tokio::spawn(async move { (lease.run, lock(&on, &lease).await) })
        });
        let mut held = vec![];
        for ask in asks.collect::<Vec<_>>() {
            let (run, answer) = ask.await.unwrap();
            held.extend((answer == Locked::Held).then_some(run));
        }
        // Runs that had it before have finished, and may ask again.
        held.retain(|run| run.0.as_u128() >= turn);
        assert_eq!(held, [run_id(turn); 2]);
        finish(&on, &leases[usize::try_from(turn).unwrap()]).await;
    }
}

pub(crate) async fn a_run_that_rejects_a_busy_cluster_is_created_with_its_lock_or_not_at_all(
    on: Fixture,
) {
    let refused = async |n: u128, by: u128, why: &str| {
        let error = create(&on, n, Reject, RunStatus::Pending).await.unwrap_err();
        let expected = (CLUSTER, run_id(by));
        assert!(
            matches!(&error, StoreError::ClusterBusy { cluster, run } if (cluster.as_str(), *run) == expected),
            "{why}: {error}"
        );
        assert_eq!(on.store.run(run_id(n)).await.unwrap(), None, "{why}");
    };
    create(&on, 1, Allow, RunStatus::Pending).await.unwrap();
    create(&on, 2, Queue, RunStatus::PendingApprove).await.unwrap();
    let new = new_run_on(CLUSTER, 5, Reject, RunStatus::Pending);
    assert_eq!(on.store.create_run(&new).await.unwrap(), Created::New(run_id(5)));
    assert_eq!(on.store.create_run(&new).await.unwrap(), Created::Before(run_id(5)));
    refused(6, 5, "another one that rejects was created").await;

    // An older run that is approved now can't overtake it.
    let leases = on.store.claim(&engine("e"), 10).await.unwrap();
    set(&on, &leases[1], RunStatus::Pending).await;
    assert_eq!(lock(&on, &leases[1]).await, waits(5, 0));
    assert_eq!(lock(&on, &leases[2]).await, Locked::Held);
    set(&on, &leases[2], RunStatus::Running).await;
    refused(6, 5, "it goes").await;
    finish(&on, &leases[2]).await;
    refused(6, 2, "one is queued").await;
    refused(0, 2, "a younger one is queued").await;
    assert_eq!(lock(&on, &leases[1]).await, Locked::Held);
    finish(&on, &leases[1]).await;
    create(&on, 6, Reject, RunStatus::Pending).await.unwrap();
    // On another cluster no run is in the way.
    on.store.create_run(&new_run_on("other", 7, Reject, RunStatus::Pending)).await.unwrap();
}

pub(crate) async fn a_run_that_rejects_a_busy_cluster_has_no_lock_before_it_is_approved(
    on: Fixture,
) {
    create(&on, 1, Reject, RunStatus::PendingApprove).await.unwrap();
    create(&on, 2, Reject, RunStatus::Pending).await.unwrap();
    let leases = on.store.claim(&engine("e"), 10).await.unwrap();
    set(&on, &leases[0], RunStatus::Pending).await;
    assert_eq!(lock(&on, &leases[0]).await, waits(2, 0));
    let error = create(&on, 3, Reject, RunStatus::PendingApprove).await.unwrap_err();
    assert!(matches!(error, StoreError::ClusterBusy { .. }), "{error}");
}

pub(crate) async fn of_runs_that_reject_each_other_and_are_created_at_once_one_is(on: Fixture) {
    let on = Arc::new(on);
    for round in 0..6_u128 {
        let creates = (0..4).map(|n| {
            let on = on.clone();
            tokio::spawn(
                async move { create(&on, round * 10 + n, Reject, RunStatus::Pending).await },
            )
        });
        let (mut created, mut refused) = (vec![], vec![]);
        for create in creates.collect::<Vec<_>>() {
            match create.await.unwrap() {
                Ok(Created::New(run)) => created.push(run),
                Err(StoreError::ClusterBusy { run, .. }) => refused.push(run),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(created.len(), 1, "round {round}");
        assert_eq!(refused, [created[0]; 3], "round {round}");
        let lease = on.claim("e").await;
        assert_eq!(lock(&on, &lease).await, Locked::Held);
        finish(&on, &lease).await;
    }
}

/// A queued run asks for the lock while a run that rejects a busy cluster is created.
pub(crate) async fn a_lock_is_not_given_twice_by_its_creation_and_by_asking_for_it(on: Fixture) {
    let on = Arc::new(on);
    for round in 0..8_u128 {
        let (queued, rejecting) = (round * 10 + 2, round * 10 + 1);
        let asking = on.clone();
        let asks = tokio::spawn(async move {
            create(&asking, queued, Queue, RunStatus::Pending).await.unwrap();
            let lease = asking.store.claim(&engine("e"), 10).await.unwrap();
            let lease = lease.into_iter().find(|lease| lease.run == run_id(queued)).unwrap();
            (lock(&asking, &lease).await, lease)
        });
        let created = create(&on, rejecting, Reject, RunStatus::Pending).await;
        let (locked, lease) = asks.await.unwrap();
        match created {
            Ok(Created::New(run)) => {
                assert_eq!(locked, Locked::Waits { run, queued: 0 }, "round {round}");
                on.clock.advance(LEASE);
                for lease in on.store.claim(&engine("f"), 10).await.unwrap() {
                    finish(&on, &lease).await;
                }
            }
            Err(StoreError::ClusterBusy { run, .. }) => {
                assert_eq!((run, locked), (run_id(queued), Locked::Held), "round {round}");
                finish(&on, &lease).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The cluster with one guard that counts agents, or without any.
fn with_guards(is_guarded: bool) -> Cluster {
    let mut cluster = cluster(CLUSTER, if is_guarded { "guarded" } else { "" });
    let guard = Guard { name: "one".to_owned(), by: None, max_out: Amount::Count(1), groups: None };
    cluster.spec.guards.guards.extend(is_guarded.then_some(guard));
    cluster
}

/// Puts the cluster, alone or together with others. Returns the run because of which that is refused.
async fn put(on: &Fixture, new: Cluster, with_others: bool) -> Option<RunId> {
    let put = match with_others {
        true => on.store.put_all(&[Object::Cluster(new.clone())]).await.map(drop),
        false => on.store.put_cluster(&new).await.map(drop),
    };
    match put {
        Ok(()) => {
            assert_eq!(on.store.cluster(CLUSTER).await.unwrap().unwrap().text, new.text);
            None
        }
        Err(StoreError::ClusterInUse { cluster, run }) => {
            assert_eq!(cluster, CLUSTER);
            assert_ne!(on.store.cluster(CLUSTER).await.unwrap().unwrap().text, new.text);
            Some(run)
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn the_only_run_that_goes_gets_the_lock_with_the_first_guards(on: Fixture) {
    for n in [1, 2] {
        create(&on, n, Allow, RunStatus::Pending).await.unwrap();
    }
    let leases = queue(&on, [3, 4]).await;
    let is_free =
        async || on.store.queues(&[CLUSTER.to_owned()]).await.unwrap()[0].holder.is_none();
    // Nobody goes.
    assert_eq!(put(&on, with_guards(true), false).await, None);
    assert!(is_free().await);
    assert_eq!(put(&on, with_guards(false), false).await, None);

    set(&on, &leases[1], RunStatus::Running).await;
    for with_others in [false, true] {
        assert_eq!(put(&on, with_guards(true), with_others).await, None);
        // It had not asked for it.
        assert_eq!(lock(&on, &leases[2]).await, waits(2, 0), "{with_others}");
        assert_eq!(lock(&on, &leases[0]).await, waits(2, 0), "{with_others}");
        assert_eq!(lock(&on, &leases[1]).await, Locked::Held, "{with_others}");
        assert_eq!(put(&on, with_guards(false), with_others).await, None);
    }
    finish(&on, &leases[1]).await;
    assert!(is_free().await);

    // One has the lock and has not begun.
    assert_eq!(lock(&on, &leases[2]).await, Locked::Held);
    assert_eq!(put(&on, with_guards(true), false).await, None, "it goes alone");
    assert_eq!(put(&on, with_guards(false), false).await, None);
    set(&on, &leases[0], RunStatus::Paused).await;
    for with_others in [false, true] {
        assert_eq!(put(&on, with_guards(true), with_others).await, Some(run_id(1)));
    }
    assert_eq!(lock(&on, &leases[2]).await, Locked::Held);
    finish(&on, &leases[2]).await;
    // Guards that are there already may be changed in any case.
    assert_eq!(put(&on, with_guards(true), false).await, None);
    set(&on, &leases[3], RunStatus::Starting).await;
    let mut tighter = with_guards(true);
    tighter.text.push_str(" more");
    tighter.spec.guards.guards[0].max_out = Amount::Count(0);
    assert_eq!(put(&on, tighter, false).await, None);
    assert_eq!(lock(&on, &leases[3]).await, waits(1, 0));
}

/// A run asks for the lock while another one, which goes without it, gets it with the guards.
pub(crate) async fn of_a_lock_and_first_guards_at_once_one_run_gets_the_cluster(on: Fixture) {
    let on = Arc::new(on);
    for round in 0..8_u128 {
        let (going, queued) = (round * 10 + 1, round * 10 + 2);
        create(&on, going, Allow, RunStatus::Pending).await.unwrap();
        let leases = queue(&on, [queued]).await;
        set(&on, &leases[0], RunStatus::Running).await;
        let asking = (on.clone(), leases[1].clone());
        let asks = tokio::spawn(async move { lock(&asking.0, &asking.1).await });
        let refused = put(&on, with_guards(true), false).await;
        match (asks.await.unwrap(), refused) {
            (Locked::Held, Some(run)) => assert_eq!(run, run_id(going)),
            (Locked::Waits { run, .. }, None) => assert_eq!(run, run_id(going)),
            other => panic!("round {round}: {other:?}"),
        }
        for lease in &leases {
            finish(&on, lease).await;
        }
        assert_eq!(put(&on, with_guards(false), false).await, None);
    }
}
