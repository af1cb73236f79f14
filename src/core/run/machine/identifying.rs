//! Whether what answers at an agent's address is that agent, before anything is sent there.
//!
//! All agents are compared when a stage begins. For those that start within a few seconds, this counts for
//! their first step. The others are looked at again, and so are those that have moved. An agent that does
//! not answer this look goes on to its step, which looks again and sends nothing until it knows.

use serde_json::Value;

use super::changes::Changes;
use super::standing::Known;
use super::state::Machine;
use super::steps::Why;
use crate::mutants::mutant;
use crate::run::identity::FRESH;
use crate::run::{
    About, AgentRecord, AgentSeq, AgentState, Effect, Failure, FailureReason, Look, Looked,
    Refusal, RunStatus, Timestamp, Wanted, WrongNode, declared_over,
};

impl AgentRecord {
    fn known(&self) -> Known<'_> {
        Known::of(&self.attributes, &self.node, &self.datastore, false)
    }

    /// Compares what the node says with the agent, unless the Cluster object wants that ignored.
    pub(super) fn check_identity(&self, node: &Value, store: &Value) -> Result<(), WrongNode> {
        let expected = self.identity.expects(&self.agent);
        expected.map_or(Ok(()), |expected| expected.check(&self.address, node, store))
    }

    /// Whether the agent must be compared before anything is sent to its address, since it never was at
    /// this address.
    pub(super) fn is_unidentified(&self) -> bool {
        self.identity.is_checked() && self.identified_at.is_none()
    }

    /// The same before an action. The first one in a stage may come long after its step began, if the step
    /// waited for something else first.
    pub(super) fn is_unidentified_before_action(&self, now: Timestamp) -> bool {
        let is_first = self.action.is_none_or(|sent| sent.key.stage != self.stage);
        let is_old =
            |at: Timestamp| is_first && at.plus(FRESH) < now && !mutant!(IdentityNotLookedAt);
        self.identity.is_checked() && self.identified_at.is_none_or(is_old)
    }

    /// The same, or it was compared too long ago, before the agent was started.
    fn is_identity_due(&self, now: Timestamp) -> bool {
        let is_old = |at: Timestamp| {
            let is_before = self.started_at.is_some_and(|started| at < started);
            is_before && at.plus(FRESH) < now && !mutant!(IdentityNotLookedAt)
        };
        self.undecided || self.identity.is_checked() && self.identified_at.is_none_or(is_old)
    }
}

impl Machine {
    /// What the expressions of the stage look at.
    pub(super) fn wanted(&self) -> Wanted {
        let params = &self.run.snapshot.params;
        self.stage().map(|stage| Wanted::of_stage(stage, params)).unwrap_or_default()
    }

    /// Has the agent looked at before its next step, where that is due; whether it is.
    pub(super) fn looks_first(&mut self, seq: AgentSeq, changes: &mut Changes) -> bool {
        let Some(record) = Machine::record(self, seq) else { return false };
        if !record.is_identity_due(changes.now) {
            return false;
        }
        let (key, agent) = (record.present_attempt(), record.agent.clone());
        let address = record.address.clone();
        let wanted = self.wanted().and_compare(&record.identity);
        self.looking.insert(seq);
        changes.effects.push(Effect::Look { key, agent, address, wanted });
        true
    }

    /// Stops looking at an agent that is done with the stage.
    pub(super) fn stop_looking(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if self.looking.remove(&seq)
            && let Some(record) = Machine::record(self, seq)
        {
            changes.effects.push(Effect::Abandon(record.present_attempt()));
        }
    }

    /// Looks again at an agent that has moved meanwhile.
    pub(super) fn look_elsewhere(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if self.looking.contains(&seq) {
            self.stop_looking(seq, changes);
            self.begin_step(seq, changes);
        }
    }

    /// Takes in what an agent says before its next step, which then begins.
    pub(super) fn looked(&mut self, look: Look, changes: &mut Changes) {
        let Look { key, address, at, looked, identity } = look;
        let seq = key.agent;
        let Some(record) = Machine::record(self, seq) else { return };
        let is_asked = record.present_attempt() == key
            && record.address == address
            && record.state == AgentState::Running;
        if !is_asked || !self.looking.remove(&seq) {
            return;
        }
        if let (Some(identity), Some(record)) = (identity, self.record_mut(seq)) {
            record.identity = identity;
        }
        match self.take_look(seq, looked, at, changes) {
            Ok(true) => self.begin_step_unseen(seq, changes),
            Ok(false) => self.begin_step(seq, changes),
            Err(why) => self.fail_before_step(seq, why, changes),
        }
    }

