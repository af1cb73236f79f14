//! The part of [`evolve`](super::evolve()) that applies what happens to one agent.

use std::sync::Arc;

use super::agent::{Agent, Phase};
use super::event::{Begins, Identified, OfAgent};
use super::illegal::IllegalInput;
use super::index::set;
use super::value::State;
use crate::mutants::mutant;
use crate::playbook::OnRemoved;
use crate::run::{
    About, AgentRecord, AgentSeq, AgentState, Ending, Failure, FailureReason, JsonText, Notice,
    PastStage, StepPhase, Timestamp,
};

impl State {
    pub(super) fn of_agent(
        &mut self,
        seq: AgentSeq,
        event: &OfAgent,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        match event {
            OfAgent::Entered { begins, member } => {
                self.entered(seq, begins, member.as_ref(), at)?;
            }
            OfAgent::TakenUp => self.taken_up(seq)?,
            OfAgent::Started { batch, label } => {
                self.change_state(seq, AgentState::Running)?;
                let record = self.record_mut(seq)?;
                (record.batch, record.batch_label) = (Some(*batch), label.clone());
                record.started_at = Some(at);
                self.queue(seq)?;
            }
            OfAgent::Queued => self.queue(seq)?,
            OfAgent::Rests | OfAgent::Waits => self.set_phase(seq, Phase::Idle)?,
            OfAgent::Looking => self.set_phase(seq, Phase::Looking)?,
            OfAgent::Looked { identity } => {
                self.set_phase(seq, Phase::Idle)?;
                if let Some(identity) = identity {
                    self.record_mut(seq)?.identity = identity.clone();
                }
            }
            OfAgent::Rang => self.rings(seq, false)?,
            OfAgent::Rings => self.rings(seq, true)?,
            OfAgent::Identified(at) => self.record_mut(seq)?.identified_at = Some(*at),
            OfAgent::Unidentified => self.record_mut(seq)?.identified_at = None,
            OfAgent::Settled => self.record_mut(seq)?.undecided = false,
            OfAgent::DoesAgain => {
                let agent = self.agent_mut(seq)?;
                (agent.record.again, agent.record.late, agent.over) = (false, None, None);
            }
            OfAgent::StepStarted { step, attempt, takes: _ } => {
                self.step_started(seq, *step, *attempt)?;
            }
            OfAgent::StepSkipped { step } => {
                self.record_mut(seq)?.step = *step;
                self.advance(seq)?;
            }
            OfAgent::Advanced => self.advance(seq)?,
            OfAgent::StepDone { value } => self.step_done(seq, value.as_ref())?,
            OfAgent::StepFailed(failure) | OfAgent::Erred(failure) => {
                self.record_mut(seq)?.error = Some(failure.clone());
            }
            OfAgent::Turns { to, failure } => self.turns(seq, *to, failure.as_ref())?,
            OfAgent::PassedOver => self.passed_over(seq)?,
            OfAgent::RetriesAt(at) => {
                self.set_phase(seq, Phase::Retrying { at: *at, rings: true })?;
            }
            OfAgent::Settles { until, again } => {
                let (until, again) = (*until, *again);
                self.set_phase(seq, Phase::Settling { until, again, rings: true })?;
            }
            OfAgent::Done => self.ended(seq, AgentState::Done, at)?,
            OfAgent::Failed { failure, counts, undecided } => {
                self.failed(seq, failure, (*counts, *undecided), at)?;
            }
            OfAgent::LeftOut { why } => {
                self.set_phase(seq, Phase::Idle)?;
                self.change_state(seq, AgentState::Skipped)?;
                let record = self.record_mut(seq)?;
                (record.skip_reason, record.ended_at) = (Some(why.clone()), Some(at));
            }
            OfAgent::PutBack { again } => self.put_back(seq, *again)?,
            OfAgent::Admitted => {
                self.change_state(seq, AgentState::Pending)?;
                self.count_selected();
            }
            OfAgent::Leaving => self.record_mut(seq)?.leaving = true,
            OfAgent::Stays => self.record_mut(seq)?.leaving = false,
            OfAgent::Removed => self.removed(seq, at)?,
            OfAgent::Returned(identified) => self.returned(seq, identified, at)?,
            OfAgent::Moved { to } => {
                let record = self.record_mut(seq)?;
                record.address.clone_from(to);
                // Which node answers at the new address must be found out first.
                record.identified_at = None;
                self.counting.moved(seq);
            }
            OfAgent::Info { about, address } => {
                let record = self.record_mut(seq)?;
                record.address.clone_from(address);
                set_about(record, about);
                if !about.node.is_null() {
                    let agent = record.agent.clone();
                    self.forget_unheard(&agent);
                }
            }
            OfAgent::Learned(about) => self.learned(seq, about)?,
            OfAgent::WrittenDown | OfAgent::Unchanged => {
                self.take_written(seq)?;
            }
            OfAgent::Unlearned => {
                let written = self.take_written(seq)?;
                set_about(self.record_mut(seq)?, &written);
            }
            OfAgent::Noticed(notice) => self.noticed(seq, notice.as_ref())?,
            OfAgent::Signalled(signal) => {
                self.count_signal(signal)?;
                self.record_mut(seq)?.signals.push(signal.clone());
            }
        }
        Ok(())
    }

