//! What only SQLite promises: its files, what is durable, and commits that are written in groups.

use std::path::Path;
use std::sync::Arc;

use replibook_core::playbook::{Concurrency, Playbook};
use replibook_core::run::{AgentState, EngineId, Millis, RunStatus, Writes};
use replibook_store::sqlite::DATABASE_FILE;
use replibook_store::{
    Locked, NewRun, Page, RunFilter, SqliteStore, Store, StoreError, StoreOptions,
};

use crate::backends::{ManualClock, START, options};
use crate::samples::{
    cluster, command, event, finishing, new_run, new_run_on, one_of_each, only, playbook, plugin,
    progress, put_clusters, record, run_id,
};

fn open(directory: &Path, clock: &Arc<ManualClock>) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(directory, options(), clock.clone())
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    let run = run_id(1);
    let (plugin, bytes) = plugin(1);
    let playbook = playbook("restart", "1.0.0", &[&plugin]);
    let cluster = cluster("mongo-eu", "text");
    store.put_plugin(&plugin, bytes.clone()).await.unwrap();
    store.put_playbook(&playbook).await.unwrap();
    store.put_cluster(&cluster).await.unwrap();
    let mut new = new_run(1);
    new.idempotency_key = Some("key".to_owned());
    store.create_run(&new).await.unwrap();
    let lease = store.claim(&EngineId("a".to_owned()), 1).await.unwrap().remove(0);
    let writes = one_of_each(run);
    store.commit(run, lease.epoch, &writes).await.unwrap();
    let late = command(2, run, writes.commands[0].at);
    store.submit(&late).await.unwrap();
    drop(store);

    let store = open(directory.path(), &clock).unwrap();
    assert_eq!(store.plugin_bytes(&plugin.info.digest).await.unwrap(), Some(bytes));
    assert_eq!(store.playbook("restart", None).await.unwrap(), Some(playbook));
    assert_eq!(store.cluster("mongo-eu").await.unwrap(), Some(cluster));
    assert_eq!(store.create_run(&new).await.unwrap(), replibook_store::Created::Before(run));
    let found = store.run(run).await.unwrap().unwrap();
    assert_eq!(Some(found.progress), writes.progress);
    assert_eq!(found.snapshot, new.run.snapshot);
    assert_eq!(store.records(run, None, None, 9).await.unwrap(), writes.records);
    assert_eq!(store.journals(run, None, None, 9).await.unwrap(), writes.journals);
    assert_eq!(store.logs(run, None, None, 9).await.unwrap(), writes.logs);
    assert_eq!(store.events(run, 1, 9).await.unwrap(), writes.events);
    assert_eq!(store.command(late.id).await.unwrap(), Some(late));

    // The lease of the engine before is void at once, and not only when it expires.
    assert_eq!(store.renew(&EngineId("a".to_owned())).await.unwrap(), []);
    let error = store.commit(run, lease.epoch, &writes).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
    let next = store.claim(&EngineId("b".to_owned()), 9).await.unwrap();
    assert_eq!(next.len(), 1);
    assert!(next[0].epoch > lease.epoch);
}

#[tokio::test]
async fn a_second_engine_is_refused() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    let error = open(directory.path(), &clock).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("in use by another engine"), "{text}");
    assert!(text.contains(&directory.path().display().to_string()), "{text}");
    store.ping().await.unwrap();
    drop(store);
    open(directory.path(), &clock).unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    drop(open(directory.path(), &clock).unwrap());
    let database = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    for _ in 0..2 {
        let error = open(directory.path(), &clock).err().unwrap();
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    }
}

/// The files that a test puts into a directory may be open to others, so the directory must not be.
fn keep_others_out(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    std::fs::write(directory.path().join(DATABASE_FILE), vec![b'x'; 8_192]).unwrap();
    keep_others_out(directory.path());
    let error = open(directory.path(), &clock).err().unwrap();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_that_fails_part_way_writes_nothing_and_spoils_no_other() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    for n in 0..8 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 8).await.unwrap();
    let database = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    let trigger = "CREATE TRIGGER t BEFORE INSERT ON events WHEN NEW.seq = 99 \
                   BEGIN SELECT RAISE(ABORT, 'the disk said no'); END";
    database.execute_batch(trigger).unwrap();

    let commits = leases.iter().map(async |lease| {
        let mut writes = one_of_each(lease.run);
        writes.commands.clear();
        if lease.run.0.as_u128() % 2 == 0 {
            writes.events.push(event(lease.run, 99));
        }
        store.commit(lease.run, lease.epoch, &writes).await
    });
    for (n, result) in (0..).zip(futures::future::join_all(commits).await) {
        let fails = n % 2 == 0;
        match result {
            Ok(()) => assert!(!fails, "{n}"),
            Err(error) => {
                assert!(fails && error.retryable(), "{n}: {error}");
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            }
        }
        let events = store.events(run_id(n), 0, 9).await.unwrap().len();
        let records = store.records(run_id(n), None, None, 9).await.unwrap().len();
        assert_eq!((events, records), if fails { (1, 0) } else { (2, 1) }, "{n}");
    }
}