    /// Whether the step begins although the agent did not answer; an error says why it may not begin.
    fn take_look(
        &mut self,
        seq: AgentSeq,
        looked: Looked,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<bool, Why> {
        let Some(record) = Machine::record(self, seq) else { return Ok(false) };
        let info = match looked {
            Looked::Silent(message) if record.undecided => {
                return Err(Why::permanent(FailureReason::Unreachable, message));
            }
            Looked::Silent(_) => {
                self.forget_identity(seq, changes);
                return Ok(true);
            }
            Looked::Refused(Refusal { reason, message }) if record.undecided => {
                return Err(Why::permanent(reason, message));
            }
            Looked::Refused(_) => {
                self.note_identity(seq, at);
                return Ok(false);
            }
            Looked::Says(info) => *info,
        };
        record
            .check_identity(&info.raw, &info.datastore.store)
            .map_err(|wrong| Why::permanent(FailureReason::WrongNode, wrong.to_string()))?;
        let is_news = record.node.is_null() || record.undecided;
        if is_news {
            let attributes = declared_over(info.attributes, &record.declared).into();
            let (node, datastore) = (info.raw.into(), info.datastore.into());
            let about = About { attributes, node, datastore, seen_at: Some(changes.now) };
            changes.about(self, seq, about);
        }
        self.note_identity(seq, at);
        self.decide_late(seq, changes)?;
        Ok(false)
    }

    fn note_identity(&mut self, seq: AgentSeq, at: Timestamp) {
        if let Some(record) = self.record_mut(seq) {
            record.identified_at = Some(at);
        }
    }

    /// The agent did not answer. What answers next at its address is compared before anything is sent there.
    pub(super) fn forget_identity(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if let Some(record) = self.record_mut(seq).filter(|record| record.identified_at.is_some())
            && !mutant!(IdentityKept)
        {
            record.identified_at = None;
            changes.records.insert(seq);
        }
    }

    /// Decides whether the stage selects an agent that a person put back, if this was not known before.
    fn decide_late(&mut self, seq: AgentSeq, changes: &mut Changes) -> Result<(), Why> {
        let Some(record) = Machine::record(self, seq).filter(|record| record.undecided) else {
            return Ok(());
        };
        let select = self.stage().and_then(|stage| stage.select.as_ref());
        if select.is_some_and(|select| select.looks_at_unknown(&record.known())) {
            let message = "it did not answer about its store, and the stage selects agents by that";
            return Err(Why::permanent(FailureReason::Unreachable, message));
        }
        let selected =
            select.map_or(Ok(true), |select| self.run.snapshot.holds_for(record, select));
        let selected = selected.map_err(|error| {
            let message = format!("failed to select it: {error}");
            Why::permanent(FailureReason::BadArguments, message)
        })?;
        if let Some(record) = self.record_mut(seq) {
            record.undecided = false;
            changes.records.insert(seq);
        }
        if !selected {
            self.leave_out(seq, super::members::NOT_SELECTED.to_owned(), changes);
            self.plan_due = true;
            self.end_stage_if_over(changes);
        }
        Ok(())
    }

    /// A call found that another node answers at the agent's address, and sent nothing.
    pub(super) fn found_wrong_node(
        &mut self,
        seq: AgentSeq,
        message: String,
        changes: &mut Changes,
    ) {
        if let Some(mut attempt) = self.attempts.remove(&seq) {
            attempt.journal.cut_off = true;
            // Nothing was sent.
            self.keep_unused(&attempt.journal, changes);
            self.note_unreachable(seq, &attempt.journal, changes);
            changes.journals.push(attempt.journal);
        }
        self.fail_in_step(seq, Why::permanent(FailureReason::WrongNode, message), changes);
    }

    /// Fails an agent in its step, whatever the step says about errors.
    pub(super) fn fail_in_step(&mut self, seq: AgentSeq, why: Why, changes: &mut Changes) {
        self.attempt_failed(seq, why, changes);
        if let Some(record) = self.record_mut(seq) {
            record.identified_at = None;
        }
        self.end_agent(seq, AgentState::Failed, changes);
    }

    /// Fails an agent to which nothing was sent, whatever its step says about errors: none of its steps
    /// could do its work.
    pub(super) fn fail_before_step(&mut self, seq: AgentSeq, why: Why, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let step = self.step_name(record.step);
        let Why { reason, message, retryable: _ } = why;
        if let Some(record) = self.record_mut(seq) {
            record.error = Some(Failure { reason, message, step, at: changes.now });
            // It is compared anew if a person retries it.
            record.identified_at = None;
        }
        if self.run.progress.status == RunStatus::Cancelling {
            return;
        }
        self.end_agent(seq, AgentState::Failed, changes);
    }
}
