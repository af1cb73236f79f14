//! Performs effects: each becomes a task that answers with an input. The tasks belong to one run and end with its
//! driver, so nothing goes on for a run that the engine has given up.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::World;
use super::asking;
use super::discovery::{Fed, Following, feed, known_members};
use super::guards::{self, Gate};
use super::lease::{LeaseGuard, LeasedAgents};
use super::outside::{Waits, wait_signal};
use super::performing::Performing;
use super::secrets::{CallSecrets, RunSecrets};
use super::sending::{NotedAgents, Sent};
use crate::agent::{self, FollowContext};
use crate::clock::sleep_until;
use crate::plugin::PluginError;
use crate::run::{
    Activate, Activation, ActivationEnd, AgentId, AgentSeq, Answer, AttemptKey, Call, CallError,
    CallName, Digest, Effect, FailureReason, Input, Look, Machine, MassAbsence, Notice, Perform,
    Run, Signal, Timestamp, Transition, Wanted,
};

/// How many inputs may wait for the driver of a run. When the inbox is full the tasks wait, so nothing is lost.
pub(super) const INBOX: usize = 1_024;

/// How long to wait after a host or a store could not serve a plugin.
const PLUGIN_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// How many times to try an activation that the host could not make because one of its pools or queues was full.
/// That takes half a minute, longer than such a peak lasts.
const ACTIVATION_TRIES: u32 = 60;

/// Performs the effects of one run.
pub(super) struct Effects {
    world: World,
    lease: LeaseGuard,
    following: Following,
    inbox: mpsc::Sender<Input>,
    follow: FollowContext,
    secrets: RunSecrets,
    /// Every task of the run.
    tasks: JoinSet<()>,
    /// The task of each attempt, to be ended when the attempt is given up.
    attempts: HashMap<AttemptKey, AbortHandle>,
    /// What is known about the requests for an agent's current action: at most one action for each agent.
    sent: HashMap<AgentSeq, (AttemptKey, u32, Arc<Sent>)>,
    /// The calls that wait for signals.
    waits: Waits,
    /// Calls that were given up before any request was sent, and why: at most one for each agent.
    unsent: HashMap<AgentSeq, (AttemptKey, u32, String)>,
    timer: Option<AbortHandle>,
    feed: Option<AbortHandle>,
    /// Which changes the feed puts into the inbox.
    takes: Takes,
    gate: Gate,
    guards: Option<AbortHandle>,
}

impl Effects {
    pub(super) fn new(
        world: World,
        lease: LeaseGuard,
        (following, gate): (Following, Gate),
        inbox: mpsc::Sender<Input>,
        secrets: RunSecrets,
    ) -> Self {
        let follow = FollowContext {
            client: Arc::new(LeasedAgents::new(world.agents.clone(), lease.clone())),
            clock: world.clock.clone(),
            limits: world.agent_limits.clone(),
        };
        Self {
            world,
            lease,
            following,
            inbox,
            follow,
            secrets,
            tasks: JoinSet::new(),
            attempts: HashMap::new(),
            sent: HashMap::new(),
            waits: Waits::default(),
            unsent: HashMap::new(),
            timer: None,
            feed: None,
            takes: Takes::All,
            gate,
            guards: None,
        }
    }

    /// Activates a step.
    pub(super) fn activate(&mut self, activate: Activate) {
        let (world, key) = (self.world.clone(), activate.key);
        self.start(key, async move {
            let activation = activate_until_available(&world, activate).await;
            Input::Activated { key, activation }
        });
    }

