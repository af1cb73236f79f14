//! An engine as it is to a gateway: it writes down what it will ask for before it asks, asks before it sends anything again,
//! and can be stopped at any moment, so that another one goes on from what was written down.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use replibook::agent::gateway::nodes::{Job, JobState, Jobs, Node, NodeError, Started, Work};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::line::Noise;
use super::scene::of;

/// What a secret job is handed.
const WORD: &str = "correct horse";

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Writes its line.
    Plain,
    /// Writes its line if it is handed the right word.
    Secret,
    /// Writes its line and kills the process that watches over it.
    KillsAfter,
    /// Kills the process that watches over it and writes its line.
    KillsBefore,
}

impl Sort {
    pub(crate) const fn kills(self) -> bool {
        matches!(self, Self::KillsAfter | Self::KillsBefore)
    }
}

/// What the engines know of a job: this is their store.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) sort: Sort,
    accepted: bool,
    /// How it ended.
    pub(crate) state: Option<JobState>,
}

/// A node, and what the engines know of it.
pub(crate) struct Place {
    pub(crate) node: Node,
    /// Where its jobs write down that they were done.
    pub(crate) done: PathBuf,
    pub(crate) entries: Mutex<Vec<Entry>>,
    noise: Mutex<Noise>,
}

impl Place {
    pub(crate) fn new(node: Node, done: PathBuf, noise: Noise) -> Self {
        Self { node, done, entries: Mutex::default(), noise: Mutex::new(noise) }
    }

    /// The job that is not over, or a new one, which is written down first.
    fn next(&self, storm: &dyn Storm) -> Option<(usize, Entry, bool)> {
        let mut entries = self.entries.lock().unwrap();
        let at = entries.len().saturating_sub(1);
        if let Some(entry) = entries.last().filter(|entry| entry.state.is_none()) {
            return Some((at, entry.clone(), true));
        }
        if storm.is_over() && entries.len() >= LEAST {
            return None;
        }
        let sort = match self.noise.lock().unwrap().below(8) {
            0 | 1 if storm.may_kill() => Sort::KillsAfter,
            2 | 3 if storm.may_kill() => Sort::KillsBefore,
            4 | 5 => Sort::Secret,
            _ => Sort::Plain,
        };
        let entry = Entry { id: Uuid::new_v4(), sort, accepted: false, state: None };
        entries.push(entry.clone());
        Some((entries.len() - 1, entry, false))
    }

    fn job(&self, entry: &Entry) -> Job {
        let (id, done) = (entry.id, self.done.display());
        let line = format!("echo {id} >> {done}");
        // Its parent would be another process, if that was killed before.
        let kill =
            format!("read -r pid ok < {}/jobs/{id}/started; kill -9 \"$pid\"", self.node.folder);
        let text = match entry.sort {
            Sort::Plain => format!("{line}; echo {id}"),
            Sort::Secret => {
                format!("read -r word; [ \"$word\" = '{WORD}' ] || exit 9; {line}; echo {id}")
            }
            Sort::KillsAfter => format!("{line}; {kill}"),
            Sort::KillsBefore => format!("{kill}; {line}"),
        };
        let is_secret = entry.sort == Sort::Secret;
        let stdin = if is_secret { format!("{WORD}\n") } else { String::new() };
        let argv = ["sh", "-c", &text].map(str::to_owned).to_vec();
        let work = Work::Command { argv, stdin: Bytes::from(stdin), env: [].into(), folder: None };
        Job { secret: is_secret, ..of(id, work) }
    }

    fn write(&self, at: usize, change: impl FnOnce(&mut Entry)) {
        change(&mut self.entries.lock().unwrap()[at]);
    }
}

/// How many jobs each node has at least.
const LEAST: usize = 3;

/// What is still to come.
pub(crate) trait Storm: Send + Sync {
    fn is_over(&self) -> bool;

    /// Whether one more job may kill what watches over it. It counts.
    fn may_kill(&self) -> bool;
}

