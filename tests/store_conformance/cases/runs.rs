//! Runs: created once for each request, never without what they need, and listed.

use std::sync::Arc;

use replibook_core::playbook::Concurrency;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{Digest, EngineId, Millis, RunStatus};
use replibook_store::memory::Damaged;
use replibook_store::{Created, Head, Lease, MAX_COMMIT_DOCUMENTS, RunFilter, StoreError};

use crate::backends::{Fixture, RETENTION};
use crate::samples::{
    asking_for, cluster, event, finished, new_run, new_run_on, only, page, playbook, plugin,
    progress, run, run_id,
};

pub(crate) async fn how_far_runs_are_is_asked_for_at_once(on: Fixture) {
    for n in [1, 2, 3] {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&EngineId("e".to_owned()), 10).await.unwrap();
    let commit = async |lease: &Lease, progress| {
        on.store.commit(lease.run, lease.epoch, &only(progress)).await.unwrap();
    };
    commit(&leases[1], progress(RunStatus::Running, on.now())).await;
    commit(&leases[2], finished(on.now())).await;
    let asked = [3, 9, 1, 2, 2].map(run_id);
    let heads = async || on.store.heads(&asked).await.unwrap();
    let head = |n, status, next_event| Head {
        run: run_id(n),
        status: Some(status),
        next_event: Some(next_event),
    };
    let first = [head(1, RunStatus::Pending, 1), head(2, RunStatus::Running, 7)];
    let last = head(3, RunStatus::Done, 7);
    assert_eq!(heads().await, [&first[..], &[last]].concat());
    on.clock.advance(Millis(RETENTION.0 + 1));
    assert_eq!(heads().await, first, "what has expired is not there");
    on.damage(&Damaged::Progress(run_id(1)), 0).await;
    assert_eq!(heads().await[1..], first[1..]);
    assert!(on.store.heads(&[]).await.unwrap().is_empty());
}

pub(crate) async fn a_run_is_created_with_its_first_events(on: Fixture) {
    let mut new = new_run(1);
    new.events.push(event(run_id(1), 2));
    assert_eq!(on.store.create_run(&new).await.unwrap(), Created::New(run_id(1)));
    assert_eq!(on.store.run(run_id(1)).await.unwrap(), Some(new.run.clone()));
    assert_eq!(on.store.events(run_id(1), 0, 100).await.unwrap(), new.events);
    assert_eq!(on.store.run(run_id(2)).await.unwrap(), None);

    // Without a key, the identifier shows that a request is repeated.
    assert_eq!(on.store.create_run(&new).await.unwrap(), Created::Before(run_id(1)));
    new.request = Digest::of(b"another");
    let error = on.store.create_run(&new).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
}

pub(crate) async fn a_request_with_a_known_key_creates_nothing(on: Fixture) {
    let store = &on.store;
    let with_key = |n| {
        let mut new = new_run(n);
        new.idempotency_key = Some("key".to_owned());
        new.request = Digest::of(b"the request");
        new
    };
    assert_eq!(store.create_run(&with_key(1)).await.unwrap(), Created::New(run_id(1)));
    assert_eq!(store.create_run(&with_key(2)).await.unwrap(), Created::Before(run_id(1)));
    assert_eq!(store.run(run_id(2)).await.unwrap(), None);
    assert_eq!(store.events(run_id(2), 0, 100).await.unwrap(), []);

    let mut another = with_key(2);
    another.request = Digest::of(b"another request");
    let error = store.create_run(&another).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(store.run(run_id(2)).await.unwrap(), None);

    // Repeating the request does not set the run back.
    let lease = on.claim("e").await;
    store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    assert_eq!(store.create_run(&with_key(1)).await.unwrap(), Created::Before(run_id(1)));
    let found = store.run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(found.progress, finished(on.now()));

    on.clock.advance(Millis(RETENTION.0 + 1));
    assert_eq!(store.create_run(&another).await.unwrap(), Created::New(run_id(2)));
    assert_eq!(store.create_run(&another).await.unwrap(), Created::Before(run_id(2)));
}