    pub(super) fn agent_mut(&mut self, seq: AgentSeq) -> Result<&mut Agent, IllegalInput> {
        self.agents.get_mut(seq.0 as usize).ok_or_else(|| IllegalInput::no_agent(seq))
    }

    pub(super) fn record_mut(&mut self, seq: AgentSeq) -> Result<&mut AgentRecord, IllegalInput> {
        self.agent_mut(seq).map(|agent| &mut agent.record)
    }

    /// Gives an agent another phase. Only a running agent may have a phase other than idle.
    pub(super) fn set_phase(&mut self, seq: AgentSeq, phase: Phase) -> Result<(), IllegalInput> {
        let agent = self.agent(seq)?;
        let found = || phase.as_str();
        if agent.record.state != AgentState::Running && !phase.is_idle() {
            return Err(IllegalInput::new("what an agent does", found(), agent.record.state));
        }
        if !agent.phase.may_become(&phase) {
            let before = format!("an agent that was {}", agent.phase.as_str());
            return Err(IllegalInput::new("what an agent does", found(), before));
        }
        self.put_phase(seq, phase)
    }

    /// Like [`set_phase`](Self::set_phase), whatever the agent did before.
    pub(super) fn put_phase(&mut self, seq: AgentSeq, phase: Phase) -> Result<(), IllegalInput> {
        let agent = self.agents.get_mut(seq.0 as usize);
        let agent = agent.ok_or_else(|| IllegalInput::no_agent(seq))?;
        agent.record.phase = phase.kept();
        self.index.phase(seq, &agent.phase, &phase);
        agent.phase = phase;
        Ok(())
    }

    /// Puts an agent at the end of the queue of those whose next steps are to begin.
    fn queue(&mut self, seq: AgentSeq) -> Result<(), IllegalInput> {
        let place = self.index.next_place();
        self.set_phase(seq, Phase::Queued { place })
    }

    /// Gives an agent another state, if the transition table allows it.
    fn change_state(&mut self, seq: AgentSeq, to: AgentState) -> Result<(), IllegalInput> {
        let from = self.record(seq)?.state;
        if !from.next().contains(&to) {
            return Err(IllegalInput::new("a change of an agent's state", from, to));
        }
        self.put(seq, to)
    }

    /// Gives an agent any state, and updates the counts and the index.
    fn put(&mut self, seq: AgentSeq, to: AgentState) -> Result<(), IllegalInput> {
        let chooses = self.chooses(to);
        let record = self.record_mut(seq)?;
        // The run's own record takes no place of an agent.
        record.chosen |= chooses && !record.agent.is_run();
        let from = std::mem::replace(&mut record.state, to);
        self.index.state(seq, from, to);
        let counts = &mut self.run.progress.counts;
        if let Some(count) = counts.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        *counts.entry(to).or_insert(0) += 1;
        if from == AgentState::Pending {
            self.let_go_of(seq);
        }
        if matches!(to, AgentState::Added | AgentState::Removed) {
            self.recompute_shares();
        }
        Ok(())
    }

