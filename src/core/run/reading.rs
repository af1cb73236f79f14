//! Reads a history back: it turns each stored event into the events that happened in memory. Events of early
//! versions become what this version would have written. A replay also leaves out decisions of which early
//! versions did not record what was asked.

use std::sync::Arc;

use super::agent_record::{Failure, FailureReason};
use super::closing::Closing;
use super::held::{HeldThen, remembered};
use super::history::{Asked, Happened, RunEvent};
use super::roster_at::{HistoryError, Known, RosterAt, Unmade};
use super::state::{
    Arrival, Begins, Decided, Identified, OfAgent, OfCall, OfMembership, OfRun, OfStrategy, What,
};
use super::status::AgentState;
use crate::ids::{AgentId, AgentSeq, AttemptKey};
use crate::playbook::Identity;
use crate::time::Timestamp;

impl RosterAt {
    /// The events in memory that one event of the history stands for, in order. One of them is the one that was
    /// told.
    pub(super) fn read(&mut self, event: &RunEvent) -> Result<Vec<What>, HistoryError> {
        Ok(match &event.what {
            Happened::Status { from: None, to, .. } if event.seq == 1 => {
                vec![OfRun::Created(*to).into()]
            }
            // If a person abandoned a run that could not be read, the event has no status before.
            Happened::Status { from, to, reason } => {
                let was = self.state.status();
                if let Some(from) = from.filter(|from| *from != was) {
                    return Err(HistoryError::at(event, format!("that the run was {from}"), was));
                }
                vec![OfRun::Status { to: *to, reason: reason.clone() }.into()]
            }
            Happened::Stage { stage: _, index, selected, once: _ } => {
                self.stage_begins(event, *index, *selected)?
            }
            Happened::Decision {
                asked,
                label,
                started,
                skipped,
                next,
                refresh,
                memo,
                held,
                ..
            } => {
                let held_now = match held {
                    Some(HeldThen { named, before, .. }) => {
                        let held = &self.state.progress().stage.held;
                        let (named, before) = (self.seqs(event, named)?, self.seqs(event, before)?);
                        remembered(held, &named, &before)
                    }
                    None => Vec::new(),
                };
                let decided = Decided {
                    label: label.clone(),
                    started: *started,
                    skipped: *skipped,
                    next: next.clone(),
                    memo: String::new(),
                    refresh: self.seqs(event, refresh)?,
                    named: refresh.clone(),
                    held: held_now,
                    holds: held.clone(),
                };
                self.decided(asked.as_ref(), decided, memo.as_ref())
            }
            Happened::NoDecision { code, message, decision_hash, .. } => {
                let (code, message) = (code.clone(), message.clone());
                let decision_hash = decision_hash.clone();
                vec![OfStrategy::Undecided { code, message, decision_hash }.into()]
            }
            Happened::Agent { agent, from: None, to, batch: _, why, failure } => {
                self.enter(event, agent, *to, (why.as_deref(), failure.as_ref()))?
            }
            Happened::Agent { agent, from: Some(from), to, batch, why, failure } => {
                let (seq, record) = self.known(event, agent)?;
                if record.state != *from {
                    let found = format!("that agent {agent} was {from}");
                    return Err(HistoryError::at(event, found, record.state));
                }
                let why = (why.as_deref(), failure.as_ref());
                vec![(seq, self.change(event, seq, (*to, *batch), why)?).into()]
            }
            Happened::AgentInfo { agent, was: _ } => {
                let (seq, record) = self.known(event, agent)?;
                let known = Known { about: record.about(), address: record.address.clone() };
                let Known { about, address } = self.news.remove(&event.seq).unwrap_or(known);
                vec![(seq, OfAgent::Info { about, address }).into()]
            }
            Happened::Moved { agent, from: _, to } => {
                vec![(self.known(event, agent)?.0, OfAgent::Moved { to: to.clone() }).into()]
            }
            Happened::StepStarted { agent, step, attempt, takes } => {
                let (seq, step) = self.step_of(event, agent, step)?;
                let (attempt, takes) = (*attempt, *takes);
                vec![(seq, OfAgent::StepStarted { step, attempt, takes }).into()]
            }
            Happened::StepSkipped { agent, step } => {
                let (seq, step) = self.step_of(event, agent, step)?;
                vec![(seq, OfAgent::StepSkipped { step }).into()]
            }
            Happened::StepEnded { agent, failure, .. } => {
                let (seq, _) = self.known(event, agent)?;
                vec![match failure {
                    Some(failure) => (seq, OfAgent::StepFailed(failure.clone())).into(),
                    None => (seq, OfAgent::StepDone { value: None }).into(),
                }]
            }
            Happened::LateAction { agent, step, attempt, outcome, action_id } => {
                let (seq, record) = self.known(event, agent)?;
                // The agent may be in a later stage by now, which has other steps.
                let step = self.step_named(record, step).unwrap_or(record.step);
                let key = AttemptKey { agent: seq, stage: self.stage(), step, attempt: *attempt };
                let (outcome, action_id) = (outcome.clone(), *action_id);
                vec![(seq, OfCall::EndedLate { key, outcome, action_id, kept: None }).into()]
            }
            Happened::Guards { guards } => vec![OfRun::Guards(Arc::clone(guards)).into()],
            Happened::Approval { approval, .. } => {
                let (by, change) = (event.actor.clone(), approval.clone());
                vec![OfRun::Approval { by, change }.into()]
            }
            Happened::Closing { outcome, reason, next } => {
                let (outcome, reason) = (*outcome, reason.clone());
                let closing = Closing::of(outcome, reason, self.state.run());
                let closes = OfRun::Closes { closing, next: *next }.into();
                let passed = next.map_or(0, |next| self.passed_before(next));
                let ended = std::iter::repeat_n(OfRun::StageEnded.into(), passed);
                [closes].into_iter().chain(ended).collect()
            }
            Happened::Command {
                id,
                command,
                agent,
                again,
                signal,
                override_guard,
                why,
                refused,
            } => {
                let overridden = override_guard.iter().filter(|_| refused.is_none());
                let overridden = overridden.map(|guard| OfRun::Overridden(guard.clone()).into());
                let command = What::Run(OfRun::Command {
                    id: *id,
                    verb: command.clone(),
                    agent: agent.clone(),
                    again: *again,
                    signal: signal.clone(),
                    override_guard: override_guard.clone(),
                    why: why.clone(),
                    refused: refused.clone(),
                });
                [command].into_iter().chain(overridden).collect()
            }
        })
    }

