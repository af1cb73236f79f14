//! Transactions that were left open, and what ends them: it must affect nothing else, and hold nothing up.
//!
//! Fail points apply to the whole server, so each of these tests has a server of its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use mongodb::Client;
use mongodb::bson::{Bson, DateTime, Document, doc};
use replibook_base::clock::SystemClock;
use replibook_core::run::{EngineId, RunId, Writes};
use replibook_store::mongodb::MongoOptions;
use replibook_store::{DEFAULT_LEASE, Lease, MongoStore, Put, Store, StoreError, StoreOptions};

use crate::samples::{command, event, new_run, one_of_each, put_clusters};
use crate::server::{Database, TestServer};
use crate::wait;

/// The server's code for an operation that another one has ended.
const INTERRUPTED: i32 = 11_601;

/// The code of an error without a label that says that another attempt may succeed.
const REFUSED: i32 = 8_000;

/// How long callers wait before they give up, while the server holds their command for [`SLOW`] milliseconds.
const GIVEN_UP: Duration = Duration::from_millis(300);
const SLOW: i32 = 1_500;

/// Well below the minute for which servers keep a transaction that nobody ends.
const KEPT_OPEN: Duration = Duration::from_secs(40);

/// A server of the test's own, which is told what to fail.
struct Scene {
    /// It ends with the test.
    _server: TestServer,
    database: Database,
    admin: mongodb::Database,
}

/// The commands of one store, in the order in which they were sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(String, Document)>>>);

