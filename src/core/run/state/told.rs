//! What the history tells of an event. This is the one place where events in memory become events that are stored.

use std::sync::Arc;

use super::event::{Begins, Decided, OfAgent, OfCall, OfMembership, OfRun, OfStrategy, What};
use super::illegal::IllegalInput;
use super::value::State;
use crate::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, Failure, Happened, RunStatus, Was,
};

/// What the history says about an event that is about to happen. `None` if it says nothing.
///
/// # Errors
/// [`IllegalInput`] when the event is about an agent or a stage that the run does not have.
pub(crate) fn told(state: &State, what: &What) -> Result<Option<Happened>, IllegalInput> {
    match what {
        What::Run(event) => state.told_of_run(event),
        What::Strategy(event) => Ok(state.told_of_strategy(event)),
        What::Membership(event) => Ok(told_of_membership(event)),
        What::Agent(seq, event) => state.told_of_agent(*seq, event),
        What::Call(seq, event) => state.told_of_call(*seq, event),
    }
}

impl State {
    fn told_of_run(&self, event: &OfRun) -> Result<Option<Happened>, IllegalInput> {
        let from = Some(self.run.progress.status);
        Ok(Some(match event {
            OfRun::Created(to) => Happened::Status { from: None, to: *to, reason: None },
            OfRun::Status { to, reason } => {
                Happened::Status { from, to: *to, reason: reason.clone() }
            }
            OfRun::Settled { reason, .. } => {
                let reason = Some(reason.clone());
                Happened::Status { from, to: RunStatus::Finishing, reason }
            }
            OfRun::StageBegan { selected } => Happened::Stage {
                stage: self.stage()?.name.clone(),
                index: self.run.progress.stage.index,
                selected: *selected,
                once: self.is_once(),
            },
            OfRun::Closes { closing, next } => Happened::Closing {
                outcome: closing.outcome,
                reason: closing.reason.clone(),
                next: *next,
            },
            OfRun::Approval { by: _, change } => self.told_of_approval(change),
            OfRun::Guards(guards) => Happened::Guards { guards: Arc::clone(guards) },
            OfRun::Command { id, verb, agent, again, signal, override_guard, why, refused } => {
                Happened::Command {
                    id: *id,
                    command: verb.clone(),
                    agent: agent.clone(),
                    again: *again,
                    signal: signal.clone(),
                    override_guard: override_guard.clone(),
                    why: why.clone(),
                    refused: refused.clone(),
                }
            }
            OfRun::Reason(_)
            | OfRun::Sent(_)
            | OfRun::Came(_)
            | OfRun::WakesAt(_)
            | OfRun::Woke
            | OfRun::Unanswered(_)
            | OfRun::Gone(_)
            | OfRun::StageEnded
            | OfRun::ClosesNow
            | OfRun::Exceeded(_)
            | OfRun::Held
            | OfRun::LetGo
            | OfRun::Retries { .. }
            | OfRun::FailuresAccepted
            | OfRun::Overridden(_)
            | OfRun::Holds(_)
            | OfRun::Stops { .. }
            | OfRun::Logged(_)
            | OfRun::Signalled(_)
            | OfRun::Forgot(_) => return Ok(None),
        }))
    }

