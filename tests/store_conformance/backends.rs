//! A new store of each back end, on a clock that the test sets. The cases see only the trait, so that all
//! back ends are held to the same promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use replibook_base::clock::Clock;
use replibook_core::run::{EngineId, Millis, RunId, Timestamp};
use replibook_store::memory::Damaged;
use replibook_store::mongodb::{MongoOptions, TimeSource};
use replibook_store::{
    Checked, Lease, MemoryStore, MongoStore, SqliteStore, Store, StoreError, StoreOptions,
};

use crate::samples::put_clusters;
use crate::{damage, server};

/// How long the stores of these tests keep documents that have finished.
pub(crate) const RETENTION: Millis = Millis(60_000);

/// How long they keep plugins that nothing pins: some sweeps long.
pub(crate) const PLUGIN_RETENTION: Millis = Millis(180_000);

/// How long a lease lasts in these tests.
pub(crate) const LEASE: Millis = Millis(10_000);

/// When the clocks of these tests start.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A clock that moves only when a test moves it.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START.as_millis())))
    }

    pub(crate) fn advance(&self, length: Millis) {
        self.0.fetch_add(i64::try_from(length.0).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, length: Duration) {
        self.advance(Millis(u64::try_from(length.as_millis()).unwrap()));
    }
}

/// A new store, which holds nothing but the clusters of the samples.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    /// This is removed, with everything in it, after the store is closed.
    home: Home,
}

/// Where the documents of a store are.
enum Home {
    Memory { store: Arc<MemoryStore> },
    Directory { directory: tempfile::TempDir },
    Database { database: server::Database },
}

impl Fixture {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Damages a document behind the store's back, in one of [`damage::WAYS`].
    pub(crate) async fn damage(&self, what: &Damaged, way: usize) {
        match &self.home {
            Home::Memory { store } => store.damage(what.clone()),
            Home::Directory { directory } => damage::in_sqlite(directory.path(), what, way),
            Home::Database { database } => damage::in_mongodb(database, what, way).await,
        }
    }

    /// Damages what the store keeps of a lease, if it keeps it in a form that can be damaged. Returns whether
    /// it does.
    pub(crate) async fn damage_lease(&self, run: RunId, way: usize) -> bool {
        match &self.home {
            Home::Memory { .. } | Home::Directory { .. } => false,
            Home::Database { database } => {
                damage::lease_in_mongodb(database, run, way).await;
                true
            }
        }
    }

    /// Reads every document, as `replibook store check` does.
    pub(crate) async fn check(&self) -> Checked {
        match &self.home {
            Home::Memory { store } => store.check(),
            Home::Directory { directory } => SqliteStore::check(directory.path()).unwrap(),
            Home::Database { database } => {
                let mongo = mongo_options(database, true);
                let store = MongoStore::look(&mongo, options(), self.clock.clone()).await.unwrap();
                store.check().await.unwrap().documents
            }
        }
    }

    /// The clusters that have a lock document, even if no run holds the lock.
    pub(crate) async fn locks(&self) -> Vec<String> {
        match &self.home {
            Home::Memory { store } => store.locks(),
            Home::Directory { directory } => damage::locks_in_sqlite(directory.path()),
            Home::Database { database } => {
                let locks = database.open().await.collection::<Document>("locks");
                let names = locks.distinct("_id", doc! {}).await.unwrap();
                names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
            }
        }
    }

    /// Adds a lock of a finished run, as earlier versions left it. Returns whether this back end had such
    /// versions.
    pub(crate) async fn leave_lock(&self, cluster: &str, run: RunId) -> bool {
        match &self.home {
            Home::Memory { .. } => return false,
            Home::Directory { directory } => {
                damage::leave_lock_in_sqlite(directory.path(), cluster, run);
            }
            Home::Database { database } => {
                let locks = database.open().await.collection::<Document>("locks");
                let bytes = run.0.into_bytes().to_vec();
                let run = Binary { subtype: BinarySubtype::Uuid, bytes };
                locks.insert_one(doc! { "_id": cluster, "run": run }).await.unwrap();
            }
        }
        true
    }

