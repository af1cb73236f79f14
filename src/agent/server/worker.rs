//! Works on the actions of the reference agent, one at a time, so that no two commands work on the node at
//! once. What a command may have left behind holds up the whole queue.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::command::{CommandEnd, Job, Performed, perform};
use super::config::{AgentConfig, CommandSpec};
use super::error::StoreError;
use super::hidden::has_secrets;
use super::left::Left;
use super::process::{ACTION_ID, ProcessId};
use super::store::{Action, ActionEnd, ActionStore, Started};
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};

/// How often old finished actions are looked for and forgotten. They are kept for days, so a few minutes more
/// make no difference.
const PURGE_EVERY: Millis = Millis::from_secs(60);

/// What `test.loop` counts to unless `args.target` says so.
const DEFAULT_LOOP_TARGET: u64 = 10;

/// How many characters of arguments an error quotes.
const MAX_QUOTED_CHARS: usize = 200;

/// What the agent can do, by kind of action.
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
    /// The kind with this name; `None` if the agent does not have it.
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
/// Guarantee: a command may begin at most once for each action, and nothing is started while anything of the
/// previous command still exists. If a command had been allowed to begin when the agent stopped, in whatever
/// way, the next agent ends it before it does anything else. Unless the end of the command was written down, the
/// action is then FAILED, since nobody knows how far it got. A `test.loop` goes on from its last count, as it
/// does in other agents.
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
    /// The action ends when nothing of the command is left.
    EndsAfter(ActionEnd, ProcessId),
    GoesOn(String),
}

/// The end of an action that is not written yet.
struct Ended {
    id: Uuid,
    end: ActionEnd,
    /// What must be gone before the end is written.
    left: Option<Left>,
    /// Whether the end of the command is written down, so that a stop of the agent does not lose it.
    kept: bool,
    /// Whether the log already says that something of the command does not end.
    told: bool,
}

/// State that is kept from one tick to the next.
pub(super) struct Progress {
    purge_at: Timestamp,
    ended: Option<Ended>,
}

impl Progress {
    fn starting_at(now: Timestamp) -> Self {
        Self { purge_at: now, ended: None }
    }
}

impl Worker {
    /// Works until the agent stops.
    pub(super) async fn run(self) {
        let mut progress = Progress::starting_at(self.clock.now());
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(self.tick) => {}
            }
            // The next tick tries again: the queue is in the database.
            if let Err(error) = self.tick(&mut progress).await {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to take a step");
            }
        }
    }

    async fn tick(&self, progress: &mut Progress) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now >= progress.purge_at {
            progress.purge_at = now.plus(PURGE_EVERY);
            let kept = i64::try_from(self.retention.0).unwrap_or(i64::MAX);
            let before = Timestamp::from_millis(now.as_millis().saturating_sub(kept));
            self.store.purge(before).await?;
        }
        if progress.ended.is_none() {
            let Some(action) = self.store.take().await? else { return Ok(()) };
            let id = action.id;
            let (end, left) = match self.step(&action).await? {
                Step::GoesOn(payload) => return self.store.progress(id, payload).await,
                Step::Ended(end) => (end, None),
                Step::EndsAfter(end, process) => (end, Some(Left::of(id, process))),
            };
            progress.ended = Some(Ended { id, end, left, kept: false, told: false });
        }
        self.finish(&mut progress.ended).await
    }

    /// Writes the end of an action once nothing of its command is left. The end stays in `ended` until it is
    /// written: after a failure it is tried again instead of being forgotten.
    async fn finish(&self, ended: &mut Option<Ended>) -> Result<(), StoreError> {
        let Some(end) = ended.as_mut() else { return Ok(()) };
        if let Some(left) = &mut end.left {
            if !end.kept {
                self.store.command_ends(end.id, &end.end).await?;
                end.kept = true;
            }
            if !left.is_gone(self.clock.as_ref()).await {
                if !std::mem::replace(&mut end.told, true) {
                    tracing::warn!(
                        action = %end.id,
                        "processes of a command are still running; nothing else is started until they end"
                    );
                }
                return Ok(());
            }
            end.left = None;
        }
        self.store.finish(end.id, end.end.clone(), self.clock.now()).await?;
        *ended = None;
        Ok(())
    }

    async fn step(&self, action: &Action) -> Result<Step, StoreError> {
        let interrupted = |how: &str| ActionEnd::Failed(format!("interrupted: {how}"));
        match &action.process {
            Started::Not => {}
            // This holds whatever the configuration now says about the kind.
            Started::As(process) => {
                let end = self.store.command_end(action.id).await?.unwrap_or_else(|| {
                    interrupted(
                        "the agent ended before the end of the command was written down; the command \
                         may have begun, what was left of it was ended, and it is not run again",
                    )
                });
                return Ok(Step::EndsAfter(end, process.clone()));
            }
            Started::Somehow => {
                return Ok(match Kind::of(&self.config, &action.kind) {
                    Some(Kind::Loop) => count(action),
                    None | Some(Kind::Success | Kind::Fail | Kind::Command(_)) => {
                        Step::Ended(interrupted(
                            "an earlier version of the agent stopped while the command ran; perhaps \
                             it still does, and it is not run again",
                        ))
                    }
                });
            }
        }
        let failed = |message: &str| Step::Ended(ActionEnd::Failed(message.to_owned()));
        Ok(match Kind::of(&self.config, &action.kind) {
            None => failed("the agent was restarted with a configuration without this kind"),
            Some(Kind::Success) => Step::Ended(ActionEnd::Done("null".to_owned())),
            Some(Kind::Fail) => failed("Test action failed as expected"),
            Some(Kind::Loop) => count(action),
            Some(Kind::Command(spec)) => self.command(action, spec).await?,
        })
    }

    async fn command(&self, action: &Action, spec: &CommandSpec) -> Result<Step, StoreError> {
        let hidden = self.store.hidden(action.id);
        if hidden.is_none() && has_secrets(&action.metadata) {
            let message = "the agent was restarted before the action began, and its arguments had \
                           secrets, which are not kept";
            return Ok(Step::Ended(ActionEnd::Failed(message.to_owned())));
        }
        let mut env = vec![
            (ACTION_ID, action.id.to_string()),
            ("REPLIBOOK_ACTION_KIND", action.kind.clone()),
            ("REPLIBOOK_NODE_ID", self.config.node_id.clone()),
        ];
        if let Some(path) = &self.config.status_file {
            env.push(("REPLIBOOK_STATUS_FILE", path.display().to_string()));
        }
        let args = hidden.as_ref().map_or(&action.args, |hidden| &hidden.args);
        let scrubber = hidden.as_ref().map(|hidden| hidden.scrubber());
        let job = Job { spec, args, scrubber: scrubber.as_ref(), env };
        let record = async |process: &ProcessId| self.store.starts(action.id, process).await;
        let Performed { end, left } =
            perform(&job, self.clock.as_ref(), &self.stop, record).await?;
        let end = match end {
            CommandEnd::Done(payload) => ActionEnd::Done(payload),
            CommandEnd::Failed(message) => ActionEnd::Failed(message),
        };
        Ok(match left {
            Some(process) => Step::EndsAfter(end, process),
            None => Step::Ended(end),
        })
    }
}

