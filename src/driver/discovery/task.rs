//! The task that follows one cluster. It alone changes what is known of the cluster; everyone else reads its
//! [`View`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::followers::START_PATIENCE;
use super::pace::Pace;
use crate::agent::door::begun_within;
use crate::agent::platform::Platform;
use crate::clock::{Clock, sleep_until};
use crate::playbook::{self, ClusterGuards, Reach};
use crate::run::{
    AgentId, Follower, Heard, LeftOut, MassAbsence, Membership, Millis, Outcome, Timestamp,
};
use crate::store::{Cluster, Store, StoreError};

/// How often to look at the Cluster object for changes. A change that is applied in this process is signalled, and
/// seen at once.
pub const LOOK: Millis = Millis::from_secs(1);

/// The rest after a look is this many times as long as the look took: to look at a large cluster takes a while,
/// and it must not keep the store busy.
const LOOK_SHARE: u64 = 20;

/// The longest rest between two looks.
const LOOK_MAX: Millis = Millis::from_secs(30);

/// How soon the answer of a platform must begin. How slowly it may arrive after that is up to the client.
pub const PLATFORM_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of a cluster, and from which platform it comes.
#[derive(Clone, Debug)]
pub struct View {
    /// The members, and how far they are known.
    pub membership: Membership,
    /// Whether there was no such Cluster object at the last look. What was known before is kept.
    pub missing: bool,
    /// The platform that the Cluster object names, if any.
    pub discovery: Option<playbook::Discovery>,
    /// The guards of the Cluster object; `None` before it was looked at. What was known before is kept.
    pub guards: Option<Arc<ClusterGuards>>,
    /// How the agents are reached. What was known before is kept.
    pub ways: Ways,
}

/// How the agents of a cluster are reached, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ways {
    /// The Cluster object was not looked at yet.
    Unknown,
    /// As the Cluster object says.
    By(Reach),
    /// It can't be read, or there is none.
    Unreadable,
}

/// A message to the task.
#[derive(Debug)]
pub(super) enum Told {
    /// These agents were members before, with their addresses. The sender waits until the task has published them.
    Known(Vec<(AgentId, String)>, oneshot::Sender<()>),
    /// A person accepts this mass absence.
    Accept(MassAbsence),
    /// The Cluster object may have changed. The sender may want to know when it was looked at, or why it can't be.
    Look(Option<oneshot::Sender<Answer>>),
    /// How are the agents reached? The sender waits until the Cluster object was looked at.
    Ways(oneshot::Sender<Ways>),
}

/// The result of a look. The error says what is wrong, as human-readable text, where another try would not mend
/// it.
pub(super) type Answer = Result<(), String>;

type Looked = (Timestamp, Result<Option<Cluster>, StoreError>);
type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Follows one cluster.
pub(super) struct Task {
    pub(super) cluster: String,
    pub(super) platforms: Arc<dyn Platform>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) view: watch::Sender<View>,
    /// Whether an answer of the platform is under way.
    pub(super) heard: watch::Sender<bool>,
    pub(super) stop: CancellationToken,
}

/// What the task knows.
struct State {
    follower: Follower,
    spec: Option<playbook::Cluster>,
    guards: Option<Arc<ClusterGuards>>,
    ways: Ways,
    missing: bool,
    next_look: Timestamp,
    /// The Cluster object may have changed, so look again as soon as the present look is over.
    look_again: bool,
    /// Who waits for a look that has not begun yet.
    waiting: Vec<oneshot::Sender<Answer>>,
    /// Who waits for the look that is under way, or for the next one if the store does not answer that one.
    served: Vec<oneshot::Sender<Answer>>,
    /// Whose look is over.
    looked_for: Vec<oneshot::Sender<Answer>>,
    /// Whose message has been taken into account.
    heard_of: Vec<oneshot::Sender<()>>,
    /// Who waits to know how the agents are reached.
    ways_for: Vec<oneshot::Sender<Ways>>,
    pace: Pace,
    /// Somebody may wait for a good answer until this moment.
    awaited_until: Timestamp,
    /// What was logged last about the platform, so that it is not repeated.
    said: String,
    /// What was logged last about looks at the Cluster object.
    said_of_looks: String,
}

