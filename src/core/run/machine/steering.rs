//! Commands of people: which fit which status, and what they do.

use super::calls::pending_action;
use super::changes::Changes;
use super::state::{Doing, Machine};
use super::steps::{datastore_bytes, json_bytes};
use crate::mutants::mutant;
use crate::run::{
    AgentRecord, AgentSeq, AgentState, Command, CommandOutcome, Effect, Happened, JsonText, Millis,
    ReasonCode, RunStatus, StatusReason, StepPhase, Verb,
};

/// How long a cancelled run waits for actions that are out. Agents look at their queue every 10
/// seconds by default; an action that takes longer than this is left to its agent.
pub(crate) const CANCEL_DEADLINE: Millis = Millis::from_secs(5 * 60);

/// Agents that are cut off by one commit: each is a record, a journal and up to two events, and perhaps
/// one with what is known anew of it.
const STOPS_AT_ONCE: usize = 150;

/// Bytes after which such a chunk takes no further agent: one more still fits the commit.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// What a command does to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Approve,
    Resume,
    Pause,
    /// Pause, and stop each agent after its present call.
    Hold,
    /// Put failed agents back.
    Retry,
    /// Wait no longer for an action.
    GiveUp,
    /// End at once: nothing was started.
    Drop,
    /// End after what is in flight.
    Stop,
}

/// What of a run decides, beside its status, whether a command fits.
#[derive(Clone, Copy, Debug)]
struct Situation {
    status: RunStatus,
    /// The strategy asked for approval.
    for_approval: bool,
    /// Agents stop after their present call.
    on_hold: bool,
}

/// What `verb` does: the one table; an error says why it does not fit.
fn act(situation: Situation, verb: Verb) -> Result<Act, &'static str> {
    let Situation { status, for_approval, on_hold } = situation;
    match status {
        RunStatus::PendingApprove => match verb {
            Verb::Approve => Ok(Act::Approve),
            Verb::Reject | Verb::Cancel => Ok(Act::Drop),
            Verb::Pause | Verb::PauseNow | Verb::Resume => Err(ANSWER_FIRST),
            Verb::Retry | Verb::GiveUp => Err(NOT_STARTED),
        },
        RunStatus::Pending | RunStatus::Starting => match verb {
            Verb::Cancel => Ok(Act::Drop),
            Verb::Pause | Verb::PauseNow => {
                Err("it has not started: cancel it, or pause it once it runs")
            }
            Verb::Resume => Err("it is not paused"),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
            Verb::Retry | Verb::GiveUp => Err(NOT_STARTED),
        },
        RunStatus::Running => match verb {
            Verb::Pause => Ok(Act::Pause),
            Verb::PauseNow => Ok(Act::Hold),
            Verb::Cancel => Ok(Act::Stop),
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Resume => Err("it is not paused"),
            Verb::Retry => Err("it is not paused: pause it first"),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
        },
        RunStatus::Paused => match verb {
            // What happened meanwhile does not answer the question: the question stays the reason.
            Verb::Resume if for_approval && !mutant!(ResumePassesGate) => Err(ANSWER_FIRST),
            Verb::Resume => Ok(Act::Resume),
            Verb::Approve if for_approval => Ok(Act::Resume),
            Verb::Reject if for_approval => Ok(Act::Stop),
            Verb::Cancel => Ok(Act::Stop),
            Verb::PauseNow if !on_hold => Ok(Act::Hold),
            Verb::Retry => Ok(Act::Retry),
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Pause | Verb::PauseNow => Err("it is paused already"),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
        },
        RunStatus::Cancelling => match verb {
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Approve
            | Verb::Reject
            | Verb::Pause
            | Verb::PauseNow
            | Verb::Resume
            | Verb::Retry
            | Verb::Cancel => Err("it is being cancelled"),
        },
        RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
            Err("it has ended")
        }
    }
}

const NOT_STARTED: &str = "it has not started";

const ANSWER_FIRST: &str = "it waits for approval: approve or reject it";