pub(crate) async fn a_run_is_not_created_when_a_plugin_is_missing(on: Fixture) {
    let (plugin, _) = plugin(1);
    let new = asking_for(run(1, &playbook("restart", "1.0.0", &[&plugin])));
    let error = on.store.create_run(&new).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingPlugin { .. }), "{error}");
    assert_eq!(on.store.run(run_id(1)).await.unwrap(), None);
    assert_eq!(on.store.events(run_id(1), 0, 100).await.unwrap(), []);
}

pub(crate) async fn a_request_is_found_by_its_key_whatever_became_of_its_cluster(on: Fixture) {
    let store = &on.store;
    let request = Digest::of(b"the request");
    assert_eq!(store.run_of_request("key", &request).await.unwrap(), None);
    let mut new = new_run(1);
    new.idempotency_key = Some("key".to_owned());
    new.request = request.clone();
    store.create_run(&new).await.unwrap();
    assert_eq!(store.run_of_request("key", &request).await.unwrap(), Some(new.run.clone()));
    assert_eq!(store.run_of_request("other", &request).await.unwrap(), None);
    let another = store.run_of_request("key", &Digest::of(b"another")).await.unwrap_err();
    assert!(matches!(another, StoreError::Conflict { .. }), "{another}");
    assert!(another.to_string().contains(&run_id(1).to_string()), "{another}");

    let lease = on.claim("e").await;
    store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    assert!(store.delete_cluster("mongo-eu").await.unwrap());
    let found = store.run_of_request("key", &request).await.unwrap().unwrap();
    assert_eq!(found.progress, finished(on.now()));
    assert_eq!(store.create_run(&new).await.unwrap(), Created::Before(run_id(1)));

    on.clock.advance(Millis(RETENTION.0 + 1));
    assert_eq!(store.run_of_request("key", &request).await.unwrap(), None);
    let error = store.create_run(&new).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingCluster { .. }), "{error}");
}

pub(crate) async fn a_run_is_not_created_when_its_cluster_is_missing(on: Fixture) {
    for concurrency in [Concurrency::Queue, Concurrency::Reject, Concurrency::Allow] {
        let new = new_run_on("nowhere", 1, concurrency, RunStatus::Pending);
        let error = on.store.create_run(&new).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::MissingCluster { cluster } if cluster == "nowhere"),
            "{error}"
        );
        assert!(!error.retryable());
        assert_eq!(on.store.run(run_id(1)).await.unwrap(), None);
        assert_eq!(on.store.events(run_id(1), 0, 100).await.unwrap(), []);
    }
}

pub(crate) async fn a_cluster_is_not_removed_while_a_run_of_it_has_not_ended(on: Fixture) {
    let store = &on.store;
    let statuses = [RunStatus::PendingApprove, RunStatus::Pending];
    for (n, status) in (1..).zip(statuses) {
        store.create_run(&new_run_on("mongo-eu", n, Concurrency::Allow, status)).await.unwrap();
    }
    let in_use = async |by: u128| {
        let error = store.delete_cluster("mongo-eu").await.unwrap_err();
        assert!(
            matches!(&error, StoreError::ClusterInUse { cluster, run }
                if (cluster.as_str(), *run) == ("mongo-eu", run_id(by))),
            "{error}"
        );
        assert!(store.cluster("mongo-eu").await.unwrap().is_some());
    };
    in_use(1).await;
    assert!(store.delete_cluster("other").await.unwrap(), "nothing goes there");

    let leases = store.claim(&EngineId("e".to_owned()), 2).await.unwrap();
    for status in RunStatus::ALL.into_iter().filter(|status| !status.is_final()) {
        let writes = only(progress(status, on.now()));
        store.commit(leases[0].run, leases[0].epoch, &writes).await.unwrap();
        in_use(1).await;
    }
    let finish = only(finished(on.now()));
    store.commit(leases[0].run, leases[0].epoch, &finish).await.unwrap();
    in_use(2).await;
    store.commit(leases[1].run, leases[1].epoch, &finish).await.unwrap();
    assert!(store.delete_cluster("mongo-eu").await.unwrap());
    assert!(!store.delete_cluster("mongo-eu").await.unwrap());
}

