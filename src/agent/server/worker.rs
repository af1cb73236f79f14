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
use super::live::{LiveOutput, Secrets};
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
    pub(super) live: LiveOutput,
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
        let longest = hidden.as_ref().and_then(|hidden| hidden.longest());
        let secrets = scrubber.as_ref().map(|scrubber| Secrets { scrubber, longest });
        let job = Job { spec, args, secrets, live: &self.live, env };
        self.live.begin(action.id);
        let record = async |process: &ProcessId| self.store.starts(action.id, process).await;
        let Performed { end, left } =
            perform(&job, self.clock.as_ref(), &self.stop, record).await?;
        self.keep_output(action.id).await;
        let end = match end {
            CommandEnd::Done(payload) => ActionEnd::Done(payload),
            CommandEnd::Failed(message) => ActionEnd::Failed(message),
        };
        Ok(match left {
            Some(process) => Step::EndsAfter(end, process),
            None => Step::Ended(end),
        })
    }

    /// Keeps what a command has written. The action ends as it does even if that fails.
    async fn keep_output(&self, id: Uuid) {
        let Some(written) = self.live.copy() else { return };
        if let Err(error) = self.store.keep_output(id, written).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, action = %id, "failed to keep what a command has written");
        }
        self.live.kept_elsewhere();
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
#[path = "worker_tests.rs"]
mod tests;
