//! Checks that what answers at an agent's address is that agent, before anything is sent there.
//!
//! All agents are compared when a stage begins. For agents that start within a few seconds, that counts for their
//! first step. Other agents are looked at again, and so are agents that have moved. An agent that does not answer
//! this look goes on to its step, which looks again and sends nothing until the agent is known.

use serde_json::Value;

use super::standing::Known;
use super::steps::Why;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{Expr, ExprError};
use crate::run::identity::FRESH;
use crate::run::state::{OfAgent, State};
use crate::run::{
    About, AgentRecord, AgentSeq, Effect, Failure, FailureReason, Look, Looked, Refusal, Timestamp,
    Wanted, WrongNode, declared_over,
};

impl AgentRecord {
    fn known(&self) -> Known<'_> {
        Known::of(&self.attributes, &self.node, &self.datastore, false)
    }

    /// Compares what the node says with the agent, unless the Cluster object says to ignore it.
    pub(super) fn check_identity(&self, node: &Value, store: &Value) -> Result<(), WrongNode> {
        let expected = self.identity.expects(&self.agent);
        expected.map_or(Ok(()), |expected| expected.check(&self.address, node, store))
    }

    /// Whether the agent must be compared before anything is sent to its address: it was never compared there, or
    /// nothing answered there since.
    pub(super) fn is_unidentified(&self) -> bool {
        self.identity.is_checked() && self.identified_at.is_none()
    }

    /// Whether the agent must be compared before an action. The first action in a stage may come long after its
    /// step began, if the step waited for something else first.
    pub(super) fn is_unidentified_before_action(&self, now: Timestamp) -> bool {
        let is_first = self.action.is_none_or(|sent| sent.key.stage != self.stage);
        let is_old =
            |at: Timestamp| is_first && at.plus(FRESH) < now && !mutant!(IdentityNotLookedAt);
        self.identity.is_checked() && self.identified_at.is_none_or(is_old)
    }

    /// Whether the agent must be looked at before its next step: it is undecided, was never compared, or was
    /// compared too long before it was started.
    fn is_identity_due(&self, now: Timestamp) -> bool {
        let is_old = |at: Timestamp| {
            let is_before = self.started_at.is_some_and(|started| at < started);
            is_before && at.plus(FRESH) < now && !mutant!(IdentityNotLookedAt)
        };
        self.undecided || self.identity.is_checked() && self.identified_at.is_none_or(is_old)
    }
}

impl State {
    /// What the expressions of the stage look at.
    pub(super) fn wanted(&self) -> Wanted {
        let params = &self.snapshot().params;
        let of_run = self.snapshot().narrowed.select.as_ref().map(Wanted::of).unwrap_or_default();
        self.stage().map(|stage| Wanted::of_stage(stage, params).and(of_run)).unwrap_or_default()
    }
}