pub(crate) async fn of_a_run_and_the_removal_of_its_cluster_at_once_one_happens(on: Fixture) {
    for n in 0..12_u128 {
        let name = format!("c-{n}");
        on.store.put_cluster(&cluster(&name, "")).await.unwrap();
        let concurrency = [Concurrency::Queue, Concurrency::Reject, Concurrency::Allow];
        let concurrency = concurrency[usize::try_from(n % 3).unwrap()];
        let new = new_run_on(&name, n, concurrency, RunStatus::Pending);
        let (created, removed) =
            tokio::join!(on.store.create_run(&new), on.store.delete_cluster(&name));
        let is_there = on.store.cluster(&name).await.unwrap().is_some();
        match (created, removed) {
            (Ok(Created::New(_)), Err(StoreError::ClusterInUse { .. })) => assert!(is_there),
            (Err(StoreError::MissingCluster { .. }), Ok(true)) => assert!(!is_there),
            other => panic!("round {n}: {other:?}"),
        }
    }
}

pub(crate) async fn a_run_is_not_created_with_too_many_events(on: Fixture) {
    let mut new = new_run(1);
    new.events = (1..=MAX_COMMIT_DOCUMENTS as u64 + 1).map(|seq| event(run_id(1), seq)).collect();
    let error = on.store.create_run(&new).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { unit: "documents", .. }), "{error}");
    assert_eq!(on.store.run(run_id(1)).await.unwrap(), None);
}

pub(crate) async fn a_snapshot_is_untouched_by_what_is_applied_later(on: Fixture) {
    let store = &on.store;
    let (first_plugin, first_bytes) = plugin(1);
    store.put_plugin(&first_plugin, first_bytes.clone()).await.unwrap();
    let first = playbook("restart", "1.0.0", &[&first_plugin]);
    store.put_playbook(&first).await.unwrap();
    let new = asking_for(run(1, &first));
    store.create_run(&new).await.unwrap();
    let lease = on.claim("e").await;
    let going = progress(RunStatus::Running, on.now());
    store.commit(lease.run, lease.epoch, &only(going)).await.unwrap();

    // In the middle of the run, a new version of both is applied, and the old playbook is deleted.
    let (mut second_plugin, second_bytes) = plugin(2);
    second_plugin.info.name.clone_from(&first_plugin.info.name);
    second_plugin.info.version.clone_from(&first_plugin.info.version);
    store.put_plugin(&second_plugin, second_bytes).await.unwrap();
    let mut second = playbook("restart", "1.1.0", &[&second_plugin]);
    second.playbook.stages[0].name = "renamed".to_owned();
    store.put_playbook(&second).await.unwrap();
    store.delete_playbook("restart", &first.playbook.version).await.unwrap();
    assert!(store.delete_plugin(&first_plugin.info.digest).await.is_err());

    let going_on = progress(RunStatus::Paused, on.now());
    store.commit(lease.run, lease.epoch, &only(going_on.clone())).await.unwrap();
    let found = store.run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(found.snapshot, new.run.snapshot);
    assert_eq!(found.progress, going_on);
    for digest in found.snapshot.pins() {
        assert_eq!(store.plugin_bytes(digest).await.unwrap(), Some(first_bytes.clone()));
    }
}

