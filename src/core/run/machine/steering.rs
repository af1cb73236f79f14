//! Commands of people: which command fits which status, and what it does. One table has all pairs, so a new
//! command or status can't be forgotten.

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::StepRole;
use crate::run::state::{Agent, Doing, OfCall, OfMembership, OfRun, Phase, State};
use crate::run::{
    AgentSeq, AgentState, Command, CommandOutcome, Effect, Millis, ReasonCode, RunStatus,
    StatusReason, Verb,
};

/// How long a cancelled run waits for actions that are out. Agents look at their queues every 10 seconds by
/// default. An action that takes longer than this is left to its agent.
pub const CANCEL_DEADLINE: Millis = Millis::from_secs(5 * 60);

/// How many agents one commit cuts off. Each takes a record, a journal and up to two events, and perhaps an event
/// with what was newly learned about the agent.
const STOPS_AT_ONCE: usize = 150;

/// The size in bytes from which a chunk of agents takes no further one. One more agent still fits the commit.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// What a command does to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Approve,
    /// Ask once more for an approval.
    AskAgain,
    Resume,
    Pause,
    /// Pause, and stop the agents after their present calls.
    Hold,
    /// Put failed agents back in the queue.
    Retry,
    /// Stop waiting for an action.
    GiveUp,
    /// End at once: nothing was started.
    Drop,
    /// End once what is in flight has ended.
    Stop,
    /// Override a guard. A paused run also resumes.
    Override,
    /// Keep a signal for the steps that wait for it.
    Signal,
}

/// What decides whether a command fits a run.
#[derive(Clone, Copy, Debug)]
struct Situation {
    status: RunStatus,
    /// Whether the strategy asked for approval.
    for_approval: bool,
    /// Whether the run was not approved in time.
    overdue: bool,
    /// Whether agents stop after their present calls.
    on_hold: bool,
    /// Whether the command overrides a guard.
    overrides: bool,
    /// Whether the last stages of the run go on although it is cancelled.
    closing: bool,
}

/// What `verb` does: the one table. The error says why it does not fit.
fn act(situation: Situation, verb: Verb) -> Result<Act, &'static str> {
    let Situation { status, for_approval, overdue, on_hold, overrides, closing } = situation;
    match status {
        RunStatus::PendingApprove => match verb {
            Verb::Approve if overdue => Err(OVERDUE),
            Verb::Resume if overdue => Ok(Act::AskAgain),
            Verb::Approve => Ok(Act::Approve),
            Verb::Reject | Verb::Cancel => Ok(Act::Drop),
            Verb::Pause | Verb::PauseNow | Verb::Resume => Err(ANSWER_FIRST),
            Verb::Retry | Verb::GiveUp => Err(NOT_STARTED),
            // A step may wait for it later.
            Verb::Signal => Ok(Act::Signal),
        },
        RunStatus::Pending | RunStatus::Starting => match verb {
            Verb::Cancel => Ok(Act::Drop),
            Verb::Pause | Verb::PauseNow => {
                Err("it has not started: cancel it, or pause it once it runs")
            }
            Verb::Resume => Err("it is not paused"),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
            Verb::Retry | Verb::GiveUp => Err(NOT_STARTED),
            Verb::Signal => Ok(Act::Signal),
        },
        RunStatus::Running => match verb {
            Verb::Pause => Ok(Act::Pause),
            Verb::PauseNow => Ok(Act::Hold),
            Verb::Cancel => Ok(Act::Stop),
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Signal => Ok(Act::Signal),
            Verb::Resume if overrides => Ok(Act::Override),
            Verb::Resume => Err("it is not paused"),
            Verb::Retry => Err("it is not paused: pause it first"),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
        },
        RunStatus::Paused => match verb {
            // What happened since does not answer the question, so the question stays the reason.
            Verb::Resume if for_approval && !mutant!(ResumePassesGate) => Err(ANSWER_FIRST),
            Verb::Resume if overdue => Ok(Act::AskAgain),
            Verb::Resume => Ok(Act::Resume),
            Verb::Approve if for_approval => Ok(Act::Resume),
            Verb::Reject if for_approval => Ok(Act::Stop),
            Verb::Cancel => Ok(Act::Stop),
            Verb::PauseNow if !on_hold => Ok(Act::Hold),
            Verb::Retry => Ok(Act::Retry),
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Signal => Ok(Act::Signal),
            Verb::Pause | Verb::PauseNow => Err("it is paused already"),
            Verb::Approve if overdue => Err(OVERDUE),
            Verb::Reject if overdue => Ok(Act::Stop),
            Verb::Approve | Verb::Reject => Err("it does not wait for approval"),
        },
        RunStatus::Cancelling => match verb {
            Verb::GiveUp => Ok(Act::GiveUp),
            Verb::Cancel if closing => Ok(Act::Stop),
            Verb::Approve
            | Verb::Reject
            | Verb::Pause
            | Verb::PauseNow
            | Verb::Resume
            | Verb::Retry
            | Verb::Signal
            | Verb::Cancel => Err("it is being cancelled"),
        },
        RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
            Err("it has ended")
        }
    }
}

