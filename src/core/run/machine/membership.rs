//! Agents that join and leave while a stage goes, and what its playbook says about them.

use std::sync::Arc;

use super::calls::{pending_action, unreachable_action};
use super::changes::Changes;
use super::members::{NOT_SELECTED, Standing};
use super::state::{Doing, Machine};
use super::steering::{CHUNK_BYTES, record_bytes};
use super::steps::BEGIN_DOCUMENTS;
use crate::mutants::mutant;
use crate::playbook::{OnAdded, OnRemoved};
use crate::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, Effect, Failure, FailureReason, Happened,
    MassAbsence, Member, MembershipChange, PlannedNext, ReasonCode, RunStatus, StepPhase,
};

/// Agents that are admitted to the stage by one commit: each is a record and an event.
const ADMITTED_AT_ONCE: usize = 300;

/// What became of the membership of one agent while its stage was being entered.
#[derive(Debug)]
pub(super) enum Changed {
    Joined(Box<Member>),
    Left,
    Moved(String),
}

impl Machine {
    /// Takes notice of who joined, left or moved.
    pub(super) fn membership(&mut self, change: MembershipChange, changes: &mut Changes) {
        match self.run.progress.status {
            RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => {}
            // Its members are yet to be loaded, or nothing is done to them any more.
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return,
            RunStatus::Starting => {}
        }
        let MembershipChange { joined, left, moved, mass_absence } = change;
        let left = left.into_iter().map(|agent| (agent, Changed::Left));
        let moved = moved.into_iter().map(|(agent, to)| (agent, Changed::Moved(to)));
        let joined = joined.into_iter().map(|m| (m.agent.clone(), Changed::Joined(Box::new(m))));
        for (agent, changed) in left.chain(moved).chain(joined) {
            self.note(agent, changed);
        }
        self.absence(mass_absence, changes);
        // A stage takes its members in first.
        if !self.is_entering() {
            self.catch_up(changes);
        }
    }

    /// Puts a change to those that are to be made: of several of one agent the last counts.
    fn note(&mut self, agent: AgentId, changed: Changed) {
        let changed = match (changed, self.meanwhile.remove(&agent)) {
            (Changed::Moved(address), Some(Changed::Joined(member))) => {
                Changed::Joined(Box::new(Member { address, ..*member }))
            }
            (Changed::Moved(_), Some(Changed::Left)) => Changed::Left,
            (last, _) => last,
        };
        self.meanwhile.insert(agent, changed);
    }

    /// Whether there are changes that are still to be made.
    pub fn catches_up(&self) -> bool {
        !self.meanwhile.is_empty()
    }