pub(crate) async fn runs_are_listed_newest_first(on: Fixture) {
    let store = &on.store;
    for n in [3, 1, 5, 2, 4] {
        let mut new = new_run(n);
        let snapshot = Arc::make_mut(&mut new.run.snapshot);
        let name = if n % 2 == 0 { "even" } else { "odd" };
        snapshot.cluster = name.to_owned();
        store.put_cluster(&cluster(name, "")).await.unwrap();
        store.create_run(&new).await.unwrap();
    }
    let first =
        store.claim(&replibook_core::run::EngineId("e".to_owned()), 1).await.unwrap().remove(0);
    let going = progress(RunStatus::Running, on.now());
    store.commit(first.run, first.epoch, &only(going)).await.unwrap();

    let list = async |cluster: Option<&str>, statuses: &[RunStatus], after: Option<u128>, limit| {
        let filter = RunFilter {
            cluster: cluster.map(str::to_owned),
            statuses: statuses.to_vec(),
            ..RunFilter::default()
        };
        let after = after.map(|n| run_id(n).to_string());
        let found = store.runs(&filter, &page(after.as_deref(), limit)).await.unwrap();
        found.iter().map(|run| run.id().0.as_u128()).collect::<Vec<_>>()
    };
    let (pending, running) = (RunStatus::Pending, RunStatus::Running);
    assert_eq!(list(None, &[], None, 100).await, [5, 4, 3, 2, 1]);
    assert_eq!(list(None, &[], None, 2).await, [5, 4]);
    assert_eq!(list(None, &[], Some(4), 2).await, [3, 2]);
    assert_eq!(list(Some("odd"), &[], None, 100).await, [5, 3, 1]);
    assert_eq!(list(Some("odd"), &[pending], Some(5), 100).await, [3]);
    assert_eq!(list(None, &[running], None, 100).await, [1]);
    assert_eq!(list(None, &[running, pending], None, 100).await, [5, 4, 3, 2, 1]);
    assert_eq!(list(Some("none"), &[], None, 100).await, [0; 0]);
}

