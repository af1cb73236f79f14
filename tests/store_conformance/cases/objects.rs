//! Playbooks and clusters: kept, unchanged or in conflict, and applied all together or not at all.

use replibook_core::run::{Digest, Timestamp};
use replibook_store::{MAX_PUT, Object, Put, StoreError};

use crate::backends::Fixture;
use crate::samples::{CLUSTERS, cluster, page, playbook, plugin};

pub(crate) async fn a_store_says_its_name_and_that_it_answers(on: Fixture) {
    assert!(!on.store.name().is_empty());
    on.store.ping().await.unwrap();
}

pub(crate) async fn a_playbook_is_kept_once(on: Fixture) {
    let store = &on.store;
    let first = playbook("team/restart", "1.0.0", &[]);
    assert_eq!(store.put_playbook(&first).await.unwrap(), Put::Created);
    assert_eq!(store.put_playbook(&first).await.unwrap(), Put::Unchanged);

    // The same content with another layout is the same playbook; the first text stays.
    let mut again = first.clone();
    again.text.push_str("# a remark");
    again.applied_at = Timestamp::from_millis(9);
    assert_eq!(store.put_playbook(&again).await.unwrap(), Put::Unchanged);
    let version = first.playbook.version.clone();
    let found = store.playbook("team/restart", Some(&version)).await.unwrap();
    assert_eq!(found, Some(first));

    assert!(store.delete_playbook("team/restart", &version).await.unwrap());
    assert!(!store.delete_playbook("team/restart", &version).await.unwrap());
    assert_eq!(store.playbook("team/restart", Some(&version)).await.unwrap(), None);
    assert_eq!(store.playbook("team/restart", None).await.unwrap(), None);
    assert_eq!(store.put_playbook(&again).await.unwrap(), Put::Created);
}

pub(crate) async fn changed_content_under_a_known_name_and_version_conflicts(on: Fixture) {
    let first = playbook("restart", "1.0.0", &[]);
    on.store.put_playbook(&first).await.unwrap();
    let mut changed = first.clone();
    changed.playbook.summary = None;
    changed.content = Digest::of(b"changed");
    let error = on.store.put_playbook(&changed).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("playbook restart version 1.0.0"), "{error}");
    assert!(!error.retryable());
    assert_eq!(on.store.playbook("restart", None).await.unwrap(), Some(first));
}

pub(crate) async fn a_playbook_pins_only_plugins_that_are_there(on: Fixture) {
    let (plugin, bytes) = plugin(1);
    let pinning = playbook("restart", "1.0.0", &[&plugin]);
    let error = on.store.put_playbook(&pinning).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::MissingPlugin { digest } if *digest == plugin.info.digest),
        "{error}"
    );
    assert_eq!(on.store.playbook("restart", None).await.unwrap(), None);
    on.store.put_plugin(&plugin, bytes).await.unwrap();
    assert_eq!(on.store.put_playbook(&pinning).await.unwrap(), Put::Created);
}

pub(crate) async fn playbooks_are_listed_by_name_and_semantic_version(on: Fixture) {
    let sorted = ["a@1.9.0", "a@1.10.0-rc.2", "a@1.10.0-rc.10", "a@1.10.0", "a/b@0.1.0", "b@0.1.0"];
    for index in [3, 5, 0, 4, 2, 1] {
        let (name, version) = sorted[index].split_once('@').unwrap();
        on.store.put_playbook(&playbook(name, version, &[])).await.unwrap();
    }
    let list = async |after, limit| {
        let found = on.store.playbooks(&page(after, limit)).await.unwrap();
        let key = |p: &replibook_store::StoredPlaybook| {
            format!("{}@{}", p.playbook.name, p.playbook.version)
        };
        found.iter().map(key).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 100).await, sorted);
    assert_eq!(list(None, 2).await, sorted[..2]);
    assert_eq!(list(Some("a@1.10.0-rc.2"), 2).await, sorted[2..4]);
    assert_eq!(list(Some("a@1.9.9"), 100).await, sorted[1..]);
    assert_eq!(list(Some("b@0.1.0"), 100).await, [""; 0]);
    assert_eq!(list(None, 0).await, [""; 0]);

    let highest = on.store.playbook("a", None).await.unwrap().unwrap();
    assert_eq!(highest.playbook.version.to_string(), "1.10.0");
}

pub(crate) async fn a_cluster_is_replaced_by_the_last_one_put(on: Fixture) {
    let store = &on.store;
    let first = cluster("b", "one");
    assert_eq!(store.put_cluster(&first).await.unwrap(), Put::Created);
    let mut later = first.clone();
    later.applied_at = Timestamp::from_millis(9);
    assert_eq!(store.put_cluster(&later).await.unwrap(), Put::Unchanged);
    assert_eq!(store.cluster("b").await.unwrap(), Some(first));
    later.text = "two".to_owned();
    assert_eq!(store.put_cluster(&later).await.unwrap(), Put::Updated);
    assert_eq!(store.cluster("b").await.unwrap(), Some(later.clone()));

    for name in ["c", "a"] {
        store.put_cluster(&cluster(name, "")).await.unwrap();
    }
    let list = async |after, limit| {
        let found = store.clusters(&page(after, limit)).await.unwrap();
        found.into_iter().map(|cluster| cluster.spec.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 100).await, ["a", "b", "c", CLUSTERS[0], CLUSTERS[1]]);
    assert_eq!(list(Some("a"), 1).await, ["b"]);
    assert_eq!(list(Some("aa"), 2).await, ["b", "c"]);

    assert!(store.delete_cluster("b").await.unwrap());
    assert!(!store.delete_cluster("b").await.unwrap());
    assert_eq!(store.cluster("b").await.unwrap(), None);
}

