//! Works on the actions of the reference agent, one at a time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::command::{CommandEnd, Job, perform};
use super::config::{AgentConfig, CommandSpec};
use super::store::{Action, ActionEnd, ActionStore, StoreError};
use crate::agent::ActionPhase;
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};

/// How often finished actions are looked through for those to forget. They are kept for days, so
/// minutes more make no difference.
const PURGE_EVERY: Millis = Millis::from_secs(60);

/// What `test.loop` counts to when it is not told.
const DEFAULT_LOOP_TARGET: u64 = 10;

/// What the agent can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `agent.replicante.io/test.success`: ends well at once.
    Success,
    /// `agent.replicante.io/test.fail`: fails at once.
    Fail,
    /// `agent.replicante.io/test.loop`: counts to `args.target`, one per tick.
    Loop,
    /// A command from the configuration.
    Command(&'a CommandSpec),
}

impl<'a> Kind<'a> {
    /// The kind of that name.
    pub(super) fn of(config: &'a AgentConfig, name: &str) -> Option<Self> {
        match name {
            "agent.replicante.io/test.success" => Some(Self::Success),
            "agent.replicante.io/test.fail" => Some(Self::Fail),
            "agent.replicante.io/test.loop" => Some(Self::Loop),
            other => config.actions.get(other).map(Self::Command),
        }
    }
}

/// Takes the actions from the store, one step per tick.
///
/// Guarantee: a command is started at most once for each action. One that was RUNNING when the agent
/// stopped, in whatever way, ends in FAILED and is not run again: nobody knows how far it came. A
/// `test.loop` goes on from its last count, as it does in other agents.
pub(super) struct Worker {
    pub(super) store: ActionStore,
    pub(super) config: Arc<AgentConfig>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tick: Duration,
    pub(super) retention: Millis,
    pub(super) stop: CancellationToken,
}

/// What one step did to an action.
enum Step {
    Ended(ActionEnd),
    GoesOn(Value),
}

impl Worker {
    /// Works until the agent stops.
    pub(super) async fn run(self) {
        let mut purge_at = self.clock.now();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(self.tick) => {}
            }
            // The next tick tries again: the queue is in the database.
            if let Err(error) = self.tick(&mut purge_at).await {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to take a step");
            }
        }
    }

    async fn tick(&self, purge_at: &mut Timestamp) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now >= *purge_at {
            *purge_at = now.plus(PURGE_EVERY);
            let kept = i64::try_from(self.retention.0).unwrap_or(i64::MAX);
            let before = Timestamp::from_millis(now.as_millis().saturating_sub(kept));
            self.store.purge(before).await?;
        }
        let Some(action) = self.store.take().await? else { return Ok(()) };
        match self.step(&action).await {
            Step::Ended(end) => self.store.finish(action.id, end, self.clock.now()).await,
            Step::GoesOn(payload) => self.store.progress(action.id, payload).await,
        }
    }

    async fn step(&self, action: &Action) -> Step {
        let failed = |message: &str| Step::Ended(ActionEnd::Failed(message.to_owned()));
        match Kind::of(&self.config, &action.kind) {
            None => failed("the agent was restarted with a configuration without this kind"),
            Some(Kind::Success) => Step::Ended(ActionEnd::Done(Value::Null)),
            Some(Kind::Fail) => failed("Test action failed as expected"),
            Some(Kind::Loop) => count(action),
            Some(Kind::Command(spec)) if action.phase == ActionPhase::New => {
                self.command(action, spec).await
            }
            Some(Kind::Command(_)) => failed(
                "interrupted: the agent stopped while the command ran, and does not run it again",
            ),
        }
    }

    async fn command(&self, action: &Action, spec: &CommandSpec) -> Step {
        let mut env = vec![
            ("REPLIBOOK_ACTION_ID", action.id.to_string()),
            ("REPLIBOOK_ACTION_KIND", action.kind.clone()),
            ("REPLIBOOK_NODE_ID", self.config.node_id.clone()),
        ];
        if let Some(path) = &self.config.status_file {
            env.push(("REPLIBOOK_STATUS_FILE", path.display().to_string()));
        }
        let job = Job { spec, args: &action.args, env };
        Step::Ended(match perform(&job, self.clock.as_ref(), &self.stop).await {
            CommandEnd::Done(payload) => ActionEnd::Done(payload),
            CommandEnd::Failed(message) => ActionEnd::Failed(message),
            CommandEnd::Stopped => ActionEnd::Failed(
                "interrupted: the agent was stopped and killed the command".to_owned(),
            ),
        })
    }
}

