//! Pages of the SQLite file that hold only noise: what can be read elsewhere is shown.

use std::path::Path;

use replibook_core::playbook::{Concurrency, Playbook};
use replibook_core::run::{RunId, RunStatus};
use replibook_store::sqlite::DATABASE_FILE;
use replibook_store::{Created, KeptRun, RunFilter, RunPage, SqliteStore, Store, StoreError};

use crate::backends::{ManualClock, options};
use crate::noise;
use crate::samples::{cluster, new_run_on, page, playbook, plugin, put_clusters, run_id};

/// How many runs the store has: enough to fill several pages.
const RUNS: u128 = 60;

/// An index with everything that a list is filtered by, and one with most of it.
const INDEXES: [&str; 2] = ["runs_by_version_and_cluster_and_status", "runs_by_cluster_and_status"];

/// A store with many runs, half of them on each cluster.
async fn store_in(directory: &Path) {
    let store = SqliteStore::open(directory, options(), ManualClock::new()).unwrap();
    put_clusters(&store).await;
    for n in 0..RUNS {
        let cluster = if n % 2 == 0 { "mongo-eu" } else { "other" };
        let new = new_run_on(cluster, n, Concurrency::Queue, RunStatus::Pending);
        assert_eq!(store.create_run(&new).await.unwrap(), Created::New(run_id(n)));
    }
}

/// Overwrites pages of a table or index with noise: those of `kind` (or of any kind) for which `which` holds,
/// by their place in the order of keys. Returns how many pages of that kind there were.
fn spoil(directory: &Path, name: &str, kind: Option<&str>, which: impl Fn(usize) -> bool) -> usize {
    let path = directory.join(DATABASE_FILE);
    let pages = noise::pages_of(&path, name, kind);
    let spoilt = pages.iter().enumerate().filter(|(index, _)| which(*index));
    noise::overwrite(&path, spoilt.map(|(_, page)| *page));
    pages.len()
}

fn id(run: &KeptRun) -> RunId {
    run.as_ref().map_or_else(|damaged| damaged.glance.id, |run| run.id())
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, options(), ManualClock::new()).unwrap()
}

/// Each filter, with the runs that fit it, newest first.
fn filters() -> Vec<(RunFilter, Vec<RunId>)> {
    let of = |fits: fn(u128) -> bool| -> Vec<RunId> {
        (0..RUNS).rev().filter(|n| fits(*n)).map(run_id).collect()
    };
    let Playbook { name, version, .. } =
        new_run_on("other", 1, Concurrency::Queue, RunStatus::Pending)
            .run
            .snapshot
            .playbook
            .clone();
    let pending = vec![RunStatus::Pending];
    let of_other = RunFilter { cluster: Some("other".to_owned()), ..RunFilter::default() };
    let of_name = RunFilter { playbook: Some(name), ..RunFilter::default() };
    let of_version = RunFilter { version: Some(version), ..of_name.clone() };
    vec![
        (RunFilter::default(), of(|_| true)),
        (of_other.clone(), of(|n| n % 2 == 1)),
        (RunFilter { statuses: pending.clone(), ..RunFilter::default() }, of(|_| true)),
        (RunFilter { statuses: pending.clone(), ..of_other.clone() }, of(|n| n % 2 == 1)),
        (RunFilter { statuses: vec![RunStatus::Done], ..RunFilter::default() }, of(|_| false)),
        (of_name, of(|_| true)),
        (
            RunFilter { statuses: pending, cluster: of_other.cluster, ..of_version },
            of(|n| n % 2 == 1),
        ),
        (RunFilter { playbook: Some("x".to_owned()), ..RunFilter::default() }, of(|_| false)),
        (RunFilter { from: Some(run_id(50)), ..RunFilter::default() }, of(|n| n >= 50)),
    ]
}