    /// The beginning of a stage. If no agent enters the stage, no event before this one shows that the last stage
    /// ended.
    fn stage_begins(
        &self,
        event: &RunEvent,
        index: u16,
        selected: u32,
    ) -> Result<Vec<What>, HistoryError> {
        let began = OfRun::StageBegan { selected }.into();
        let next = self.next_stage();
        if index == self.stage() && next.is_none() {
            return Ok(vec![began]);
        }
        if next == Some(index) {
            return Ok(vec![OfRun::StageEnded.into(), began]);
        }
        let found = format!("the beginning of stage number {index}");
        Err(HistoryError::at(event, found, format!("that of number {}", self.stage())))
    }

    /// How many of the stages that are always done come before this one and never began.
    fn passed_before(&self, next: u16) -> usize {
        let (snapshot, from) = (self.state.snapshot(), self.stage());
        let after = |index: &u16| snapshot.always_after(*index).filter(|after| *after < next);
        std::iter::successors(after(&from), after).count()
    }

    /// The stage that is entered next, if the present one has begun.
    fn next_stage(&self) -> Option<u16> {
        (self.began == Some(self.stage())).then(|| self.state.run().stage_after())?
    }

    /// A decision. Decisions that changed only the memo may have come before it, without an event.
    fn decided(&self, asked: Option<&Asked>, decided: Decided, memo: Option<&String>) -> Vec<What> {
        let before = asked.and_then(|asked| asked.memo.clone());
        let known = || before.clone().unwrap_or_else(|| self.state.progress().stage.memo.clone());
        let memo = memo.cloned().unwrap_or_else(known);
        let decided = OfStrategy::Decided(Decided { memo, ..decided });
        let before = before.map(|memo| OfStrategy::Memo(memo).into());
        before.into_iter().chain([decided.into()]).collect()
    }

    /// Takes an agent into a stage: its record is made, or the agent comes from the stage before.
    fn enter(
        &mut self,
        event: &RunEvent,
        agent: &AgentId,
        state: AgentState,
        (why, failure): (Option<&str>, Option<&Failure>),
    ) -> Result<Vec<What>, HistoryError> {
        let mut events = Vec::new();
        let mut stage = self.stage();
        // After the beginning of a stage, only agents that join are added to it, as ADDED.
        if state != AgentState::Added
            && let Some(next) = self.next_stage()
        {
            stage = next;
            events.push(OfRun::StageEnded.into());
        }
        let first = self.first_step(event, stage)?;
        let error = (state == AgentState::Failed)
            .then(|| failure.cloned().unwrap_or_else(|| early_failure(why, first, event.at)));
        let skip_reason = why.filter(|_| state != AgentState::Failed).map(str::to_owned);
        let begins = Begins { state, skip_reason, error, undecided: false, bystander: false };
        let entered = match self.unmade.remove(agent) {
            Some(Unmade { seq, declared, known }) => {
                let next = self.state.next_agent();
                if seq != next {
                    let found = format!("the making of record number {}", seq.0);
                    return Err(HistoryError::at(event, found, format!("number {}", next.0)));
                }
                let (agent, Known { about, address }) = (agent.clone(), known);
                let (identity, identified_at) = (Identity::Check, None);
                let arrival = Arrival { agent, address, about, declared, identity, identified_at };
                let arrival = Arc::new(arrival);
                OfMembership::Made { arrival, begins }.into()
            }
            None => {
                let (seq, _) = self.known(event, agent)?;
                let member = (state != AgentState::Removed).then(|| self.identified(seq)).flatten();
                (seq, OfAgent::Entered { begins, member }).into()
            }
        };
        events.push(entered);
        Ok(events)
    }

