//! Plugins that nothing pins any more, and how they go.

use replibook_core::run::{Digest, Millis, Timestamp};
use replibook_store::memory::Damaged;
use replibook_store::{
    Keeping, MAX_SWEPT_PLUGINS, Object, PLUGIN_SWEEP, Plugin, Put, StoreError, StoreOptions,
    SweptPlugins,
};

use crate::backends::{Fixture, PLUGIN_RETENTION, RETENTION, START, options};
use crate::samples::{
    asking_for, cluster, finished, only, playbook, plugin, run, run_id, signature,
};

/// Makes the next sweep, as soon as that may be, and returns what it removed. It looks at all plugins if they are fewer
/// than it may look at.
async fn swept(on: &Fixture) -> Vec<Digest> {
    on.clock.advance(PLUGIN_SWEEP);
    on.store.sweep_plugins(MAX_SWEPT_PLUGINS).await.unwrap().unwrap().removed
}

/// Lets time pass such that a plugin goes in the second sweep from now on, if its retention begins now.
fn nearly(on: &Fixture) {
    on.clock.advance(Millis(PLUGIN_RETENTION.0 - PLUGIN_SWEEP.0));
}

async fn unpinned_at(on: &Fixture, digest: &Digest) -> Option<Timestamp> {
    on.store.plugin(digest).await.unwrap().unwrap().unpinned_at
}

/// Keeps plugin number `n`, and returns its digest.
async fn put(on: &Fixture, n: u8) -> Digest {
    let (plugin, bytes) = plugin(n);
    on.store.put_plugin(&plugin, bytes).await.unwrap();
    plugin.info.digest
}

pub(crate) async fn a_plugin_that_nothing_pins_goes_with_all_that_is_known_of_it(on: Fixture) {
    let store = &on.store;
    let (kept, bytes) = plugin(1);
    store.put_plugin(&kept, bytes).await.unwrap();
    store.put_playbook(&playbook("restart", "1.0.0", &[&kept])).await.unwrap();
    let (goes, bytes) = plugin(2);
    let digest = &goes.info.digest;
    store.put_plugin(&goes, bytes.clone()).await.unwrap();
    store.sign_plugin(digest, &[signature("one", Some("RWQ"))]).await.unwrap();
    assert_eq!(unpinned_at(&on, digest).await, Some(START));
    assert_eq!(unpinned_at(&on, &kept.info.digest).await, None);

    nearly(&on);
    assert_eq!(swept(&on).await, []);
    assert!(store.plugin_bytes(digest).await.unwrap().is_some());
    assert_eq!(swept(&on).await, std::slice::from_ref(digest));
    assert_eq!(store.plugin(digest).await.unwrap(), None);
    assert_eq!(store.plugin_bytes(digest).await.unwrap(), None);
    assert_eq!(store.plugin_by_name("plugin-2", "1.0.0").await.unwrap(), None);
    for _ in 0..3 {
        on.clock.advance(PLUGIN_RETENTION);
        assert_eq!(swept(&on).await, [], "it is pinned");
    }

    // One that comes again is new.
    let again = Plugin::new(goes.info.clone(), on.now());
    assert_eq!(store.put_plugin(&again, bytes.clone()).await.unwrap(), Put::Created);
    assert_eq!(store.plugin(digest).await.unwrap().as_ref(), Some(&again));
    assert_eq!(store.plugin_bytes(digest).await.unwrap(), Some(bytes));
    nearly(&on);
    assert_eq!(swept(&on).await, []);
    assert_eq!(swept(&on).await, std::slice::from_ref(digest));
}

