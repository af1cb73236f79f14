//! Commands of people: which fit which status, and what they do.

use super::changes::Changes;
use super::state::{Doing, Machine};
use super::stepping::json_bytes;
use crate::run::{
    AgentRecord, AgentState, AttemptKey, CallName, Command, CommandOutcome, Effect, Happened,
    Millis, PlannedNext, ReasonCode, RunStatus, StatusReason, Verb,
};

/// How long a cancelled run waits for actions that are out. Agents look at their queue every 10
/// seconds by default; an action that takes longer than this is left to its agent.
pub(super) const CANCEL_DEADLINE: Millis = Millis::from_secs(5 * 60);

/// Agents that are cut off by one commit: each is a record, a journal and an event.
const STOPS_AT_ONCE: usize = 300;

/// Bytes after which such a chunk takes no further agent: one more still fits the commit.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What a command does to a run.
#[derive(Clone, Copy)]
enum Act {
    Approve,
    Resume,
    Pause,
    /// End at once: nothing was started.
    Drop,
    /// End after what is in flight.
    Stop,
}

/// What `verb` does in `status`: the one table; an error says why it does not fit.
fn act(status: RunStatus, verb: Verb, waits_for_approval: bool) -> Result<Act, &'static str> {
    match (status, verb) {
        (RunStatus::PendingApprove, Verb::Approve) => Ok(Act::Approve),
        (RunStatus::PendingApprove, Verb::Reject | Verb::Cancel) => Ok(Act::Drop),
        (RunStatus::PendingApprove, Verb::Pause | Verb::Resume) => {
            Err("it waits for approval: approve or reject it")
        }
        (RunStatus::Pending | RunStatus::Starting, Verb::Cancel) => Ok(Act::Drop),
        (RunStatus::Pending | RunStatus::Starting, Verb::Pause) => {
            Err("it has not started: cancel it, or pause it once it runs")
        }
        (RunStatus::Running, Verb::Pause) => Ok(Act::Pause),
        (RunStatus::Running | RunStatus::Paused, Verb::Cancel) => Ok(Act::Stop),
        (RunStatus::Paused, Verb::Resume) => Ok(Act::Resume),
        (RunStatus::Paused, Verb::Approve) if waits_for_approval => Ok(Act::Resume),
        (RunStatus::Paused, Verb::Reject) if waits_for_approval => Ok(Act::Stop),
        (RunStatus::Paused, Verb::Pause) => Err("it is paused already"),
        (RunStatus::Pending | RunStatus::Starting | RunStatus::Running, Verb::Resume) => {
            Err("it is not paused")
        }
        (
            RunStatus::Pending | RunStatus::Starting | RunStatus::Running | RunStatus::Paused,
            Verb::Approve | Verb::Reject,
        ) => Err("it does not wait for approval"),
        (
            RunStatus::Cancelling,
            Verb::Approve | Verb::Reject | Verb::Pause | Verb::Resume | Verb::Cancel,
        ) => Err("it is being cancelled"),
        (
            RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled,
            Verb::Approve | Verb::Reject | Verb::Pause | Verb::Resume | Verb::Cancel,
        ) => Err("it has ended"),
    }
}