impl Turn<'_> {
    /// Whether the agent must be looked at before its next step.
    pub(super) fn is_look_due(&self, seq: AgentSeq) -> Legal<bool> {
        Ok(self.record(seq)?.is_identity_due(self.now))
    }

    /// Has the agent looked at before its next step.
    pub(super) fn look_first(&mut self, seq: AgentSeq) -> Legal {
        let record = self.record(seq)?;
        let (key, agent) = (record.present_attempt(), record.agent.clone());
        let address = record.address.clone();
        let wanted = self.wanted().and_compare(&record.identity);
        self.emit((seq, OfAgent::Looking))?;
        self.effect(Effect::Look { key, agent, address, wanted });
        Ok(())
    }

    /// Stops looking at an agent. Returns whether it was being looked at.
    pub(super) fn look_away(&mut self, seq: AgentSeq) -> Legal<bool> {
        let agent = self.agent(seq)?;
        if !agent.is_looking() {
            return Ok(false);
        }
        let key = agent.record().present_attempt();
        self.emit((seq, OfAgent::Rests))?;
        self.effect(Effect::Abandon(key));
        Ok(true)
    }

    /// Looks again at an agent that moved while it was looked at.
    pub(super) fn look_elsewhere(&mut self, seq: AgentSeq) -> Legal {
        match self.look_away(seq)? {
            true => self.begin_step(seq),
            false => Ok(()),
        }
    }

    /// Takes what an agent says before its next step, and begins the step.
    pub(super) fn looked(&mut self, look: Look) -> Legal {
        let Look { key, address, at, looked, identity } = look;
        let seq = key.agent;
        let is_asked = self.find(seq).is_some_and(|agent| {
            let record = agent.record();
            agent.is_looking() && record.present_attempt() == key && record.address == address
        });
        if !is_asked {
            return Ok(());
        }
        self.emit((seq, OfAgent::Looked { identity }))?;
        match self.take_look(seq, looked, at)? {
            Ok(true) => self.begin_step_unseen(seq),
            Ok(false) => self.begin_step(seq),
            Err(why) => self.fail_before_step(seq, why),
        }
    }

    /// Whether the step begins although the agent did not answer. The inner error says why it may not begin.
    fn take_look(
        &mut self,
        seq: AgentSeq,
        looked: Looked,
        at: Timestamp,
    ) -> Legal<Result<bool, Why>> {
        let record = self.record(seq)?;
        let info = match looked {
            Looked::Silent(message) if record.undecided => {
                return Ok(Err(Why::permanent(FailureReason::Unreachable, message)));
            }
            Looked::Silent(_) => {
                self.forget_identity(seq)?;
                return Ok(Ok(true));
            }
            Looked::Refused(Refusal { reason, message }) if record.undecided => {
                return Ok(Err(Why::permanent(reason, message)));
            }
            Looked::Refused(_) => {
                self.emit((seq, OfAgent::Identified(at)))?;
                return Ok(Ok(false));
            }
            Looked::Says(info) => *info,
        };
        if let Err(wrong) = record.check_identity(&info.raw, &info.datastore.store) {
            return Ok(Err(Why::permanent(FailureReason::WrongNode, wrong.to_string())));
        }
        if record.node.is_null() || record.undecided {
            let attributes = declared_over(info.attributes, &record.declared).into();
            let (node, datastore) = (info.raw.into(), info.datastore.into());
            let about = About { attributes, node, datastore, seen_at: Some(self.now) };
            self.about(seq, about)?;
        }
        self.emit((seq, OfAgent::Identified(at)))?;
        Ok(self.decide_late(seq)?.map(|()| false))
    }

    /// Notes that the agent did not answer: what answers next at its address is compared before anything is sent
    /// there.
    pub(super) fn forget_identity(&mut self, seq: AgentSeq) -> Legal {
        match self.record(seq)?.identified_at.is_some() && !mutant!(IdentityKept) {
            true => self.emit((seq, OfAgent::Unidentified)),
            false => Ok(()),
        }
    }

    /// Decides whether the stage selects an agent that a person put back, if that was unknown before.
    fn decide_late(&mut self, seq: AgentSeq) -> Legal<Result<(), Why>> {
        let record = self.record(seq)?;
        if !record.undecided {
            return Ok(Ok(()));
        }
        let selections: Vec<_> = self.snapshot().selections(self.stage()?).collect();
        if selections.iter().any(|select| select.looks_at_unknown(&record.known())) {
            let message = "it did not answer about its store, and the stage selects agents by that";
            return Ok(Err(Why::permanent(FailureReason::Unreachable, message)));
        }
        let holds = |select: &Expr| self.snapshot().holds_for(record, select);
        let selected = match selections
            .iter()
            .map(holds)
            .try_fold(true, |all, one| Ok::<_, ExprError>(all && one?))
        {
            Ok(selected) => selected,
            Err(error) => {
                let message = format!("failed to select it: {error}");
                return Ok(Err(Why::permanent(FailureReason::BadArguments, message)));
            }
        };
        self.emit((seq, OfAgent::Settled))?;
        if !selected {
            self.leave_out(seq, super::entering::NOT_SELECTED.to_owned())?;
            self.plan_is_due()?;
            self.end_stage_if_over()?;
        }
        Ok(Ok(()))
    }

    /// Takes that a call found another node at the agent's address, and sent nothing.
    pub(super) fn found_wrong_node(&mut self, seq: AgentSeq, message: String) -> Legal {
        let journal = self.cut_short(seq)?;
        // Nothing was sent, so a late result was not used.
        self.keep_unused(&journal)?;
        self.note_unreachable(seq, &journal)?;
        self.fail_in_step(seq, Why::permanent(FailureReason::WrongNode, message))
    }

    /// Fails an agent in its step, whatever the step says about errors.
    pub(super) fn fail_in_step(&mut self, seq: AgentSeq, why: Why) -> Legal {
        self.attempt_failed(seq, why)?;
        self.emit((seq, OfAgent::Unidentified))?;
        // Nothing may be sent to the agent, so none of its rescue and finally steps is begun.
        self.fail_at_once(seq)
    }

    /// Fails an agent to which nothing was sent. Its step's `on_error` plays no part, since none of its steps
    /// could do its work.
    fn fail_before_step(&mut self, seq: AgentSeq, why: Why) -> Legal {
        let Why { reason, message, retryable: _ } = why;
        let step = self.step_name(self.record(seq)?.step);
        let failure = Failure { reason, message, step, at: self.now };
        if self.is_cut_off(seq) {
            // The run is being cancelled, so the agent is cut off.
            return self.emit((seq, OfAgent::Erred(failure)));
        }
        // The agent is compared anew if a person retries it.
        self.emit((seq, OfAgent::Unidentified))?;
        self.fail_with(seq, failure)
    }
}
