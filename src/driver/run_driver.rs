//! Drives one run: inputs to the machine, its writes to the store, its effects to the world. It keeps the order of
//! these three, so that a crash at any moment leaves a run that can be loaded anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::World;
use super::activity::Activity;
use super::beyond::Needed;
use super::committer::Committer;
use super::discovery::known_members;
use super::effects::{self, Effects, INBOX};
use super::exits::Exit;
use super::guards::{self, Gate};
use super::lacking::{Lacking, Lacks};
use super::lease::LeaseGuard;
use super::places::Place;
use super::queue::Queues;
use super::reaching::ClusterAgents;
use super::secrets::RunSecrets;
use super::stamping::{forget, stamp};
use super::trouble::Health;
use super::{asking, asking_again, cluster, load, run_clock};
use crate::clock::Clock;
use crate::playbook::ClusterGuards;
use crate::run::{
    Digest, Effect, Input, Loaded, Machine, Millis, PlanInput, Progress, Roster, Run, RunId,
    RunStatus, Timestamp, Transition,
};
use crate::store::{MAX_COMMIT_DOCUMENTS, StoreClock, StoreError};
use replibook_base::crash::{self, Point};
use replibook_core::mutant;

/// How long a run that waits for a person keeps its engine before it is parked. A person who pauses it and goes on
/// at once then doesn't wait until it is loaded, and a thousand runs that pause together don't keep others waiting
/// for longer.
const PARK_AFTER: Duration = Duration::from_secs(3);

/// A run in which something is due within this time is not parked.
const PARK_FOR: Millis = Millis::from_secs(30);