#[tokio::test]
async fn more_writes_than_the_queue_holds_are_all_made() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = Arc::new(open(directory.path(), &clock).unwrap());
    put_clusters(store.as_ref()).await;
    store.create_run(&new_run(1)).await.unwrap();
    let lease = store.claim(&EngineId("e".to_owned()), 1).await.unwrap().remove(0);
    let commits = (0..3_000).map(|seq| {
        let (store, lease) = (store.clone(), lease.clone());
        let mut writes = only(finishing(lease.until));
        writes.records = vec![record(lease.run, seq, AgentState::Done)];
        async move { store.commit(lease.run, lease.epoch, &writes).await }
    });
    for result in futures::future::join_all(commits).await {
        result.unwrap();
    }
    let mut found = 0;
    loop {
        let after = (found > 0).then(|| replibook_core::run::AgentSeq(found - 1));
        let page = store.records(lease.run, None, after, 1_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        found += u32::try_from(page.len()).unwrap();
    }
    assert_eq!(found, 3_000);
}

#[tokio::test]
async fn commits_that_are_large_together_are_all_made() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    for n in 0..6 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 6).await.unwrap();
    let large = "x".repeat(6 * 1024 * 1024);
    let commits = leases.iter().map(async |lease| {
        let mut writes = one_of_each(lease.run);
        writes.commands.clear();
        writes.records[0].address.clone_from(&large);
        store.commit(lease.run, lease.epoch, &writes).await
    });
    for result in futures::future::join_all(commits).await {
        result.unwrap();
    }
    for lease in &leases {
        let found = store.records(lease.run, None, None, 9).await.unwrap();
        assert!(found.len() == 1 && found[0].address == large);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_wait_for_their_turn_on_any_runtime() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = Arc::new(open(directory.path(), &clock).unwrap());
    put_clusters(store.as_ref()).await;
    store.create_run(&new_run(1)).await.unwrap();
    let reads = (0..200).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.run(run_id(1)).await.unwrap().is_some() })
    });
    for read in reads.collect::<Vec<_>>() {
        assert!(read.await.unwrap());
    }
}

#[test]
fn a_write_whose_caller_goes_away_is_made() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(directory.path(), &clock).unwrap();
    runtime.block_on(async {
        put_clusters(&store).await;
        let new = new_run(1);
        // One poll hands the write over; then the caller gives up.
        let mut asking = Box::pin(store.create_run(&new));
        assert!(futures::poll!(asking.as_mut()).is_pending());
    });
    drop(store);
    let store = open(directory.path(), &clock).unwrap();
    let writes: Writes = runtime.block_on(async {
        let events = store.events(run_id(1), 0, 9).await.unwrap();
        Writes { events, ..Writes::default() }
    });
    assert_eq!(writes.events.len(), 1);
}