pub(crate) async fn runs_are_found_by_their_playbook_and_from_one_on(on: Fixture) {
    let store = &on.store;
    store.put_cluster(&cluster("other", "")).await.unwrap();
    for n in 1..=12_u128 {
        let (name, version) = match n % 4 {
            0 => ("upgrade", "2.0.0"),
            1 => ("restart", "1.0.0-rc.1"),
            _ => ("restart", "1.0.0"),
        };
        let mut new = asking_for(run(n, &playbook(name, version, &[])));
        if n > 6 {
            Arc::make_mut(&mut new.run.snapshot).cluster = "other".to_owned();
        }
        store.create_run(&new).await.unwrap();
    }
    for lease in store.claim(&replibook_core::run::EngineId("e".to_owned()), 3).await.unwrap() {
        let going = progress(RunStatus::Running, on.now());
        store.commit(lease.run, lease.epoch, &only(going)).await.unwrap();
    }
    let list = async |filter: &RunFilter, after: Option<u128>, limit| {
        let after = after.map(|n| run_id(n).to_string());
        let found = store.runs(filter, &page(after.as_deref(), limit)).await.unwrap();
        found.iter().map(|run| run.id().0.as_u128()).collect::<Vec<_>>()
    };
    let of = |name: &str, version: Option<&str>| RunFilter {
        playbook: Some(name.to_owned()),
        version: version.map(|version| version.parse().unwrap()),
        ..RunFilter::default()
    };
    let from = |n, filter: RunFilter| RunFilter { from: Some(run_id(n)), ..filter };
    let on_other = |filter: RunFilter| RunFilter { cluster: Some("other".to_owned()), ..filter };
    let has = |statuses: &[RunStatus], filter: RunFilter| RunFilter {
        statuses: statuses.to_vec(),
        ..filter
    };
    // Patterns of playbooks and of clusters; nothing stands for all.
    let sight = |playbooks: &[&str], clusters: &[&str]| {
        let patterns = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|one| (*one).to_owned()).collect();
            (!all.is_empty()).then_some(all)
        };
        Sight { playbooks: patterns(playbooks), clusters: patterns(clusters) }
    };
    let seen =
        |sights: &[Sight], filter: RunFilter| RunFilter { seen: Some(sights.to_vec()), ..filter };
    let (pending, running) = (RunStatus::Pending, RunStatus::Running);
    let (restart, of_rc) = (of("restart", None), of("restart", Some("1.0.0-rc.1")));
    let cases = [
        (restart.clone(), vec![11, 10, 9, 7, 6, 5, 3, 2, 1]),
        (of_rc.clone(), vec![9, 5, 1]),
        (of("restart", Some("1.0.0-rc.2")), vec![]),
        (of("restart", Some("1.0.0+build")), vec![]),
        (of("rest", None), vec![]),
        (from(10, RunFilter::default()), vec![12, 11, 10]),
        (from(13, RunFilter::default()), vec![]),
        (from(6, restart.clone()), vec![11, 10, 9, 7, 6]),
        (on_other(restart.clone()), vec![11, 10, 9, 7]),
        (on_other(of_rc.clone()), vec![9]),
        (has(&[running], restart.clone()), vec![3, 2, 1]),
        (has(&[running], of_rc.clone()), vec![1]),
        (has(&[pending, running, pending], from(3, of_rc.clone())), vec![9, 5]),
        (has(&[pending], on_other(of_rc.clone())), vec![9]),
        (has(&[running, pending], on_other(from(8, restart.clone()))), vec![11, 10, 9]),
        (has(&[running], on_other(restart.clone())), vec![]),
        (seen(&[], RunFilter::default()), vec![]),
        (seen(&[], has(&[pending, running], RunFilter::default())), vec![]),
        (seen(&[sight(&[], &[])], of_rc.clone()), vec![9, 5, 1]),
        (seen(&[sight(&["up*"], &[])], RunFilter::default()), vec![12, 8, 4]),
        (seen(&[sight(&["upgrad"], &[])], RunFilter::default()), vec![]),
        (
            seen(&[sight(&["re*", "upgrade"], &["oth*"])], from(9, RunFilter::default())),
            vec![12, 11, 10, 9],
        ),
        (seen(&[sight(&["upgrade"], &["other"])], restart.clone()), vec![]),
        (
            seen(
                &[sight(&["upgrade"], &["other"]), sight(&["restart"], &["mongo-*"])],
                has(&[pending], RunFilter::default()),
            ),
            vec![12, 8, 6, 5],
        ),
        // As many as an access file may have.
        (seen(&vec![sight(&["nothing"], &["nowhere"]); 1_000], of_rc.clone()), vec![]),
        (
            seen(&[sight(&vec!["up*"; 2_000], &[])], has(&[pending, running], of("upgrade", None))),
            vec![12, 8, 4],
        ),
    ];
    for (filter, expected) in &cases {
        assert_eq!(list(filter, None, 100).await, *expected, "{filter:?}");
        // The same list in pages.
        let (mut paged, mut after): (Vec<u128>, _) = (Vec::new(), None);
        loop {
            let found = list(filter, after, 2).await;
            paged.extend(&found);
            match found.last() {
                Some(last) if found.len() == 2 => after = Some(*last),
                Some(_) | None => break,
            }
        }
        assert_eq!(paged, *expected, "{filter:?}");
    }
    let newest = store.newest_runs(Some(&[sight(&["up*"], &["other"])]), 9).await.unwrap();
    assert_eq!(newest, [12, 8].map(run_id));
    assert_eq!(store.newest_runs(Some(&[]), 9).await.unwrap(), []);
}

pub(crate) async fn the_newest_runs_are_known_without_their_documents(on: Fixture) {
    let store = &on.store;
    for n in 1..=5 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    on.damage(&Damaged::Snapshot(run_id(4)), 0).await;
    let newest = async |limit| store.newest_runs(None, limit).await.unwrap();
    assert_eq!(newest(9).await, [5, 4, 3, 2, 1].map(run_id));
    assert_eq!(newest(2).await, [5, 4].map(run_id));
    assert_eq!(newest(0).await, []);
}
