//! A check of MongoDB while engines are at work: between any two of its questions, one run ends and another
//! begins.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use mongodb::bson::Document;
use replibook_base::clock::SystemClock;
use replibook_core::run::EngineId;
use replibook_store::mongodb::MongoOptions;
use replibook_store::{Lease, Locked, MongoStore, Plugin, Store, StoredPlaybook};

use crate::backends::options;
use crate::mongodb::open;
use crate::samples::{
    asking_for, command, finished, finishing, one_of_each, only, playbook, plugin, put_clusters,
    run,
};
use crate::server::Database;

/// How long a question waits for the writer.
const LIMIT: Duration = Duration::from_secs(60);

/// How many turns the writer makes: there are plugin numbers for so many.
const TURNS: u8 = 100;

/// What the writer has begun and not yet ended.
struct Begun {
    lease: Lease,
    playbook: StoredPlaybook,
    plugin: Plugin,
}

/// Begins a run, and puts a playbook. Each of them pins a new plugin of its own.
async fn begin(store: &MongoStore, n: u8) -> Begun {
    let [of_run, of_playbook] = [2 * n, 2 * n + 1].map(plugin);
    for (plugin, bytes) in [&of_run, &of_playbook] {
        store.put_plugin(plugin, bytes.clone()).await.unwrap();
    }
    let kept = playbook("restart", &format!("1.0.{n}"), &[&of_playbook.0]);
    store.put_playbook(&kept).await.unwrap();
    let new = run(n.into(), &playbook("other", "1.0.0", &[&of_run.0]));
    store.create_run(&asking_for(new)).await.unwrap();
    let lease = store.claim(&EngineId("e".to_owned()), 1).await.unwrap().remove(0);
    assert_eq!(store.lock_cluster(lease.run, lease.epoch).await.unwrap(), Locked::Held);
    let mut writes = one_of_each(lease.run);
    writes.commands = vec![command(1_000 + u128::from(n), lease.run, lease.until)];
    store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    Begun { lease, playbook: kept, plugin: of_playbook.0 }
}

/// Ends what [`begin`] has begun.
async fn end(store: &MongoStore, begun: Begun) {
    let Begun { lease, playbook, plugin } = begun;
    let at = lease.until;
    store.commit(lease.run, lease.epoch, &only(finishing(at))).await.unwrap();
    while store.stamp(lease.run, lease.epoch, at).await.unwrap() > 0 {}
    store.commit(lease.run, lease.epoch, &only(finished(at))).await.unwrap();
    assert!(store.delete_playbook("restart", &playbook.playbook.version).await.unwrap());
    assert!(store.delete_plugin(&plugin.info.digest).await.unwrap());
}

/// Makes one turn for each message, up to [`TURNS`]: ends what the turn before began, and begins again.
/// Returns how many turns were made once there are no more messages.
async fn write(store: MongoStore, turns: mpsc::Receiver<mpsc::Sender<()>>) -> u8 {
    let (mut begun, mut n) = (None, 0);
    while let Ok(done) = turns.recv() {
        if n < TURNS {
            if let Some(begun) = begun.take() {
                end(&store, begun).await;
            }
            begun = Some(begin(&store, n).await);
            n += 1;
        }
        let _ = done.send(());
    }
    n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_a_writer_reports_nothing_that_only_changed_meanwhile() {
    let database = Arc::new(Database::new());
    put_clusters(&open(&database, options()).await.unwrap()).await;
    let (turn, turns) = mpsc::channel::<mpsc::Sender<()>>();
    let writer = {
        let database = database.clone();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let store = open(&database, options()).await.unwrap();
                write(store, turns).await
            })
        })
    };
    let mut mongo = MongoOptions::new(database.address());
    mongo.watch = Some(Arc::new(move |name: &str, _: &Document| {
        if !["find", "aggregate"].contains(&name) {
            return;
        }
        let (done, made) = mpsc::channel();
        if turn.send(done).is_ok() {
            let _ = made.recv_timeout(LIMIT);
        }
    }));
    let checking = MongoStore::look(&mongo, options(), Arc::new(SystemClock)).await.unwrap();
    drop(mongo);
    let report = checking.check().await.unwrap();
    assert!(report.is_fine(), "{report:?}");
    checking.close().await;
    drop(checking);
    let turns = writer.join().unwrap();
    assert!(turns > 20, "only {turns} questions were asked");
}
