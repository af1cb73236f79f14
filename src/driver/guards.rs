//! Tells a run the guards of its cluster: before it goes on, before it learns its members, and whenever the Cluster
//! object changes while it goes.
//!
//! Guards count who is out in one run, so runs of a cluster with guards must not go side by side. A run that has no lock
//! of its cluster, because its playbook allows others beside it, is told that its cluster is closed, until it has the
//! lock. Mostly it gets that before it starts ([`cluster`](super::cluster)), or together with the guards if it goes
//! alone then; this is for guards that come at the very moment at which it starts.
//!
//! A run that goes over agents of another one again does not know the other members, unless there are guards. If those
//! come later, its cluster is closed until it has learned of all members.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::cluster;
use super::committer::Committer;
use super::discovery::Following;
use crate::playbook::ClusterGuards;
use crate::run::{Input, Run, RunStatus};
use crate::store::Locked;

/// How long a run waits before it asks for the lock of its cluster again: as long as runs in a queue do.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Why a run that has no lock starts no agent.
const CLOSED: &str =
    "the cluster has guards, and this run waits until it has the cluster for itself";

/// Why a run that does not know all members of its cluster starts no agent.
const UNKNOWN: &str =
    "the cluster has guards, and this run does not know all other members of it yet";

/// Whether the cluster has guards, by its object as it is now. If it can't be read, the run finds out when it loads its
/// members.
pub(super) async fn are_there(cluster: &mut Following) -> bool {
    match cluster.guards().await {
        Ok(guards) => guards.is_some_and(|guards| counts(&guards)),
        Err(_) => false,
    }
}

/// Whether the cluster has guards, as far as is known without a further look.
pub(super) fn are_known_of(cluster: &mut Following) -> bool {
    cluster.now().guards.is_none_or(|guards| counts(&guards))
}

/// Whether a run may still start agents, and so has to know the guards of its cluster.
pub(super) fn matter_to(run: &Run) -> bool {
    match run.progress.status {
        RunStatus::Starting | RunStatus::Running | RunStatus::Paused => true,
        // Stages that are always done start agents after a cancel, too.
        RunStatus::Cancelling => run.progress.closing.as_ref().is_some_and(|closing| !closing.over),
        RunStatus::PendingApprove
        | RunStatus::Pending
        | RunStatus::Finishing
        | RunStatus::Done
        | RunStatus::Failed
        | RunStatus::Cancelled => false,
    }
}

/// Whether a run that goes over agents of another one again was cancelled before it knew all members. Its last stages start
/// nobody until it does.
pub(super) fn wants_others(run: &Run) -> bool {
    let is_cancelled = run.progress.status == RunStatus::Cancelling && matter_to(run);
    is_cancelled && run.snapshot.retry_of.is_some() && run.progress.guards.is_closed()
}

/// Whether these guards count who is out. Windows and freezes don't: each run keeps them by itself.
pub(super) fn counts(guards: &ClusterGuards) -> bool {
    !guards.guards.is_empty()
}

/// Puts guards that came while a strategy was asked before what it decided, which then counts for nothing: no agent starts
/// by guards of which the engine knows that they don't count any more. The strategy is asked again once all inputs that
/// wait are applied, so it makes no difference that guards come before those, too.
pub(super) fn come_before_a_decision(waiting: &mut VecDeque<Input>) {
    if matches!(waiting.front(), Some(Input::Planned { .. })) {
        let is_guards = |input: &Input| matches!(input, Input::Guards(_));
        let (guards, others): (VecDeque<_>, VecDeque<_>) = waiting.drain(..).partition(is_guards);
        *waiting = guards;
        waiting.extend(others);
    }
}

/// Tells a run the guards of its cluster as they are, or that the cluster is closed. All clones share one state, and only one of
/// them tells at a time: what the run hears last is what was found out last.
#[derive(Clone)]
pub(super) struct Gate {
    state: Arc<Mutex<State>>,
    /// Whether the run knows all agents that guards count.
    knows_all: Arc<AtomicBool>,
}

struct State {
    cluster: Following,
    committer: Committer,
    /// Whether the run has the lock of its cluster.
    is_open: bool,
    /// Whether the run was told that its cluster is closed.
    is_waiting: bool,
    knows_all: Arc<AtomicBool>,
    /// What the run goes by.
    told: Arc<ClusterGuards>,
}

impl Gate {
    /// The gate of a run. It is open if the run has the lock of its cluster whenever it goes on.
    pub(super) fn new(cluster: Following, committer: Committer, run: &Run) -> Self {
        let told = Arc::clone(&run.progress.guards);
        let is_open = run.snapshot.locks_cluster();
        // Whoever went by guards already was told of everybody then.
        let is_guarded = counts(&told) && !told.is_closed();
        let knows_all = Arc::new(AtomicBool::new(run.snapshot.retry_of.is_none() || is_guarded));
        let shared = Arc::clone(&knows_all);
        let state =
            State { cluster, committer, is_open, is_waiting: false, knows_all: shared, told };
        Self { state: Arc::new(Mutex::new(state)), knows_all }
    }