    fn told_of_strategy(&self, event: &OfStrategy) -> Option<Happened> {
        let roster = self.run.progress.next_event.saturating_sub(1);
        let asked = self.strategy.asked.clone();
        match event {
            OfStrategy::Decided(decided) => {
                let Decided {
                    label,
                    started,
                    skipped,
                    next,
                    memo,
                    refresh: _,
                    named,
                    held: _,
                    holds,
                } = decided;
                let stage = &self.run.progress.stage;
                Some(Happened::Decision {
                    roster,
                    asked: Some(asked),
                    batch: (*started > 0).then_some(stage.batches + 1),
                    label: label.clone(),
                    started: *started,
                    skipped: *skipped,
                    next: next.clone(),
                    refresh: named.clone(),
                    // The memo may be large, and often has not changed.
                    memo: (stage.memo != *memo).then(|| memo.clone()),
                    held: holds.clone(),
                })
            }
            OfStrategy::Undecided { code, message, decision_hash } => Some(Happened::NoDecision {
                roster,
                asked,
                code: code.clone(),
                message: message.clone(),
                decision_hash: decision_hash.clone(),
            }),
            OfStrategy::Due
            | OfStrategy::Asks(_)
            | OfStrategy::Next(_)
            | OfStrategy::Reopened
            | OfStrategy::Repeated { .. }
            | OfStrategy::Memo(_)
            | OfStrategy::Remembered { .. }
            | OfStrategy::Said(_)
            | OfStrategy::SaidAgain
            | OfStrategy::AsksAfresh
            | OfStrategy::Heard(_)
            | OfStrategy::TookOver(_)
            | OfStrategy::Writes(_)
            | OfStrategy::Fresh
            | OfStrategy::Unheard(_)
            | OfStrategy::Weighs(_)
            | OfStrategy::LooksAround { .. }
            | OfStrategy::AwaitsLook
            | OfStrategy::LookedAround(_)
            | OfStrategy::TookAround(_)
            | OfStrategy::Judged => None,
        }
    }

    fn told_of_agent(
        &self,
        seq: AgentSeq,
        event: &OfAgent,
    ) -> Result<Option<Happened>, IllegalInput> {
        let record = self.record(seq)?;
        let agent = record.agent.clone();
        let changes = |to, batch, why| {
            let (agent, from) = (agent.clone(), Some(record.state));
            Happened::Agent { agent, from, to, batch, why, failure: None }
        };
        Ok(Some(match event {
            OfAgent::Entered { begins, member: _ } => begins.told(agent),
            OfAgent::Started { batch, .. } => changes(AgentState::Running, Some(*batch), None),
            OfAgent::Done => changes(AgentState::Done, record.batch, None),
            OfAgent::Failed { failure, .. } => Happened::Agent {
                agent,
                from: Some(record.state),
                to: AgentState::Failed,
                batch: record.batch,
                why: Some(failure.in_words()),
                // The failure may be long, and usually the end of the step has just said it.
                failure: (record.error.as_ref() != Some(failure)).then(|| failure.clone()),
            },
            OfAgent::LeftOut { why } => {
                changes(AgentState::Skipped, record.batch, Some(why.clone()))
            }
            OfAgent::PutBack { .. } => {
                changes(AgentState::Pending, None, Some("to be tried again".to_owned()))
            }
            OfAgent::Admitted => changes(AgentState::Pending, record.batch, None),
            OfAgent::Removed => {
                changes(AgentState::Removed, record.batch, Some("left the cluster".to_owned()))
            }
            OfAgent::Returned(_) => {
                changes(AgentState::Added, record.batch, Some("is a member again".to_owned()))
            }
            OfAgent::Moved { to } => {
                Happened::Moved { agent, from: record.address.clone(), to: to.clone() }
            }
            OfAgent::Info { about, address } => {
                let was = was(record, about, address);
                Happened::AgentInfo { agent, was }
            }
            OfAgent::WrittenDown => {
                let known = record.about();
                let written = self.find(seq).and_then(|agent| agent.written());
                let was = written.and_then(|written| written.changed(&known));
                Happened::AgentInfo { agent, was: was.unwrap_or_default() }
            }
            OfAgent::StepStarted { step, attempt, takes } => Happened::StepStarted {
                agent,
                step: self.step_name(*step),
                attempt: *attempt,
                takes: *takes,
            },
            OfAgent::StepSkipped { step } => {
                Happened::StepSkipped { agent, step: self.step_name(*step) }
            }
            OfAgent::StepDone { .. } => self.step_ended(record, None),
            OfAgent::StepFailed(failure) => self.step_ended(record, Some(failure.clone())),
            OfAgent::TakenUp
            | OfAgent::Queued
            | OfAgent::Rests
            | OfAgent::Waits
            | OfAgent::Looking
            | OfAgent::Looked { .. }
            | OfAgent::Rang
            | OfAgent::Rings
            | OfAgent::Identified(_)
            | OfAgent::Unidentified
            | OfAgent::Settled
            | OfAgent::DoesAgain
            | OfAgent::PassedOver
            | OfAgent::Advanced
            | OfAgent::Turns { .. }
            | OfAgent::RetriesAt(_)
            | OfAgent::Settles { .. }
            | OfAgent::Erred(_)
            | OfAgent::Leaving
            | OfAgent::Stays
            | OfAgent::Learned(_)
            | OfAgent::Unchanged
            | OfAgent::Unlearned
            | OfAgent::Noticed(_)
            | OfAgent::Signalled(_) => return Ok(None),
        }))
    }