pub(crate) async fn the_retention_of_a_plugin_begins_when_a_sweep_finds_that_nothing_pins_it(
    on: Fixture,
) {
    let store = &on.store;
    let (first, bytes) = plugin(1);
    store.put_plugin(&first, bytes).await.unwrap();
    let (second, bytes) = plugin(2);
    store.put_plugin(&second, bytes).await.unwrap();
    let book = playbook("restart", "1.0.0", &[&first]);
    store.put_playbook(&book).await.unwrap();
    let of_run = playbook("restart", "2.0.0", &[&second]);
    store.create_run(&asking_for(run(1, &of_run))).await.unwrap();
    let lease = on.claim("e").await;
    store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    store.delete_playbook("restart", &book.playbook.version).await.unwrap();
    assert_eq!(unpinned_at(&on, &first.info.digest).await, None, "nobody has looked");

    assert!(PLUGIN_SWEEP <= RETENTION);
    assert_eq!(swept(&on).await, []);
    let found = on.now();
    assert_eq!(unpinned_at(&on, &first.info.digest).await, Some(found));
    assert_eq!(unpinned_at(&on, &second.info.digest).await, None, "the run has not expired");
    on.clock.advance(Millis(1));
    assert_eq!(swept(&on).await, []);
    let later = on.now();
    assert_eq!(unpinned_at(&on, &second.info.digest).await, Some(later));
    assert_eq!(unpinned_at(&on, &first.info.digest).await, Some(found), "it goes on");

    on.clock.advance(Millis(PLUGIN_RETENTION.0 - later.since(found).0 - PLUGIN_SWEEP.0));
    assert_eq!(swept(&on).await, []);
    on.clock.advance(Millis(1));
    assert_eq!(swept(&on).await, [first.info.digest]);
    assert_eq!(swept(&on).await, [second.info.digest]);
}

pub(crate) async fn whatever_pins_a_plugin_ends_its_retention(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    store.put_plugin(&plugin, bytes).await.unwrap();
    let pinning = |version: &str| playbook("restart", version, &[&plugin]);

    // What fails pins nothing.
    let mut lost = run(1, &pinning("0.1.0"));
    std::sync::Arc::make_mut(&mut lost.snapshot).cluster = "nowhere".to_owned();
    let error = store.create_run(&asking_for(lost)).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingCluster { .. }), "{error}");
    let (missing, _) = crate::samples::plugin(9);
    let both = [
        Object::Playbook(pinning("0.1.0")),
        Object::Playbook(playbook("restart", "0.2.0", &[&missing])),
    ];
    store.put_all(&both).await.unwrap_err();
    assert_eq!(unpinned_at(&on, digest).await, Some(START));

    for way in 0..3 {
        let book = pinning(&format!("1.{way}.0"));
        let pinned = match way {
            0 => store.put_playbook(&book).await.map(drop),
            1 => store.put_all(&[Object::Playbook(book.clone())]).await.map(drop),
            _ => store.create_run(&asking_for(run(2, &book))).await.map(drop),
        };
        pinned.unwrap();
        assert_eq!(unpinned_at(&on, digest).await, None, "{way}");
        on.clock.advance(PLUGIN_RETENTION);
        assert_eq!(swept(&on).await, [], "{way}");
        if way < 2 {
            store.delete_playbook("restart", &book.playbook.version).await.unwrap();
            assert_eq!(swept(&on).await, [], "{way}");
            assert_eq!(unpinned_at(&on, digest).await, Some(on.now()), "{way}");
            nearly(&on);
            assert_eq!(swept(&on).await, [], "{way}: it is kept for all of its retention");
        }
    }
    assert!(store.run(run_id(2)).await.unwrap().is_some());
}