    /// Performs a call.
    pub(super) fn perform(&mut self, mut perform: Perform) {
        let (key, call) = (perform.key, perform.call);
        if let Call::WaitSignal { name, timeout } = &perform.what {
            let told = self.waits.begin(&perform, name);
            let (clock, name, timing) =
                (self.world.clock.clone(), name.clone(), (perform.since, *timeout));
            return self.start(key, async move {
                let answer = wait_signal(clock.as_ref(), told, &name, timing).await;
                Input::Answered { key, call, answer }
            });
        }
        let is_action = perform.what.name() == CallName::RunAction;
        // A task that starts again must not forget what earlier tasks reported.
        let unsure = perform.again;
        if is_action {
            let given_up = self.unsent.remove(&key.agent);
            let unsent = given_up.filter(|(of, number, _)| (*of, *number) == (key, call));
            match unsent {
                Some((.., why)) if perform.look_only => {
                    // No action was sent, so there is nothing to look at.
                    let answer = Answer::RunAction(Err(CallError::NotTaken(why)));
                    return self.start(key, async move { Input::Answered { key, call, answer } });
                }
                Some(_) => perform.again = false,
                None => {}
            }
        }
        let secrets = self.secrets.of_call();
        let noticed = perform.noticed.clone();
        let mut follow = self.watched((key, Some(call)), noticed, unsure, secrets.clone());
        if is_action {
            let sent = Sent::new(perform.again || perform.look_only);
            follow.client = Arc::new(NotedAgents { inner: follow.client, sent: sent.clone() });
            self.sent.insert(key.agent, (key, call, sent));
        }
        let performing = Performing {
            follow,
            outbound: self.world.outbound.clone(),
            lease: self.lease.clone(),
            inbox: self.inbox.clone(),
            secrets,
            accepted: Arc::default(),
        };
        self.start(key, async move {
            let answer = performing.perform(perform).await;
            Input::Answered { key, call, answer }
        });
    }

    /// Asks an agent about its node, before an attempt.
    pub(super) fn check(
        &mut self,
        key: AttemptKey,
        address: String,
        wanted: Wanted,
        noticed: Option<Notice>,
    ) {
        let follow = self.watched((key, None), noticed, false, self.secrets.of_call());
        self.start(key, async move {
            Input::Checked { key, info: agent::info(&follow, &address, wanted).await }
        });
    }

    /// The context in which one call is followed: what is noticed about it becomes an input. If the inbox is full,
    /// the notice is dropped: neither the call nor other inputs may wait for it.
    fn watched(
        &self,
        (key, call): (AttemptKey, Option<u32>),
        noticed: Option<Notice>,
        again: bool,
        secrets: CallSecrets,
    ) -> FollowContext {
        let inbox = self.inbox.clone();
        let report = move |notice: Option<Notice>| {
            let notice = notice.map(|notice| secrets.notice(notice));
            inbox.try_send(Input::Noticed { key, call, notice }).is_ok()
        };
        self.follow.watched(noticed, again, report)
    }

    /// Looks once at an agent before its next step.
    pub(super) fn look(
        &mut self,
        key: AttemptKey,
        agent: AgentId,
        address: String,
        wanted: Wanted,
    ) {
        let (world, mut following) = (self.world.clone(), self.following());
        self.start(key, async move {
            let at = world.clock.now();
            let looked = asking::look(&world, &agent, &address, wanted).await;
            // A person may have had the identity of the agent ignored meanwhile.
            let members = following.now().membership.members;
            let identity = members.get(&agent).map(|member| member.identity.clone());
            Input::Looked(Look { key, address, at, looked, identity })
        });
    }

    /// Ends the waits for a signal that came.
    pub(super) fn signal(&mut self, signal: &Signal, to: Option<AgentSeq>) {
        self.waits.signal(signal, to);
    }

    /// Gives up whatever is being performed for an attempt.
    pub(super) fn abandon(&mut self, key: AttemptKey) {
        self.waits.forget(key);
        let sent = self.sent.remove(&key.agent).filter(|(of, ..)| *of == key);
        if let Some((_, call, sent)) = sent
            && let Some(why) = sent.close()
        {
            self.unsent.insert(key.agent, (key, call, why));
        }
        if let Some(task) = self.attempts.remove(&key) {
            task.abort();
        }
    }

    /// Gives up at once what these transitions give up, though they are not committed yet: however long that takes, nothing
    /// of it may be sent meanwhile.
    pub(super) fn abandon_before(&mut self, transitions: &[Transition]) {
        for effect in transitions.iter().flat_map(|transition| &transition.effects) {
            if let Effect::Abandon(key) = effect {
                self.abandon(*key);
            }
        }
    }

