//! The followers of this process, and those who listen to them. The last listener that leaves a cluster ends its
//! task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::task::{PLATFORM_TIMEOUT, Task, Told, View, Ways, ask};
use crate::agent::platform::Platform;
use crate::clock::Clock;
use crate::credentials::{KeptCredentials, NotUsed, Use};
use crate::playbook::{ClusterGuards, Discovery, Reach};
use crate::run::{AgentId, Follower, Heard, MassAbsence, Membership, Millis, Phase, Timestamp};
use crate::store::{Store, StoreClock, StoreError};

/// How many messages may wait for a task: each run sends one, and so does each person who resumes a run. Further
/// senders wait.
const TOLD: usize = 64;

/// How long the start of a run or a stage waits for a good answer of the platform. That is enough for a platform
/// that is just being restarted, and a person who watches is told before long. An answer that has begun by then
/// may still finish.
pub(super) const START_PATIENCE: Millis = Millis::from_secs(30);

/// For how long an answer is reused for requests that only look at a cluster which nobody follows. Those requests
/// come in pages, each of which would ask the platform.
const ONCE_AGE: Millis = Millis::from_secs(5);

/// For how many clusters such an answer is kept. Beyond that, all are forgotten.
const MAX_ONCE: usize = 32;

/// The followers of this process. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Followers {
    shared: Arc<Shared>,
    credentials: KeptCredentials,
}

struct Shared {
    platforms: Arc<dyn Platform>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    clusters: Mutex<HashMap<String, Entry>>,
    once: Mutex<HashMap<String, (Timestamp, View)>>,
    /// How many times a Cluster object was changed in this process.
    changes: AtomicU64,
    /// One lock per cluster: among the requests that only look, one asks and the others wait for its answer.
    asking: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

struct Entry {
    listeners: usize,
    told: mpsc::Sender<Told>,
    view: watch::Receiver<View>,
    heard: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// What is known of a cluster.
#[derive(Clone, Debug)]
pub struct Known {
    /// The members, and the platform they come from.
    pub view: View,
    /// Whether the cluster is followed here. If not, its platform was asked once, for this request.
    pub followed: bool,
}

impl Followers {
    /// No followers yet. `clock` is the machine's clock, the same that the store was given.
    pub fn new(platforms: Arc<dyn Platform>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(StoreClock::new(store.clone(), clock));
        let (clusters, once, asking) = (Mutex::default(), Mutex::default(), Mutex::default());
        let changes = AtomicU64::new(0);
        let shared = Shared { platforms, store, clock, clusters, once, changes, asking };
        Self { shared: Arc::new(shared), credentials: KeptCredentials::default() }
    }

    /// Clusters may name these credentials, which the clients of agents and platforms have.
    #[must_use]
    pub fn with_credentials(self, credentials: KeptCredentials) -> Self {
        Self { credentials, ..self }
    }

    /// The credentials that clusters may name.
    pub const fn credentials(&self) -> &KeptCredentials {
        &self.credentials
    }

    /// Follows a cluster until the last [`Following`] for it is dropped. `known` has the agents that the caller's
    /// run already knows as members, with their addresses.
    pub(crate) async fn follow(&self, cluster: &str, known: Vec<(AgentId, String)>) -> Following {
        let (told, view, heard) = {
            let mut clusters = self.shared.clusters();
            let entry = clusters.entry(cluster.to_owned()).or_insert_with(|| self.start(cluster));
            if entry.told.is_closed() {
                // The task panicked. Its listeners hear nothing new any more, but still count until they leave.
                *entry = Entry { listeners: entry.listeners, ..self.start(cluster) };
            }
            entry.listeners += 1;
            (entry.told.clone(), entry.view.clone(), entry.heard.clone())
        };
        let place = Place { shared: Arc::clone(&self.shared), cluster: cluster.to_owned() };
        let following = Following { view, heard, told, place: Arc::new(place) };
        if !known.is_empty() {
            let (sender, taken) = oneshot::channel();
            following.tell(Told::Known(known, sender)).await;
            // Until then the published members don't include these. If the task has ended, later calls report
            // that.
            let _ = taken.await;
        }
        following
    }

    fn start(&self, cluster: &str) -> Entry {
        let membership = Follower::new().membership();
        let nothing =
            View { membership, missing: false, discovery: None, guards: None, ways: Ways::Unknown };
        let (sender, view) = watch::channel(nothing);
        let (told, receiver) = mpsc::channel(TOLD);
        let (coming, heard) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = Task {
            cluster: cluster.to_owned(),
            platforms: Arc::clone(&self.shared.platforms),
            store: Arc::clone(&self.shared.store),
            clock: Arc::clone(&self.shared.clock),
            told: receiver,
            view: sender,
            heard: coming,
            stop: stop.clone(),
        };
        tokio::spawn(task.run());
        Entry { listeners: 0, told, view, heard, stop }
    }

