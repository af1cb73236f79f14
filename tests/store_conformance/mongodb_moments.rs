//! Plugins are uploaded, pinned and removed, each at every moment of another such call. Whatever comes in
//! between, whoever pins a plugin has it with its bytes, and no bytes are left that no plugin refers to.
//! GridFS knows no transactions, so the store has to guarantee this.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use mongodb::bson::{DateTime, Document, doc};
use replibook_base::clock::SystemClock;
use replibook_store::mongodb::MongoOptions;
use replibook_store::{MongoStore, NewRun, Plugin, Put, Store, StoreError, StoredPlaybook};

use crate::backends::options;
use crate::mongodb::open;
use crate::samples::{asking_for, playbook, plugin, put_clusters, run};
use crate::server::Database;

/// How long the first call is held so that the second one can end: many times what that takes. A second call
/// that waits for the first one's transaction goes on after it.
const HELD: Duration = Duration::from_millis(250);

/// What is done with a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Put,
    PutAndDelete,
    Delete,
    PinByRun,
    PinByPlaybook,
    /// Puts it as one that is new.
    PutAgain,
    /// Removes it because its retention has passed.
    Sweep,
}

use Call::{Delete, PinByPlaybook, PinByRun, Put as PutIt, PutAgain, PutAndDelete, Sweep};

/// Whether the plugin is there before, the call that is held, and the call that comes in between.
const PAIRS: [(bool, Call, Call); 10] = [
    (false, PutIt, PutIt),
    (false, PutIt, PutAndDelete),
    (false, PutIt, PinByRun),
    (true, PutIt, Delete),
    (true, Delete, PutIt),
    (true, Delete, Delete),
    (true, Delete, PinByRun),
    (true, Delete, PinByPlaybook),
    (true, PinByRun, Delete),
    (true, PinByPlaybook, Delete),
];

/// The same for a plugin that is there and whose retention has passed.
const SWEPT: [(Call, Call); 7] = [
    (Sweep, PinByRun),
    (Sweep, PinByPlaybook),
    (Sweep, PutAgain),
    (Sweep, Delete),
    (PinByRun, Sweep),
    (PinByPlaybook, Sweep),
    (PutAgain, Sweep),
];

/// The plugin of one round, and what pins it.
#[derive(Clone)]
struct Sample {
    plugin: Plugin,
    bytes: Bytes,
    book: StoredPlaybook,
    run: NewRun,
}

impl Sample {
    fn new(n: u8) -> Self {
        let (plugin, bytes) = plugin(n);
        let book = playbook(&format!("book-{n}"), "1.0.0", &[&plugin]);
        let run = asking_for(run(n.into(), &book));
        Self { plugin, bytes, book, run }
    }

    /// The outcome of a call, in one or a few words.
    async fn make(&self, store: &MongoStore, call: Call) -> Result<&'static str, StoreError> {
        let digest = &self.plugin.info.digest;
        let removed = |removed| if removed { "removed" } else { "was not there" };
        match call {
            PutIt => match store.put_plugin(&self.plugin, self.bytes.clone()).await? {
                Put::Created => Ok("created"),
                Put::Updated | Put::Unchanged => Ok("was there"),
            },
            PutAndDelete => {
                store.put_plugin(&self.plugin, self.bytes.clone()).await?;
                store.delete_plugin(digest).await.map(removed)
            }
            Delete => store.delete_plugin(digest).await.map(removed),
            PinByRun => store.create_run(&self.run).await.map(|_| "pinned"),
            PinByPlaybook => store.put_playbook(&self.book).await.map(|_| "pinned"),
            PutAgain => {
                let new = Plugin { unpinned_at: Some(store.time()), ..self.plugin.clone() };
                store.put_plugin(&new, self.bytes.clone()).await.map(|_| "put again")
            }
            Sweep => {
                let swept = store.sweep_plugins(1).await?.expect("its turn");
                Ok(removed(swept.removed.contains(digest)))
            }
        }
    }
}

/// Holds a store before one of its commands, and does something else in the meantime.
#[derive(Clone, Default)]
struct Holder(Arc<Mutex<Option<Held>>>);

struct Held {
    /// How many commands pass first.
    passing: usize,
    meanwhile: Box<dyn FnOnce() + Send>,
}