impl Machine {
    pub(super) fn command(&mut self, mut command: Command, changes: &mut Changes) {
        if command.outcome.is_some() || !self.handled.insert(command.id) {
            return;
        }
        changes.actor.clone_from(&command.actor);
        let progress = &self.run.progress;
        let for_approval =
            progress.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::Approval);
        let act = act(progress.status, command.verb, for_approval)
            .map_err(|why| format!("run {} is {}: {why}", self.run.snapshot.id, progress.status));
        let refused = act.as_ref().err().cloned();
        changes.event(
            self,
            Happened::Command {
                id: command.id,
                command: command.verb.as_str().to_owned(),
                why: command.why.clone(),
                refused: refused.clone(),
            },
        );
        command.outcome = Some(match refused {
            Some(reason) => CommandOutcome::Refused { reason },
            None => CommandOutcome::Applied,
        });
        let reason = asked(&command);
        if let Ok(act) = act {
            self.act(act, reason, changes);
        }
        command.finish_ts = self.run.progress.finishing_at;
        changes.commands.push(command);
    }

    fn act(&mut self, act: Act, reason: StatusReason, changes: &mut Changes) {
        match act {
            Act::Approve => {
                changes.status(self, RunStatus::Pending, Some(reason));
                changes.effects.push(Effect::AwaitCluster);
            }
            Act::Pause => changes.status(self, RunStatus::Paused, Some(reason)),
            Act::Resume => self.resume(reason, changes),
            Act::Drop => {
                self.joining.clear();
                self.finish(RunStatus::Cancelled, reason, changes);
            }
            Act::Stop => {
                changes.status(self, RunStatus::Cancelling, Some(reason));
                self.stop_all(changes);
                self.end_stage_if_over(changes);
            }
        }
    }

    fn resume(&mut self, reason: StatusReason, changes: &mut Changes) {
        // Who goes on after another pause has not been told of failures past the budget.
        let paused_for = self.run.progress.reason.as_ref().map(|reason| reason.code);
        if paused_for == Some(ReasonCode::BudgetExceeded) {
            let stage = &mut self.run.progress.stage;
            stage.accepted_failures = stage.failures;
        }
        changes.status(self, RunStatus::Running, Some(reason));
        self.check_budget(changes);
        if let Some(PlannedNext::WaitUntil { at }) = &self.run.progress.stage.next {
            changes.effects.push(Effect::WakeAt(*at));
        }
        self.plan_due = true;
        self.end_stage_if_over(changes);
    }

    /// Gives up the calls that are not actions at once; actions that are out are waited for, up to
    /// the deadline.
    pub(super) fn stop_all(&mut self, changes: &mut Changes) {
        let deadline = self.run.progress.since.plus(CANCEL_DEADLINE);
        changes.effects.push(Effect::WakeAt(deadline));
        let waits = |journal: &crate::run::Journal| {
            journal.pending.as_ref().is_some_and(|pending| pending.name != CallName::RunAction)
        };
        let stopping = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.doing == Doing::Answer && waits(&attempt.journal));
        self.stopping = stopping.map(|(seq, _)| *seq).collect();
        self.stop_some(changes);
    }

    /// Cuts off the next chunk of agents.
    pub(super) fn stop_some(&mut self, changes: &mut Changes) {
        let (mut stopped, mut bytes) = (0, 0);
        while stopped < STOPS_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(seq) = self.stopping.pop_front() else { break };
            let Some(attempt) = self.attempts.remove(&seq) else { continue };
            stopped += 1;
            bytes += attempt.bytes + json_bytes(&attempt.journal.arguments);
            bytes += Machine::record(self, seq).map_or(0, record_bytes);
            let key: AttemptKey = attempt.journal.key;
            let step = attempt.journal.step_name.clone();
            changes.journals.push(attempt.journal);
            changes.effects.push(Effect::Abandon(key));
            self.cut_off(seq, &step, changes);
        }
        if !self.stopping.is_empty() {
            changes.effects.push(Effect::Continue);
        }
    }

    pub(super) fn woken(&mut self, changes: &mut Changes) {
        let progress = &self.run.progress;
        match (progress.status, &progress.stage.next) {
            (RunStatus::Running, Some(PlannedNext::WaitUntil { at })) => {
                if *at <= changes.now {
                    self.plan_due = true;
                } else {
                    changes.effects.push(Effect::WakeAt(*at));
                }
            }
            (RunStatus::Cancelling, _) => {
                let deadline = progress.since.plus(CANCEL_DEADLINE);
                if changes.now < deadline {
                    changes.effects.push(Effect::WakeAt(deadline));
                } else {
                    self.stopping = self.attempts.keys().copied().collect();
                    self.stop_some(changes);
                    self.end_stage_if_over(changes);
                }
            }
            _ => {}
        }
    }

    /// Whether no agent is going on.
    pub(super) fn nothing_in_flight(&self) -> bool {
        self.attempts.is_empty() && self.run.progress.count(AgentState::Running) == 0
    }
}

fn record_bytes(record: &AgentRecord) -> usize {
    let attributes = record.attributes.values().map(json_bytes);
    record.results.values().map(json_bytes).chain(attributes).sum::<usize>()
        + json_bytes(&record.node)
}

fn asked(command: &Command) -> StatusReason {
    let who = command.actor.as_deref().unwrap_or("somebody");
    let message = match &command.why {
        Some(why) => format!("{} by {who}: {why}", command.verb),
        None => format!("{} by {who}", command.verb),
    };
    StatusReason { code: ReasonCode::Operator, message }
}