    /// Guards hold only agents that are PENDING.
    fn let_go_of(&mut self, seq: AgentSeq) {
        let held = &mut self.run.progress.stage.held;
        if let Ok(place) = held.binary_search(&seq) {
            held.remove(place);
            self.counting.changed();
        }
    }

    /// Takes an agent into the next stage. How it came through the last stage is kept, and so are the results of
    /// its steps.
    fn entered(
        &mut self,
        seq: AgentSeq,
        begins: &Begins,
        member: Option<&Identified>,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        let Begins { state, skip_reason, error, undecided, bystander: _ } = begins;
        let (index, steps) = (self.run.progress.stage.index, self.stage()?.steps.len());
        self.set_phase(seq, Phase::Idle)?;
        let agent = self.agent_mut(seq)?;
        if !agent.watched {
            agent.over = None;
        }
        let record = &mut agent.record;
        let failed = record.removed_from.take() == Some(AgentState::Failed);
        record.past.push(PastStage {
            stage: record.stage,
            state: if failed { AgentState::Failed } else { record.state },
            batch: record.batch,
            error: record.error.take(),
            skip_reason: record.skip_reason.take(),
            started_at: record.started_at.take(),
            ended_at: record.ended_at.take(),
        });
        (record.stage, record.step, record.tries) = (index, 0, 0);
        (record.late, record.again, record.ending) = (None, false, None);
        record.attempts = vec![0; steps];
        (record.batch, record.batch_label) = (None, None);
        record.skip_reason.clone_from(skip_reason);
        record.ended_at = (*state != AgentState::Pending).then_some(at);
        (record.error, record.undecided) = (error.clone(), *undecided);
        match member {
            Some(identified) => identify(record, identified),
            None if record.state == AgentState::Removed => {}
            None => record.left_at = Some(at),
        }
        if *state == AgentState::Failed {
            self.count_failure();
        }
        self.put(seq, *state)
    }

    /// Has an agent go on with what its record says. An attempt that was going on is opened anew, by an event of
    /// its own.
    fn taken_up(&mut self, seq: AgentSeq) -> Result<(), IllegalInput> {
        match self.record(seq)?.phase {
            StepPhase::Waiting => self.queue(seq),
            StepPhase::Trying => Ok(()),
            StepPhase::RetryAt { at } => {
                let rings = !mutant!(RetryForgotten);
                self.set_phase(seq, Phase::Retrying { at, rings })
            }
            StepPhase::Settling { until, again } => {
                self.set_phase(seq, Phase::Settling { until, again, rings: true })
            }
        }
    }

    /// Sets whether the run is woken when the agent's moment comes.
    fn rings(&mut self, seq: AgentSeq, is_told: bool) -> Result<(), IllegalInput> {
        let agent = self.agents.get_mut(seq.0 as usize);
        let agent = agent.ok_or_else(|| IllegalInput::no_agent(seq))?;
        let before = agent.phase.alarm();
        match &mut agent.phase {
            Phase::Trying(attempt) => attempt.alarm = attempt.alarm.filter(|_| is_told),
            Phase::Retrying { rings, .. } | Phase::Settling { rings, .. } => *rings = is_told,
            Phase::Idle | Phase::Queued { .. } | Phase::Looking => {
                let of = format!("agent {}", agent.record.agent);
                return Err(IllegalInput::missing("a moment", "something that is due", of));
            }
        }
        self.index.alarms.change(seq, before, agent.phase.alarm());
        Ok(())
    }

