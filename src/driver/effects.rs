//! Performing effects: each becomes a task that answers with an input.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::World;
use super::lease::LeaseGuard;
use crate::agent::{self, ActionRequest, FollowContext, Start};
use crate::plugin::PluginError;
use crate::run::{
    Activate, Activation, ActivationEnd, Answer, AttemptKey, Call, Digest, FailureReason, Input,
    Perform, Timestamp,
};

/// Inputs that wait for the driver of a run. Tasks wait when it is full, so nothing is lost.
pub(super) const INBOX: usize = 1_024;

/// How long a call waits for the lease to be renewed before it looks again.
const LEASE_LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// Performs the effects of one run.
pub(super) struct Effects {
    world: World,
    lease: LeaseGuard,
    inbox: mpsc::Sender<Input>,
    follow: FollowContext,
    /// The tasks of attempts, to be ended when an attempt is given up or the run is.
    tasks: HashMap<AttemptKey, AbortHandle>,
    timer: Option<AbortHandle>,
}

impl Effects {
    pub(super) fn new(world: World, lease: LeaseGuard, inbox: mpsc::Sender<Input>) -> Self {
        let follow = FollowContext {
            client: world.agents.clone(),
            clock: world.clock.clone(),
            limits: world.agent_limits.clone(),
        };
        Self { world, lease, inbox, follow, tasks: HashMap::new(), timer: None }
    }

    /// Activates a step.
    pub(super) fn activate(&mut self, activate: Activate) {
        let (world, key) = (self.world.clone(), activate.key);
        self.start(key, async move {
            let activation = match ensure_loaded(&world, &activate.plugin).await {
                Ok(()) => world.plugins.activate(activate).await,
                Err(error) => unavailable(&error),
            };
            Input::Activated { key, activation }
        });
    }

    /// Performs a call.
    pub(super) fn perform(&mut self, perform: Perform) {
        let (key, call) = (perform.key, perform.call);
        let performing = Performing {
            follow: self.follow.clone(),
            lease: self.lease.clone(),
            inbox: self.inbox.clone(),
        };
        self.start(key, async move {
            let answer = performing.perform(perform).await;
            Input::Answered { key, call, answer }
        });
    }

    /// Gives up what is performed for an attempt.
    pub(super) fn abandon(&mut self, key: AttemptKey) {
        if let Some(task) = self.tasks.remove(&key) {
            task.abort();
        }
    }

    /// Sends [`Input::Woken`] at that moment, and not at an earlier one that was asked for.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let (clock, inbox) = (self.world.clock.clone(), self.inbox.clone());
        let timer = tokio::spawn(async move {
            clock.sleep(at.since(clock.now()).to_std()).await;
            // The driver is gone when nobody takes it.
            let _ = inbox.send(Input::Woken).await;
        });
        self.timer = Some(timer.abort_handle());
    }

    /// Sends what a task works out.
    pub(super) fn answer(&self, task: impl Future<Output = Input> + Send + 'static) -> AbortHandle {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let input = task.await;
            let _ = inbox.send(input).await;
        })
        .abort_handle()
    }

    fn start(&mut self, key: AttemptKey, task: impl Future<Output = Input> + Send + 'static) {
        let handle = self.answer(task);
        self.tasks.insert(key, handle);
    }

    /// Forgets the tasks that have ended.
    pub(super) fn tidy(&mut self) {
        self.tasks.retain(|_, task| !task.is_finished());
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        for task in self.tasks.values().chain(&self.timer) {
            task.abort();
        }
    }
}

/// What a call needs.
struct Performing {
    follow: FollowContext,
    lease: LeaseGuard,
    inbox: mpsc::Sender<Input>,
}

impl Performing {
    async fn perform(&self, perform: Perform) -> Answer {
        match &perform.what {
            Call::Info => Answer::Info(agent::info(&self.follow, &perform.address).await),
            Call::WaitStatus { statuses, timeout } => {
                let address = &perform.address;
                let since = perform.since;
                Answer::WaitStatus(
                    agent::wait_status(&self.follow, address, statuses, since, *timeout).await,
                )
            }
            Call::Sleep { length } => {
                let clock = &self.follow.clock;
                let rest = perform.since.plus(*length).since(clock.now());
                clock.sleep(rest.to_std()).await;
                Answer::Sleep
            }
            Call::RunAction { kind, arguments } => {
                let request = self.request(&perform, kind, arguments);
                self.run_action(&perform, &request).await
            }
        }
    }

    fn request(&self, perform: &Perform, kind: &str, args: &serde_json::Value) -> ActionRequest {
        let run = self.lease.run();
        let label = |text: String| serde_json::Value::String(text);
        let metadata = [
            ("replibook.run".to_owned(), label(run.to_string())),
            ("replibook.agent".to_owned(), label(perform.agent.to_string())),
            ("replibook.attempt".to_owned(), label(perform.key.attempt.to_string())),
        ];
        ActionRequest {
            id: perform.key.action_id(run, &perform.agent, perform.call),
            kind: kind.to_owned(),
            args: args.clone(),
            created_time: perform.since,
            metadata: metadata.into_iter().collect(),
        }
    }

    async fn run_action(&self, perform: &Perform, request: &ActionRequest) -> Answer {
        let start = Start { again: perform.again, accepted: perform.accepted };
        let (key, call) = (perform.key, perform.call);
        let on_accepted = || {
            let inbox = self.inbox.clone();
            // Only tells a lost action from one that never arrived, after a crash: it may be late.
            tokio::spawn(async move {
                let _ = inbox.send(Input::Accepted { key, call }).await;
            });
        };
        let may_post = || async {
            while !self.lease.may_act() {
                self.follow.clock.sleep(LEASE_LOOK).await;
            }
            true
        };
        let address = &perform.address;
        Answer::RunAction(
            agent::run_action(&self.follow, address, request, start, on_accepted, may_post).await,
        )
    }
}

/// Compiles a plugin, if it is not ready, from the bytes in the store.
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
            Err(error) if error.retryable() => world.clock.sleep(LEASE_LOOK).await,
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
            retryable: false,
        },
        logs: Vec::new(),
    }
}

/// A plan's question, answered by the plugin. The roster is lent for as long as that takes.
pub(super) async fn plan(
    world: &World,
    plugin: &Digest,
    input: crate::run::PlanInput,
    roster: Arc<dyn crate::run::Roster>,
) -> Input {
    let failure = |error: PluginError| crate::run::PlanFailure {
        code: error.code.to_owned(),
        message: error.message,
    };
    if let Err(error) = ensure_loaded(world, plugin).await {
        return Input::Planned { result: Err(failure(error)), logs: Vec::new() };
    }
    let outcome = world.plugins.plan(plugin, input, roster).await;
    Input::Planned { result: outcome.result.map_err(failure), logs: outcome.logs }
}