    /// Name of the first step of a stage.
    fn first_step(&self, event: &RunEvent, stage: u16) -> Result<String, HistoryError> {
        let stages = &self.state.snapshot().playbook.stages;
        let found = stages.get(usize::from(stage)).ok_or_else(|| {
            let found = format!("stage number {stage}");
            HistoryError::at(event, found, format!("one of {}", stages.len()))
        })?;
        Ok(found.steps.first().map(|step| step.name.clone()).unwrap_or_default())
    }

    /// A change of an agent's state.
    fn change(
        &self,
        event: &RunEvent,
        seq: AgentSeq,
        (to, batch): (AgentState, Option<u32>),
        (why, failure): (Option<&str>, Option<&Failure>),
    ) -> Result<OfAgent, HistoryError> {
        let unknown = || HistoryError::at(event, format!("agent number {}", seq.0), "a known one");
        let record = self.state.find(seq).ok_or_else(unknown)?.record();
        Ok(match to {
            AgentState::Running => OfAgent::Started {
                batch: batch.ok_or_else(|| HistoryError::at(event, "no batch", "its number"))?,
                // No decision starts the steps of a stage on the run.
                label: self.state.last_label().filter(|_| !record.agent.is_run()).cloned(),
            },
            AgentState::Done => OfAgent::Done,
            AgentState::Skipped => OfAgent::LeftOut { why: why.unwrap_or_default().to_owned() },
            AgentState::Failed => {
                let ended = record.error.as_ref();
                let said = ended.filter(|error| why == Some(error.in_words().as_str()));
                let step = ended.map(|error| error.step.clone()).unwrap_or_default();
                let failure = failure.or(said).cloned();
                let failure = failure.unwrap_or_else(|| early_failure(why, step, event.at));
                let counts = failure.reason != FailureReason::Cancelled;
                OfAgent::Failed { failure, counts, undecided: false }
            }
            AgentState::Pending if record.state == AgentState::Failed => {
                OfAgent::PutBack { again: false }
            }
            AgentState::Pending => OfAgent::Admitted,
            AgentState::Added => OfAgent::Returned(self.identified(seq).ok_or_else(unknown)?),
            AgentState::Removed => OfAgent::Removed,
        })
    }

    /// What the record says about the agent's identity, since a history does not have it.
    fn identified(&self, seq: AgentSeq) -> Option<Identified> {
        let record = self.state.find(seq)?.record();
        let (declared, identity) = (Arc::clone(&record.declared), record.identity.clone());
        Some(Identified { declared, identity, at: record.identified_at })
    }

    /// The numbers of agents, in the same order.
    fn seqs(&self, event: &RunEvent, agents: &[AgentId]) -> Result<Vec<AgentSeq>, HistoryError> {
        agents.iter().map(|agent| self.known(event, agent).map(|(seq, _)| seq)).collect()
    }

    fn known(
        &self,
        event: &RunEvent,
        agent: &AgentId,
    ) -> Result<(AgentSeq, &super::AgentRecord), HistoryError> {
        let seq = self.state.seq_of(agent);
        let known = seq.and_then(|seq| Some((seq, self.state.find(seq)?.record())));
        known.ok_or_else(|| no_record(event, agent))
    }

    /// The number of an agent, and the index of one of its steps.
    fn step_of(
        &self,
        event: &RunEvent,
        agent: &AgentId,
        name: &str,
    ) -> Result<(AgentSeq, u16), HistoryError> {
        let (seq, record) = self.known(event, agent)?;
        let unknown = || {
            let found = format!("step {name:?} of agent {agent}");
            HistoryError::at(event, found, format!("a step of stage number {}", record.stage))
        };
        Ok((seq, self.step_named(record, name).ok_or_else(unknown)?))
    }

    /// The index of the step with this name in the stage that the agent is in.
    fn step_named(&self, record: &super::AgentRecord, name: &str) -> Option<u16> {
        let stage = self.state.snapshot().playbook.stages.get(usize::from(record.stage))?;
        let step = stage.steps.iter().position(|step| step.name == name)?;
        u16::try_from(step).ok()
    }
}