/// A gateway that is killed, and made anew at once.
pub(crate) struct Gateway {
    make: Box<dyn Fn() -> Jobs + Send + Sync>,
    present: Mutex<Arc<Alive>>,
    /// The one before. Its connections are left behind for a while, as of a process that was killed.
    before: Mutex<Option<Arc<Alive>>>,
    asked: AtomicUsize,
    turns: Semaphore,
}

/// How many calls are at work at once. All nodes together would keep the machine from the tests beside this one.
const AT_ONCE: usize = 6;

struct Alive {
    jobs: Jobs,
    killed: CancellationToken,
}

impl Alive {
    fn new(jobs: Jobs) -> Arc<Self> {
        Arc::new(Self { jobs, killed: CancellationToken::new() })
    }
}

impl Gateway {
    pub(crate) fn new(make: impl Fn() -> Jobs + Send + Sync + 'static) -> Self {
        let present = Mutex::new(Alive::new(make()));
        let (before, asked) = (Mutex::default(), AtomicUsize::new(0));
        Self { make: Box::new(make), present, before, asked, turns: Semaphore::new(AT_ONCE) }
    }

    /// Ends all that it does, in the middle. Who asked gets no answer.
    pub(crate) async fn kill(&self) {
        let next = Alive::new((self.make)());
        let last = std::mem::replace(&mut *self.present.lock().unwrap(), next);
        last.killed.cancel();
        let buried = self.before.lock().unwrap().replace(last);
        // It waits for its connections to end.
        tokio::task::spawn_blocking(move || drop(buried)).await.unwrap();
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// `None`: it was killed before it answered.
    async fn ask<T, F>(&self, call: impl FnOnce(Jobs) -> F) -> Option<Result<T, NodeError>>
    where
        F: Future<Output = Result<T, NodeError>>,
    {
        let _turn = self.turns.acquire().await.unwrap();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let alive = Arc::clone(&self.present.lock().unwrap());
        tokio::select! {
            biased;
            () = alive.killed.cancelled() => None,
            answer = call(alive.jobs.clone()) => Some(answer),
        }
    }
}

/// Starts an engine: it has a task for each node.
pub(crate) fn engine(
    places: &[Arc<Place>],
    gateway: &Arc<Gateway>,
    storm: &Arc<dyn Storm>,
) -> JoinSet<()> {
    let mut engine = JoinSet::new();
    for place in places {
        let (place, gateway, storm) = (Arc::clone(place), Arc::clone(gateway), Arc::clone(storm));
        engine.spawn(async move {
            while let Some((at, entry, was_begun)) = place.next(&*storm) {
                see_through(&place, at, entry, was_begun, &gateway).await;
            }
        });
    }
    engine
}

/// Does as an engine does, until it is known how the job ended.
async fn see_through(
    place: &Place,
    at: usize,
    mut entry: Entry,
    mut look: bool,
    gateway: &Gateway,
) {
    let (id, job, node) = (entry.id, &place.job(&entry), &place.node);
    while entry.state.is_none() {
        let state = if look {
            match gateway.ask(|jobs| async move { jobs.look(node, id).await }).await {
                Some(Ok(Some(seen))) => Some(seen.state),
                Some(Ok(None)) => {
                    assert!(!entry.accepted, "{}: accepted and not known: {entry:?}", node.folder);
                    look = false;
                    continue;
                }
                Some(Err(_)) | None => continue,
            }
        } else {
            match gateway.ask(|jobs| async move { jobs.start(node, job).await }).await {
                Some(Ok(Started::Begun(state))) => Some(state),
                Some(Ok(Started::Known)) => None,
                Some(Err(error)) => {
                    look = error.may_have_begun();
                    continue;
                }
                None => {
                    look = true;
                    continue;
                }
            }
        };
        look = true;
        entry.accepted = true;
        match state {
            Some(JobState::Ended(_) | JobState::Lost { .. }) => entry.state = state,
            Some(JobState::Running { .. } | JobState::NotStarted) | None => {}
        }
        let known = entry.clone();
        place.write(at, |entry| *entry = known);
    }
}