impl Sent {
    fn all(&self) -> Vec<(String, Document)> {
        self.0.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> Vec<Document> {
        self.all().into_iter().filter(|sent| sent.0 == name).map(|sent| sent.1).collect()
    }

    /// How many transactions were begun.
    fn begun(&self) -> usize {
        let begins = |sent: &Document| sent.get_bool("startTransaction").unwrap_or_default();
        self.all().iter().filter(|sent| begins(&sent.1)).count()
    }

    /// The sessions of all transactions.
    fn of_transactions(&self) -> HashSet<String> {
        let all = self.all().into_iter().filter(|sent| sent.1.contains_key("autocommit"));
        all.filter_map(|sent| session(&sent.1)).map(|id| id.to_string()).collect()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Scene {
    async fn new() -> Self {
        let server = TestServer::start(&["--enable-test-commands"]);
        let database = Database::on(server.address());
        let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
        Self { _server: server, database, admin }
    }

    async fn store(&self, bulk_write: bool) -> (MongoStore, Sent) {
        let sent = Sent::default();
        let seen = sent.0.clone();
        let mut mongo = MongoOptions::new(self.database.address());
        mongo.bulk_write = bulk_write;
        mongo.watch = Some(Arc::new(move |name: &str, command: &Document| {
            seen.lock().unwrap().push((name.to_owned(), command.clone()));
        }));
        let options = StoreOptions::default();
        let store = MongoStore::open(&mongo, options, Arc::new(SystemClock)).await.unwrap();
        // The commands of opening the store do not count here.
        sent.clear();
        (store, sent)
    }

    async fn open_transactions(&self) -> i64 {
        let status = self.admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        status.get_document("transactions").unwrap().get_i64("currentOpen").unwrap()
    }

    /// Has the server fail these commands. `how` is in the form of `configureFailPoint`.
    async fn fail(&self, mode: impl Into<Bson>, commands: &[&str], how: Document) {
        let mut data = doc! { "failCommands": commands.to_vec() };
        data.extend(how);
        let fail = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        self.admin.run_command(fail).await.unwrap();
    }
}

fn once() -> Document {
    doc! { "times": 1 }
}

fn slow(millis: i32) -> Document {
    doc! { "blockConnection": true, "blockTimeMS": millis }
}

fn refused(code: i32) -> Document {
    doc! { "errorCode": code }
}

fn engine() -> EngineId {
    EngineId("e".to_owned())
}

/// Creates this many runs and claims them.
async fn claimed(store: &MongoStore, runs: u128) -> Vec<Lease> {
    put_clusters(store).await;
    for n in 0..runs {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&engine(), 100).await.unwrap();
    assert_eq!(leases.len() as u128, runs);
    leases
}

/// The session of a command.
fn session(command: &Document) -> Option<Bson> {
    command.get_document("lsid").ok()?.get("id").cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_left_is_used_by_nothing_else() {
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    // The driver reuses the session that was used last, and creates one only if none is free.
    let leases = claimed(&store, 6).await;
    let ways = [
        ("bulkWrite", slow(SLOW)),
        ("commitTransaction", slow(SLOW)),
        ("bulkWrite", refused(REFUSED)),
    ];
    for (n, (name, how)) in ways.into_iter().enumerate() {
        let [left, next] = [&leases[2 * n], &leases[2 * n + 1]];
        scene.fail(once(), &[name], how).await;
        let writes = one_of_each(left.run);
        let commit = store.commit(left.run, left.epoch, &writes);
        let commit = tokio::time::timeout(GIVEN_UP, commit).await;
        assert!(!matches!(commit, Ok(Ok(()))), "{name} failed");
        // Everything that an engine does meanwhile.
        store.claim(&engine(), 1).await.unwrap();
        assert_eq!(store.renew(&engine()).await.unwrap().len(), leases.len());
        let reads = join_all(leases.iter().map(|lease| store.run(lease.run))).await;
        assert!(reads.iter().all(|run| matches!(run, Ok(Some(_)))));
        store.commit(next.run, next.epoch, &one_of_each(next.run)).await.unwrap();
        store.submit(&command(n as u128, next.run, next.until)).await.unwrap();
    }
    let (mut of_transactions, mut ended) = (HashSet::new(), HashSet::new());
    for (name, command) in sent.all() {
        let id = session(&command).map(|id| id.to_string());
        if command.contains_key("autocommit") {
            let id = id.unwrap();
            of_transactions.insert(id);
        } else if let Some(id) = id {
            assert!(!of_transactions.contains(&id), "{name} is not of a transaction: {command}");
        }
        if name == "killSessions" {
            for id in command.get_array("killSessions").unwrap() {
                let id = id.as_document().unwrap().get("id").unwrap().to_string();
                assert!(of_transactions.contains(&id), "{id} is not of a transaction");
                ended.insert(id);
            }
        }
    }
    assert_eq!(ended.len(), 3, "each of those that were left was ended, and no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_is_ended_also_when_it_arrives_late() {
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    let lease = claimed(&store, 1).await.remove(0);
    scene.fail(once(), &["bulkWrite"], slow(SLOW)).await;
    let writes = one_of_each(lease.run);
    let commit = store.commit(lease.run, lease.epoch, &writes);
    assert!(tokio::time::timeout(GIVEN_UP, commit).await.is_err(), "it was left");
    store.claim(&engine(), 1).await.unwrap();
    assert_eq!(sent.named("killSessions").len(), 1);
    assert_eq!(scene.open_transactions().await, 0, "it has not arrived yet");
    wait::until("it to arrive", KEPT_OPEN, async || {
        (scene.open_transactions().await == 1).then_some(())
    })
    .await;
    wait::until("it to be ended", KEPT_OPEN, async || {
        store.claim(&engine(), 1).await.unwrap();
        (scene.open_transactions().await == 0).then_some(())
    })
    .await;
    assert_eq!(events(&store, lease.run).await, [1]);
    store.commit(lease.run, lease.epoch, &writes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_again_and_again_use_up_no_sessions() {
    /// How many sessions a store may have at most, and how many callers there are at once.
    const SESSIONS: usize = 256;
    const AT_ONCE: u128 = 60;
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    let leases = claimed(&store, 2).await;
    // By then each of them has read something.
    scene.fail("alwaysOn", &["findAndModify"], slow(SLOW)).await;
    let mut asked = 0;
    wait::until("all sessions to be left twice", KEPT_OPEN, async || {
        let calls = (0..AT_ONCE).map(|n| {
            let command = command(asked + n, leases[0].run, leases[0].until);
            let store = &store;
            async move { tokio::time::timeout(GIVEN_UP, store.submit(&command)).await }
        });
        join_all(calls).await;
        asked += AT_ONCE;
        (sent.begun() > 2 * SESSIONS).then_some(())
    })
    .await;
    scene.fail("off", &[], Document::new()).await;
    let next = command(asked, leases[1].run, leases[1].until);
    assert_eq!(store.submit(&next).await.unwrap(), Put::Created);
    let sessions = sent.of_transactions().len();
    println!("{sessions} sessions for {} transactions", sent.begun());
    assert!(sessions <= SESSIONS, "{sessions} sessions");
}

/// The numbers of a run's events.
async fn events(store: &MongoStore, run: RunId) -> Vec<u64> {
    let events = store.events(run, 0, 100).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_others_ended_is_made_once_all_the_same() {
    let scene = Scene::new().await;
    for (bulk_write, write, run) in [(true, "bulkWrite", 1), (false, "update", 2)] {
        let (store, _) = scene.store(bulk_write).await;
        put_clusters(&store).await;
        store.create_run(&new_run(run)).await.unwrap();
        let lease = store.claim(&engine(), 1).await.unwrap().remove(0);
        for (n, name) in [(2, write), (3, "commitTransaction")] {
            scene.fail(once(), &[name], refused(INTERRUPTED)).await;
            let writes = Writes { events: vec![event(lease.run, n)], ..Writes::default() };
            store.commit(lease.run, lease.epoch, &writes).await.unwrap();
        }
        assert_eq!(events(&store, lease.run).await, [1, 2, 3]);
        for (n, name) in [(10, "find"), (20, "findAndModify"), (30, "commitTransaction")] {
            scene.fail(once(), &[name], refused(INTERRUPTED)).await;
            let submitted = store.submit(&command(run * 100 + n, lease.run, lease.until)).await;
            assert_eq!(submitted.unwrap(), Put::Created, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_may_have_been_made_is_asked_about_and_not_made_again() {
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    let lease = claimed(&store, 1).await.remove(0);
    sent.clear();
    scene.fail("alwaysOn", &["commitTransaction"], refused(INTERRUPTED)).await;
    let error = store.commit(lease.run, lease.epoch, &one_of_each(lease.run)).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(sent.begun(), 1, "it was begun once");
    let asked = sent.named("commitTransaction");
    assert_eq!(asked.len(), 5);
    let one = |command: &Document| (session(command), command.get_i64("txnNumber").unwrap());
    assert!(asked.iter().all(|command| one(command) == one(&asked[0])), "{asked:?}");
    // The transaction may be open, and nobody comes back to it.
    store.close().await;
    let ended = sent.named("killSessions");
    let ids = ended[0].get_array("killSessions").unwrap();
    assert_eq!(ids, &[Bson::Document(doc! { "id": one(&asked[0]).0.unwrap() })]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_renewed_and_claimed_whatever_becomes_of_sessions_that_were_left() {
    /// Far longer than a lease.
    const NEVER: i32 = 60_000;
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    let mut leases = claimed(&store, 1).await;
    for how in [doc! { "closeConnection": true }, slow(NEVER)] {
        store.create_run(&new_run(leases.len() as u128)).await.unwrap();
        scene.fail(once(), &["bulkWrite"], refused(REFUSED)).await;
        let Lease { run, epoch, .. } = leases[0];
        let error = store.commit(run, epoch, &one_of_each(run)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        sent.clear();
        scene.fail("alwaysOn", &["killSessions"], how.clone()).await;
        // An engine makes these calls one after the other, within the life of a lease.
        let loop_of_an_engine = async {
            assert_eq!(store.renew(&engine()).await.unwrap().len(), leases.len());
            leases.extend(store.claim(&engine(), 1).await.unwrap());
            assert_eq!(store.renew(&engine()).await.unwrap().len(), leases.len());
        };
        let start = Instant::now();
        let in_time = tokio::time::timeout(DEFAULT_LEASE.to_std() / 2, loop_of_an_engine).await;
        println!("{how}: after {} ms", start.elapsed().as_millis());
        assert!(in_time.is_ok(), "{how}");
        assert!(!sent.named("killSessions").is_empty(), "{how}");
        store.commit(run, epoch, &one_of_each(run)).await.unwrap();
    }
    assert_eq!(leases.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_that_lags_is_no_reason_to_end_transactions() {
    /// Longer than the server waits for a majority.
    const LAGGING: i32 = 5_500;
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    claimed(&store, 1).await;
    let (other, _) = scene.store(true).await;
    other.create_run(&new_run(9)).await.unwrap();
    scene.fail(once(), &["update"], slow(LAGGING)).await;
    assert_eq!(store.renew(&engine()).await.unwrap().len(), 1);
    assert_eq!(sent.named("killSessions"), [] as [Document; 0]);
}

/// Has the renewal of a lease be held up while there are `others` more stores with one session each, last
/// seen `ago` seconds ago. Returns these sessions, and those that were ended.
async fn ended_by_a_renewal(others: usize, ago: u64) -> (HashSet<String>, HashSet<String>) {
    /// Longer than the write of a lease may take.
    const HELD_UP: i32 = 7_000;
    let scene = Scene::new().await;
    let (store, sent) = scene.store(true).await;
    claimed(&store, 1).await;
    let (other, of_other) = scene.store(true).await;
    other.create_run(&new_run(9)).await.unwrap();

    let raw = scene.database.open().await;
    let seen = DateTime::from_system_time(SystemTime::now() - Duration::from_secs(ago));
    let ids: Vec<_> = (0..others).map(|_| Bson::from(mongodb::bson::Uuid::new())).collect();
    let stores = ids.iter().map(|id| {
        let key = doc! { "sessions": mongodb::bson::Uuid::new() };
        doc! { "_id": key, "sessions": [id], "sessions_seen": seen }
    });
    raw.collection::<Document>("meta").insert_many(stores).await.unwrap();

    scene.fail(once(), &["update"], slow(HELD_UP)).await;
    let renewed = store.renew(&engine()).await.unwrap();
    assert_eq!(renewed.len(), 1, "it is renewed all the same");
    let [command] = &sent.named("killSessions")[..] else { panic!("not ended by one command") };
    let ended = command.get_array("killSessions").unwrap().iter();
    let ended = ended.map(|id| id.as_document().unwrap().get("id").unwrap().to_string());
    let ended: HashSet<_> = ended.collect();
    assert!(!of_other.of_transactions().is_empty());
    assert!(of_other.of_transactions().is_subset(&ended), "those of a store that is there");
    assert!(sent.of_transactions().is_disjoint(&ended), "its own");
    (ids.iter().map(ToString::to_string).collect(), ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_stores_that_were_gone_for_hours_are_not_ended() {
    let (gone, ended) = ended_by_a_renewal(3, 3 * 3_600).await;
    assert!(gone.is_disjoint(&ended));
    let (there, ended) = ended_by_a_renewal(3, 3_600).await;
    assert!(there.is_subset(&ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_sessions_are_ended_than_one_command_should_have() {
    const AT_ONCE: usize = 10_000;
    let (others, ended) = ended_by_a_renewal(AT_ONCE + 100, 60).await;
    assert!(others.len() > ended.len());
    assert_eq!(ended.len(), AT_ONCE);
}