    /// Says that a Cluster object was changed, so that its task does not have to find out by polling.
    pub fn changed(&self, cluster: &str) {
        self.shared.changes.fetch_add(1, Ordering::SeqCst);
        self.shared.once().remove(cluster);
        if let Some(entry) = self.shared.clusters().get(cluster) {
            // A task that is too busy finds out by itself, a little later.
            let _ = entry.told.try_send(Told::Look(None));
        }
    }

    /// The agents of a cluster as they are known now. None if there is no such cluster. If nobody follows the
    /// cluster here, its platform is asked once, with a time-out.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails. A platform that does not answer is no error: the result says so.
    pub async fn agents(&self, cluster: &str) -> Result<Option<Known>, StoreError> {
        let followed = self.shared.clusters().get(cluster).map(|entry| entry.view.clone());
        if let Some(view) = followed.map(|view| view.borrow().clone()) {
            match view.membership.phase {
                Phase::Settled if !view.missing => {
                    return Ok(Some(Known { view, followed: true }));
                }
                // The follower has just begun. Asking the platform directly gives an answer at once.
                Phase::Settled | Phase::Reading | Phase::Asking => {}
            }
        }
        let turn = self.shared.turn(cluster);
        let _one_at_a_time = turn.lock().await;
        let now = self.shared.clock.now();
        if let Some((at, view)) = self.shared.once().get(cluster)
            && now.since(*at) < ONCE_AGE
        {
            return Ok(Some(Known { view: view.clone(), followed: false }));
        }
        let changes = self.shared.changes.load(Ordering::SeqCst);
        let Some(view) = self.ask_once(cluster).await? else { return Ok(None) };
        let mut once = self.shared.once();
        if self.shared.changes.load(Ordering::SeqCst) != changes {
            // This view may still be of the object before the change, so it must not be reused.
            return Ok(Some(Known { view, followed: false }));
        }
        if once.len() >= MAX_ONCE {
            once.clear();
        }
        once.insert(cluster.to_owned(), (self.shared.clock.now(), view.clone()));
        Ok(Some(Known { view, followed: false }))
    }