    /// Makes a run that was woken sleep again, as an earlier version would: it takes commands and wakes no
    /// run. Returns whether this back end had such versions.
    pub(crate) async fn forget_to_wake(&self, run: RunId) -> bool {
        let Home::Database { database } = &self.home else { return false };
        let bytes = run.0.into_bytes().to_vec();
        let id = Binary { subtype: BinarySubtype::Uuid, bytes };
        let far = DateTime::from_millis(START.as_millis() * 2);
        let parked = doc! {
            "$set": { "lease.until": far, "lease.parked": true },
            "$unset": { "lease.woken": "" },
        };
        let runs = database.open().await.collection::<Document>("runs");
        runs.update_one(doc! { "_id": id, "lease.woken": true }, parked)
            .await
            .unwrap()
            .matched_count
            == 1
    }

    /// Opens the store again with other settings, as the next process would. Returns the retention that
    /// applies from then on. If the store can't be opened, the fixture has none until the next attempt.
    pub(crate) async fn reopen(&mut self, options: StoreOptions) -> Result<Millis, StoreError> {
        // The previous store is closed first.
        self.store = Arc::new(MemoryStore::new(options, self.clock.clone()));
        let (store, retention): (Arc<dyn Store>, _) = match &mut self.home {
            Home::Memory { store } => {
                *store = Arc::new(store.open_again(options)?);
                (store.clone(), store.retention())
            }
            Home::Directory { directory } => {
                let store = SqliteStore::open(directory.path(), options, self.clock.clone())?;
                let retention = store.retention();
                (Arc::new(store), retention)
            }
            Home::Database { database } => {
                let mongo = mongo_options(database, true);
                let store = MongoStore::open(&mongo, options, self.clock.clone()).await?;
                let retention = store.retention();
                (Arc::new(store), retention)
            }
        };
        self.store = store;
        Ok(retention)
    }

    /// Claims the only run that is free.
    pub(crate) async fn claim(&self, engine: &str) -> Lease {
        let mut leases = self.store.claim(&EngineId(engine.to_owned()), 2).await.unwrap();
        assert_eq!(leases.len(), 1, "{leases:?}");
        leases.pop().unwrap()
    }
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        retention: RETENTION,
        plugin_retention: PLUGIN_RETENTION,
        lease: LEASE,
        ..StoreOptions::default()
    }
}

pub(crate) async fn memory() -> Fixture {
    let clock = ManualClock::new();
    let store = Arc::new(MemoryStore::new(options(), clock.clone()));
    put_clusters(store.as_ref()).await;
    Fixture { store: store.clone(), clock, home: Home::Memory { store } }
}

pub(crate) async fn sqlite() -> Fixture {
    let clock = ManualClock::new();
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), options(), clock.clone()).unwrap();
    put_clusters(&store).await;
    let home = Home::Directory { directory };
    Fixture { store: Arc::new(store), clock, home }
}

/// A new database, with one command for a commit if the server supports that.
pub(crate) async fn mongodb() -> Fixture {
    on_mongodb(true).await
}

/// The same with one command for each collection, as for older servers.
pub(crate) async fn mongodb_by_collection() -> Fixture {
    on_mongodb(false).await
}

fn mongo_options(database: &server::Database, bulk_write: bool) -> MongoOptions {
    let time = TimeSource::Clock;
    MongoOptions { time, bulk_write, ..MongoOptions::new(database.address()) }
}

async fn on_mongodb(bulk_write: bool) -> Fixture {
    let clock = ManualClock::new();
    let database = server::Database::new();
    let mongo = mongo_options(&database, bulk_write);
    let store = MongoStore::open(&mongo, options(), clock.clone()).await.unwrap();
    put_clusters(&store).await;
    Fixture { store: Arc::new(store), clock, home: Home::Database { database } }
}