    fn step_started(&mut self, seq: AgentSeq, step: u16, attempt: u32) -> Result<(), IllegalInput> {
        self.set_phase(seq, Phase::Idle)?;
        let record = self.record_mut(seq)?;
        record.step = step;
        let none = || IllegalInput::new("an attempt", format!("step number {step}"), "the stage");
        let last = record.attempts.get_mut(usize::from(step)).ok_or_else(none)?;
        if attempt <= *last && !mutant!(AttemptReused) {
            let last = format!("one after number {last}");
            return Err(IllegalInput::new("an attempt", format!("number {attempt}"), last));
        }
        *last = attempt;
        record.tries = record.tries.saturating_add(1);
        self.forget_other_late(seq)
    }

    fn step_done(&mut self, seq: AgentSeq, value: Option<&JsonText>) -> Result<(), IllegalInput> {
        let name = self.step_name(self.record(seq)?.step);
        let agent = self.agent_mut(seq)?;
        (agent.record.late, agent.over) = (None, None);
        if let Some(value) = value {
            agent.record.results.insert(name, value.clone());
        }
        self.advance(seq)
    }

    fn advance(&mut self, seq: AgentSeq) -> Result<(), IllegalInput> {
        self.set_phase(seq, Phase::Idle)?;
        let record = self.record_mut(seq)?;
        record.step = record.step.saturating_add(1);
        record.tries = 0;
        Ok(())
    }

    fn turns(
        &mut self,
        seq: AgentSeq,
        to: u16,
        failure: Option<&Failure>,
    ) -> Result<(), IllegalInput> {
        self.set_phase(seq, Phase::Idle)?;
        let record = self.record_mut(seq)?;
        if let Some(failure) = failure {
            let ending = match &record.ending {
                None => Ending::of(failure.clone(), record.step),
                Some(first) => Ending { failure: first.and(failure), step: first.step },
            };
            record.ending = Some(Box::new(ending));
        }
        (record.step, record.tries) = (to, 0);
        Ok(())
    }

    fn passed_over(&mut self, seq: AgentSeq) -> Result<(), IllegalInput> {
        let record = self.record_mut(seq)?;
        record.passed_over = record.passed_over.saturating_add(1);
        let is_first = record.passed_over == 1;
        let passed = &mut self.run.progress.passed_over;
        passed.failures = passed.failures.saturating_add(1);
        passed.agents += u32::from(is_first);
        Ok(())
    }

    /// Ends the agent's part in the stage: nothing of it goes on there any more.
    fn ended(&mut self, seq: AgentSeq, to: AgentState, at: Timestamp) -> Result<(), IllegalInput> {
        self.set_phase(seq, Phase::Idle)?;
        self.change_state(seq, to)?;
        self.record_mut(seq)?.ended_at = Some(at);
        self.strategy.due = true;
        Ok(())
    }

    fn failed(
        &mut self,
        seq: AgentSeq,
        failure: &Failure,
        (counts, undecided): (bool, bool),
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        if self.record(seq)?.state == AgentState::Added {
            self.count_selected();
        }
        self.ended(seq, AgentState::Failed, at)?;
        let record = self.record_mut(seq)?;
        record.error = Some(failure.clone());
        record.undecided |= undecided;
        if counts {
            self.count_failure();
        }
        Ok(())
    }

    /// Puts a failed agent back to be started again. It goes on with a new attempt of the step that failed. What
    /// it did before is not done again, nor is an action that ended well but late, unless `again` says so.
    fn put_back(&mut self, seq: AgentSeq, again: bool) -> Result<(), IllegalInput> {
        self.change_state(seq, AgentState::Pending)?;
        let record = self.record_mut(seq)?;
        let counted = record.error.take().is_some_and(|f| f.reason != FailureReason::Cancelled);
        if let Some(ending) = record.ending.take() {
            record.step = ending.step;
        }
        record.tries = 0;
        record.again = again;
        (record.batch, record.batch_label) = (None, None);
        (record.started_at, record.ended_at) = (None, None);
        if counted {
            self.uncount_failure();
        }
        Ok(())
    }