pub(crate) async fn a_plugin_that_is_put_again_or_renewed_is_kept_like_a_new_one(on: Fixture) {
    let store = &on.store;
    let (first, bytes) = plugin(1);
    let digest = first.info.digest.clone();
    store.put_plugin(&first, bytes.clone()).await.unwrap();
    nearly(&on);
    let again = Plugin::new(first.info.clone(), on.now());
    assert_eq!(store.put_plugin(&again, bytes.clone()).await.unwrap(), Put::Unchanged);
    let kept = store.plugin(&digest).await.unwrap().unwrap();
    assert_eq!((kept.added_at, kept.unpinned_at), (START, Some(on.now())));
    // An older one makes it no shorter.
    assert_eq!(store.put_plugin(&first, bytes).await.unwrap(), Put::Unchanged);
    nearly(&on);
    let unknown = Digest::of(b"unknown");
    let both = [digest.clone(), unknown.clone(), digest.clone()];
    assert_eq!(store.renew_plugins(&both).await.unwrap(), 1);
    assert_eq!(store.renew_plugins(&[unknown]).await.unwrap(), 0);
    assert_eq!(store.renew_plugins(&[]).await.unwrap(), 0);
    nearly(&on);
    assert_eq!(swept(&on).await, []);
    assert_eq!(swept(&on).await, std::slice::from_ref(&digest));
    assert_eq!(store.renew_plugins(std::slice::from_ref(&digest)).await.unwrap(), 0);

    // One that something pins has no retention that could begin.
    let (pinned, bytes) = plugin(2);
    store.put_plugin(&pinned, bytes).await.unwrap();
    store.put_playbook(&playbook("restart", "1.0.0", &[&pinned])).await.unwrap();
    let digest = pinned.info.digest;
    assert_eq!(store.renew_plugins(std::slice::from_ref(&digest)).await.unwrap(), 1);
    assert_eq!(unpinned_at(&on, &digest).await, None);
}

pub(crate) async fn sweeps_over_plugins_are_bounded_and_keep_their_distance(on: Fixture) {
    let store = &on.store;
    const { assert!(MAX_SWEPT_PLUGINS > 5) };
    let all = 2 * MAX_SWEPT_PLUGINS + 5;
    let hour = Millis::from_secs(3_600);
    let mut digests = Vec::new();
    for n in 0..all {
        let (plugin, bytes) = plugin(u8::try_from(n).unwrap());
        let late = Plugin { unpinned_at: Some(START.plus(hour)), ..plugin };
        store.put_plugin(&late, bytes).await.unwrap();
        digests.push(late.info.digest);
    }
    let looked = async |limit| {
        store.sweep_plugins(limit).await.unwrap().map(|SweptPlugins { looked_at, .. }| looked_at)
    };
    assert_eq!(looked(u32::MAX).await, Some(MAX_SWEPT_PLUGINS));
    for _ in 0..2 {
        assert_eq!(looked(u32::MAX).await, None);
        on.clock.advance(Millis(PLUGIN_SWEEP.0 / 2 - 1));
    }
    on.clock.advance(PLUGIN_SWEEP);
    assert_eq!(looked(7).await, Some(7));
    let mut parts = Vec::new();
    for _ in 0..3 {
        on.clock.advance(PLUGIN_SWEEP);
        parts.extend(looked(u32::MAX).await);
    }
    // The first of these ends a round.
    assert_eq!(parts, [all - MAX_SWEPT_PLUGINS - 7, MAX_SWEPT_PLUGINS, MAX_SWEPT_PLUGINS]);

    on.clock.advance(hour);
    on.clock.advance(PLUGIN_RETENTION);
    let mut gone = Vec::new();
    for _ in 0..4 {
        gone.extend(swept(&on).await);
    }
    gone.sort();
    digests.sort();
    assert_eq!(gone, digests);
}

pub(crate) async fn of_sweeps_over_plugins_at_once_one_is_made(on: Fixture) {
    let store = &on.store;
    put(&on, 1).await;
    for _ in 0..4 {
        on.clock.advance(PLUGIN_SWEEP);
        let (a, b, c) =
            tokio::join!(store.sweep_plugins(9), store.sweep_plugins(9), store.sweep_plugins(9));
        let made = [a, b, c].map(|swept| swept.unwrap().is_some());
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    }
}