    /// From now on, the run is told of no members but those that it goes over.
    pub(super) fn forgets_others(&self) {
        self.knows_all.store(false, Ordering::SeqCst);
    }

    /// The run was told of all members. Opens its cluster, if it was closed until then.
    pub(super) async fn knows_all(&self, inbox: &mpsc::Sender<Input>) {
        self.knows_all.store(true, Ordering::SeqCst);
        self.tell(inbox).await;
    }

    /// The guards that the run has to be told before it goes on, by the Cluster object as it is now. `None` if it knows them, or if
    /// there is no such object.
    ///
    /// # Errors
    /// Why the object can't be read. Waits for a store that does not answer.
    pub(super) async fn look(&self) -> Result<Option<Arc<ClusterGuards>>, String> {
        let mut state = self.state.lock().await;
        state.cluster.guards().await?;
        let news = state.news().await;
        if let Some(guards) = &news {
            state.told = Arc::clone(guards);
        }
        Ok(news)
    }

    /// Puts the guards into the inbox of the run, as far as they are known, if the run goes by others.
    pub(super) async fn tell(&self, inbox: &mpsc::Sender<Input>) {
        let mut state = self.state.lock().await;
        if let Some(guards) = state.news().await {
            // If nobody takes the input, the driver is gone.
            let _ = inbox.send(Input::Guards(Arc::clone(&guards))).await;
            state.told = guards;
        }
    }

    /// Returns when it is worth asking again for the lock; never, if the run does not wait for it.
    async fn may_open(&self) {
        let state = self.state.lock().await;
        let clock = state.is_waiting.then(|| Arc::clone(&state.committer.clock));
        drop(state);
        match clock {
            Some(clock) => clock.sleep(ASK_EVERY).await,
            None => std::future::pending().await,
        }
    }
}

impl State {
    /// The guards that the run has to go by, after it asked for the lock if it needs that. `None` if it does already.
    async fn news(&mut self) -> Option<Arc<ClusterGuards>> {
        let guards = self.cluster.now().guards?;
        if !self.is_open && counts(&guards) {
            self.is_open = cluster::take(&self.committer).await == Some(Locked::Held);
        }
        self.is_waiting = !self.is_open && counts(&guards);
        let is_unknown = counts(&guards) && !self.knows_all.load(Ordering::SeqCst);
        let guards = match (self.is_waiting, is_unknown) {
            (true, _) => Arc::new(guards.closed(CLOSED)),
            (false, true) => Arc::new(guards.closed(UNKNOWN)),
            (false, false) => guards,
        };
        (guards != self.told).then_some(guards)
    }
}

/// Puts every change of the guards into the inbox of a run.
pub(super) async fn follow(mut cluster: Following, gate: Gate, inbox: mpsc::Sender<Input>) {
    loop {
        // Whatever changes from here on is looked at in the next turn.
        cluster.now();
        gate.tell(&inbox).await;
        tokio::select! {
            biased;
            () = cluster.changed() => {}
            () = gate.may_open() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::come_before_a_decision;
    use crate::run::{Input, PlanFailure};

    /// The order in which inputs are applied: a `d`ecision, `g`uards, and the end of a `w`ait.
    fn order(waiting: &str) -> String {
        let failure = || PlanFailure { code: "x".into(), message: "x".into(), may_pass: true };
        let input = |letter| match letter {
            'd' => Input::Planned { result: Err(failure()), logs: Vec::new() },
            'g' => Input::Guards(Default::default()),
            _ => Input::Woken,
        };
        let mut waiting: VecDeque<_> = waiting.chars().map(input).collect();
        come_before_a_decision(&mut waiting);
        let is_decision = |input: &Input| matches!(input, Input::Planned { .. });
        let is_guards = |input: &Input| matches!(input, Input::Guards(_));
        let letter = |input: &Input| match (is_decision(input), is_guards(input)) {
            (true, _) => 'd',
            (_, true) => 'g',
            (false, false) => 'w',
        };
        waiting.iter().map(letter).collect()
    }

    #[test]
    fn guards_come_before_a_decision_and_nothing_else_does() {
        let cases = [
            ("", ""),
            ("wgw", "wgw"),
            ("dw", "dw"),
            ("dg", "gd"),
            ("dwgwg", "ggdww"),
            ("gd", "gd"),
        ];
        for (came, applied) in cases {
            assert_eq!(order(came), applied, "{came}");
        }
    }
}