#[tokio::test]
async fn every_run_is_listed_though_a_page_of_the_runs_or_of_an_index_is_noise() {
    // The pages that are overwritten, and whether some runs can't be read then.
    let spoilt: [(&str, Option<&str>, bool); 8] = [
        ("runs", Some("leaf"), true),
        ("runs", Some("internal"), true),
        ("snapshots", Some("leaf"), true),
        ("sqlite_autoindex_snapshots_1", None, true),
        (INDEXES[0], None, false),
        (INDEXES[1], None, false),
        ("runs_by_status", None, false),
        ("runs_by_playbook", None, false),
    ];
    for (name, kind, loses) in spoilt {
        let directory = tempfile::tempdir().unwrap();
        store_in(directory.path()).await;
        assert!(spoil(directory.path(), name, kind, |index| index == 0) > 0, "{name}");
        let store = open(directory.path());
        assert_eq!(store.broken(), None, "nobody has met it yet");
        for (filter, expected) in filters() {
            let listed = store.read_runs(&filter, &page(None, 99)).await.unwrap();
            assert!(listed.lost.is_none(), "{name} {kind:?} {filter:?}: {:?}", listed.lost);
            let listed = listed.runs;
            let ids: Vec<_> = listed.iter().map(id).collect();
            assert_eq!(ids, expected, "{name} {kind:?} {filter:?}");
            let lost = listed.iter().filter_map(|run| run.as_ref().err());
            for damaged in lost.clone() {
                let (glance, why) = (&damaged.glance, &damaged.damage.why);
                assert!(why.contains("the database is damaged"), "{name}: {why}");
                assert!(glance.cluster.is_some(), "{name}: {glance:?}");
                assert_eq!(glance.status, Some(RunStatus::Pending), "{name}");
                let again = store.read_run(glance.id).await.unwrap().unwrap().unwrap_err();
                assert_eq!(&again, damaged, "{name}");
            }
            if filter == RunFilter::default() {
                assert_eq!(lost.count() > 0, loses, "{name} {kind:?}");
                let newest = store.newest_runs(None, 9).await.unwrap();
                assert_eq!(newest, expected[..9], "{name}");
            }
        }
        let said = store.broken().unwrap();
        assert!(said.contains("`replibook store check` shows where"), "{said}");
        assert!(!said.contains(&directory.path().display().to_string()), "{said}");
        drop(store);
        let checked = SqliteStore::check(directory.path()).unwrap();
        assert!(!checked.is_fine(), "{name}");
    }
}

#[tokio::test]
async fn pages_of_a_list_go_on_past_runs_that_can_not_be_read() {
    let directory = tempfile::tempdir().unwrap();
    store_in(directory.path()).await;
    spoil(directory.path(), "runs", Some("leaf"), |index| index == 1);
    let store = open(directory.path());
    let (mut after, mut seen) = (None::<String>, Vec::new());
    loop {
        let part = page(after.as_deref(), 7);
        let listed = store.read_runs(&RunFilter::default(), &part).await.unwrap().runs;
        let Some(last) = listed.last() else { break };
        after = Some(id(last).to_string());
        seen.extend(listed.iter().map(id));
    }
    assert_eq!(seen, (0..RUNS).rev().map(run_id).collect::<Vec<_>>());
}