    /// Counts an agent that joined among those that take part.
    fn count_selected(&mut self) {
        let selected = &mut self.run.progress.selected;
        *selected = selected.saturating_add(1);
    }

    /// The agent is gone. That is a failure if the stage says so.
    fn removed(&mut self, seq: AgentSeq, at: Timestamp) -> Result<(), IllegalInput> {
        self.set_phase(seq, Phase::Idle)?;
        let from = self.record(seq)?.state;
        self.change_state(seq, AgentState::Removed)?;
        let record = self.record_mut(seq)?;
        record.leaving = false;
        // If the agent had ended before it left an earlier time, and was left out since it returned, that ending
        // still counts.
        let ended = record.removed_from.filter(|before| match before {
            _ if mutant!(EndingForgotten) => false,
            AgentState::Done | AgentState::Failed => from == AgentState::Skipped,
            AgentState::Added
            | AgentState::Pending
            | AgentState::Running
            | AgentState::Skipped
            | AgentState::Removed => false,
        });
        record.removed_from = ended.or(Some(from));
        record.left_at = Some(at);
        let step = record.step;
        self.strategy.due = true;
        if from.is_to_come() && self.stage()?.membership.removed == OnRemoved::Fail {
            let step = self.step_name(step);
            self.record_mut(seq)?.error = Some(Failure::left_cluster(step, at));
            self.count_failure();
        }
        Ok(())
    }

    /// The agent is a member again. The step that it was at begins anew, as for an agent that a person put back.
    fn returned(
        &mut self,
        seq: AgentSeq,
        identified: &Identified,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        self.change_state(seq, AgentState::Added)?;
        let record = self.record_mut(seq)?;
        record.joined_at = Some(at);
        record.tries = 0;
        record.undecided = false;
        identify(record, identified);
        let left = |error: &mut Failure| error.reason == FailureReason::LeftCluster;
        if record.error.take_if(left).is_some() {
            self.uncount_failure();
        }
        Ok(())
    }

    fn learned(&mut self, seq: AgentSeq, about: &About) -> Result<(), IllegalInput> {
        let agent = self.agent_mut(seq)?;
        let known = agent.record.about();
        agent.written.get_or_insert_with(|| Box::new(known));
        set_about(&mut agent.record, about);
        set(&mut self.index.unwritten, seq, true);
        Ok(())
    }

    fn take_written(&mut self, seq: AgentSeq) -> Result<Box<About>, IllegalInput> {
        set(&mut self.index.unwritten, seq, false);
        let written = self.agent_mut(seq)?.written.take();
        let none =
            || IllegalInput::missing("what was known before", "what was put off", "the agent");
        written.ok_or_else(none)
    }

    /// Sets what is noticed about an agent's call, and updates the count of silent agents.
    fn noticed(&mut self, seq: AgentSeq, notice: Option<&Notice>) -> Result<(), IllegalInput> {
        self.record_mut(seq)?.notice = notice.cloned();
        let is_silent = notice.is_some_and(Notice::is_silence);
        if self.index.silent.contains(&seq) != is_silent {
            set(&mut self.index.silent, seq, is_silent);
            self.count_silent();
        }
        Ok(())
    }
}

impl AgentState {
    /// Whether an agent in this state has not come to its end in the stage.
    pub(crate) const fn is_to_come(self) -> bool {
        match self {
            Self::Added | Self::Pending | Self::Running => true,
            Self::Done | Self::Failed | Self::Skipped | Self::Removed => false,
        }
    }
}

fn identify(record: &mut AgentRecord, identified: &Identified) {
    record.declared = Arc::clone(&identified.declared);
    record.identity = identified.identity.clone();
    record.identified_at = identified.at;
}

pub(super) fn set_about(record: &mut AgentRecord, about: &About) {
    let About { attributes, node, datastore, seen_at } = about;
    (record.attributes, record.node) = (Arc::clone(attributes), Arc::clone(node));
    (record.datastore, record.node_seen_at) = (Arc::clone(datastore), *seen_at);
}