pub(crate) async fn what_is_applied_together_is_kept_whole_or_not_at_all(on: Fixture) {
    let store = &on.store;
    let (known, one) = (playbook("known", "1.0.0", &[]), playbook("one", "1.0.0", &[]));
    store.put_playbook(&known).await.unwrap();
    store.put_cluster(&cluster("b", "before")).await.unwrap();
    let (plugin, bytes) = plugin(1);
    let pinning = playbook("pinning", "1.0.0", &[&plugin]);
    let mut changed = known.clone();
    changed.content = Digest::of(b"changed");

    // The document that is refused comes after others that could be kept.
    for wrong in [&changed, &pinning] {
        let all = [
            Object::Playbook(one.clone()),
            Object::Cluster(cluster("b", "after")),
            Object::Cluster(cluster("c", "new")),
            Object::Playbook(wrong.clone()),
        ];
        let error = store.put_all(&all).await.unwrap_err();
        if let StoreError::Conflict { what } = &error {
            assert_eq!(what, "playbook known version 1.0.0");
        } else {
            let StoreError::MissingPlugin { digest } = error else { panic!("{error}") };
            assert_eq!(digest, plugin.info.digest);
        }
        assert_eq!(store.playbook("one", None).await.unwrap(), None);
        assert_eq!(store.cluster("b").await.unwrap(), Some(cluster("b", "before")));
        assert_eq!(store.cluster("c").await.unwrap(), None);
    }

    store.put_plugin(&plugin, bytes).await.unwrap();
    let all = [
        Object::Playbook(one.clone()),
        Object::Playbook(known.clone()),
        Object::Cluster(cluster("b", "after")),
        Object::Cluster(cluster("c", "new")),
        Object::Cluster(cluster("c", "newer")),
        Object::Playbook(pinning.clone()),
    ];
    let put =
        [Put::Created, Put::Unchanged, Put::Updated, Put::Created, Put::Updated, Put::Created];
    assert_eq!(store.put_all(&all).await.unwrap(), put);
    assert_eq!(store.playbook("pinning", None).await.unwrap(), Some(pinning));
    assert_eq!(store.cluster("c").await.unwrap(), Some(cluster("c", "newer")));
    let again = store.put_all(&all[..3]).await.unwrap();
    assert_eq!(again, [Put::Unchanged; 3]);
    assert_eq!(store.put_all(&[]).await.unwrap(), []);
}

pub(crate) async fn no_more_is_applied_together_than_may_be(on: Fixture) {
    let all = |count| -> Vec<_> {
        let names = (0..count).map(|n| format!("c-{n:03}"));
        names.map(|name| Object::Cluster(cluster(&name, ""))).collect()
    };
    let error = on.store.put_all(&all(MAX_PUT + 1)).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::TooLarge { found: 101, unit: "documents", limit: MAX_PUT }
    ));
    assert_eq!(on.store.cluster("c-000").await.unwrap(), None);
    assert_eq!(on.store.put_all(&all(MAX_PUT)).await.unwrap(), [Put::Created; MAX_PUT]);
}

/// Two people apply the same versions with different contents at once. All documents of one person are kept,
/// and none of the other.
pub(crate) async fn of_what_is_applied_at_once_and_conflicts_one_is_kept_whole(on: Fixture) {
    for round in 0..8 {
        let names = ["a", "b", "c"].map(|name| format!("{name}-{round}"));
        let all = |who: &str, order: [usize; 3]| {
            order.map(|index| {
                let mut book = playbook(&names[index], "1.0.0", &[]);
                book.content = Digest::of(who.as_bytes());
                Object::Playbook(book)
            })
        };
        let (ada, bob) = (all("ada", [0, 1, 2]), all("bob", [2, 1, 0]));
        let (first, second) = tokio::join!(on.store.put_all(&ada), on.store.put_all(&bob));
        let kept = match (first, second) {
            (Ok(_), Err(StoreError::Conflict { .. })) => "ada",
            (Err(StoreError::Conflict { .. }), Ok(_)) => "bob",
            other => panic!("{other:?}"),
        };
        for name in &names {
            let found = on.store.playbook(name, None).await.unwrap().unwrap();
            assert_eq!(found.content, Digest::of(kept.as_bytes()), "{name}");
        }
    }
}

pub(crate) async fn keys_that_are_none_are_refused(on: Fixture) {
    let none = page(Some("???"), 1);
    for error in [
        on.store.playbooks(&none).await.unwrap_err(),
        on.store.plugins(&none).await.unwrap_err(),
        on.store.runs(&Default::default(), &none).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::BadCursor { .. }), "{error}");
        assert!(error.to_string().contains("\"???\""), "{error}");
        assert!(!error.retryable());
    }
}
