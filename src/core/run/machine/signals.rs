//! Signals to a run: which of them it takes, and which of them ends a wait. A signal is kept with the command that
//! brought it, so a wait that begins later finds it.

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::signal::no_room;
use crate::run::state::{OfAgent, OfRun, State};
use crate::run::{
    AgentSeq, Effect, Journal, MAX_SIGNALS_OF_AGENT, MAX_SIGNALS_OF_RUN, Pending, SentSignal,
    Signal,
};

impl State {
    /// Why a signal is not taken.
    pub(super) fn not_taken(&self, sent: &SentSignal, to: Option<AgentSeq>) -> Option<String> {
        if !self.may_wait_for(&sent.name) {
            let name = &sent.name;
            return Some(format!("no step of its playbook may wait for the signal {name:?}"));
        }
        match to.and_then(|seq| self.find(seq)).map(|agent| agent.record()) {
            Some(record) => {
                no_room(&record.signals, MAX_SIGNALS_OF_AGENT, sent, Some(&record.agent))
            }
            None => no_room(&self.progress().signals, MAX_SIGNALS_OF_RUN, sent, None),
        }
    }

    /// Whether the playbook grants a signal of this name to any of its steps.
    fn may_wait_for(&self, name: &str) -> bool {
        let playbook = &self.snapshot().playbook;
        let mut used =
            playbook.stages.iter().flat_map(|stage| &stage.steps).map(|step| &step.grants);
        let mut pinned = playbook.plugins.values().map(|pin| &pin.grants);
        pinned.any(|grants| grants.allows_signal(name))
            || used.any(|grants| grants.allows_signal(name))
    }

    /// The first signal of this name to the agent, or to all, that the agent's attempt has not got yet.
    pub(super) fn signal_for(&self, seq: AgentSeq, name: &str) -> Option<&Signal> {
        let agent = self.find(seq)?;
        let journal = &agent.attempt()?.journal;
        let all = self.progress().signals.iter().chain(&agent.record().signals);
        let new = all.filter(|signal| {
            let had = journal.received().any(|number| number == signal.number);
            signal.name == name && (!had || mutant!(SignalTwice))
        });
        new.min_by_key(|signal| signal.number)
    }
}

impl Turn<'_> {
    /// The signal that ends the wait of a call at once, if it waits for one.
    pub(super) fn came_before(&self, seq: AgentSeq, journal: &Journal) -> Option<Signal> {
        let name = journal.pending.as_ref().and_then(Pending::signal)?;
        if mutant!(SignalForgotten) {
            return None;
        }
        self.signal_for(seq, &name).cloned()
    }

    /// Keeps a signal, and ends the waits for it that go on.
    pub(super) fn take_signal(&mut self, sent: SentSignal, to: Option<AgentSeq>) -> Legal {
        let SentSignal { name, payload } = sent;
        let number = self.progress().signals_sent.saturating_add(1);
        let signal = Signal { number, name, payload, at: self.now };
        match to {
            Some(seq) => self.emit((seq, OfAgent::Signalled(signal.clone())))?,
            None => self.emit(OfRun::Signalled(signal.clone()))?,
        }
        self.effect(Effect::Signal { signal, to });
        Ok(())
    }
}