    /// Sends [`Input::Woken`] at this moment, and no longer at a moment that was set before.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let (clock, inbox) = (self.world.clock.clone(), self.inbox.clone());
        let timer = self.tasks.spawn(async move {
            sleep_until(clock.as_ref(), at).await;
            // If nobody takes the input, the driver is gone.
            let _ = inbox.send(Input::Woken).await;
        });
        self.timer = Some(timer);
    }

    /// The channel for inputs of the run.
    pub(super) fn inbox(&self) -> mpsc::Sender<Input> {
        self.inbox.clone()
    }

    /// The handle to the task that follows the cluster of the run.
    pub(super) fn following(&self) -> Following {
        self.following.clone()
    }

    /// From now on, puts changes of the cluster into the inbox, beginning with how the cluster differs from what
    /// the run knows.
    pub(super) fn feed(&mut self, machine: &Machine) {
        self.stop_feeding();
        let records = machine.records();
        let takes = Takes::of(machine.run());
        let is_narrow = takes == Takes::Its;
        let is_retry = machine.run().snapshot.retry_of.is_some();
        let only = || records.clone().map(|record| record.agent.clone()).collect();
        let fed = Fed {
            known: known_members(records.clone()),
            told: machine.run().progress.mass_absence,
            only: is_narrow.then(only),
            others_alone: takes == Takes::Others,
            selection: machine.selection(),
            secrets: self.secrets.clone(),
            gate: (is_retry && !is_narrow).then(|| self.gate()),
        };
        if is_narrow {
            self.gate.forgets_others();
        }
        self.takes = takes;
        let feed = feed(self.world.clone(), self.following(), fed, self.inbox.clone());
        self.feed = Some(self.tasks.spawn(feed));
    }

    /// Whether changes of the cluster are put into the inbox, as many of them as the run takes now.
    pub(super) fn is_fed(&self, machine: &Machine) -> bool {
        self.feed.is_some() && self.takes == Takes::of(machine.run())
    }

    /// Puts no further changes of the cluster into the inbox.
    pub(super) fn stop_feeding(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.abort();
        }
    }

    /// From now on, puts changes of the cluster's guards into the inbox.
    pub(super) fn guard(&mut self) {
        let guards = guards::follow(self.following(), self.gate(), self.inbox.clone());
        self.guards = Some(self.tasks.spawn(guards));
    }

    /// What tells the run the guards of its cluster.
    pub(super) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Whether changes of the guards are put into the inbox.
    pub(super) fn is_guarded(&self) -> bool {
        self.guards.is_some()
    }

    /// Puts no further changes of the guards into the inbox.
    pub(super) fn stop_guarding(&mut self) {
        if let Some(guards) = self.guards.take() {
            guards.abort();
        }
    }

    /// The secrets of the run.
    pub(super) const fn secrets(&self) -> &RunSecrets {
        &self.secrets
    }

    /// Tells the task that follows the cluster that this mass absence is accepted.
    pub(super) fn accept_absence(&mut self, seen: MassAbsence) {
        let following = self.following();
        self.tasks.spawn(async move { following.accept(seen).await });
    }

    /// Puts the result of `task` into the inbox.
    pub(super) fn answer(&mut self, task: impl Future<Output = Input> + Send + 'static) {
        self.spawn(task);
    }

    fn start(&mut self, key: AttemptKey, task: impl Future<Output = Input> + Send + 'static) {
        let handle = self.spawn(task);
        self.attempts.insert(key, handle);
    }

    fn spawn(&mut self, task: impl Future<Output = Input> + Send + 'static) -> AbortHandle {
        let (inbox, secrets) = (self.inbox.clone(), self.secrets.clone());
        self.tasks.spawn(async move {
            // Whatever the world says is kept without secrets.
            let input = secrets.scrub(task.await);
            let _ = inbox.send(input).await;
        })
    }

    /// Forgets the tasks that have ended. Returns whether one of them panicked: its input will never come.
    pub(super) fn tidy(&mut self) -> bool {
        let mut panicked = false;
        while let Some(ended) = self.tasks.try_join_next() {
            panicked |= has_panicked(&ended);
        }
        if self.attempts.len() > 2 * self.tasks.len() {
            self.attempts.retain(|_, task| !task.is_finished());
        }
        panicked
    }

    /// Returns when one of the tasks panics; never, if none does.
    pub(super) async fn panicked(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if has_panicked(&ended) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Ends all tasks, and returns once they have ended.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Which changes of its cluster a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    All,
    /// Those of the agents that it goes over, which are some of another run.
    Its,
    /// That there are members which it does not know, and which guards count. It is cancelled.
    Others,
}