    /// Makes the changes, as many as fit one commit.
    pub(super) fn catch_up(&mut self, changes: &mut Changes) {
        let mut bytes = 0;
        while changes.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let Some((agent, changed)) = self.meanwhile.pop_first() else { break };
            bytes += match (&changed, self.seq_of(&agent)) {
                (_, Some(seq)) => self.weight(seq),
                (Changed::Joined(member), None) => member.bytes(),
                (Changed::Left | Changed::Moved(_), None) => 0,
            };
            self.change(&agent, changed, changes);
        }
        if mutant!(SharesRecomputed) {
            let progress = &mut self.run.progress;
            let away = progress.count(AgentState::Removed) + progress.count(AgentState::Skipped);
            progress.stage.selected = progress.counts.values().sum::<u32>() - away;
        }
        self.end_stage_if_over(changes);
    }

    fn change(&mut self, agent: &AgentId, changed: Changed, changes: &mut Changes) {
        let seq = self.seq_of(agent);
        match (changed, seq) {
            // A run that goes over agents of another one again takes no others.
            (Changed::Joined(_), None) if self.run.snapshot.retry_of.is_some() => {}
            (Changed::Joined(member), None) => self.joined(*member, changes),
            (Changed::Joined(member), Some(seq)) => self.returned(seq, *member, changes),
            (Changed::Left, Some(seq)) => self.left(seq, changes),
            (Changed::Moved(address), Some(seq)) => self.moved(seq, address, changes),
            (Changed::Left | Changed::Moved(_), None) => {}
        }
    }

    /// A new agent: its record begins in ADDED.
    fn joined(&mut self, member: Member, changes: &mut Changes) {
        let seq = AgentSeq(u32::try_from(self.records().len()).unwrap_or(u32::MAX));
        let steps = self.stage().map_or(0, |stage| stage.steps.len());
        let mut member = member;
        let standing = self.standing(&mut member, None);
        let agent = member.agent.clone();
        let made = self.record_of(member, seq, steps, changes.now);
        self.insert(AgentRecord {
            state: AgentState::Added,
            stage: self.run.progress.stage.index,
            joined_at: Some(changes.now),
            ..made
        });
        *self.run.progress.counts.entry(AgentState::Added).or_insert(0) += 1;
        changes.records.insert(seq);
        let to = AgentState::Added;
        changes.event(self, Happened::Agent { agent, from: None, to, batch: None, why: None });
        self.receive(seq, standing, changes);
    }

    /// An agent that the run knows is a member again.
    fn returned(&mut self, seq: AgentSeq, mut member: Member, changes: &mut Changes) {
        let standing = self.standing(&mut member, Machine::record(self, seq));
        let Some(record) = self.record_mut(seq) else { return };
        if record.state != AgentState::Removed {
            // It had not gone yet.
            let was_leaving = std::mem::take(&mut record.leaving);
            let stayed = record.address == member.address;
            if was_leaving {
                changes.records.insert(seq);
            }
            if was_leaving && stayed {
                // Its action was looked at only, and may be sent now where it never was.
                self.ask_anew(seq, changes);
            }
            self.moved(seq, member.address, changes);
            return;
        }
        record.joined_at = Some(changes.now);
        // The step that it was at is begun anew, as for an agent that a person put back.
        record.tries = 0;
        let counted =
            record.error.as_ref().is_some_and(|error| error.reason == FailureReason::LeftCluster);
        if counted {
            record.error = None;
        }
        record.declared = Arc::new(member.declared.clone());
        record.identity = member.identity.clone();
        record.identified_at = member.identified_at(changes.now);
        record.undecided = false;
        let about = About {
            attributes: Arc::new(member.attributes.clone()),
            node: Arc::new(member.node.clone()),
            datastore: Arc::new(member.datastore.clone()),
            seen_at: Some(changes.now),
        };
        changes.about_with_address(self, seq, about, member.address.clone());
        if counted {
            self.uncount_failure();
        }
        changes.agent(self, seq, AgentState::Added, Some("is a member again".to_owned()));
        self.receive(seq, standing, changes);
    }

    /// What the stage says about an agent that joined. One that is to take part stays ADDED until the
    /// strategy, which may leave it out, has seen it.
    fn receive(
        &mut self,
        seq: AgentSeq,
        standing: Result<Standing, String>,
        changes: &mut Changes,
    ) {
        let policy = self.stage().map(|stage| stage.membership.added);
        let out = match (policy, standing, self.ended_before_it_left(seq)) {
            (_, _, Some(why)) => Some(why),
            (_, Err(message), None) => Some(format!("failed to select it: {message}")),
            (_, Ok(Standing::Out), None) => Some(NOT_SELECTED.to_owned()),
            (Some(OnAdded::Skip), Ok(Standing::In | Standing::Fails { .. }), None) => {
                Some("joined while the stage went".to_owned())
            }
            (Some(OnAdded::Abort), Ok(Standing::In | Standing::Fails { .. }), None) => {
                let agent = Machine::record(self, seq).map(|record| record.agent.to_string());
                let agent = agent.unwrap_or_default();
                self.abort_for_members(format!("agent {agent} joined"), changes);
                None
            }
            (Some(OnAdded::Include) | None, Ok(failing @ Standing::Fails { .. }), None) => {
                self.fail_joined(seq, failing, changes);
                None
            }
            (Some(OnAdded::Include) | None, Ok(Standing::In), None) => {
                if self.run.progress.stage.next == Some(PlannedNext::Complete) {
                    self.run.progress.stage.next = None;
                }
                None
            }
        };
        if let Some(why) = out {
            self.leave_out(seq, why, changes);
        }
        self.plan_due = true;
    }

    /// Fails an agent that joined and to which nothing may be sent.
    fn fail_joined(&mut self, seq: AgentSeq, failing: Standing, changes: &mut Changes) {
        let (_, why) = failing.state();
        let (failure, undecided) = self.failure_of(failing, changes);
        if let Some(record) = self.record_mut(seq) {
            (record.error, record.undecided) = (failure, undecided);
            record.ended_at = Some(changes.now);
        }
        changes.agent(self, seq, AgentState::Failed, why);
        self.count_selected();
        self.check_budget(changes);
        self.end_stage_if_over(changes);
    }

    /// Why an agent that is a member again takes no further part: nothing is done to it twice.
    fn ended_before_it_left(&self, seq: AgentSeq) -> Option<String> {
        let record = Self::record(self, seq)?;
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

    pub(super) fn leave_out(&mut self, seq: AgentSeq, why: String, changes: &mut Changes) {
        if let Some(record) = self.record_mut(seq) {
            record.skip_reason = Some(why.clone());
            record.ended_at = Some(changes.now);
        }
        changes.agent(self, seq, AgentState::Skipped, Some(why));
    }

    /// Takes those into the stage that the strategy has seen as ADDED and did not leave out, as many
    /// as fit one commit.
    pub(super) fn admit(&mut self, changes: &mut Changes) {
        let mut bytes = 0;
        for seq in self.some_in(AgentState::Added, AgentSeq(0), ADMITTED_AT_ONCE) {
            if bytes >= CHUNK_BYTES {
                return;
            }
            bytes += Self::record(self, seq).map_or(0, record_bytes);
            changes.agent(self, seq, AgentState::Pending, None);
            self.count_selected();
        }
        if self.run.progress.count(AgentState::Added) > 0 {
            return;
        }
        self.admitting = false;
        self.plan_due = true;
        // The strategy may have ended the run with the decision before.
        self.end_stage_if_over(changes);
    }

    /// Counts an agent that joined as one that takes part.
    fn count_selected(&mut self) {
        let selected = &mut self.run.progress.selected;
        *selected = selected.saturating_add(1);
    }

    /// Whether agents that joined are to be taken into the stage once so many of them are left out.
    pub(super) fn admits_after(&self, left_out: usize) -> bool {
        let included = self.stage().map(|stage| stage.membership.added) == Some(OnAdded::Include);
        included && self.run.progress.count(AgentState::Added) as usize > left_out
    }

    /// An agent is no member any more. One that is at work is gone once its call has ended.
    fn left(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let Some(record) = self.record_mut(seq) else { return };
        match record.state {
            AgentState::Removed => {}
            AgentState::Running => {
                record.leaving = true;
                changes.records.insert(seq);
                let waits = match self.attempts.get(&seq) {
                    // What comes of it is looked at then.
                    Some(attempt) if attempt.doing == Doing::Activation => true,
                    Some(attempt) => pending_action(&attempt.journal).is_some(),
                    None => self.settling.contains_key(&seq),
                };
                if waits {
                    // Another node may have its address by now.
                    self.only_look(seq, changes);
                } else {
                    self.leave(seq, changes);
                }
            }
            AgentState::Added
            | AgentState::Pending
            | AgentState::Done
            | AgentState::Failed
            | AgentState::Skipped => self.leave(seq, changes),
        }
    }

    /// Whether the agent is to go as soon as its call has ended.
    pub(super) fn is_leaving(&self, seq: AgentSeq) -> bool {
        Self::record(self, seq).is_some_and(|record| record.leaving)
    }

    /// The agent is gone: REMOVED, and what the stage says about that.
    pub(super) fn leave(&mut self, seq: AgentSeq, changes: &mut Changes) {
        self.keep_late(seq, changes);
        if let Some(attempt) = self.attempts.remove(&seq) {
            changes.effects.push(Effect::Abandon(attempt.journal.key));
            let mut journal = attempt.journal;
            journal.cut_off = true;
            let out = pending_action(&journal).or_else(|| unreachable_action(&journal));
            if out.is_some() {
                self.keep_what_it_saw(seq, &mut journal);
                self.over.insert(seq, journal.clone());
            }
            changes.journals.push(journal);
            if let (Some(out), Some(record)) = (out, self.record_mut(seq)) {
                record.outstanding = Some(out);
            }
        }
        self.stop_looking(seq, changes);
        self.alarms.clear(seq);
        let Some(record) = self.record_mut(seq) else { return };
        let from = record.state;
        let was_at_work = std::mem::take(&mut record.leaving);
        record.phase = StepPhase::Waiting;
        // One that is left out since it had ended when it left before, has still ended like that.
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
        record.left_at = Some(changes.now);
        let agent = record.agent.clone();
        changes.agent(self, seq, AgentState::Removed, Some("left the cluster".to_owned()));
        self.plan_due = true;
        let was_to_come = match from {
            AgentState::Added | AgentState::Pending | AgentState::Running => true,
            AgentState::Done | AgentState::Failed | AgentState::Skipped | AgentState::Removed => {
                false
            }
        };
        // It left before its end, and counts as failed already.
        let failed_as_it_left = was_at_work && from == AgentState::Failed;
        match self.stage().map(|stage| stage.membership.removed) {
            Some(OnRemoved::Fail) if was_to_come => self.count_as_failed(seq, changes),
            Some(OnRemoved::Abort) if was_to_come || failed_as_it_left => {
                self.abort_for_members(format!("agent {agent} left"), changes)
            }
            Some(OnRemoved::Fail | OnRemoved::Abort | OnRemoved::Ignore) | None => {}
        }
        self.end_stage_if_over(changes);
    }

    fn count_as_failed(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let step = Self::record(self, seq).map(|record| self.step_name(record.step));
        let step = step.unwrap_or_default();
        if let Some(record) = self.record_mut(seq) {
            record.error = Some(Failure::left_cluster(step, changes.now));
        }
        self.count_failure(changes);
    }

    fn abort_for_members(&mut self, what: String, changes: &mut Changes) {
        // A budget that ends the run may hold again once agents are tried again; this stays.
        if let Some(PlannedNext::Abort { code, .. }) = &self.run.progress.stage.next
            && *code != ReasonCode::BudgetExceeded
        {
            return;
        }
        let reason = format!("{what}, and the stage aborts the run then");
        let code = ReasonCode::MembershipChanged;
        self.run.progress.stage.next = Some(PlannedNext::Abort { code, reason });
        changes.progress = true;
    }

    /// An agent has another address: what was asked of it is asked there.
    fn moved(&mut self, seq: AgentSeq, to: String, changes: &mut Changes) {
        let Some(record) = self.record_mut(seq) else { return };
        if record.address == to {
            return;
        }
        let from = std::mem::replace(&mut record.address, to.clone());
        // It must be seen first which node is there.
        record.identified_at = None;
        let agent = record.agent.clone();
        changes.records.insert(seq);
        changes.event(self, Happened::Moved { agent, from, to: to.clone() });
        // The old look was at another address.
        self.drop_notice(seq, changes);
        if let Some(action) = self.settling.remove(&seq) {
            changes.effects.push(Effect::Abandon(action.key));
            self.look_at(seq, action, None, changes);
        }
        match self.attempts.get(&seq).map(|attempt| attempt.doing) {
            Some(Doing::Answer) => self.ask_anew(seq, changes),
            Some(Doing::Checking) => {
                if let Some(attempt) = self.attempts.get(&seq) {
                    let key = attempt.journal.key;
                    changes.effects.push(Effect::Abandon(key));
                    let wanted = self.wanted_before(key);
                    let check = Effect::Check { key, address: to, wanted, noticed: None };
                    changes.effects.push(check);
                }
            }
            Some(Doing::Activation | Doing::Held) | None => self.look_elsewhere(seq, changes),
        }
    }

    /// Activates an attempt that waits for an answer: it is blocked on the same call again, which goes to
    /// where the agent is now.
    fn ask_anew(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if self.attempts.get(&seq).map(|attempt| attempt.doing) != Some(Doing::Answer) {
            return;
        }
        let Some(attempt) = self.attempts.remove(&seq) else { return };
        changes.effects.push(Effect::Abandon(attempt.journal.key));
        self.activate(seq, attempt, changes);
    }

    /// More members are absent than is believed: a person has to look before the run goes on.
    fn absence(&mut self, found: Option<MassAbsence>, changes: &mut Changes) {
        if self.run.progress.mass_absence == found {
            return;
        }
        self.run.progress.mass_absence = found;
        changes.progress = true;
        let is_paused = self.run.progress.status == RunStatus::Paused;
        if let Some(reason) = self.run.progress.reason.as_mut().filter(|_| is_paused)
            && reason.code == ReasonCode::MassAbsence
        {
            // Who resumes the run has to know what it is that is accepted.
            reason.message = found.map_or_else(|| NO_LONGER_ABSENT.to_owned(), in_words);
        }
        self.check_absence(changes);
    }

    pub(super) fn check_absence(&mut self, changes: &mut Changes) {
        let Some(found) = self.run.progress.mass_absence else { return };
        if self.run.progress.status == RunStatus::Running {
            self.pause(ReasonCode::MassAbsence, in_words(found), changes);
        }
    }
}

const NO_LONGER_ABSENT: &str =
    "the agents that were absent at once are back or were accepted as gone; resume to go on";

fn in_words(MassAbsence { absent, known }: MassAbsence) -> String {
    format!(
        "{absent} of {known} agents of the cluster are absent at once; resume to take them for gone"
    )
}