impl Machine {
    pub(super) fn command(&mut self, mut command: Command, changes: &mut Changes) {
        if command.outcome.is_some() || !self.handled.insert(command.id) {
            return;
        }
        changes.actor.clone_from(&command.actor);
        let (id, status) = (self.run.snapshot.id, self.run.progress.status);
        let act =
            self.check_command(&command).map_err(|why| format!("run {id} is {status}: {why}"));
        let refused = act.as_ref().err().cloned();
        changes.event(
            self,
            Happened::Command {
                id: command.id,
                command: command.verb.as_str().to_owned(),
                agent: command.agent.clone(),
                again: command.again,
                why: command.why.clone(),
                refused: refused.clone(),
            },
        );
        command.outcome = Some(match refused {
            Some(reason) => CommandOutcome::Refused { reason },
            None => CommandOutcome::Applied,
        });
        let reason = asked(&command);
        if let Ok((act, agent)) = act {
            self.act(act, (agent, command.again), reason, changes);
        }
        command.finish_ts = self.run.progress.finishing_at;
        changes.commands.push(command);
    }

    /// What the command does, and to which agent; an error says why it does not fit.
    fn check_command(&self, command: &Command) -> Result<(Act, Option<AgentSeq>), String> {
        let progress = &self.run.progress;
        let for_approval =
            progress.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::Approval);
        let situation = Situation { status: progress.status, for_approval, on_hold: progress.hold };
        let act = act(situation, command.verb)?;
        let agent = match &command.agent {
            Some(agent) => {
                Some(self.seq_of(agent).ok_or_else(|| format!("it has no agent {agent}"))?)
            }
            None => None,
        };
        if command.again && act != Act::Retry {
            return Err(format!("{} does nothing again: that is for retry", command.verb));
        }
        match (act, agent) {
            (Act::GiveUp, None) => return Err("name the agent to give up".to_owned()),
            (Act::GiveUp, Some(seq)) => {
                if let Some(why) = self.not_given_up(seq) {
                    return Err(why);
                }
            }
            (Act::Retry, _) if progress.stage.entering => {
                return Err("its next stage has not begun: resume it".to_owned());
            }
            (Act::Retry, None) if progress.count(AgentState::Failed) == 0 => {
                return Err("no agent has failed".to_owned());
            }
            (Act::Retry, Some(seq)) => {
                let state = Machine::record(self, seq).map(|record| record.state);
                if let Some(state) = state.filter(|state| *state != AgentState::Failed) {
                    return Err(format!("the agent is {state}, expected FAILED"));
                }
            }
            (
                Act::Approve | Act::Resume | Act::Pause | Act::Hold | Act::Drop | Act::Stop,
                Some(_),
            ) => return Err(format!("{} is about the whole run", command.verb)),
            (
                Act::Approve
                | Act::Resume
                | Act::Pause
                | Act::Hold
                | Act::Drop
                | Act::Stop
                | Act::Retry,
                None,
            ) => {}
        }
        Ok((act, agent))
    }

    fn act(
        &mut self,
        act: Act,
        (agent, again): (Option<AgentSeq>, bool),
        reason: StatusReason,
        changes: &mut Changes,
    ) {
        match act {
            Act::Approve => {
                changes.status(self, RunStatus::Pending, Some(reason));
                changes.effects.push(Effect::AwaitCluster);
            }
            Act::Pause => changes.status(self, RunStatus::Paused, Some(reason)),
            Act::Hold => {
                self.run.progress.hold = true;
                self.run.progress.held_since = Some(changes.now);
                changes.progress = true;
                if self.run.progress.status == RunStatus::Running {
                    changes.status(self, RunStatus::Paused, Some(reason));
                }
            }
            Act::Resume => self.resume(reason, changes),
            Act::Retry => self.retry(agent, again, changes),
            Act::GiveUp => {
                if let Some(seq) = agent {
                    self.give_up(seq, &reason.message, changes);
                }
            }
            Act::Drop => {
                self.joining.clear();
                self.finish(RunStatus::Cancelled, reason, changes);
            }
            Act::Stop => {
                self.joining.clear();
                self.meanwhile.clear();
                self.admitting = false;
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
            self.run.progress.accepted_failures = self.run.progress.failures;
        }
        if paused_for == Some(ReasonCode::MassAbsence)
            && let Some(seen) = self.run.progress.mass_absence.take()
        {
            changes.effects.push(Effect::AcceptAbsence(seen));
        }
        self.let_go(changes);
        changes.status(self, RunStatus::Running, Some(reason));
        self.check_absence(changes);
        match (self.run.progress.stage.entering, self.joining.is_empty()) {
            // The budget of the stage is looked at once its agents are known.
            (true, true) => self.load_members(changes),
            (true, false) => {}
            (false, _) => self.check_budget(changes),
        }
        self.plan_due = true;
        self.end_stage_if_over(changes);
    }

    /// Gives up all that is not an action at once; actions that are out are waited for, up to the
    /// deadline.
    pub(super) fn stop_all(&mut self, changes: &mut Changes) {
        let running = self.in_state(AgentState::Running);
        for seq in &running {
            // What was not delivered yet must not be any more.
            self.only_look(*seq, changes);
        }
        let may_stop = |seq: &AgentSeq| match self.attempts.get(seq) {
            // What comes of it is cut off then.
            Some(attempt) if attempt.doing == Doing::Activation => false,
            Some(attempt) => pending_action(&attempt.journal).is_none(),
            None => match Self::record(self, *seq).map(|record| record.phase) {
                Some(StepPhase::Waiting | StepPhase::RetryAt { .. } | StepPhase::Trying) => true,
                Some(StepPhase::Settling { .. }) | None => false,
            },
        };
        self.stopping = running.into_iter().filter(may_stop).collect();
        self.starting.clear();
        self.stop_some(changes);
    }

    /// Waits no longer for actions that are out: the time for that is over.
    pub(super) fn stop_waiting(&mut self, changes: &mut Changes) {
        self.stopping = self.in_state(AgentState::Running).into();
        self.stop_some(changes);
        self.end_stage_if_over(changes);
    }

    /// Cuts off the next chunk of agents.
    pub(super) fn stop_some(&mut self, changes: &mut Changes) {
        let (mut stopped, mut bytes) = (0, 0);
        while stopped < STOPS_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(seq) = self.stopping.pop_front() else { break };
            let Some(record) = Machine::record(self, seq) else { continue };
            if record.state != AgentState::Running {
                continue;
            }
            stopped += 1;
            bytes += self.weight(seq);
            let step = self.step_name(record.step);
            if let Some(mut attempt) = self.attempts.remove(&seq) {
                attempt.journal.cut_off = true;
                changes.effects.push(Effect::Abandon(attempt.journal.key));
                changes.journals.push(attempt.journal);
            }
            self.cut_off(seq, &step, changes);
        }
    }

    /// Whether no agent is going on.
    pub(super) fn nothing_in_flight(&self) -> bool {
        self.attempts.is_empty() && self.run.progress.count(AgentState::Running) == 0
    }
}

pub(super) fn record_bytes(record: &AgentRecord) -> usize {
    let past = record.past.iter().filter_map(|stage| stage.error.as_ref());
    let failures = record.error.iter().chain(past);
    // Half of the characters of a message may have to be escaped.
    let failures: usize = failures.map(|failure| 2 * failure.message.len()).sum();
    let attributes = record.attributes.values().map(json_bytes);
    record.results.values().map(JsonText::bytes).chain(attributes).sum::<usize>()
        + json_bytes(&record.node)
        + datastore_bytes(&record.datastore)
        + failures
}

fn asked(command: &Command) -> StatusReason {
    let who = command.actor.as_deref().unwrap_or("somebody");
    let message = match &command.why {
        Some(why) => format!("{} by {who}: {why}", command.verb),
        None => format!("{} by {who}", command.verb),
    };
    StatusReason { code: ReasonCode::Operator, message }
}