impl Holder {
    fn before_a_command(&self) {
        let due = {
            let mut held = self.0.lock().unwrap();
            match held.as_mut() {
                Some(Held { passing: 0, .. }) => held.take(),
                Some(held) => {
                    held.passing -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some(held) = due {
            tokio::task::block_in_place(held.meanwhile);
        }
    }
}

struct Scene {
    database: Database,
    /// The store whose call is held, and the store of another engine.
    held: MongoStore,
    other: Arc<MongoStore>,
    holder: Holder,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::new();
        let holder = Holder::default();
        let watch = holder.clone();
        let mut mongo = MongoOptions::new(database.address());
        mongo.watch = Some(Arc::new(move |_: &str, _: &Document| watch.before_a_command()));
        let held = MongoStore::open(&mongo, options(), Arc::new(SystemClock)).await.unwrap();
        put_clusters(&held).await;
        let other = Arc::new(open(&database, options()).await.unwrap());
        Self { database, held, other, holder }
    }

    /// Makes the first call, and the second one just before command number `moment` of the first. Returns
    /// false if the first call has no such command.
    async fn round(&self, sample: &Sample, first: Call, second: Call, moment: usize) -> bool {
        let (ended, answer) = mpsc::channel();
        let (runtime, store) = (tokio::runtime::Handle::current(), self.other.clone());
        let its_sample = sample.clone();
        let meanwhile = move || {
            let (ending, ends) = mpsc::channel();
            std::thread::spawn(move || {
                let outcome = runtime.block_on(its_sample.make(&store, second));
                let _ = ending.send(());
                let _ = ended.send(outcome);
            });
            let _ = ends.recv_timeout(HELD);
        };
        let held = Held { passing: moment, meanwhile: Box::new(meanwhile) };
        *self.holder.0.lock().unwrap() = Some(held);
        let first_outcome = sample.make(&self.held, first).await;
        if self.holder.0.lock().unwrap().take().is_some() {
            return false;
        }
        let outcome = tokio::task::spawn_blocking(move || answer.recv().unwrap()).await.unwrap();
        let story = format!("{first:?}: {first_outcome:?}, {second:?} at {moment}: {outcome:?}");
        self.assert_sound(sample, &story).await;
        for outcome in [first_outcome, outcome] {
            let expected = matches!(
                outcome,
                Ok(_) | Err(StoreError::Pinned { .. } | StoreError::MissingPlugin { .. })
            );
            assert!(expected, "{story}");
        }
        true
    }

    /// Checks that a plugin that is pinned is there, and that its bytes are there exactly if the plugin is.
    async fn assert_sound(&self, sample: &Sample, story: &str) {
        let digest = &sample.plugin.info.digest;
        let raw = self.database.open().await;
        let count = async |collection: &str, filter: Document| {
            raw.collection::<Document>(collection).count_documents(filter).await.unwrap()
        };
        let there = count("plugins", doc! { "_id": digest.as_str() }).await;
        let pins = doc! { "pins": digest.as_str() };
        let pinning = count("runs", pins.clone()).await + count("playbooks", pins).await;
        assert!(pinning == 0 || there == 1, "{story}: it is pinned and gone");
        let bytes = self.other.plugin_bytes(digest).await.unwrap();
        assert_eq!(bytes.as_ref(), (there == 1).then_some(&sample.bytes), "{story}");
        let files = count("plugins.files", doc! { "filename": digest.as_str() }).await;
        assert_eq!(files, there, "{story}: files that nobody names");
        let (files, chunks) =
            (count("plugins.files", doc! {}).await, count("plugins.chunks", doc! {}).await);
        assert_eq!(files, chunks, "{story}: each of these files has one chunk");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_pins_and_removals_meet_at_each_of_their_moments() {
    let scene = Scene::new().await;
    let mut n = 0;
    for (is_there, first, second) in PAIRS {
        let mut moments = 0;
        loop {
            let sample = Sample::new(n);
            n += 1;
            if is_there {
                scene.other.put_plugin(&sample.plugin, sample.bytes.clone()).await.unwrap();
            }
            if !scene.round(&sample, first, second, moments).await {
                break;
            }
            moments += 1;
        }
        assert!(moments >= 1, "{first:?} was never held");
    }
    assert!(n > 40, "only {n} rounds");
}

/// A digest just before this one.
fn before(digest: &str) -> String {
    let mut bytes = digest.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        match *byte {
            b'0' => *byte = b'f',
            b'a' => {
                *byte = b'9';
                break;
            }
            _ => {
                *byte -= 1;
                break;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sweep_and_whatever_keeps_a_plugin_meet_at_each_of_their_moments() {
    let scene = Scene::new().await;
    let raw = scene.database.open().await;
    let meta = raw.collection::<Document>("meta");
    let mut n = 0;
    for (first, second) in SWEPT {
        let mut moments = 0;
        loop {
            let sample = Sample::new(n);
            n += 1;
            let digest = &sample.plugin.info.digest;
            scene.other.put_plugin(&sample.plugin, sample.bytes.clone()).await.unwrap();
            // It is the plugin that the next sweep looks at.
            let turn = doc! { "_id": "plugin_sweep", "next": DateTime::from_millis(0),
            "after": before(digest.as_str()) };
            meta.replace_one(doc! { "_id": "plugin_sweep" }, turn).upsert(true).await.unwrap();
            if !scene.round(&sample, first, second, moments).await {
                break;
            }
            let is_there = scene.other.plugin(digest).await.unwrap().is_some();
            let is_kept = [first, second].contains(&PutAgain);
            assert!(is_there || !is_kept, "{first:?}, {second:?} at {moments}");
            moments += 1;
        }
        assert!(moments >= 1, "{first:?} was never held");
    }
    assert!(n > 40, "only {n} rounds");
}