    async fn ask_once(&self, cluster: &str) -> Result<Option<View>, StoreError> {
        let Some(stored) = self.shared.store.cluster(cluster).await? else { return Ok(None) };
        let mut follower = Follower::new();
        follower.declare(&stored.spec, stored.applied_at);
        let (reach, outdated) = (stored.spec.reach(), stored.spec.outdated());
        let discovery = stored.spec.discovery;
        if let Some(outdated) = outdated {
            follower.hear(Heard::Failed(outdated), self.shared.clock.now());
        } else if let Some(discovery) = &discovery {
            let Shared { platforms, clock, .. } = &*self.shared;
            let coming = watch::Sender::new(false);
            // A person waits, so an answer that has begun gets no more time than that either.
            let heard = tokio::select! {
                biased;
                heard = ask(&**platforms, &**clock, coming, discovery) => heard,
                () = clock.sleep(PLATFORM_TIMEOUT) => {
                    let (url, seconds) = (&discovery.url, PLATFORM_TIMEOUT.as_secs());
                    Heard::Failed(format!("{url} did not send all of its answer within {seconds} s"))
                }
            };
            follower.hear(heard, clock.now());
        }
        let (membership, guards) = (follower.membership(), Some(Arc::new(stored.spec.guards)));
        let ways = Ways::By(reach);
        Ok(Some(View { membership, missing: false, discovery, guards, ways }))
    }
}

/// Why the credentials that a cluster names can't be used here; `None` if they can.
pub fn lacking(
    kept: &KeptCredentials,
    agents: Option<&str>,
    discovery: Option<&Discovery>,
) -> Option<NotUsed> {
    let of_agents = agents.map(|name| (name, Use::Agent));
    let of_platform = discovery.and_then(|from| from.credentials.as_deref());
    let of_platform = of_platform.map(|name| (name, Use::Platform));
    let mut named = of_agents.into_iter().chain(of_platform);
    named.find_map(|(name, used)| kept.get(name, used).err())
}

impl Shared {
    fn clusters(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, cluster: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = asking.get(cluster).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        asking.insert(cluster.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn once(&self) -> MutexGuard<'_, HashMap<String, (Timestamp, View)>> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener to the follower of one cluster.
#[derive(Clone)]
pub(crate) struct Following {
    view: watch::Receiver<View>,
    /// Whether an answer of the platform is under way.
    heard: watch::Receiver<bool>,
    told: mpsc::Sender<Told>,
    place: Arc<Place>,
}

/// Counts as one listener. Dropping the last one ends the follower.
struct Place {
    shared: Arc<Shared>,
    cluster: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clusters = self.shared.clusters();
        let Some(entry) = clusters.get_mut(&self.cluster) else { return };
        entry.listeners = entry.listeners.saturating_sub(1);
        if entry.listeners == 0 {
            entry.stop.cancel();
            clusters.remove(&self.cluster);
        }
    }
}

impl Following {
    /// What is known of the cluster now.
    pub(crate) fn now(&mut self) -> View {
        self.view.borrow_and_update().clone()
    }

    /// Returns when something changed since the last [`now`](Self::now).
    pub(crate) async fn changed(&mut self) {
        if self.view.changed().await.is_err() {
            // The task has ended, which it does only after all its listeners left, or when it panicked.
            std::future::pending().await
        }
    }

    /// A person accepts that the absent agents are gone; `seen` is the absence that the person saw. This is a
    /// judgement about the platform, so it counts for all runs of the cluster.
    pub(crate) async fn accept(&self, seen: MassAbsence) {
        self.tell(Told::Accept(seen)).await;
    }

    async fn tell(&self, told: Told) {
        // The task ends only after all its listeners left, unless it panicked.
        let _ = self.told.send(told).await;
    }

    /// The guards of the Cluster object, which is looked at for that. `None` if there is none.
    ///
    /// # Errors
    /// Why it can't be read, as human-readable text. Waits for a store that does not answer.
    pub(crate) async fn guards(&mut self) -> Result<Option<Arc<ClusterGuards>>, String> {
        self.look().await?;
        Ok(self.now().guards)
    }

    /// How the agents of the cluster are reached, once its object was looked at. Waits for a store that does not answer.
    pub(crate) async fn ways(&self) -> Ways {
        let known = self.view.borrow().ways.clone();
        if known != Ways::Unknown {
            return known;
        }
        // Those that wait for a view are woken in any order. Runs go on in the order in which they asked.
        let (sender, told) = oneshot::channel();
        self.tell(Told::Ways(sender)).await;
        // The task ends only after all its listeners left, unless it panicked.
        told.await.unwrap_or(Ways::Unreadable)
    }

    /// Why an engine with these credentials can't reach the agents or the platform of the cluster; `None` if it can. Waits
    /// for a store that does not answer.
    pub(crate) async fn lacking(&self, kept: &KeptCredentials) -> Option<NotUsed> {
        let Ways::By(reach) = self.ways().await else { return None };
        let discovery = self.view.borrow().discovery.clone();
        lacking(kept, reach.credentials.as_deref(), discovery.as_ref())
    }

    async fn look(&self) -> Result<(), String> {
        let (sender, looked) = oneshot::channel();
        self.tell(Told::Look(Some(sender))).await;
        looked.await.unwrap_or_else(|_| Err(self.is_over()))
    }

    /// The members at the start of a run or a stage, after a good answer of the platform. What a run goes over
    /// must not depend on whether the platform happened to answer, so if the Cluster object names a platform, the
    /// agents in the object alone do not suffice.
    ///
    /// # Errors
    /// What is missing or can't be read, as human-readable text. Waits for a store that does not answer.
    pub(crate) async fn members(mut self) -> Result<Membership, String> {
        let clock = Arc::clone(&self.place.shared.clock);
        let (mut since, mut deadline): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        // Look at the Cluster object first: whatever was applied before the run started counts.
        self.look().await?;
        loop {
            let View { membership, missing, discovery, guards: _, ways } = self.now();
            if missing {
                return Err(format!("cluster {} does not exist", self.place.cluster));
            }
            if let Ways::By(Reach { outdated: Some(outdated), .. }) = ways {
                return Err(outdated);
            }
            let problem = membership.problem();
            match membership.phase {
                Phase::Settled if problem.is_none() => return Ok(membership),
                Phase::Settled | Phase::Reading | Phase::Asking => {}
            }
            let Some(discovery) = discovery else {
                self.goes_on().await?;
                continue;
            };
            let since = *since.get_or_insert_with(|| clock.now());
            let until = *deadline.get_or_insert_with(|| clock.now().plus(START_PATIENCE));
            let rest = until.since(clock.now());
            if rest == Millis(0) && *self.heard.borrow() {
                // A large answer on a slow line. Either it arrives in time, or the client gives it up.
                deadline = None;
                continue;
            }
            if rest == Millis(0) {
                return Err(format!(
                    "the platform at {} told no members of its cluster {} within {} s: {}",
                    discovery.url,
                    discovery.cluster,
                    clock.now().since(since).0 / 1_000,
                    problem.unwrap_or("it gave no answer"),
                ));
            }
            tokio::select! {
                biased;
                changed = self.goes_on() => changed?,
                () = clock.sleep(rest.to_std()) => {}
            }
        }
    }

    /// Returns when something changed, or with an error if nothing will change any more.
    async fn goes_on(&mut self) -> Result<(), String> {
        match self.view.changed().await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.is_over()),
        }
    }

    /// The task ended before its listeners left, so it panicked.
    fn is_over(&self) -> String {
        format!("cluster {} is not followed any more", self.place.cluster)
    }
}
