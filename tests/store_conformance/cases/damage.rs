//! Documents that somebody has damaged: each is reported, and no other document fails because of it.

use std::fmt::Debug;

use replibook_core::run::{AgentSeq, AgentState, Digest, EngineId, RunStatus};
use replibook_store::memory::Damaged;
use replibook_store::{Found, LogCursor, Object, Put, Result, StoreError};

use crate::backends::Fixture;
use crate::damage::WAYS;
use crate::samples::{
    cluster, command, key, line, new_run, one_of_each, page, playbook, plugin, record, run_id,
};

/// Creates runs number 1 and 2, each with a document of every kind.
async fn two_runs(on: &Fixture) -> u64 {
    for n in [1, 2] {
        on.store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = on.store.claim(&EngineId("e".to_owned()), 2).await.unwrap();
    for lease in &leases {
        let mut writes = one_of_each(lease.run);
        writes.commands = vec![command(lease.run.0.as_u128(), lease.run, on.now())];
        on.store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    leases[0].epoch
}

fn is_damaged<T: Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert!(!error.retryable());
}

/// The keys of the documents that can't be read. Each error must name the kind of document.
fn damaged<T: Debug>(found: Found<T>, kind: &str) -> Vec<String> {
    let damaged = found.into_iter().filter_map(std::result::Result::err);
    let key = |damage: replibook_store::Damage| {
        assert!(damage.what.starts_with(kind) && damage.what.contains(&damage.key), "{damage}");
        assert!(!damage.why.is_empty());
        damage.key
    };
    damaged.map(key).collect()
}

pub(crate) async fn a_damaged_record_is_said_in_its_place_and_nothing_else_fails(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    let epoch = two_runs(&on).await;
    let of_line = LogCursor::of(&line(run, 2, Some(0), 0));
    for way in 0..WAYS {
        for what in [
            Damaged::Record(run, AgentSeq(0)),
            Damaged::Journal(run, key(0, 0, 1)),
            Damaged::Event(run, 2),
            Damaged::Line(run, of_line.clone()),
        ] {
            on.damage(&what, way).await;
        }
        is_damaged(store.records(run, None, None, 9).await);
        is_damaged(store.record(run, &record(run, 0, AgentState::Running).agent).await);
        is_damaged(store.journals(run, None, None, 9).await);
        is_damaged(store.events(run, 0, 9).await);
        is_damaged(store.logs(run, None, None, 9).await);

        let records = store.read_records(run, None, None, 9).await.unwrap();
        assert_eq!(damaged(records, "an agent record"), ["0"]);
        let journals = store.read_journals(run, Some(AgentSeq(0)), None, 9).await.unwrap();
        assert_eq!(damaged(journals, "a journal"), ["0.0.0.1"]);
        let events = store.read_events(run, 0, 9).await.unwrap();
        assert!(events.len() == 2 && events[0].is_ok());
        assert_eq!(damaged(events, "an event"), ["2"]);
        let lines = store.read_logs(run, None, None, 9).await.unwrap();
        assert_eq!(damaged(lines, "a log line"), ["2.0.node-0"]);

        assert!(store.run(run).await.unwrap().is_some());
        assert_eq!(store.events(run, 0, 1).await.unwrap().len(), 1, "before the damage");
        let other = run_id(2);
        assert_eq!(store.records(other, None, None, 9).await.unwrap().len(), 1);
        assert_eq!(store.journals(other, None, None, 9).await.unwrap().len(), 1);
        assert_eq!(store.logs(other, None, None, 9).await.unwrap().len(), 1);
    }
    // A document that is written again can be read.
    store.commit(run, epoch, &one_of_each(run)).await.unwrap();
    assert_eq!(store.records(run, None, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.events(run, 0, 9).await.unwrap().len(), 2);
}

pub(crate) async fn a_damaged_run_is_listed_with_what_is_known_of_it(on: Fixture) {
    let (store, run) = (&on.store, run_id(1));
    two_runs(&on).await;
    for way in 0..WAYS {
        for what in [Damaged::Progress(run), Damaged::Snapshot(run)] {
            on.damage(&what, way).await;
            is_damaged(store.run(run).await);
            is_damaged(store.runs(&Default::default(), &page(None, 9)).await);
            let found = store.read_run(run).await.unwrap().unwrap().unwrap_err();
            assert_eq!(found.glance.id, run);
            assert_eq!(found.glance.cluster.as_deref(), Some("mongo-eu"));
            assert_eq!(found.glance.status, Some(RunStatus::Running));
            assert_eq!(found.glance.finish_ts, None);
            let has_snapshot = found.glance.snapshot.is_some();
            assert_eq!(has_snapshot, way == 0 && what == Damaged::Progress(run));
            assert!(found.damage.to_string().contains(&run.to_string()), "{}", found.damage);

            let listed = store.read_runs(&Default::default(), &page(None, 9)).await.unwrap();
            let ids = listed.runs.iter().map(|run| match run {
                Ok(run) => (run.id(), true),
                Err(damaged) => (damaged.glance.id, false),
            });
            assert_eq!(ids.collect::<Vec<_>>(), [(run_id(2), true), (run, false)]);
        }
    }
    let renewed = store.renew(&EngineId("e".to_owned())).await.unwrap();
    assert_eq!(renewed.len(), 2, "leases know nothing of it");
}

pub(crate) async fn a_damaged_command_holds_up_no_other(on: Fixture) {
    two_runs(&on).await;
    let [first, second] = [1, 2].map(|n| command(n, run_id(n), on.now()));
    for way in 0..WAYS {
        on.damage(&Damaged::Command(first.id), way).await;
        is_damaged(on.store.command(first.id).await);
        let waiting = on.store.waiting_commands(&EngineId("e".to_owned()), 9).await.unwrap();
        assert_eq!(waiting, std::slice::from_ref(&second));
    }
}

pub(crate) async fn damaged_objects_are_listed_beside_the_others(on: Fixture) {
    let store = &on.store;
    let (plugins, clusters) = ([plugin(1), plugin(2)], [cluster("a", "x"), cluster("b", "y")]);
    for (plugin, bytes) in &plugins {
        store.put_plugin(plugin, bytes.clone()).await.unwrap();
    }
    for version in ["1.0.0-rc.1", "2.0.0"] {
        store.put_playbook(&playbook("restart", version, &[])).await.unwrap();
    }
    for cluster in &clusters {
        store.put_cluster(cluster).await.unwrap();
    }
    let digest = &plugins[0].0.info.digest;
    let version = "1.0.0-rc.1".parse().unwrap();
    let of_playbook = Damaged::Playbook("restart".to_owned(), version);
    let Damaged::Playbook(_, version) = &of_playbook else { unreachable!() };
    let all = page(None, 9);
    on.damage(&of_playbook, 0).await;
    is_damaged(store.playbook("restart", Some(version)).await);
    assert!(store.playbook("restart", None).await.unwrap().is_some());
    let found = store.read_playbooks(&all).await.unwrap();
    assert!(found.len() == 2 && found[1].is_ok());
    assert_eq!(damaged(found, "a playbook"), ["restart@1.0.0-rc.1"]);
    let after = store.playbooks(&page(Some("restart@1.0.0-rc.1"), 9)).await.unwrap();
    assert_eq!(after.len(), 1);
    for way in 0..WAYS {
        on.damage(&Damaged::Plugin(digest.clone()), way).await;
        is_damaged(store.plugin(digest).await);
        let found = store.read_plugins(&all).await.unwrap();
        assert_eq!((found.len(), damaged(found, "a plugin")), (2, vec![digest.to_string()]));

        on.damage(&Damaged::Cluster("a".to_owned()), way).await;
        is_damaged(store.cluster("a").await);
        is_damaged(store.clusters(&all).await);
        let found = store.read_clusters(&all).await.unwrap();
        let all = found.len();
        assert_eq!(damaged(found, "a cluster"), ["a"]);
        assert_eq!(store.read_clusters(&page(None, 9)).await.unwrap().len(), all);
        assert!(all >= 2);
        assert_eq!(store.put_cluster(&clusters[0]).await.unwrap(), Put::Updated);
        assert_eq!(store.cluster("a").await.unwrap().as_ref(), Some(&clusters[0]));
    }
}

pub(crate) async fn damaged_objects_are_mended_by_putting_them_anew(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    store.put_plugin(&plugin, bytes.clone()).await.unwrap();
    let digest = &plugin.info.digest;
    let kept = playbook("restart", "1.0.0", &[&plugin]);
    store.put_playbook(&kept).await.unwrap();
    let mut changed = kept.clone();
    changed.content = Digest::of(b"changed");
    let version = &kept.playbook.version;
    for way in 0..WAYS {
        let damaged = Damaged::Playbook("restart".to_owned(), version.clone());
        on.damage(&damaged, way).await;
        is_damaged(store.playbook("restart", Some(version)).await);
        let error = store.put_playbook(&changed).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        // What is rolled back is as it was before.
        let both = [Object::Playbook(kept.clone()), Object::Playbook(changed.clone())];
        store.put_all(&both).await.unwrap_err();
        is_damaged(store.playbook("restart", Some(version)).await);
        assert_eq!(store.put_all(&both[..1]).await.unwrap(), [Put::Updated]);
        assert_eq!(store.playbook("restart", None).await.unwrap().as_ref(), Some(&kept));
        assert_eq!(store.put_playbook(&kept).await.unwrap(), Put::Unchanged);

        on.damage(&Damaged::Plugin(digest.clone()), way).await;
        is_damaged(store.plugin(digest).await);
        assert_eq!(store.put_plugin(&plugin, bytes.clone()).await.unwrap(), Put::Updated);
        assert_eq!(store.plugin(digest).await.unwrap().as_ref(), Some(&plugin));
        assert_eq!(store.plugin_bytes(digest).await.unwrap().as_ref(), Some(&bytes));
        assert_eq!(store.put_plugin(&plugin, bytes.clone()).await.unwrap(), Put::Unchanged);

        on.damage(&Damaged::PluginBytes(digest.clone()), way).await;
        is_damaged(store.plugin_bytes(digest).await);
        assert_eq!(store.put_plugin(&plugin, bytes.clone()).await.unwrap(), Put::Updated);
        assert_eq!(store.plugin_bytes(digest).await.unwrap().as_ref(), Some(&bytes));
    }
    let error = store.delete_plugin(digest).await.unwrap_err();
    assert!(matches!(error, StoreError::Pinned { .. }), "{error}");
    assert!(store.delete_playbook("restart", version).await.unwrap());
    assert!(store.delete_plugin(digest).await.unwrap());
}