/// Why a driver stopped before its run ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    #[error("failed to use the store")]
    Store(#[from] StoreError),
    #[error("failed to load the run")]
    Load(#[source] StoreError),
    #[error(transparent)]
    Input(#[from] crate::run::IllegalInput),
    #[error("failed to find run {0}")]
    Gone(RunId),
    #[error("the driver, or a task of it, panicked")]
    Panicked,
}

/// Drives one run until it ends, until the lease is lost, or until `stop` is cancelled.
pub(super) struct RunDriver {
    pub(super) world: World,
    pub(super) lease: LeaseGuard,
    /// Where the run waits for its cluster.
    pub(super) queues: Queues,
    /// The run's place among those that the engine drives.
    pub(super) place: Arc<Place>,
    pub(super) stop: CancellationToken,
    /// The run's way to another engine, while nothing of it is in flight.
    pub(super) exit: Exit,
    /// Where it says that this engine lacks a secret or credentials of the run.
    pub(super) lacking: Arc<Lacking>,
    /// What it lacks.
    pub(super) lacks: Lacks,
    /// The engine's own clock.
    pub(super) own: Arc<dyn Clock>,
    pub(super) activity: Arc<Activity>,
    /// Commands for the run, which the engine hands out.
    pub(super) commands: mpsc::Receiver<Input>,
}

/// What a driver does next.
enum Next {
    Input(Box<Input>),
    /// A run that was in trouble may be well by now, so look at its health.
    LookAtHealth,
    /// The engine may lack a secret or credentials by now.
    LookForNeeded,
    /// Nothing happens before this moment unless a person asks for it.
    Park(Timestamp),
    /// A task of the run panicked, so the input that it should have sent never comes.
    Panicked,
    /// The run goes to another engine.
    Gone,
    Stop,
}

/// The strategy to ask, and what to ask it, once the commit is made.
type Question = (Digest, PlanInput);

impl RunDriver {
    /// # Flow
    /// Loads the run. Then, again and again, takes all inputs that have come, applies them, commits what they
    /// change, and performs the effects. Inputs wait while a strategy is asked.
    ///
    /// # Guarantees
    /// Nothing is performed before the transition that led to it is committed. After an error nothing further
    /// is committed or performed: this engine or another one can load the run anew.
    pub(super) async fn drive(mut self) -> Result<(), DriveError> {
        self.world.clock = Arc::new(StoreClock::new(self.world.store.clone(), self.own.clone()));
        let committer = self.committer();
        let health = Health::of(&committer, self.now()).await.map_err(DriveError::Load)?;
        let (loaded, last) = load::load(&self.world, &committer).await?;
        let _held = self.world.plugins.hold(loaded.run.snapshot.pins().into_iter().cloned());
        self.world.clock = run_clock::not_before(self.world.clock.clone(), last);
        let (sender, mut inbox) = mpsc::channel(INBOX);
        let secrets = RunSecrets::of(&self.world.secrets, &loaded.run.snapshot);
        let following = self.follow(&loaded).await;
        let agents = self.world.agents.clone();
        self.world.agents = Arc::new(ClusterAgents::new(agents, following.clone()));
        // What agents say from now on may have what an engine before this one sent.
        let (stop, lease) = (self.stop.clone(), self.lease.clone());
        let needed = Needed::by(following.clone(), &secrets, self.own.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => return self.given_up(),
            () = lease.lost() => return self.given_up(),
            () = self.read(&secrets, &following) => {}
        }
        let gate = Gate::new(following.clone(), self.committer(), &loaded.run);
        let guards = tokio::select! {
            biased;
            () = self.stop.cancelled() => return self.given_up(),
            () = self.lease.lost() => return self.given_up(),
            guards = self.guards(&gate, &loaded.run) => guards,
        };
        let (world, lease) = (self.world.clone(), self.lease.clone());
        let mut effects = Effects::new(world, lease, (following, gate), sender, secrets);
        let begins = (loaded, guards, needed);
        let result = self.go(begins, health, &committer, &mut inbox, &mut effects).await;
        // No task of this driver may act once another engine has the run.
        effects.stop().await;
        result
    }

    async fn go(
        &mut self,
        (loaded, guards, mut needed): (Loaded, Option<Arc<ClusterGuards>>, Needed),
        mut health: Health,
        committer: &Committer,
        inbox: &mut mpsc::Receiver<Input>,
        effects: &mut Effects,
    ) -> Result<(), DriveError> {
        let mut was_held = loaded.run.progress.hold;
        let Some((mut machine, mut transitions)) = self.begin(loaded, guards, effects).await?
        else {
            return self.left();
        };
        let mut waiting: VecDeque<Input> = VecDeque::new();
        let mut told = machine.run().progress.status;
        tracing::info!(run = %self.lease.run(), status = %told, "taking up the run");
        loop {
            let mut question = None;
            if mutant!(PerformBeforeCommit) {
                question = self.perform(&mut transitions, effects, &machine, &mut waiting);
                tokio::task::yield_now().await;
            }
            effects.abandon_before(&transitions);
            let committed = committer.commit(&mut transitions).await?;
            if committed {
                self.world.signals.changed(self.lease.run());
            }
            self.keep_if_resumed(&mut was_held, machine.run(), &transitions);
            if self.leaves(&machine, effects).await {
                return self.left();
            }
            let asked = self.perform(&mut transitions, effects, &machine, &mut waiting);
            question = asked.or(question);
            self.tell(&mut told, &machine.run().progress);
            self.take_or_give_back(told);
            if told.is_final() {
                self.world.signals.ended(self.lease.run());
            }
            if told.is_final() || self.lease.is_lost() {
                return self.given_up();
            }
            let waits = !told.holds_cluster();
            if machine.is_quiet() && self.exit.take(waits, self.world.store.time()) {
                return self.gone();
            }
            health.look(committer, committed, told, self.now()).await?;
            self.feed(effects, &machine);
            if let Some(question) = question {
                let (back, decision) = self.ask(machine, question).await;
                machine = back;
                // The decision comes before any input that the strategy did not see, apart from guards.
                waiting.push_front(decision);
            }
            if waiting.is_empty() {
                let rests = machine.rests_until().filter(|_| !health.is_waiting());
                let exit = machine.is_quiet().then(|| (self.exit.clone(), waits));
                match self.next(inbox, &health, effects, rests, (exit, &mut needed)).await {
                    Next::Input(input) => waiting.push_back(*input),
                    Next::LookAtHealth => {}
                    Next::LookForNeeded => self.look_for_needed(effects).await,
                    Next::Park(until) => {
                        if self.park(committer, until).await? {
                            return Ok(());
                        }
                    }
                    Next::Panicked => return Err(DriveError::Panicked),
                    Next::Gone => return self.gone(),
                    Next::Stop => return self.given_up(),
                }
            }
            self.take_all(&mut waiting, inbox);
            guards::come_before_a_decision(&mut waiting);
            transitions = self.apply(&mut machine, &mut waiting)?;
            if effects.tidy() {
                return Err(DriveError::Panicked);
            }
        }
    }

    /// Logs a status that was not told yet.
    fn tell(&self, told: &mut RunStatus, progress: &Progress) {
        if progress.status != *told {
            *told = progress.status;
            let why = progress.reason.as_ref().map_or("", |reason| reason.message.as_str());
            tracing::info!(run = %self.lease.run(), status = %told, "{why}");
        }
    }

    /// A run that only waits for a person needs no place. A run that is under way takes one, even if none is free.
    fn take_or_give_back(&self, status: RunStatus) {
        match status {
            RunStatus::PendingApprove => self.place.give_back(),
            RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Cancelling => self.place.hold(),
            // A pending run takes a place before it asks for its cluster; the others end soon.
            RunStatus::Pending
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
    }

    pub(super) fn committer(&self) -> Committer {
        let World { store, clock, .. } = &self.world;
        Committer::new(store.clone(), clock.clone(), self.lease.clone())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// How the driver ends: with an error, if something that acts for the run gave it up.
    pub(super) fn given_up(&self) -> Result<(), DriveError> {
        self.lease.take_failure().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Ends the driver because the run goes to another engine.
    fn gone(&self) -> Result<(), DriveError> {
        self.activity.hand_over();
        self.given_up()
    }

    async fn next(
        &mut self,
        inbox: &mut mpsc::Receiver<Input>,
        health: &Health,
        effects: &mut Effects,
        rests: Option<Timestamp>,
        (exit, needed): (Option<(Exit, bool)>, &mut Needed),
    ) -> Next {
        let input = |input: Option<Input>| match input {
            Some(input) => Next::Input(Box::new(input)),
            None => Next::Stop,
        };
        let clock = self.world.clock.as_ref();
        let parked = may_be_parked(self.world.clock.clone(), rests);
        let gone = async {
            match exit {
                Some((exit, waits)) => exit.taken(waits, || self.world.store.time()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Next::Stop,
            () = self.lease.lost() => Next::Stop,
            () = gone => Next::Gone,
            Some(command) = self.commands.recv() => input(Some(command)),
            heard = inbox.recv() => input(heard),
            () = effects.panicked() => Next::Panicked,
            () = health.may_be_well(clock) => Next::LookAtHealth,
            () = needed.may_lack() => Next::LookForNeeded,
            until = parked => Next::Park(until),
        }
    }

    /// Gives up the run until a command for it comes. Returns false, and gives up nothing, if a command is waiting
    /// already.
    async fn park(&self, committer: &Committer, until: Timestamp) -> Result<bool, StoreError> {
        let (run, epoch) = (self.lease.run(), self.lease.epoch());
        let store = committer.store.as_ref();
        let parked = committer.until_answered(|| store.park(run, epoch, until)).await?;
        if parked {
            self.activity.park();
            tracing::info!(%run, "the run waits for a person, and is parked");
        }
        Ok(parked)
    }

    /// Takes the other inputs that have come, as many as one commit may hold.
    fn take_all(&mut self, waiting: &mut VecDeque<Input>, inbox: &mut mpsc::Receiver<Input>) {
        while waiting.len() < MAX_COMMIT_DOCUMENTS {
            match self.commands.try_recv().or_else(|_| inbox.try_recv()) {
                Ok(input) => waiting.push_back(input),
                Err(_) => return,
            }
        }
    }

    /// Applies inputs until there is as much to write as one commit may hold. The rest waits.
    fn apply(
        &self,
        machine: &mut Machine,
        waiting: &mut VecDeque<Input>,
    ) -> Result<Vec<Transition>, DriveError> {
        let now = self.now();
        let mut transitions = Vec::new();
        let mut documents = 0;
        while let Some(input) = waiting.pop_front() {
            let mut transition = machine.apply(input, now)?;
            documents += transition.writes.documents();
            if let Some(index) = transition.effects.iter().position(is_continue) {
                // Continuing acts on nothing outside the run, so it may share the commit with the transition that
                // led to it.
                transition.effects.remove(index);
                waiting.push_front(Input::Continue);
            }
            transitions.push(transition);
            if documents >= MAX_COMMIT_DOCUMENTS {
                break;
            }
        }
        if waiting.is_empty() {
            transitions.push(machine.settle(now)?);
        }
        Ok(transitions)
    }

    /// Performs the effects of committed transitions. Returns the question to a strategy, if there is one, since
    /// that has to be asked later.
    fn perform(
        &self,
        transitions: &mut [Transition],
        effects: &mut Effects,
        machine: &Machine,
        waiting: &mut VecDeque<Input>,
    ) -> Option<Question> {
        let mut question = None;
        for effect in transitions.iter_mut().flat_map(|t| std::mem::take(&mut t.effects)) {
            match effect {
                Effect::Activate(activate) => effects.activate(*activate),
                Effect::Perform(perform) => effects.perform(*perform),
                Effect::Check { key, address, wanted, noticed } => {
                    effects.check(key, address, wanted, noticed);
                }
                Effect::Look { key, agent, address, wanted } => {
                    effects.look(key, agent, address, wanted);
                }
                Effect::Abandon(key) => effects.abandon(key),
                Effect::Signal { signal, to } => effects.signal(&signal, to),
                Effect::WakeAt(at) => effects.wake_at(at),
                Effect::Plan { plugin, input } => question = Some((plugin, input)),
                Effect::Continue => waiting.push_back(Input::Continue),
                Effect::AwaitCluster => {
                    let cluster = self.cluster(machine.run(), effects);
                    effects.answer(cluster);
                }
                Effect::LoadMembers => {
                    let members = self.load_members(machine, effects);
                    effects.answer(members);
                }
                Effect::Refresh(agents) => {
                    let world = self.world.clone();
                    effects.answer(async move { asking_again::refresh(&world, agents).await });
                }
                Effect::LookAround(agents) => {
                    let world = self.world.clone();
                    effects.answer(async move { asking_again::look_around(&world, agents).await });
                }
                Effect::AcceptAbsence(seen) => effects.accept_absence(seen),
                Effect::Forget(lines) => effects.answer(forget(self.committer(), lines)),
                Effect::Stamp(at) => effects.answer(stamp(self.committer(), at)),
            }
        }
        question
    }

    /// Lends the machine to the strategy as its roster, and gets it back with the decision.
    async fn ask(&self, machine: Machine, (plugin, input): Question) -> (Machine, Input) {
        let mut lent = Arc::new(machine);
        let roster: Arc<dyn Roster> = lent.clone();
        let decision = effects::plan(&self.world, &plugin, input, roster).await;
        loop {
            // The thread that ran the plugin may not have dropped its reference yet.
            match Arc::try_unwrap(lent) {
                Ok(machine) => return (machine, decision),
                Err(shared) => lent = shared,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Has the run told of changes of its cluster and of its guards, while it takes any. A run that lacks a secret here
    /// is told of them by the next engine: what new agents say could not be kept.
    fn feed(&self, effects: &mut Effects, machine: &Machine) {
        match takes_changes(machine.run()) && !self.lacks.any() {
            // Wait until the machine has caught up with what an earlier feed told it.
            true if !effects.is_fed(machine) && !machine.catches_up() => effects.feed(machine),
            true => {}
            false => effects.stop_feeding(),
        }
        match guards::matter_to(machine.run()) && !self.lacks.any() {
            true if !effects.is_guarded() => effects.guard(),
            true => {}
            false => effects.stop_guarding(),
        }
    }

    /// Waits until the run may hold its cluster.
    fn cluster(
        &self,
        run: &Run,
        effects: &Effects,
    ) -> impl Future<Output = Input> + Send + 'static {
        let locks = run.snapshot.locks_cluster() && !mutant!(ClusterNotLocked);
        let waiting = cluster::Waiting {
            queues: self.queues.clone(),
            place: Arc::clone(&self.place),
            cluster: run.snapshot.cluster.clone(),
            guarded: (!locks).then(|| effects.following()),
        };
        let (committer, told) = (self.committer(), run.progress.reason.clone());
        async move { cluster::wait(waiting, committer, told).await }
    }

    /// Works out the members of the cluster, when a stage begins. The run is told the guards of the cluster first.
    fn load_members(
        &self,
        machine: &Machine,
        effects: &Effects,
    ) -> impl Future<Output = Input> + Send + 'static {
        crash::pass(Point::EnterStage);
        let (world, following) = (self.world.clone(), effects.following());
        let snapshot = machine.run().snapshot.clone();
        // In later stages the run knows from its records which agents it goes over.
        let first = snapshot.first_with_agents();
        let is_first = first == Some(machine.run().progress.stage.index);
        let knows = (!is_first).then(|| known_members(machine.records()));
        let (selection, inbox) = (machine.selection(), effects.inbox());
        let gate = effects.gate();
        let asking = asking::Asking { selection, inbox, gate };
        async move { asking::load(&world, following, &snapshot, knows, asking).await }
    }
}

/// Whether the run takes in changes of its cluster. It does not while a stage takes in its agents; after that the
/// feed begins with everything that changed meanwhile.
fn takes_changes(run: &Run) -> bool {
    let stage = &run.progress.stage;
    let goes = run.progress.status.is_under_way() || guards::wants_others(run);
    goes && !stage.entering && !stage.once
}

/// Returns once the run has rested for a while, with the moment until which it will rest. Never returns if it does
/// not rest, or not for long.
async fn may_be_parked(clock: Arc<dyn Clock>, rests: Option<Timestamp>) -> Timestamp {
    let Some(until) = rests else { return std::future::pending().await };
    clock.sleep(PARK_AFTER).await;
    match until > clock.now().plus(PARK_FOR) {
        true => until,
        false => std::future::pending().await,
    }
}

fn is_continue(effect: &Effect) -> bool {
    matches!(effect, Effect::Continue)
}