/// If neither the table nor an index is whole, the list has the runs that any of them has. Each page that was
/// put together like this says that there may be more.
#[tokio::test]
async fn what_is_found_of_a_list_is_shown_and_that_some_may_be_lost_is_said() {
    let directory = tempfile::tempdir().unwrap();
    store_in(directory.path()).await;
    for name in INDEXES {
        spoil(directory.path(), name, None, |_| true);
    }
    spoil(directory.path(), "runs", Some("leaf"), |index| index == 2);
    let store = open(directory.path());
    let (mut last, mut found, mut unsure) = (None, Vec::new(), 0);
    loop {
        let page = read(&store, last, 1).await;
        unsure += usize::from(page.lost.is_some());
        let Some(run) = page.runs.first() else { break };
        last = Some(id(run));
        found.extend(last);
    }
    let found_all = found.contains(&run_id(0)) && found.contains(&run_id(RUNS - 1));
    assert!(found_all && found.len() < RUNS as usize, "{found:?}");
    assert!(unsure > 0 && unsure < found.len(), "{unsure}: what is whole is not in doubt");
    let all = read(&store, None, 99).await;
    assert_eq!(all.runs.iter().map(id).collect::<Vec<_>>(), found);
    assert!(matches!(all.lost, Some(StoreError::Broken { .. })), "{:?}", all.lost);
    assert_eq!(
        store.newest_runs(None, 1).await.unwrap(),
        [run_id(RUNS - 1)],
        "it is beside no gap"
    );
    let error = store.newest_runs(None, 99).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_run_is_not_taken_for_the_newest_where_newer_ones_may_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    store_in(directory.path()).await;
    for name in INDEXES {
        spoil(directory.path(), name, None, |_| true);
    }
    let leaves = spoil(directory.path(), "runs", Some("leaf"), |_| false);
    spoil(directory.path(), "runs", Some("leaf"), |index| index + 1 == leaves);
    let store = open(directory.path());
    let full = read(&store, None, 3).await;
    assert!(full.runs.len() == 3 && full.lost.is_some(), "{:?}", full.lost);
    assert!(!full.runs.iter().any(|run| id(run) == run_id(RUNS - 1)));
    let error = store.newest_runs(None, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }) && !error.retryable(), "{error}");

    drop(store);
    spoil(directory.path(), "runs", None, |_| true);
    let store = open(directory.path());
    let none = read(&store, None, 1).await;
    assert!(none.runs.is_empty() && none.lost.is_some());
    let error = store.runs(&RunFilter::default(), &page(None, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }) && !error.retryable(), "{error}");
}

async fn read(store: &SqliteStore, after: Option<RunId>, limit: u32) -> RunPage {
    let after = after.map(|id| id.to_string());
    store.read_runs(&RunFilter::default(), &page(after.as_deref(), limit)).await.unwrap()
}

#[tokio::test]
async fn a_check_of_a_file_that_is_no_database_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(DATABASE_FILE), vec![b'x'; 8_192]).unwrap();
    let only_ours = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), only_ours).unwrap();
    let checked = SqliteStore::check(directory.path()).unwrap();
    assert_eq!(checked.found, 1, "{checked:?}");
    assert!(checked.flaws[0].to_string().contains("not a database"), "{checked:?}");
}

#[tokio::test]
async fn objects_are_listed_though_a_page_of_them_or_of_their_index_is_noise() {
    const OBJECTS: usize = 40;
    for name in ["clusters", "playbooks", "plugins"] {
        let index = format!("sqlite_autoindex_{name}_1");
        for spoilt in [name, &index] {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            for n in 0..u8::try_from(OBJECTS).unwrap() {
                // So long that a page has room for only a few.
                let text = "x".repeat(500);
                store.put_cluster(&cluster(&format!("c-{n:02}"), &text)).await.unwrap();
                let version = format!("1.{n}.0");
                store.put_playbook(&playbook("restart", &version, &[])).await.unwrap();
                let (plugin, bytes) = plugin(n);
                store.put_plugin(&plugin, bytes).await.unwrap();
            }
            drop(store);
            assert!(spoil(directory.path(), spoilt, Some("leaf"), |index| index == 0) > 0);
            let store = open(directory.path());
            let all = page(None, 99);
            let found = match name {
                "clusters" => store.read_clusters(&all).await.map(|found| seen(&found)),
                "playbooks" => store.read_playbooks(&all).await.map(|found| seen(&found)),
                _ => store.read_plugins(&all).await.map(|found| seen(&found)),
            };
            let (readable, damaged) = found.unwrap();
            assert_eq!(readable + damaged, OBJECTS, "{spoilt}");
            assert_eq!(damaged > 0, spoilt == name, "{spoilt}: {damaged}");
            assert!(readable > 0 && store.broken().is_some(), "{spoilt}");
        }
    }
}

/// How many of these can be read, and how many can't.
fn seen<T>(found: &replibook_store::Found<T>) -> (usize, usize) {
    let readable = found.iter().filter(|one| one.is_ok()).count();
    (readable, found.len() - readable)
}