impl Task {
    /// # Flow
    /// Looks at the Cluster object, asks its platform, and publishes what is known, until it is told to stop. It
    /// keeps doing everything else while a look or a question is under way.
    pub(super) async fn run(mut self) {
        let clock = Arc::clone(&self.clock);
        let now = clock.now();
        let mut state = State {
            follower: Follower::new(),
            spec: None,
            guards: None,
            ways: Ways::Unknown,
            missing: false,
            next_look: now,
            look_again: false,
            waiting: Vec::new(),
            served: Vec::new(),
            looked_for: Vec::new(),
            heard_of: Vec::new(),
            ways_for: Vec::new(),
            pace: Pace::new(&self.cluster, now),
            awaited_until: now,
            said: String::new(),
            said_of_looks: String::new(),
        };
        let mut look: Pending<Looked> = None;
        let mut question: Pending<Heard> = None;
        loop {
            let now = self.clock.now();
            if look.is_none() && (state.look_again || state.next_look <= now) {
                state.look_again = false;
                let waiting = std::mem::take(&mut state.waiting);
                state.served.extend(waiting);
                look = Some(self.look(now));
            }
            if question.is_none() && state.pace.next() <= now {
                question = self.question(&mut state, now);
            }
            let (look_at, ask_at) = (state.next_look, state.pace.next());
            let (may_look, may_ask) = (look.is_none(), question.is_none() && state.discovers());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(told) = self.told.recv() => self.take_notice(&mut state, told),
                looked = ready(&mut look) => {
                    look = None;
                    if self.looked(&mut state, looked) {
                        // The answer of a platform that is no longer named is of no interest.
                        question = None;
                    }
                }
                heard = ready(&mut question) => {
                    question = None;
                    self.heard(&mut state, heard);
                }
                () = sleep_until(&*clock, look_at), if may_look => {}
                () = sleep_until(&*clock, ask_at), if may_ask => {}
            }
            self.put_out(&mut state);
        }
    }

    fn look(&self, now: Timestamp) -> Pin<Box<dyn Future<Output = Looked> + Send>> {
        let (store, cluster) = (Arc::clone(&self.store), self.cluster.clone());
        Box::pin(async move { (now, store.cluster(&cluster).await) })
    }

    fn question(&self, state: &mut State, now: Timestamp) -> Pending<Heard> {
        let spec = state.spec.as_ref()?;
        let (discovery, outdated) = (spec.discovery.clone()?, spec.outdated());
        state.pace.asked(now);
        if let Some(outdated) = outdated {
            return Some(Box::pin(std::future::ready(Heard::Failed(outdated))));
        }
        let (platforms, clock) = (Arc::clone(&self.platforms), Arc::clone(&self.clock));
        let heard = self.heard.clone();
        Some(Box::pin(async move { ask(&*platforms, &*clock, heard, &discovery).await }))
    }

    fn take_notice(&self, state: &mut State, told: Told) {
        let now = self.clock.now();
        match told {
            Told::Known(known, waiting) => {
                state.follower.know(known, now);
                state.heard_of.push(waiting);
            }
            // A person can only accept the absence that they have seen.
            Told::Accept(seen) => {
                if state.follower.membership().mass_absence == Some(seen) {
                    state.follower.accept();
                }
            }
            Told::Ways(waiting) => state.ways_for.push(waiting),
            Told::Look(waiting) => {
                state.look_again = true;
                if waiting.is_some() {
                    state.awaited_until = now.plus(START_PATIENCE);
                    if !state.answers_well() {
                        // The platform may be back, so ask it soon.
                        state.pace.hurry(now);
                    }
                }
                state.waiting.extend(waiting);
            }
        }
    }

    /// Takes over the Cluster object. Returns whether it names another platform than before.
    fn looked(&self, state: &mut State, (since, looked): Looked) -> bool {
        let now = self.clock.now();
        let rest = now.since(since).0.saturating_mul(LOOK_SHARE).clamp(LOOK.0, LOOK_MAX.0);
        state.next_look = now.plus(Millis(rest));
        let stored = match looked {
            Ok(stored) => stored,
            Err(error) => {
                self.say_of_look(state, &error.to_string());
                if !error.retryable() {
                    state.has_no_ways();
                    for waiting in state.served.drain(..) {
                        // The receiver may be gone.
                        let _ = waiting.send(Err(advice(&error)));
                    }
                }
                return false;
            }
        };
        self.say_of_look(state, "");
        let served = std::mem::take(&mut state.served);
        state.looked_for.extend(served);
        state.missing = stored.is_none();
        let Some(stored) = stored else {
            state.has_no_ways();
            return false;
        };
        state.ways = Ways::By(stored.spec.reach());
        if state.spec.as_ref() == Some(&stored.spec) {
            return false;
        }
        state.follower.declare(&stored.spec, stored.applied_at);
        state.guards = Some(Arc::new(stored.spec.guards.clone()));
        let before = state.spec.replace(stored.spec).and_then(|spec| spec.discovery);
        let other = state.discovery() != before.as_ref();
        if other {
            state.pace.start_anew(now);
        }
        other
    }

    fn heard(&self, state: &mut State, heard: Heard) {
        let now = self.clock.now();
        let interval = state.discovery().map_or(LOOK_MAX, |discovery| discovery.interval);
        match &heard {
            Heard::Nodes(_) | Heard::WithoutCluster => state.pace.answered(interval, now),
            Heard::Failed(_) => state.pace.failed(interval, now),
        }
        let left_out = state.follower.hear(heard, now);
        match state.answers_well() {
            true => state.awaited_until = now,
            false if now < state.awaited_until => state.pace.try_soon(now),
            false => {}
        }
        self.say(state, &left_out);
    }

    /// Logs what is wrong with an answer, if that has changed.
    fn say(&self, state: &mut State, left_out: &LeftOut) {
        let membership = state.follower.membership();
        let mut said = match membership.last_answer.map(|answer| answer.outcome) {
            None | Some(Outcome::Ok { .. }) => left_out.first.join("; "),
            Some(Outcome::WithoutCluster) => "it answers without the cluster".to_owned(),
            Some(Outcome::Failed { message }) => message,
        };
        if left_out.count > left_out.first.len() {
            said.push_str(&format!("; {} nodes in all", left_out.count));
        }
        if let Some(mass) = membership.mass_absence {
            let gone = format!("{} of {} agents are absent at once; ", mass.absent, mass.known);
            said.insert_str(0, &gone);
        }
        if said == state.said {
            return;
        }
        let cluster = &self.cluster;
        match said.is_empty() {
            true => tracing::info!(%cluster, "the platform answers as it should again"),
            false => tracing::warn!(%cluster, "the platform of the cluster: {said}"),
        }
        state.said = said;
    }

    /// Logs why the Cluster object can't be looked at, if that has changed.
    fn say_of_look(&self, state: &mut State, error: &str) {
        if error == state.said_of_looks {
            return;
        }
        let cluster = &self.cluster;
        match error.is_empty() {
            true => tracing::info!(%cluster, "the cluster can be looked at again"),
            false => tracing::warn!(%cluster, error, "failed to look at the cluster"),
        }
        state.said_of_looks = error.to_owned();
    }

    fn put_out(&self, state: &mut State) {
        let membership = state.follower.membership();
        self.view.send_if_modified(|view| {
            let known = &view.membership;
            let same = known.is_as(&membership)
                && known.last_answer == membership.last_answer
                && view.missing == state.missing
                && view.discovery.as_ref() == state.discovery()
                && view.guards == state.guards
                && view.ways == state.ways;
            if !same {
                let (missing, discovery) = (state.missing, state.discovery().cloned());
                let (guards, ways) = (state.guards.clone(), state.ways.clone());
                *view = View { membership, missing, discovery, guards, ways };
            }
            !same
        });
        for waiting in state.looked_for.drain(..) {
            // The receiver may be gone.
            let _ = waiting.send(Ok(()));
        }
        for waiting in state.heard_of.drain(..) {
            let _ = waiting.send(());
        }
        if state.ways != Ways::Unknown {
            for waiting in state.ways_for.drain(..) {
                let _ = waiting.send(state.ways.clone());
            }
        }
    }
}

