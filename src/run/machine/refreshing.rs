//! Fresh information for a strategy that wants it, and expressions over what is known.

use std::collections::VecDeque;
use std::sync::Arc;

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use super::steering::CHUNK_BYTES;
use crate::run::{About, AgentState, AskAgain, Effect, Refreshed, RunStatus, Unheard};

/// Agents whose answers are taken over by one commit: each is a record, an event and the journal of its
/// attempt, and a commit is bounded to 1,000 documents.
const TAKEN_AT_ONCE: usize = 300;

/// How far asking agents afresh is. It is not kept: a machine that is loaded anew asks again, since the
/// wish stands until the next decision.
#[derive(Debug, PartialEq)]
pub(super) enum Refreshing {
    /// Nobody is being asked.
    No,
    /// Agents are being asked, for the strategy of this stage.
    Asking(u16),
    /// They have answered, and these answers are still to be taken over.
    Taking(VecDeque<Refreshed>),
    /// These were taken over, and are still to be written.
    Writing(VecDeque<Refreshed>),
}

impl Refreshing {
    pub(super) const fn is_taking(&self) -> bool {
        match self {
            Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Asking(_) => false,
        }
    }
}

impl Machine {
    /// Has the agents asked that the strategy wished for; false when there are none, so that it can be
    /// asked itself. An agent that has left is not asked: nobody knows what answers there now.
    pub(super) fn asks_afresh(&mut self, changes: &mut Changes) -> bool {
        if self.run.progress.stage.refresh.is_empty() || self.fresh {
            return false;
        }
        let wanted = self.wanted();
        let wished = self.run.progress.stage.refresh.iter();
        let asked: Vec<_> = wished
            .filter_map(|seq| Machine::record(self, *seq))
            .filter(|record| record.state != AgentState::Removed)
            .map(|record| AskAgain {
                seq: record.seq,
                agent: record.agent.clone(),
                address: record.address.clone(),
                attributes: record.attributes.clone(),
                declared: record.declared.clone(),
                wanted: wanted.and_compare(&record.identity),
            })
            .collect();
        if asked.is_empty() {
            self.fresh = true;
            let stage = &mut self.run.progress.stage;
            changes.progress |= !stage.unheard.is_nobody();
            stage.unheard = Unheard::default();
            return false;
        }
        self.refreshing = Refreshing::Asking(self.run.progress.stage.index);
        changes.effects.push(Effect::Refresh(asked));
        true
    }

    /// Agents that were asked afresh have answered. In a run that was paused meanwhile the answers
    /// would be old when it goes on, so they are asked again then.
    pub(super) fn refreshed(
        &mut self,
        answers: Vec<Refreshed>,
        changes: &mut Changes,
    ) -> Result<(), IllegalInput> {
        let Refreshing::Asking(stage) = self.refreshing else {
            let answers = answers.len();
            return Err(IllegalInput::new("fresh information", answers, "agents not asked"));
        };
        self.refreshing = Refreshing::No;
        if stage == self.run.progress.stage.index {
            self.note_unheard(&answers, changes);
            self.refreshing = Refreshing::Taking(answers.into());
            self.take_refreshed(changes);
        }
        Ok(())
    }

    /// Takes over the next answers, as many as fit one commit; after the last one the strategy may be
    /// asked.
    pub(super) fn take_refreshed(&mut self, changes: &mut Changes) {
        let (mut answers, write) = match &mut self.refreshing {
            Refreshing::Taking(answers) => (std::mem::take(answers), false),
            Refreshing::Writing(answers) => (std::mem::take(answers), true),
            Refreshing::No | Refreshing::Asking(_) => return,
        };
        self.refreshing = Refreshing::No;
        if self.run.progress.status != RunStatus::Running {
            return;
        }
        let (mut taken, mut bytes) = (0, 0);
        while taken < TAKEN_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(Refreshed { agent, mut about, silence: _ }) = answers.pop_front() else {
                break;
            };
            let Some(record) = Machine::record(self, agent) else { continue };
            if record.state == AgentState::Removed {
                continue;
            }
            taken += 1;
            bytes += self.weight(agent);
            let is_agent = record.check_identity(&about.node, &about.datastore.store).is_ok();
            let is_silent = about.node.is_null();
            if !is_agent {
                // What another node says in its place is nothing that the agent said.
                let seen_at = Some(changes.now);
                let (node, datastore) = (Arc::default(), Arc::default());
                about = About { node, datastore, seen_at, ..record.about() };
            }
            if !is_agent || is_silent {
                self.forget_identity(agent, changes);
            }
            match write {
                true => changes.about(self, agent, about),
                false => self.learn(agent, about, changes),
            }
        }
        match (answers.is_empty(), write) {
            // A machine that is loaded anew finds the wish, and asks again: not all that came of it may be
            // written.
            (true, _) => self.fresh = true,
            (false, true) => self.refreshing = Refreshing::Writing(answers),
            (false, false) => self.refreshing = Refreshing::Taking(answers),
        }
    }
}