pub(crate) async fn of_a_sweep_and_what_pins_a_plugin_at_once_one_comes_first(on: Fixture) {
    let store = &on.store;
    for n in 0..12_u8 {
        let (plugin, bytes) = plugin(n);
        let digest = plugin.info.digest.clone();
        store.put_plugin(&plugin, bytes.clone()).await.unwrap();
        // Its retention, which began at the start, has passed, and nobody has looked yet.
        on.clock.advance(Millis(PLUGIN_RETENTION.0 + PLUGIN_SWEEP.0));
        let book = playbook(&format!("book-{n}"), "1.0.0", &[&plugin]);
        let new = asking_for(run(u128::from(n), &book));
        let pin = async {
            match n % 3 {
                0 => store.create_run(&new).await.map(drop),
                1 => store.put_playbook(&book).await.map(drop),
                _ => {
                    let all = [Object::Cluster(cluster("eu", "")), Object::Playbook(book.clone())];
                    store.put_all(&all).await.map(drop)
                }
            }
        };
        // Half of them come again meanwhile.
        let again = Plugin::new(plugin.info.clone(), on.now());
        let put = async {
            if n % 2 == 0 {
                store.put_plugin(&again, bytes.clone()).await.unwrap();
            }
        };
        let (pinned, swept, ()) = tokio::join!(pin, store.sweep_plugins(MAX_SWEPT_PLUGINS), put);
        let removed = swept.unwrap().unwrap().removed.contains(&digest);
        let found = store.plugin_bytes(&digest).await.unwrap();
        match pinned {
            Ok(()) => {
                assert_eq!(found.as_ref(), Some(&bytes), "round {n}, removed: {removed}");
                assert_eq!(unpinned_at(&on, &digest).await, None, "round {n}");
                let error = store.delete_plugin(&digest).await.unwrap_err();
                assert!(matches!(error, StoreError::Pinned { .. }), "round {n}: {error}");
            }
            Err(StoreError::MissingPlugin { .. }) => assert!(removed, "round {n}"),
            Err(error) => panic!("round {n}: {error}"),
        }
        if n % 2 == 0 {
            assert_eq!(found.as_ref(), Some(&bytes), "round {n}: it came again");
        }
    }
    assert!(on.check().await.is_fine());
}

pub(crate) async fn a_damaged_plugin_is_passed_over_by_sweeps(on: Fixture) {
    let digests = [put(&on, 1).await, put(&on, 2).await, put(&on, 3).await];
    on.damage(&Damaged::Plugin(digests[1].clone()), 0).await;
    on.clock.advance(PLUGIN_RETENTION);
    let mut gone = swept(&on).await;
    gone.sort();
    let mut expected = vec![digests[0].clone(), digests[2].clone()];
    expected.sort();
    assert_eq!(gone, expected);
    let error = on.store.plugin(&digests[1]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    // It can be pinned and renewed all the same.
    let (plugin, _) = plugin(2);
    assert_eq!(on.store.renew_plugins(&digests).await.unwrap(), 1);
    on.store.put_playbook(&playbook("restart", "1.0.0", &[&plugin])).await.unwrap();
    on.store.delete_plugin(&digests[1]).await.unwrap_err();
}

pub(crate) async fn a_shorter_retention_of_plugins_is_refused_until_it_is_changed(mut on: Fixture) {
    let asking = |plugin_retention, plugin_keeping| StoreOptions {
        plugin_retention,
        plugin_keeping,
        ..options()
    };
    let (shorter, longer) = (Millis::from_secs(1), Millis(PLUGIN_RETENTION.0 * 2));
    assert_eq!(on.store.plugin_retention(), PLUGIN_RETENTION);
    let digest = put(&on, 1).await;
    let error = on.reopen(asking(shorter, Keeping::Asked)).await.unwrap_err().to_string();
    assert!(error.contains("found a plugin retention of 1s, expected at least"), "{error}");
    on.reopen(asking(shorter, Keeping::Unsaid)).await.unwrap();
    assert_eq!(on.store.plugin_retention(), PLUGIN_RETENTION);
    on.reopen(asking(longer, Keeping::Asked)).await.unwrap();
    assert_eq!(on.store.plugin_retention(), longer);
    on.clock.advance(PLUGIN_RETENTION);
    assert_eq!(swept(&on).await, [], "the longer one counts");
    on.reopen(asking(shorter, Keeping::Changed)).await.unwrap();
    assert_eq!(on.store.plugin_retention(), shorter);
    assert_eq!(swept(&on).await, [digest]);
    on.reopen(asking(shorter, Keeping::Asked)).await.unwrap();
}