const NOT_STARTED: &str = "it has not started";

const OVERDUE: &str = "it was not approved in time: resume it, and it asks again";

const ANSWER_FIRST: &str = "it waits for approval: approve or reject it";

impl State {
    /// What the command does, and to which agent. The error says why it does not fit.
    fn check_command(&self, command: &Command) -> Result<(Act, Option<AgentSeq>), String> {
        let progress = self.progress();
        let for_approval =
            progress.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::Approval);
        let (status, on_hold) = (progress.status, progress.hold);
        let overrides = command.override_guard.is_some();
        let overdue = self.is_past_deadline();
        let closing = self.is_closing();
        let situation = Situation { status, for_approval, overdue, on_hold, overrides, closing };
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
        if let Some(guard) = &command.override_guard {
            match act {
                Act::Resume if command.verb == Verb::Resume => {}
                Act::Override if progress.held_agents.is_nobody() => {
                    return Err("no guard holds any of its agents".to_owned());
                }
                Act::Override => {}
                Act::Approve
                | Act::AskAgain
                | Act::Resume
                | Act::Pause
                | Act::Hold
                | Act::Retry
                | Act::GiveUp
                | Act::Drop
                | Act::Stop
                | Act::Signal => {
                    let verb = command.verb;
                    return Err(format!("{verb} overrides no guard: that is for resume"));
                }
            }
            self.may_override(guard, command.why.as_deref())?;
        }
        match (act, &command.signal) {
            (Act::Signal, Some(sent)) => self.not_taken(sent, agent).map_or(Ok(()), Err)?,
            (Act::Signal, None) => return Err("name the signal".to_owned()),
            (_, Some(_)) => return Err(format!("{} sends no signal", command.verb)),
            (_, None) => {}
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
            (Act::Retry, Some(seq)) if self.is_of_another_stage(seq) => {
                return Err("the agent is not in the present stage".to_owned());
            }
            (Act::Retry, Some(seq)) => {
                let state = self.find(seq).map(|agent| agent.record().state);
                if let Some(state) = state.filter(|state| *state != AgentState::Failed) {
                    return Err(format!("the agent is {state}, expected FAILED"));
                }
            }
            (
                Act::Approve
                | Act::AskAgain
                | Act::Resume
                | Act::Override
                | Act::Pause
                | Act::Hold
                | Act::Drop
                | Act::Stop,
                Some(_),
            ) => return Err(format!("{} is about the whole run", command.verb)),
            (
                Act::Approve
                | Act::AskAgain
                | Act::Resume
                | Act::Override
                | Act::Pause
                | Act::Hold
                | Act::Drop
                | Act::Stop
                | Act::Retry,
                None,
            ) => {}
            (Act::Signal, _) => {}
        }
        if let Some(why) = self.not_counted(command) {
            return Err(why);
        }
        Ok((act, agent))
    }

    /// The running agents from number `from` on that may be cut off: `all` of them, or those that wait for no
    /// action.
    fn to_stop(&self, from: AgentSeq, all: bool) -> impl Iterator<Item = &Agent> {
        let running = self.some_in(AgentState::Running, from).filter_map(move |seq| self.find(seq));
        let ends =
            move |agent: &Agent| self.present_role(agent.record().seq) == Some(StepRole::Finally);
        running.filter(move |agent| all || may_stop(agent) && !ends(agent))
    }
}