/// One step of `test.loop`.
fn count(action: &Action) -> Step {
    let target = match action.args.get("target") {
        None | Some(Value::Null) => DEFAULT_LOOP_TARGET,
        Some(value) => match value.as_u64() {
            Some(target) => target,
            None => {
                let message = format!("args.target: found {value}, expected a whole number");
                return Step::Ended(ActionEnd::Failed(message));
            }
        },
    };
    let before = action.payload.get("count").and_then(Value::as_u64).unwrap_or(0);
    let count = before.saturating_add(1).min(target);
    let payload = json!({ "count": count, "target": target });
    if count >= target { Step::Ended(ActionEnd::Done(payload)) } else { Step::GoesOn(payload) }
}

#[cfg(test)]
mod tests {
    use super::super::store::{Added, NewAction};
    use super::*;
    use crate::clock::TokioClock;
    use serde_json::Map;
    use std::path::Path;
    use uuid::Uuid;

    const START: Timestamp = Timestamp::from_millis(1_000_000_000);
    const ID: Uuid = Uuid::from_u128(1);
    const RETENTION: Millis = Millis::from_secs(3_600);

    fn worker(path: &Path) -> Worker {
        let config = "{ actions: { a.example.com/x: { command: [sh, -c, 'echo 5'] } } }";
        Worker {
            store: ActionStore::open(path).unwrap(),
            config: Arc::new(serde_yaml::from_str(config).unwrap()),
            clock: Arc::new(TokioClock::starting_at(START)),
            tick: Duration::from_secs(1),
            retention: RETENTION,
            stop: CancellationToken::new(),
        }
    }

    async fn add(worker: &Worker, kind: &str, args: Value) {
        let action = NewAction {
            id: ID,
            kind: kind.to_owned(),
            args,
            metadata: Map::new(),
            created_time: START.to_string(),
        };
        let added = worker.store.add(action, worker.clock.now()).await.unwrap();
        assert_eq!(added, Added::Queued);
    }

    /// One tick, and what the action is then.
    async fn tick(worker: &Worker) -> Action {
        worker.tick(&mut worker.clock.now().plus(PURGE_EVERY)).await.unwrap();
        worker.store.get(ID).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_loop_counts_once_per_tick_also_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "agent.replicante.io/test.loop", json!({"target": 3})).await;
        for count in 1..3 {
            let action = tick(&first).await;
            assert_eq!(action.phase, ActionPhase::Running);
            assert_eq!(action.payload, json!({"count": count, "target": 3}));
        }
        drop(first);
        let action = tick(&worker(&path)).await;
        assert_eq!((action.phase, action.executions), (ActionPhase::Done, 1));
        assert_eq!(action.payload, json!({"count": 3, "target": 3}));
    }

    #[tokio::test]
    async fn a_command_that_was_interrupted_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "a.example.com/x", Value::Null).await;
        // The agent dies between the start of the command and its end.
        first.store.take().await.unwrap().unwrap();
        drop(first);
        let action = tick(&worker(&path)).await;
        assert_eq!((action.phase, action.executions), (ActionPhase::Failed, 1));
        assert!(action.error.unwrap().starts_with("interrupted: "));
    }

    #[tokio::test]
    async fn the_other_kinds_end_in_one_tick() {
        for (kind, phase, payload, error) in [
            ("agent.replicante.io/test.success", ActionPhase::Done, json!(null), None),
            (
                "agent.replicante.io/test.fail",
                ActionPhase::Failed,
                json!(null),
                Some("Test action failed as expected"),
            ),
            ("a.example.com/x", ActionPhase::Done, json!(5), None),
            (
                "gone.example.com/x",
                ActionPhase::Failed,
                json!(null),
                Some("the agent was restarted with a configuration without this kind"),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let worker = worker(&folder.path().join("agent.sqlite"));
            add(&worker, kind, Value::Null).await;
            let action = tick(&worker).await;
            assert_eq!((action.phase, &action.payload), (phase, &payload), "{kind}");
            assert_eq!(action.error.as_deref(), error, "{kind}");
            assert!(action.finished_time.is_some() && action.executions == 1, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_loop_with_a_bad_target_fails() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(&folder.path().join("agent.sqlite"));
        add(&worker, "agent.replicante.io/test.loop", json!({"target": "many"})).await;
        let error = tick(&worker).await.error;
        assert_eq!(error.as_deref(), Some("args.target: found \"many\", expected a whole number"));
    }

    #[tokio::test(start_paused = true)]
    async fn finished_actions_are_forgotten_after_their_retention() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(&folder.path().join("agent.sqlite"));
        add(&worker, "agent.replicante.io/test.success", Value::Null).await;
        tick(&worker).await;
        let mut purge_at = START;
        tokio::time::advance(RETENTION.to_std()).await;
        worker.tick(&mut purge_at).await.unwrap();
        assert!(worker.store.get(ID).await.unwrap().is_some());
        tokio::time::advance(PURGE_EVERY.to_std()).await;
        worker.tick(&mut purge_at).await.unwrap();
        assert_eq!(worker.store.get(ID).await.unwrap(), None);
    }
}
