//! Gets fresh information about agents, for a strategy that asks for it. The strategy is asked only after the
//! answers were taken over, so that its decision and its roster agree.

use std::sync::Arc;

use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::run::state::{OfStrategy, Refreshing, State};
use crate::run::{About, AgentState, AskAgain, Effect, Refreshed, Unheard};

/// How many agents' answers one commit takes over. Each takes a record, an event and the journal of its attempt,
/// and a commit has at most 1,000 documents.
pub(super) const TAKEN_AT_ONCE: usize = 300;

impl Turn<'_> {
    /// Has the agents asked that the strategy wished for. Returns false if there are none, and the strategy can be
    /// asked itself. An agent that has left is not asked: nobody knows what answers at its address now.
    pub(super) fn asks_afresh(&mut self) -> Legal<bool> {
        let wished = &self.progress().stage.refresh;
        if wished.is_empty() || *self.refreshing() == Refreshing::Fresh {
            return Ok(false);
        }
        let wanted = self.wanted();
        let mut asked = Vec::new();
        for seq in wished {
            let record = self.record(*seq)?;
            if record.state == AgentState::Removed {
                continue;
            }
            asked.push(AskAgain {
                seq: record.seq,
                agent: record.agent.clone(),
                address: record.address.clone(),
                attributes: record.attributes.clone(),
                declared: record.declared.clone(),
                wanted: wanted.and_compare(&record.identity),
            });
        }
        if asked.is_empty() {
            self.emit(OfStrategy::Fresh)?;
            if !self.progress().stage.unheard.is_nobody() {
                self.emit(OfStrategy::Unheard(Unheard::default()))?;
            }
            return Ok(false);
        }
        self.emit(OfStrategy::AsksAfresh)?;
        self.effect(Effect::Refresh(asked));
        Ok(true)
    }

    /// Takes the answers of agents that were asked afresh. If nobody wants to know any more, they are asked again
    /// next time.
    pub(super) fn refreshed(&mut self, answers: Vec<Refreshed>) -> Legal {
        if *self.refreshing() == Refreshing::Asking {
            self.note_unheard(&answers)?;
        }
        self.emit(OfStrategy::Heard(answers))?;
        self.take_refreshed()
    }

    /// Takes over the next answers, as many as fit one commit. After the last one the strategy may be asked.
    pub(super) fn take_refreshed(&mut self) -> Legal {
        if !self.refreshing().is_taking() {
            return Ok(());
        }
        let (mut taken, mut bytes, mut seen) = (0, 0, 0);
        while taken < TAKEN_AT_ONCE && bytes < CHUNK_BYTES {
            let Some((answer, write)) = self.answer_to_take(seen) else { break };
            let Refreshed { agent, mut about, silence: _ } = answer.clone();
            seen += 1;
            let record = self.record(agent)?;
            if record.state == AgentState::Removed {
                continue;
            }
            let is_agent = record.check_identity(&about.node, &about.datastore.store).is_ok();
            let is_silent = about.node.is_null();
            if !is_agent {
                // What another node says in the agent's place is not something that the agent said.
                let seen_at = Some(self.now);
                let (node, datastore) = (Arc::default(), Arc::default());
                about = About { node, datastore, seen_at, ..record.about() };
            }
            taken += 1;
            bytes += self.weight(agent)?;
            if !is_agent || is_silent {
                self.forget_identity(agent)?;
            }
            match write {
                true => self.about(agent, about)?,
                false => self.learn(agent, about)?,
            }
        }
        self.emit(OfStrategy::TookOver(seen))
    }
}

impl State {
    /// An answer that is still to be taken over, and whether it is to be written.
    fn answer_to_take(&self, index: usize) -> Option<(&Refreshed, bool)> {
        match self.refreshing() {
            Refreshing::Taking(answers) => Some((answers.get(index)?, false)),
            Refreshing::Writing(answers) => Some((answers.get(index)?, true)),
            Refreshing::No | Refreshing::Asking | Refreshing::InVain | Refreshing::Fresh => None,
        }
    }
}