fn no_record(event: &RunEvent, agent: &AgentId) -> HistoryError {
    HistoryError::at(event, format!("agent {agent}"), "one that has a record")
}

/// The failure of an agent that an early version wrote only as text: its reason and its message.
fn early_failure(why: Option<&str>, step: String, at: Timestamp) -> Failure {
    let why = why.unwrap_or_default();
    let known = why.split_once(": ").and_then(|(word, message)| {
        let reason = FailureReason::ALL.into_iter().find(|reason| reason.as_str() == word)?;
        Some((reason, message))
    });
    let (reason, message) = known.unwrap_or((FailureReason::StepFailed, why));
    Failure { reason, message: message.to_owned(), step, at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;
    use crate::run::RunStatus;
    use crate::run::state::evolve_tests::{record, snapshot};

    #[test]
    fn a_failure_that_an_early_version_wrote_is_read() {
        let at = Timestamp::from_millis(7);
        let read = |why: Option<&str>| early_failure(why, "drain".to_owned(), at);
        for reason in FailureReason::ALL {
            let (message, step) = ("no: way".to_owned(), "drain".to_owned());
            let failure = Failure { reason, message, step, at };
            assert_eq!(read(Some(&failure.in_words())), failure);
        }
        assert_eq!(read(Some("odd")).message, "odd");
        assert_eq!(read(None).reason, FailureReason::StepFailed);
    }

    /// A run that is going on, over one agent that was started.
    fn begun() -> RosterAt {
        let mut roster = RosterAt::new(Arc::new(snapshot()), [record(0)], Vec::new());
        let agent = |from, to, batch| {
            let (agent, why, failure) = (AgentId::from("node-0"), None, None);
            Happened::Agent { agent, from, to, batch, why, failure }
        };
        for what in [
            status(None, RunStatus::Pending),
            status(Some(RunStatus::Pending), RunStatus::Starting),
            agent(None, AgentState::Pending, None),
            status(Some(RunStatus::Starting), RunStatus::Running),
            Happened::Stage { stage: "restart".to_owned(), index: 0, selected: 1, once: false },
            agent(Some(AgentState::Pending), AgentState::Running, Some(1)),
        ] {
            goes_on(&mut roster, what).unwrap();
        }
        roster
    }

    fn status(from: Option<RunStatus>, to: RunStatus) -> Happened {
        Happened::Status { from, to, reason: None }
    }

    fn goes_on(roster: &mut RosterAt, what: Happened) -> Result<(), HistoryError> {
        let (run, at) = (RunId(uuid::Uuid::nil()), Timestamp::from_millis(0));
        let seq = roster.seq() + 1;
        roster.apply(&RunEvent { run, seq, at, actor: None, what, finish_ts: None })
    }

    #[test]
    fn a_history_that_is_none_of_the_run_is_refused() {
        let (agent, step) = (AgentId::from("node-0"), "other".to_owned());
        let started = Happened::StepStarted {
            agent: agent.clone(),
            step: step.clone(),
            attempt: 1,
            takes: None,
        };
        let refresh = vec![agent.clone(), AgentId::from("node-9")];
        let decision = Happened::Decision {
            roster: 6,
            asked: None,
            batch: None,
            label: None,
            started: 0,
            skipped: 0,
            next: "wait".to_owned(),
            refresh,
            memo: None,
            held: None,
        };
        let paused = Some(RunStatus::Paused);
        for (what, why) in [
            (started, "found step \"other\" of agent node-0, expected a step of stage number 0"),
            (Happened::StepSkipped { agent, step }, "found step \"other\" of agent node-0"),
            (decision, "found agent node-9, expected one that has a record"),
            (status(paused, RunStatus::Finishing), "that the run was PAUSED, expected RUNNING"),
            (status(None, RunStatus::Pending), "expected one that goes with PENDING"),
        ] {
            let error = goes_on(&mut begun(), what).unwrap_err().to_string();
            assert!(error.starts_with("event 7: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_run_that_was_abandoned_is_read_to_its_end() {
        for from in [None, Some(RunStatus::Running)] {
            let mut roster = begun();
            goes_on(&mut roster, status(from, RunStatus::Finishing)).unwrap();
            let ended = status(Some(RunStatus::Finishing), RunStatus::Failed);
            goes_on(&mut roster, ended).unwrap();
            assert_eq!(roster.state.status(), RunStatus::Failed);
        }
    }

    #[test]
    fn an_action_may_end_late_in_another_stage() {
        let mut roster = begun();
        let agent = AgentId::from("node-0");
        let (step, outcome) = ("of the stage before".to_owned(), "DONE".to_owned());
        let late = Happened::LateAction { agent, step, attempt: 1, outcome, action_id: None };
        goes_on(&mut roster, late).unwrap();
    }
}