    fn step_ended(&self, record: &AgentRecord, failure: Option<Failure>) -> Happened {
        let key = record.present_attempt();
        let action_id = record.action.filter(|sent| sent.key == key).map(|sent| sent.action_id);
        let (agent, step) = (record.agent.clone(), self.step_name(record.step));
        Happened::StepEnded { agent, step, attempt: key.attempt, failure, action_id }
    }

    fn told_of_call(
        &self,
        seq: AgentSeq,
        event: &OfCall,
    ) -> Result<Option<Happened>, IllegalInput> {
        match event {
            OfCall::EndedLate { key, outcome, action_id, kept: _ } => {
                let agent = self.record(seq)?.agent.clone();
                let step = self.stage_number(key.stage)?.steps.get(usize::from(key.step));
                Ok(Some(Happened::LateAction {
                    action_id: *action_id,
                    agent,
                    step: step.map(|step| step.name.clone()).unwrap_or_default(),
                    attempt: key.attempt,
                    outcome: outcome.clone(),
                }))
            }
            OfCall::Opened(_)
            | OfCall::Does { .. }
            | OfCall::Written
            | OfCall::Sees { .. }
            | OfCall::Called { .. }
            | OfCall::Accepted
            | OfCall::Answered(_)
            | OfCall::Closed { .. }
            | OfCall::LeftOpen { .. }
            | OfCall::Watched
            | OfCall::Unwatched
            | OfCall::Settled
            | OfCall::Kept { .. } => Ok(None),
        }
    }
}

fn told_of_membership(event: &OfMembership) -> Option<Happened> {
    match event {
        OfMembership::Made { arrival, begins } => Some(begins.told(arrival.agent.clone())),
        OfMembership::Joins(_)
        | OfMembership::TookIn(_)
        | OfMembership::Noted(..)
        | OfMembership::CatchesUp
        | OfMembership::Admits(_)
        | OfMembership::Absence(_) => None,
    }
}

impl What {
    /// The agent that an event of the history is about, if that agent already has a record.
    pub(crate) const fn told_about(&self) -> Option<AgentSeq> {
        match self {
            Self::Agent(seq, _) | Self::Call(seq, _) => Some(*seq),
            Self::Run(_) | Self::Strategy(_) | Self::Membership(_) => None,
        }
    }
}

impl Begins {
    fn told(&self, agent: AgentId) -> Happened {
        let Self { state, skip_reason, error, undecided: _, bystander: _ } = self;
        let why = skip_reason.clone().or_else(|| error.as_ref().map(Failure::in_words));
        let (to, failure) = (*state, error.clone());
        Happened::Agent { agent, from: None, to, batch: None, why, failure }
    }
}

impl Failure {
    /// The reason and the message.
    pub(crate) fn in_words(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }
}

/// What was known about an agent, as far as it differs from what is known now.
fn was(record: &AgentRecord, about: &About, address: &str) -> Was {
    let known = record.about();
    let unchanged = Was { node_seen_at: known.seen_at, ..Was::default() };
    let was = known.changed(about).unwrap_or(unchanged);
    let address = (record.address != address).then(|| record.address.clone());
    Was { address, ..was }
}
