//! What a check of SQLite finds besides damaged documents, and that it leaves no trace.

use std::collections::BTreeSet;
use std::path::Path;

use replibook_core::run::RunStatus;
use replibook_store::sqlite::DATABASE_FILE;
use replibook_store::{Created, SqliteStore, Store};
use rusqlite::Connection;

use crate::backends::{ManualClock, options};
use crate::samples::{asking_for, playbook, plugin, put_clusters, run, run_id};

/// A store with a playbook and a run that pin two plugins each.
async fn store_in(directory: &Path) -> [String; 2] {
    let store = SqliteStore::open(directory, options(), ManualClock::new()).unwrap();
    put_clusters(&store).await;
    let plugins = [1, 2].map(plugin);
    for (plugin, bytes) in &plugins {
        store.put_plugin(plugin, bytes.clone()).await.unwrap();
    }
    let kept = playbook("restart", "1.0.0", &[&plugins[0].0, &plugins[1].0]);
    store.put_playbook(&kept).await.unwrap();
    let new = asking_for(run(1, &kept));
    assert_eq!(new.run.progress.status, RunStatus::Pending);
    assert_eq!(store.create_run(&new).await.unwrap(), Created::New(run_id(1)));
    plugins.map(|(plugin, _)| plugin.info.digest.to_string())
}

/// What a check reports after `change`.
async fn found_after(change: impl Fn(&Connection, &[String; 2])) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let digests = store_in(directory.path()).await;
    let fine = SqliteStore::check(directory.path()).unwrap();
    assert!(fine.is_fine(), "{:?}", fine.flaws);
    let database = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    change(&database, &digests);
    drop(database);
    let checked = SqliteStore::check(directory.path()).unwrap();
    checked.flaws.iter().map(ToString::to_string).collect()
}

fn execute(database: &Connection, sql: &str, digest: &str) {
    assert!(database.execute(sql, [digest]).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn pins_that_do_not_fit_are_found() {
    let run = run_id(1);
    let found = found_after(|database, [one, _]| {
        execute(database, "DELETE FROM run_pins WHERE digest = ?1", one);
    })
    .await;
    let [missing] = found.as_slice() else { panic!("{found:?}") };
    assert!(missing.starts_with(&format!("run_pins: run {run}: what a run pins (")), "{missing}");
    assert!(missing.ends_with("it is missing, although the plugin is used"), "{missing}");

    let found = found_after(|database, [one, _]| {
        execute(database, "UPDATE run_pins SET run = x'07' WHERE digest = ?1", one);
    })
    .await;
    assert!(found.iter().any(|said| said.contains("the identifier of its run")), "{found:?}");
    assert!(found.iter().any(|said| said.contains("it is missing")), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");

    let found = found_after(|database, [one, _]| {
        let sql = "UPDATE run_pins SET run = zeroblob(16) WHERE digest = ?1";
        execute(database, sql, one);
    })
    .await;
    assert!(found.iter().any(|said| said.contains("its run is not there")), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");

    let found = found_after(|database, [one, _]| {
        for table in ["plugins", "plugin_bytes"] {
            execute(database, &format!("DELETE FROM {table} WHERE digest = ?1"), one);
        }
    })
    .await;
    let of = |table: &str| {
        let said =
            |said: &&String| said.starts_with(table) && said.contains("the plugin is not there");
        found.iter().filter(said).count()
    };
    assert_eq!((of("run_pins"), of("playbook_pins"), found.len()), (1, 1, 2), "{found:?}");

    let found = found_after(|database, _| {
        let sql = "INSERT INTO run_pins (digest, run) SELECT ?1, id FROM runs";
        execute(database, sql, "sha256:07");
    })
    .await;
    assert!(found.iter().any(|said| said.contains("although the plugin is not used")), "{found:?}");
}

#[tokio::test]
async fn pins_of_a_playbook_that_do_not_fit_are_found() {
    let found = found_after(|database, [one, _]| {
        execute(database, "DELETE FROM playbook_pins WHERE digest = ?1", one);
    })
    .await;
    let [missing] = found.as_slice() else { panic!("{found:?}") };
    assert!(missing.contains("restart") && missing.contains("it is missing"), "{missing}");

    let found = found_after(|database, [one, _]| {
        execute(database, "UPDATE playbook_pins SET name = 'gone' WHERE digest = ?1", one);
    })
    .await;
    assert!(found.iter().any(|said| said.contains("the playbook is not there")), "{found:?}");
    assert!(found.iter().any(|said| said.contains("it is missing")), "{found:?}");
}

#[tokio::test]
async fn a_run_that_is_stored_under_another_playbook_or_version_is_found() {
    for (change, says) in [
        ("playbook = 'other'", "stored under the playbook \"other\""),
        ("playbook = NULL", "stored under the playbook \"\""),
        ("version = '9.9.9'", "stored under the version \"9.9.9\""),
        ("version = NULL", "stored under the version \"\""),
    ] {
        let found = found_after(|database, _| {
            let sql = format!("UPDATE runs SET {change}");
            assert_eq!(database.execute(&sql, []).unwrap(), 1);
        })
        .await;
        let [said] = found.as_slice() else { panic!("{found:?}") };
        assert!(said.starts_with("runs: ") && said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let database = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    database.execute_batch(include_str!("../../src/store/sqlite/schema_1.sql")).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    drop(database);
    let checked = SqliteStore::check(directory.path()).unwrap();
    assert!(checked.is_fine() && checked.read.contains_key("run_pins"), "{checked:?}");
}

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_check_leaves_the_folder_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    store_in(directory.path()).await;
    let before = files(directory.path());
    assert!(!before.iter().any(|name| name.ends_with("-wal") || name.ends_with("-shm")));
    let content = || std::fs::read(directory.path().join(DATABASE_FILE)).unwrap();
    let whole = content();
    assert!(SqliteStore::check(directory.path()).unwrap().is_fine());
    assert_eq!(files(directory.path()), before);
    assert!(content() == whole, "the database was changed");

    // If a server has the store open, the log is the server's.
    let store = SqliteStore::open(directory.path(), options(), ManualClock::new()).unwrap();
    let open = files(directory.path());
    assert!(SqliteStore::check(directory.path()).unwrap().is_fine());
    assert_eq!(files(directory.path()), open);
    store.ping().await.unwrap();
    drop(store);
    assert_eq!(files(directory.path()), before);
}