impl State {
    /// The Cluster object does not say how its agents are reached.
    fn has_no_ways(&mut self) {
        if self.ways == Ways::Unknown {
            self.ways = Ways::Unreadable;
        }
    }

    fn discovery(&self) -> Option<&playbook::Discovery> {
        self.spec.as_ref()?.discovery.as_ref()
    }

    fn discovers(&self) -> bool {
        self.discovery().is_some()
    }

    /// Whether the last answer of the platform was good. True if there was none.
    fn answers_well(&self) -> bool {
        self.follower.membership().problem().is_none()
    }
}

/// Returns when the pending future is done; never, if there is none.
async fn ready<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Why a Cluster object can't be looked at, and how to mend that where it is known.
pub(super) fn advice(error: &StoreError) -> String {
    match error {
        StoreError::Damaged(_) => format!("{error}; apply the cluster again"),
        StoreError::Unavailable { .. }
        | StoreError::Unfit { .. }
        | StoreError::Fenced { .. }
        | StoreError::Conflict { .. }
        | StoreError::ClusterBusy { .. }
        | StoreError::MissingPlugin { .. }
        | StoreError::MissingCluster { .. }
        | StoreError::ClusterInUse { .. }
        | StoreError::Pinned { .. }
        | StoreError::BadCursor { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Broken { .. }
        | StoreError::Corrupt { .. }
        | StoreError::NewerSchema { .. } => error.to_string(),
    }
}

/// Asks a platform once. A failure is part of the answer.
pub(super) async fn ask(
    platforms: &dyn Platform,
    clock: &dyn Clock,
    heard: watch::Sender<bool>,
    discovery: &playbook::Discovery,
) -> Heard {
    let answer = platforms.discover_as(discovery);
    let Some(answer) = begun_within(clock, PLATFORM_TIMEOUT, heard, answer).await else {
        let seconds = PLATFORM_TIMEOUT.as_secs();
        return Heard::Failed(format!("{} gave no answer within {seconds} s", discovery.url));
    };
    match answer {
        Ok(Some(nodes)) => Heard::Nodes(nodes),
        Ok(None) => Heard::WithoutCluster,
        Err(error) => Heard::Failed(error.to_string()),
    }
}
