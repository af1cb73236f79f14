//! Fresh information for a strategy that wants it, and expressions over what is known.

use std::collections::VecDeque;
use std::sync::Arc;

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use super::steering::CHUNK_BYTES;
use crate::mutants::mutant;
use crate::run::{About, AgentState, AskAgain, Effect, Refreshed, Unheard};

/// Agents whose answers are taken over by one commit: each is a record, an event and the journal of its
/// attempt, and a commit is bounded to 1,000 documents.
const TAKEN_AT_ONCE: usize = 300;

/// How far asking agents afresh is. It is not kept: a machine that is loaded anew asks again, since the
/// wish stands until the next decision.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Refreshing {
    /// Nobody is being asked.
    #[default]
    No,
    /// Agents are being asked.
    Asking,
    /// Agents are being asked, and nobody wants to know any more.
    InVain,
    /// They have answered, and these answers are still to be taken over.
    Taking(VecDeque<Refreshed>),
    /// These were taken over, and are still to be written.
    Writing(VecDeque<Refreshed>),
    /// They have answered, and the strategy may be asked.
    Fresh,
}

impl Refreshing {
    /// Whether answers are still to be taken over.
    pub(super) const fn is_taking(&self) -> bool {
        match self {
            Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Asking | Self::InVain | Self::Fresh => false,
        }
    }

    /// Whether it is going on.
    pub(super) const fn goes_on(&self) -> bool {
        match self {
            Self::Asking | Self::InVain | Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Fresh => false,
        }
    }
}

impl Machine {
    /// Has the agents asked that the strategy wished for; false when there are none, so that it can be
    /// asked itself. An agent that has left is not asked: nobody knows what answers there now.
    pub(super) fn asks_afresh(&mut self, changes: &mut Changes) -> bool {
        if self.run.progress.stage.refresh.is_empty() || self.refreshing == Refreshing::Fresh {
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
            self.refreshing = Refreshing::Fresh;
            let stage = &mut self.run.progress.stage;
            changes.progress |= !stage.unheard.is_nobody();
            stage.unheard = Unheard::default();
            return false;
        }
        self.refreshing = Refreshing::Asking;
        changes.effects.push(Effect::Refresh(asked));
        true
    }

    /// What agents have said no longer counts: by the time the run goes on, it will be old, and they are asked
    /// again.
    pub(super) fn forget_fresh(&mut self) {
        self.refreshing = match std::mem::take(&mut self.refreshing) {
            Refreshing::Asking | Refreshing::InVain => Refreshing::InVain,
            Refreshing::Fresh if mutant!(FreshKept) => Refreshing::Fresh,
            Refreshing::No | Refreshing::Taking(_) | Refreshing::Writing(_) | Refreshing::Fresh => {
                Refreshing::No
            }
        };
    }

    /// Agents that were asked afresh have answered.
    pub(super) fn refreshed(
        &mut self,
        answers: Vec<Refreshed>,
        changes: &mut Changes,
    ) -> Result<(), IllegalInput> {
        match self.refreshing {
            Refreshing::Asking => {
                self.note_unheard(&answers, changes);
                self.refreshing = Refreshing::Taking(answers.into());
                self.take_refreshed(changes);
                Ok(())
            }
            Refreshing::InVain => {
                self.refreshing = Refreshing::No;
                Ok(())
            }
            Refreshing::No | Refreshing::Taking(_) | Refreshing::Writing(_) | Refreshing::Fresh => {
                let answers = answers.len();
                Err(IllegalInput::new("fresh information", answers, "agents not asked"))
            }
        }
    }

    /// Takes over the next answers, as many as fit one commit; after the last one the strategy may be
    /// asked.
    pub(super) fn take_refreshed(&mut self, changes: &mut Changes) {
        let (mut answers, write) = match &mut self.refreshing {
            Refreshing::Taking(answers) => (std::mem::take(answers), false),
            Refreshing::Writing(answers) => (std::mem::take(answers), true),
            Refreshing::No | Refreshing::Asking | Refreshing::InVain | Refreshing::Fresh => return,
        };
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
        self.refreshing = match (answers.is_empty(), write) {
            // A machine that is loaded anew finds the wish, and asks again: not all that came of it may be
            // written.
            (true, _) => Refreshing::Fresh,
            (false, true) => Refreshing::Writing(answers),
            (false, false) => Refreshing::Taking(answers),
        };
    }
}
