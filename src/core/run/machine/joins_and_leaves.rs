//! Agents that join, leave and move while a stage is under way, and what the stage says about them.

use std::sync::Arc;

use super::calls::unreachable_action;
use super::entering::STANDS_BY;
use super::steering::CHUNK_BYTES;
use super::steps::BEGIN_DOCUMENTS;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{OnAdded, OnRemoved};
use crate::run::state::{
    Arrival, Begins, Changed, Doing, Identified, OfAgent, OfCall, OfMembership, OfRun, OfStrategy,
    Standing, State, record_bytes,
};
use crate::run::{
    AgentId, AgentSeq, AgentState, Effect, FailureReason, MassAbsence, Member, MembershipChange,
    PlannedNext, ReasonCode, RunStatus,
};

/// How many agents one commit admits to the stage. Each takes a record and an event.
const ADMITTED_AT_ONCE: usize = 300;

impl Turn<'_> {
    /// Notes which agents joined, left or moved, and makes these changes unless the stage is still being entered.
    pub(super) fn membership(&mut self, change: MembershipChange) -> Legal {
        let MembershipChange { joined, left, moved, mass_absence } = change;
        if self.is_once() {
            // The next stage that has agents finds out by itself who they are.
            return self.absence(mass_absence);
        }
        let left = left.into_iter().map(|agent| (agent, Changed::Left));
        let moved = moved.into_iter().map(|(agent, to)| (agent, Changed::Moved(to)));
        let joined = joined.into_iter().map(|m| (m.agent.clone(), Changed::Joined(Arc::new(m))));
        for (agent, changed) in left.chain(moved).chain(joined) {
            self.emit(OfMembership::Noted(agent, changed))?;
        }
        self.absence(mass_absence)?;
        // A stage that is being entered takes in its members first.
        match self.is_entering() {
            true => Ok(()),
            false => self.catch_up(),
        }
    }

    /// Makes the noted changes, as many as fit one commit.
    pub(super) fn catch_up(&mut self) -> Legal {
        let mut bytes = 0;
        while self.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let Some((agent, changed)) = self.next_change() else { break };
            let (agent, changed) = (agent.clone(), changed.clone());
            self.emit(OfMembership::CatchesUp)?;
            bytes += self.change(&agent, changed)?;
        }
        self.end_stage_if_over()
    }

    /// Makes one change, and returns how many bytes it may add to the commit.
    fn change(&mut self, agent: &AgentId, changed: Changed) -> Legal<usize> {
        let seq = self.seq_of(agent);
        let known = seq.map_or(Ok(0), |seq| self.weight(seq))?;
        match (changed, seq) {
            // A run that goes over agents of another run again takes no other agents, but guards count them.
            (Changed::Joined(_), None) if self.passes_over_others() => Ok(0),
            (Changed::Joined(member), None) => self.joined(Arc::unwrap_or_clone(member)),
            (Changed::Joined(member), Some(seq)) => {
                self.returned(seq, Arc::unwrap_or_clone(member))?;
                Ok(known)
            }
            (Changed::Left, Some(seq)) => {
                self.left(seq)?;
                Ok(known)
            }
            (Changed::Moved(address), Some(seq)) => {
                self.moved(seq, address)?;
                Ok(known)
            }
            // The agent was never one of those that the run goes over.
            (Changed::Left | Changed::Moved(_), None) => Ok(0),
        }
    }

    /// Makes the record of a new agent, which begins in ADDED.
    fn joined(&mut self, mut member: Member) -> Legal<usize> {
        let seq = self.next_agent();
        let bystander = self.snapshot().retry_of.is_some();
        let standing = match bystander {
            true => Ok(Standing::Bystander),
            false => self.standing(&mut member, None),
        };
        let arrival = Arc::new(Arrival::of(member, self.now));
        let begins = Begins { bystander, ..Begins::as_a(AgentState::Added) };
        let bytes = arrival.bytes();
        self.emit(OfMembership::Made { arrival, begins })?;
        self.receive(seq, standing)?;
        Ok(bytes)
    }

    /// An agent that the run knows is a member again.
    fn returned(&mut self, seq: AgentSeq, mut member: Member) -> Legal {
        let record = self.record(seq)?;
        let standing = match record.bystander {
            true => Ok(Standing::Bystander),
            false => self.standing(&mut member, Some(record)),
        };
        if record.state != AgentState::Removed {
            // The agent was not gone yet.
            let stayed = record.address == member.address;
            if record.leaving {
                self.emit((seq, OfAgent::Stays))?;
                if stayed {
                    // The agent's action was only looked at. Now it may be sent, if it never was.
                    self.ask_anew(seq)?;
                }
            }
            return self.moved(seq, member.address);
        }
        let arrival = Arrival::of(member, self.now);
        let identified = Identified::of(&arrival);
        let Arrival { about, address, .. } = arrival;
        self.about_with_address(seq, about, address)?;
        self.emit((seq, OfAgent::Returned(identified)))?;
        self.receive(seq, standing)
    }

    /// Does what the stage says about an agent that joined. An agent that is to take part stays ADDED until the
    /// strategy, which may leave it out, has seen it.
    fn receive(&mut self, seq: AgentSeq, standing: Result<Standing, String>) -> Legal {
        let policy = self.stage()?.membership.added;
        let standing = standing.map(|standing| self.within_limit(seq, standing));
        let out = match (policy, standing, self.ended_before_it_left(seq)) {
            (_, Ok(Standing::Bystander), _) => Some(STANDS_BY.to_owned()),
            (_, _, Some(why)) => Some(why),
            (_, Err(message), None) => Some(format!("failed to select it: {message}")),
            (_, Ok(Standing::Out(why)), None) => Some(why.to_owned()),
            (OnAdded::Skip, Ok(Standing::In | Standing::Fails { .. }), None) => {
                Some("joined while the stage went".to_owned())
            }
            (OnAdded::Abort, Ok(Standing::In | Standing::Fails { .. }), None) => {
                let agent = &self.record(seq)?.agent;
                self.abort_for_members(format!("agent {agent} joined"))?;
                None
            }
            (OnAdded::Include, Ok(failing @ Standing::Fails { .. }), None) => {
                self.fail_joined(seq, &failing)?;
                None
            }
            (OnAdded::Include, Ok(Standing::In), None) => {
                if self.progress().stage.next == Some(PlannedNext::Complete) {
                    self.emit(OfStrategy::Reopened)?;
                }
                None
            }
        };
        if let Some(why) = out {
            self.leave_out(seq, why)?;
        }
        self.plan_is_due()
    }

    /// Fails an agent that joined and to which nothing may be sent.
    fn fail_joined(&mut self, seq: AgentSeq, failing: &Standing) -> Legal {
        let (failure, undecided) = self.failure_of(failing);
        if let Some(failure) = failure {
            self.emit((seq, OfAgent::Failed { failure, counts: true, undecided }))?;
        }
        self.check_budget()?;
        self.end_stage_if_over()
    }

    pub(super) fn leave_out(&mut self, seq: AgentSeq, why: String) -> Legal {
        self.emit((seq, OfAgent::LeftOut { why }))
    }

    /// Takes the agents into the stage that the strategy has seen as ADDED and did not leave out, as many as fit
    /// one commit.
    pub(super) fn admit(&mut self) -> Legal {
        let mut bytes = 0;
        let added = self.some_in(AgentState::Added, AgentSeq(0)).take(ADMITTED_AT_ONCE);
        for seq in added.collect::<Vec<_>>() {
            if bytes >= CHUNK_BYTES {
                return Ok(());
            }
            bytes += record_bytes(self.record(seq)?);
            self.emit((seq, OfAgent::Admitted))?;
        }
        if self.progress().count(AgentState::Added) > 0 {
            return Ok(());
        }
        self.emit(OfMembership::Admits(false))?;
        self.plan_is_due()?;
        // The strategy may have ended the run with the decision before.
        self.end_stage_if_over()
    }

    /// An agent is no longer a member. If it is at work, it is gone once its call has ended.
    fn left(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        match agent.record().state {
            AgentState::Removed => return Ok(()),
            AgentState::Running => {}
            AgentState::Added
            | AgentState::Pending
            | AgentState::Done
            | AgentState::Failed
            | AgentState::Skipped => return self.leave(seq),
        }
        let waits = match agent.attempt() {
            // The result of the activation is looked at when it has ended.
            Some(attempt) if attempt.doing == Doing::Activation => true,
            Some(attempt) => attempt.journal.pending_action().is_some(),
            None => agent.watched().is_some(),
        };
        self.emit((seq, OfAgent::Leaving))?;
        match waits {
            // Another node may have the agent's address by now.
            true => self.only_look(seq),
            false => self.leave(seq),
        }
    }

    /// The agent is gone. It becomes REMOVED, and what the stage says about that is done.
    pub(super) fn leave(&mut self, seq: AgentSeq) -> Legal {
        self.keep_late(seq)?;
        if self.doing(seq).is_some() {
            self.leave_attempt(seq)?;
        }
        self.look_away(seq)?;
        self.fail_as_it_leaves(seq)?;
        let record = self.record(seq)?;
        let (from, was_at_work, agent) = (record.state, record.leaving, record.agent.clone());
        let removed = self.stage()?.membership.removed;
        self.emit((seq, OfAgent::Removed))?;
        // The agent left before its end, and already counts as failed.
        let failed_as_it_left = was_at_work && from == AgentState::Failed;
        match removed {
            OnRemoved::Fail if from.is_to_come() => self.check_budget()?,
            OnRemoved::Abort if from.is_to_come() || failed_as_it_left => {
                self.abort_for_members(format!("agent {agent} left"))?;
            }
            OnRemoved::Fail | OnRemoved::Abort | OnRemoved::Ignore => {}
        }
        self.end_stage_if_over()
    }

    /// Fails an agent that leaves while its rescue or finally steps are done: what went wrong before counts.
    fn fail_as_it_leaves(&mut self, seq: AgentSeq) -> Legal {
        let record = self.record(seq)?;
        let Some(ending) = record.ending.as_ref().filter(|_| record.state == AgentState::Running)
        else {
            return Ok(());
        };
        let failure = ending.failure.clone();
        let counts = failure.reason != FailureReason::Cancelled;
        self.emit((seq, OfAgent::Failed { failure, counts, undecided: false }))?;
        match counts {
            true => self.check_budget(),
            false => Ok(()),
        }
    }

    /// Ends the attempt of an agent that leaves. Its action may still be running.
    fn leave_attempt(&mut self, seq: AgentSeq) -> Legal {
        let mut journal = self.attempt(seq)?.journal.clone();
        journal.cut_off = true;
        self.effect(Effect::Abandon(journal.key));
        let action = journal.pending_action().or_else(|| unreachable_action(&journal));
        if action.is_some() {
            self.keep_what_it_saw(seq, &mut journal);
        }
        let journal = Box::new(journal);
        self.emit((seq, OfCall::Closed { journal: journal.clone(), written: true }))?;
        match action {
            Some(action) => self.emit((seq, OfCall::LeftOpen { action, journal: Some(journal) })),
            None => Ok(()),
        }
    }

    fn abort_for_members(&mut self, what: String) -> Legal {
        // An end because of the budget is taken back if agents are tried again and the budget holds; others stay.
        if let Some(PlannedNext::Abort { code, .. }) = &self.progress().stage.next
            && *code != ReasonCode::BudgetExceeded
        {
            return Ok(());
        }
        let reason = format!("{what}, and the stage aborts the run then");
        let code = ReasonCode::MembershipChanged;
        self.emit(OfStrategy::Next(PlannedNext::Abort { code, reason }))
    }

    /// An agent has a new address. What was asked of it is asked again there.
    fn moved(&mut self, seq: AgentSeq, to: String) -> Legal {
        if self.record(seq)?.address == to {
            return Ok(());
        }
        self.emit((seq, OfAgent::Moved { to: to.clone() }))?;
        // The old look was at another address.
        self.drop_notice(seq)?;
        self.look_at_it_there(seq)?;
        match self.doing(seq) {
            Some(Doing::Answer) => self.ask_anew(seq),
            Some(Doing::Checking) => {
                let key = self.attempt(seq)?.journal.key;
                let wanted = self.wanted_before(key);
                self.effect(Effect::Abandon(key));
                self.effect(Effect::Check { key, address: to, wanted, noticed: None });
                Ok(())
            }
            Some(Doing::Activation | Doing::Held) | None => self.look_elsewhere(seq),
        }
    }

    /// Activates an attempt that waits for an answer. It is blocked on the same call again, which then goes to the
    /// agent's new address.
    fn ask_anew(&mut self, seq: AgentSeq) -> Legal {
        if self.doing(seq) != Some(Doing::Answer) {
            return Ok(());
        }
        let key = self.attempt(seq)?.journal.key;
        self.effect(Effect::Abandon(key));
        self.activate(seq)
    }

    /// Notes whether more members are absent than is believed. If so, a person must look before the run goes on.
    fn absence(&mut self, found: Option<MassAbsence>) -> Legal {
        if self.progress().mass_absence == found {
            return Ok(());
        }
        self.emit(OfMembership::Absence(found))?;
        let is_paused = self.status() == RunStatus::Paused;
        if let Some(reason) = self.progress().reason.as_ref().filter(|_| is_paused)
            && reason.code == ReasonCode::MassAbsence
        {
            // A person who resumes the run must know what is accepted with that.
            let message = found.map_or_else(|| NO_LONGER_ABSENT.to_owned(), in_words);
            let code = ReasonCode::MassAbsence;
            self.emit(OfRun::Reason(crate::run::StatusReason { code, message }))?;
        }
        self.check_absence()
    }

    pub(super) fn check_absence(&mut self) -> Legal {
        match self.progress().mass_absence {
            Some(found) if self.status() == RunStatus::Running => {
                self.pause(ReasonCode::MassAbsence, in_words(found))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl State {
    /// Whether members that the run was not told of get no records.
    fn passes_over_others(&self) -> bool {
        self.snapshot().retry_of.is_some() && self.progress().guards.guard_nothing()
    }

    /// Why an agent that is a member again takes no further part: nothing is done to it twice.
    fn ended_before_it_left(&self, seq: AgentSeq) -> Option<String> {
        let record = self.find(seq)?.record();
        if mutant!(AddedStartedTwice) {
            return None;
        }
        if let Some(stage) = self.failed_in(seq) {
            return Some(format!("failed in stage {stage}"));
        }
        match record.removed_from? {
            AgentState::Done => Some("was done before it left".to_owned()),
            AgentState::Failed => Some("failed before it left".to_owned()),
            AgentState::Skipped => record.skip_reason.clone(),
            AgentState::Added | AgentState::Pending | AgentState::Running | AgentState::Removed => {
                None
            }
        }
    }

    /// Whether agents that joined are to be taken into the stage once `left_out` of them are left out.
    pub(super) fn admits_after(&self, left_out: usize) -> bool {
        let included = self.stage().is_ok_and(|stage| stage.membership.added == OnAdded::Include);
        included && self.progress().count(AgentState::Added) as usize > left_out
    }
}

const NO_LONGER_ABSENT: &str =
    "the agents that were absent at once are back or were accepted as gone; resume to go on";

fn in_words(MassAbsence { absent, known }: MassAbsence) -> String {
    format!(
        "{absent} of {known} agents of the cluster are absent at once; resume to take them for gone"
    )
}