impl Takes {
    fn of(run: &Run) -> Self {
        match run.snapshot.retry_of.is_some() && run.progress.guards.guard_nothing() {
            true => Self::Its,
            false if guards::wants_others(run) => Self::Others,
            false => Self::All,
        }
    }
}

/// A task that was aborted on purpose has not panicked.
fn has_panicked(ended: &Result<(), JoinError>) -> bool {
    ended.as_ref().is_err_and(JoinError::is_panic)
}

/// Makes an activation. Tries again when it failed because of the host and not because of the plugin.
async fn activate_until_available(world: &World, activate: Activate) -> Activation {
    let mut tries = 1;
    loop {
        let activation = match ensure_loaded(world, &activate.plugin).await {
            Ok(()) => world.plugins.activate(activate.clone()).await,
            Err(error) => unavailable(&error),
        };
        match &activation.end {
            ActivationEnd::Failed {
                reason: FailureReason::PluginUnavailable,
                retryable: true,
                ..
            } if tries < ACTIVATION_TRIES => {
                tries += 1;
                world.clock.sleep(PLUGIN_WAIT).await;
            }
            ActivationEnd::Failed { .. } | ActivationEnd::Blocked(_) | ActivationEnd::Done(_) => {
                return activation;
            }
        }
    }
}

/// Compiles a plugin from the bytes in the store, unless it is ready.
pub(super) async fn ensure_loaded(world: &World, digest: &Digest) -> Result<(), PluginError> {
    if world.plugins.is_loaded(digest) {
        return Ok(());
    }
    let bytes = plugin_bytes(world, digest).await?;
    world.plugins.import(bytes).await.map(drop)
}

async fn plugin_bytes(world: &World, digest: &Digest) -> Result<Bytes, PluginError> {
    loop {
        match world.store.plugin_bytes(digest).await {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => {
                let message = format!("plugin {digest} is not in the store");
                return Err(PluginError { code: "plugin-unavailable", message });
            }
            Err(error) if error.retryable() => world.clock.sleep(PLUGIN_WAIT).await,
            Err(error) => {
                let message = error.to_string();
                return Err(PluginError { code: "plugin-unavailable", message });
            }
        }
    }
}

fn unavailable(error: &PluginError) -> Activation {
    Activation {
        end: ActivationEnd::Failed {
            reason: FailureReason::PluginUnavailable,
            message: error.to_string(),
            retryable: error.retryable(),
        },
        logs: Vec::new(),
    }
}

/// Asks the strategy for its plan. The plugin reads the roster only while it answers.
pub(super) async fn plan(
    world: &World,
    plugin: &Digest,
    input: crate::run::PlanInput,
    roster: Arc<dyn crate::run::Roster>,
) -> Input {
    let failure = |error: PluginError| crate::run::PlanFailure {
        may_pass: error.retryable(),
        code: error.code.to_owned(),
        message: error.message,
    };
    if let Err(error) = ensure_loaded(world, plugin).await {
        return Input::Planned { result: Err(failure(error)), logs: Vec::new() };
    }
    let outcome = world.plugins.plan(plugin, input, roster).await;
    Input::Planned { result: outcome.result.map_err(failure), logs: outcome.logs }
}