/// Whether an agent may be cut off at once, because it waits for nothing that has to be awaited.
fn may_stop(agent: &Agent) -> bool {
    match agent.phase() {
        Phase::Trying(attempt) => match attempt.doing {
            // Its result is awaited, and cut off then.
            Doing::Activation => false,
            Doing::Answer | Doing::Checking | Doing::Held => {
                attempt.journal.pending_action().is_none()
            }
        },
        Phase::Settling { .. } => false,
        Phase::Idle | Phase::Queued { .. } | Phase::Looking | Phase::Retrying { .. } => true,
    }
}

impl Turn<'_> {
    pub(super) fn command(&mut self, mut command: Command) -> Legal {
        if command.outcome.is_some() || self.was_handled(command.id) {
            return Ok(());
        }
        self.end_overdue()?;
        self.asked_by(command.actor.as_ref());
        let (id, status) = (self.snapshot().id, self.status());
        let act =
            self.check_command(&command).map_err(|why| format!("run {id} is {status}: {why}"));
        let refused = act.as_ref().err().cloned();
        self.emit(OfRun::Command {
            id: command.id,
            verb: command.verb.as_str().to_owned(),
            agent: command.agent.clone(),
            again: command.again,
            signal: command.signal.as_ref().map(|sent| sent.name.clone()),
            override_guard: command.override_guard.clone(),
            why: command.why.clone(),
            refused: refused.clone(),
        })?;
        command.outcome = Some(match refused {
            Some(reason) => CommandOutcome::Refused { reason },
            None => CommandOutcome::Applied,
        });
        let reason = asked(&command);
        if let (Ok(_), Some(guard)) = (&act, &command.override_guard) {
            self.override_guard(guard)?;
        }
        match (act, &command.signal) {
            (Ok((Act::Signal, to)), Some(sent)) => self.take_signal(sent.clone(), to)?,
            (Ok((act, agent)), _) => {
                // An approval that is not the last one opens nothing yet.
                if command.verb != Verb::Approve || self.count_approval(&command)? {
                    self.act(act, (agent, command.again), reason)?;
                }
            }
            (Err(_), _) => {}
        }
        command.finish_ts = self.progress().finishing_at;
        self.commanded(command);
        Ok(())
    }

    fn act(
        &mut self,
        act: Act,
        (agent, again): (Option<AgentSeq>, bool),
        reason: StatusReason,
    ) -> Legal {
        match act {
            Act::Approve => {
                self.become_status(RunStatus::Pending, Some(reason))?;
                self.effect(Effect::AwaitCluster);
                Ok(())
            }
            Act::AskAgain => self.ask_again(),
            Act::Pause => self.become_status(RunStatus::Paused, Some(reason)),
            Act::Hold => {
                self.emit(OfRun::Held)?;
                match self.status() == RunStatus::Running {
                    true => self.become_status(RunStatus::Paused, Some(reason)),
                    false => Ok(()),
                }
            }
            Act::Resume => self.resume(reason),
            // The guard is overridden already.
            Act::Override => self.plan_is_due(),
            Act::Retry => self.retry(agent, again),
            Act::GiveUp => agent.map_or(Ok(()), |seq| self.give_up(seq, &reason.message)),
            // It was taken with the command, which has it.
            Act::Signal => Ok(()),
            Act::Drop => self.finish(RunStatus::Cancelled, reason),
            Act::Stop => self.cancel(reason),
        }
    }

    fn resume(&mut self, reason: StatusReason) -> Legal {
        // A person who resumes after a pause for another reason was not told about failures over the budget.
        let paused_for = self.progress().reason.as_ref().map(|reason| reason.code);
        if paused_for == Some(ReasonCode::BudgetExceeded) {
            self.emit(OfRun::FailuresAccepted)?;
        }
        if paused_for == Some(ReasonCode::MassAbsence)
            && let Some(seen) = self.progress().mass_absence
        {
            self.emit(OfMembership::Absence(None))?;
            self.effect(Effect::AcceptAbsence(seen));
        }
        self.let_go()?;
        self.become_status(RunStatus::Running, Some(reason))?;
        self.check_absence()?;
        match (self.progress().stage.entering, self.is_joining()) {
            // The budget of the stage is checked once its agents are known.
            (true, false) => self.enter_stage()?,
            (true, true) => {}
            (false, _) => self.check_budget()?,
        }
        self.plan_is_due()?;
        self.end_stage_if_over()
    }

    /// Gives up everything at once except actions. Actions that are out are waited for, up to the deadline.
    pub(super) fn stop_all(&mut self) -> Legal {
        self.end_hold_of_last_steps()?;
        for seq in self.in_state(AgentState::Running) {
            if self.is_cut_off(seq) {
                // What was not delivered yet must not be delivered any more.
                self.only_look(seq)?;
            }
        }
        self.emit(OfRun::Stops { from: Some(AgentSeq(0)), all: false })?;
        self.stop_some()
    }

    /// Stops waiting for actions that are out, because the time for that is over.
    pub(super) fn stop_waiting(&mut self) -> Legal {
        self.emit(OfRun::Stops { from: Some(AgentSeq(0)), all: true })?;
        self.stop_some()?;
        self.end_stage_if_over()
    }

    /// Cuts off the next chunk of agents.
    pub(super) fn stop_some(&mut self) -> Legal {
        let Some(stopping) = self.stopping() else { return Ok(()) };
        let to_stop = self.to_stop(stopping.from, stopping.all);
        // One agent more than is cut off, to know where to go on.
        let to_stop = to_stop.take(STOPS_AT_ONCE + 1).map(|agent| agent.record().seq);
        let mut to_stop = to_stop.collect::<Vec<_>>().into_iter().peekable();
        let (mut stopped, mut bytes) = (0, 0);
        while stopped < STOPS_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(seq) = to_stop.next() else { break };
            stopped += 1;
            bytes += self.weight(seq)?;
            self.stop(seq)?;
        }
        // The run may have ended with the last agent.
        let from = to_stop.peek().copied().filter(|_| !self.status().is_settled());
        self.emit(OfRun::Stops { from, all: stopping.all })
    }

    fn stop(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        let step = self.step_name(agent.record().step);
        if let Some(attempt) = agent.attempt() {
            let mut journal = attempt.journal.clone();
            journal.cut_off = true;
            self.effect(Effect::Abandon(journal.key));
            self.emit((seq, OfCall::Closed { journal: Box::new(journal), written: true }))?;
        }
        self.cut_off(seq, &step)
    }
}

fn asked(command: &Command) -> StatusReason {
    let who = command.actor.as_deref().unwrap_or("somebody");
    let whatever = match &command.override_guard {
        Some(guard) => format!(", whatever guard {guard} says"),
        None => String::new(),
    };
    let message = match &command.why {
        Some(why) => format!("{} by {who}{whatever}: {why}", command.verb),
        None => format!("{} by {who}{whatever}", command.verb),
    };
    StatusReason { code: ReasonCode::Operator, message }
}