/// The part of the arguments that `test.loop` reads; the rest may be large.
#[derive(Default, Deserialize)]
struct LoopArgs<'a> {
    #[serde(borrow)]
    target: Option<&'a RawValue>,
}

/// The payload of a `test.loop`: its last count.
#[derive(Default, Deserialize)]
struct Counted {
    #[serde(default)]
    count: u64,
}

/// One step of `test.loop`.
fn count(action: &Action) -> Step {
    // Arguments that are not an object have no target; a list would be read by position.
    let args = Some(action.args.as_str()).filter(|args| args.trim_start().starts_with('{'));
    let args = args.and_then(|args| serde_json::from_str::<LoopArgs<'_>>(args).ok());
    let args = args.unwrap_or_default();
    let target = match args.target.map(RawValue::get) {
        None => DEFAULT_LOOP_TARGET,
        Some(text) => match text.parse() {
            Ok(target) => target,
            Err(_) => {
                let found: String = text.chars().take(MAX_QUOTED_CHARS).collect();
                let message = format!("args.target: found {found}, expected a whole number");
                return Step::Ended(ActionEnd::Failed(message));
            }
        },
    };
    let before: Counted = serde_json::from_str(&action.payload).unwrap_or_default();
    let count = before.count.saturating_add(1).min(target);
    let payload = json!({ "count": count, "target": target }).to_string();
    if count >= target { Step::Ended(ActionEnd::Done(payload)) } else { Step::GoesOn(payload) }
}

#[cfg(test)]
mod tests {
    use super::super::store::{Added, NewAction};
    use super::*;
    use crate::agent::ActionPhase;
    use crate::clock::TokioClock;
    use serde_json::Value;
    use std::path::Path;

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
            args: args.to_string(),
            metadata: "{}".to_owned(),
            created_time: START.to_string(),
        };
        let added = worker.store.add(action, worker.clock.now()).await.unwrap();
        assert_eq!(added, Added::Queued);
    }

    /// The state of a worker that does not purge.
    fn progress(worker: &Worker) -> Progress {
        Progress::starting_at(worker.clock.now().plus(PURGE_EVERY))
    }

    fn payload(action: &Action) -> Value {
        serde_json::from_str(&action.payload).unwrap()
    }

    /// Runs one tick, and returns the action as it is afterwards.
    async fn tick(worker: &Worker) -> Action {
        worker.tick(&mut progress(worker)).await.unwrap();
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
            assert_eq!(payload(&action), json!({"count": count, "target": 3}));
        }
        drop(first);
        let action = tick(&worker(&path)).await;
        assert_eq!((action.phase, action.executions), (ActionPhase::Done, 1));
        assert_eq!(payload(&action), json!({"count": 3, "target": 3}));
    }

    /// Begins the action with a command that outlives the worker, and returns the command.
    async fn begin_command(worker: &Worker) -> (tokio::process::Child, ProcessId) {
        worker.store.take().await.unwrap().unwrap();
        let mut command = tokio::process::Command::new("sleep");
        command.arg("1000").process_group(0).kill_on_drop(true);
        let left = command.spawn().unwrap();
        let process = ProcessId::of(left.id().unwrap().try_into().unwrap()).unwrap();
        worker.store.starts(ID, &process).await.unwrap();
        (left, process)
    }

    #[tokio::test]
    async fn a_command_that_was_let_go_is_ended_and_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "a.example.com/x", Value::Null).await;
        // The agent dies between the start and the end of the command.
        let (mut left, _) = begin_command(&first).await;
        drop(first);
        let action = tick(&worker(&path)).await;
        assert_eq!((action.phase, action.executions), (ActionPhase::Failed, 1));
        let message = action.error.unwrap();
        assert!(message.starts_with("interrupted: the agent ended before the end"), "{message}");
        assert!(!left.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_command_that_was_not_let_go_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "a.example.com/x", Value::Null).await;
        first.store.take().await.unwrap().unwrap();
        drop(first);
        let action = tick(&worker(&path)).await;
        assert_eq!((action.phase, action.executions), (ActionPhase::Done, 1));
    }

    #[tokio::test]
    async fn what_a_command_left_has_to_be_gone_before_its_end_is_written_however_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker(&folder.path().join("agent.sqlite"));
        add(&worker, "a.example.com/x", Value::Null).await;
        let action = worker.store.take().await.unwrap().unwrap();
        let Step::EndsAfter(end, process) = worker.step(&action).await.unwrap() else { panic!() };
        assert_eq!(end, ActionEnd::Done("5".to_owned()));
        let left = Left::of(ID, process);
        let mut ended = Some(Ended { id: ID, end, left: Some(left), kept: false, told: false });
        worker.finish(&mut ended).await.unwrap();
        assert!(ended.is_none());
        assert_eq!(worker.store.get(ID).await.unwrap().unwrap().phase, ActionPhase::Done);
    }

    #[tokio::test]
    async fn how_a_command_ended_outlives_the_agent_while_something_of_it_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "a.example.com/x", Value::Null).await;
        let (mut left, process) = begin_command(&first).await;
        let end = ActionEnd::Done("5".to_owned());
        // Something of the command is still there.
        let remains = Some(Left::not_before(ID, process, first.clock.now().plus(RETENTION)));
        let mut ended = Some(Ended { id: ID, end, left: remains, kept: false, told: false });
        first.finish(&mut ended).await.unwrap();
        let action = first.store.get(ID).await.unwrap().unwrap();
        assert_eq!((action.phase, action.finished_time), (ActionPhase::Running, None));
        assert_eq!(action.payload, "null", "nobody is told");
        drop(first);
        let last = worker(&path);
        let action = tick(&last).await;
        assert!(!left.wait().await.unwrap().success());
        assert_eq!((action.phase, payload(&action)), (ActionPhase::Done, json!(5)));
        assert_eq!((action.executions, action.error), (1, None));
        assert_eq!(last.store.command_end(ID).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = worker(&path);
        add(&first, "a.example.com/x", Value::Null).await;
        first.store.take().await.unwrap().unwrap();
        let end = ActionEnd::Done("5".to_owned());
        let mut ended = Some(Ended { id: ID, end, left: None, kept: false, told: false });
        first.store.close();
        assert!(matches!(first.finish(&mut ended).await, Err(StoreError::Closed)));
        let second = worker(&path);
        let mut kept = Progress { ended, ..progress(&second) };
        second.tick(&mut kept).await.unwrap();
        let action = second.store.get(ID).await.unwrap().unwrap();
        assert_eq!((action.phase, payload(&action)), (ActionPhase::Done, json!(5)));
        assert!(kept.ended.is_none());
    }

    #[tokio::test]
    async fn the_other_kinds_end_in_one_tick() {
        for (kind, phase, expected, error) in [
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
            assert_eq!((action.phase, payload(&action)), (phase, expected), "{kind}");
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
        let mut progress = Progress::starting_at(START);
        tokio::time::advance(RETENTION.to_std()).await;
        worker.tick(&mut progress).await.unwrap();
        assert!(worker.store.get(ID).await.unwrap().is_some());
        tokio::time::advance(PURGE_EVERY.to_std()).await;
        worker.tick(&mut progress).await.unwrap();
        assert_eq!(worker.store.get(ID).await.unwrap(), None);
    }
}