/// A database as the first version made it, with these runs. None of them has a lock.
fn old_database(directory: &Path, runs: &[(NewRun, RunStatus)]) {
    let database = rusqlite::Connection::open(directory.join(DATABASE_FILE)).unwrap();
    database.execute_batch(include_str!("../../src/store/sqlite/schema_1.sql")).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    for (new, status) in runs {
        let snapshot = &new.run.snapshot;
        let id = snapshot.id.0.into_bytes();
        let progress = serde_json::to_string(&progress(*status, START)).unwrap();
        let row = rusqlite::params![id, snapshot.cluster, status.as_str(), i64::MIN, progress];
        let sql = "INSERT INTO runs (id, cluster, status, epoch, lease_until, progress) \
                   VALUES (?1, ?2, ?3, 0, ?4, ?5)";
        database.execute(sql, row).unwrap();
        let body = serde_json::to_string(&**snapshot).unwrap();
        let row = rusqlite::params![id, new.request.as_str(), body];
        let sql = "INSERT INTO snapshots (run, request, body) VALUES (?1, ?2, ?3)";
        database.execute(sql, row).unwrap();
    }
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_to_the_present_one() {
    use Concurrency::{Allow, Queue, Reject};
    use RunStatus::{Finishing, Paused, Pending, Running};
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let runs = [
        ("a", 1, Queue, Finishing),
        ("a", 2, Queue, Paused),
        ("a", 3, Queue, Pending),
        ("b", 4, Allow, Running),
        ("b", 5, Allow, Pending),
        ("b", 6, Reject, Pending),
        ("c", 7, Queue, Finishing),
        ("c", 8, Queue, Pending),
    ];
    let runs = runs.map(|(cluster, n, concurrency, status)| {
        (new_run_on(cluster, n, concurrency, Pending), status)
    });
    old_database(directory.path(), &runs);
    keep_others_out(directory.path());
    for _ in 0..2 {
        let store = open(directory.path(), &clock).unwrap();
        let leases = store.claim(&EngineId("e".to_owned()), 10).await.unwrap();
        let lease = |n: u128| leases.iter().find(|lease| lease.run == run_id(n)).unwrap();
        let lock = async |n| store.lock_cluster(run_id(n), lease(n).epoch).await.unwrap();
        let waits = |n| Locked::Waits { run: run_id(n), queued: 0 };
        assert_eq!(lock(3).await, waits(2), "what goes on holds its cluster");
        assert_eq!(lock(2).await, Locked::Held);
        assert_eq!(lock(6).await, Locked::Held, "others go beside it");
        assert_eq!(lock(8).await, waits(7));
        let Playbook { name, version, .. } = &runs[0].0.run.snapshot.playbook;
        let filter = |name: &str, version: &semver::Version| RunFilter {
            playbook: Some(name.to_owned()),
            version: Some(version.clone()),
            ..RunFilter::default()
        };
        let count = async |filter: &RunFilter| {
            let page = Page { limit: 100, ..Page::default() };
            store.runs(filter, &page).await.unwrap().len()
        };
        assert_eq!(count(&filter(name, version)).await, runs.len(), "of which playbook they are");
        assert_eq!(count(&filter("other", version)).await, 0);
    }
}

#[tokio::test]
async fn the_file_gets_smaller_as_runs_expire() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let lease = store.claim(&EngineId("e".to_owned()), 1).await.unwrap().remove(0);
    let large = "x".repeat(60_000);
    for part in 0..8 {
        let mut writes =
            Writes { progress: Some(progress(RunStatus::Running, START)), ..Writes::default() };
        writes.records =
            (0..50).map(|n| record(lease.run, part * 50 + n, AgentState::Done)).collect();
        writes.records.iter_mut().for_each(|record| record.address.clone_from(&large));
        store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    store.commit(lease.run, lease.epoch, &only(finishing(START))).await.unwrap();
    while store.stamp(lease.run, lease.epoch, START).await.unwrap() > 0 {}
    store.commit(lease.run, lease.epoch, &only(crate::samples::finished(START))).await.unwrap();
    let looking = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    let pages = |what| -> u32 {
        looking.query_row(&format!("PRAGMA {what}"), [], |row| row.get(0)).unwrap()
    };
    let before = pages("page_count");
    assert!(before > 5_000, "{before}");
    clock.advance(replibook_core::run::Millis(crate::backends::RETENTION.0 + 1));
    // As often as an engine calls it in a few minutes.
    for _ in 0..100 {
        store.sweep(1_000).await.unwrap();
    }
    assert!(pages("page_count") < before / 2, "{before} {}", pages("page_count"));
    assert_eq!(pages("freelist_count"), 1_024, "some are kept");
    drop(looking);
    drop(store);
    let length = directory.path().join(DATABASE_FILE).metadata().unwrap().len();
    assert!(length < u64::from(before) * 4_096 / 2, "{length}");
}

/// The files of a store while it is used, which is what a killed process leaves.
fn killed(directory: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    left
}

#[tokio::test]
async fn what_was_lost_of_the_log_is_noticed_at_the_next_start() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    let refused = |left: &Path, says: &str| {
        let error = open(left, &clock).err().unwrap();
        assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let log = |left: &Path| left.join("replibook.db-wal");

    assert!(SqliteStore::check(directory.path()).unwrap().is_fine(), "while it is used");
    let left = killed(directory.path());
    assert!(SqliteStore::check(left.path()).unwrap().is_fine());
    assert!(log(left.path()).exists(), "a check leaves all as it is");
    let again = open(left.path(), &clock).unwrap();
    assert_eq!(again.clusters(&crate::samples::page(None, 9)).await.unwrap().len(), 2);
    drop(again);
    assert!(!log(left.path()).exists(), "it was closed");
    drop(open(left.path(), &clock).unwrap());

    let left = killed(directory.path());
    let length = log(left.path()).metadata().unwrap().len();
    let cut = std::fs::OpenOptions::new().write(true).open(log(left.path())).unwrap();
    cut.set_len(length / 2).unwrap();
    let checked = SqliteStore::check(left.path()).unwrap();
    assert!(checked.found == 1 && checked.flaws[0].to_string().contains("was cut"), "{checked:?}");
    refused(left.path(), "was cut or damaged");

    let left = killed(directory.path());
    std::fs::remove_file(log(left.path())).unwrap();
    refused(left.path(), "-wal is gone");
    refused(left.path(), "-wal is gone");
    for file in ["replibook.db-shm", "replibook.lock"] {
        std::fs::remove_file(left.path().join(file)).unwrap();
    }
    drop(open(left.path(), &clock).unwrap());

    std::fs::write(left.path().join(DATABASE_FILE), "").unwrap();
    refused(left.path(), "empty, expected at least a header");
}

#[tokio::test]
async fn a_store_whose_engine_was_killed_is_taken_whatever_closed_it_since() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    put_clusters(&store).await;
    let rebuilt = |left: &Path| assert!(!SqliteStore::rebuild(left).unwrap());
    let refused = |left: &Path| {
        let shorter = StoreOptions { retention: Millis(1), ..options() };
        let error = SqliteStore::open(left, shorter, clock.clone()).err().unwrap();
        assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
    };
    let read = |left: &Path| {
        let other = rusqlite::Connection::open(left.join(DATABASE_FILE)).unwrap();
        let clusters =
            other.query_row("SELECT count(*) FROM clusters", [], |row| row.get::<_, u32>(0));
        assert_eq!(clusters.unwrap(), 2);
    };
    let copied = |left: &Path| {
        let other = rusqlite::Connection::open(left.join(DATABASE_FILE)).unwrap();
        let copy = left.join("backup.db").display().to_string();
        other.execute("VACUUM INTO ?1", [copy]).unwrap();
    };
    let closings: [&dyn Fn(&Path); 4] = [&rebuilt, &refused, &read, &copied];
    for (n, close) in closings.into_iter().enumerate() {
        let left = killed(directory.path());
        close(left.path());
        assert!(!left.path().join("replibook.db-wal").exists(), "{n}: it was closed");
        assert!(SqliteStore::check(left.path()).unwrap().is_fine(), "{n}");
        let again = open(left.path(), &clock).unwrap();
        assert_eq!(again.clusters(&crate::samples::page(None, 9)).await.unwrap().len(), 2, "{n}");
    }
}

#[tokio::test]
async fn a_check_finds_plugins_that_are_pinned_and_not_there_and_those_without_bytes() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let store = open(directory.path(), &clock).unwrap();
    let [pinned, hollow] = [1, 2].map(plugin);
    for (plugin, bytes) in [&pinned, &hollow] {
        store.put_plugin(plugin, bytes.clone()).await.unwrap();
    }
    store.put_playbook(&playbook("restart", "1.0.0", &[&pinned.0])).await.unwrap();
    let check = || SqliteStore::check(directory.path()).unwrap();
    assert!(check().is_fine(), "{:?}", check().flaws);
    let database = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    let remove = |table: &str, digest: &str| {
        let sql = format!("DELETE FROM {table} WHERE digest = ?1");
        assert_eq!(database.execute(&sql, [digest]).unwrap(), 1);
    };
    remove("plugin_bytes", hollow.0.info.digest.as_str());
    for table in ["plugins", "plugin_bytes"] {
        remove(table, pinned.0.info.digest.as_str());
    }
    let checked = check();
    let places: Vec<_> = checked.flaws.iter().map(|flaw| flaw.place).collect();
    assert_eq!(places, ["plugin_bytes", "playbook_pins"], "{:?}", checked.flaws);
}
