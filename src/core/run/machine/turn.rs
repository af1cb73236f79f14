//! The turn of one input: what is decided because of it, gathered until it becomes a transition.
//!
//! All code that decides is a method of [`Turn`]. It reads the state, and has two ways to act: it
//! [emits](Turn::emit) events, which change the state at once, and asks for [effects](Turn::effect). So a later
//! decision of the turn sees what was decided before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::mutants::mutant;
use crate::run::state::{
    Doing, Event, IllegalInput, OfAgent, OfCall, OfMembership, OfRun, State, Touch, What, evolve,
    told, touches,
};
use crate::run::{
    About, AgentSeq, AttemptKey, Command, Effect, Journal, LogLine, PluginLine, ReasonCode,
    RunEvent, RunStatus, StatusReason, Timestamp, Transition, Writes,
};

/// The result of a decision. The error is that something can't happen in this state.
pub(super) type Legal<T = ()> = Result<T, IllegalInput>;

/// What one input leads to, as far as it is decided.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    state: &'a mut State,
    /// The moment of the input.
    pub(super) now: Timestamp,
    /// Who asked for the input, as the person gave it. `None` if no person did.
    actor: Option<String>,
    /// Whether the progress of the run is to be written.
    progress: bool,
    /// Agents whose records are to be written.
    records: BTreeSet<AgentSeq>,
    /// Agents of which something was noticed. If nothing else happens to such an agent in this turn, its record is
    /// written without what was put off, so that the history does not depend on what was noticed.
    noticed: BTreeSet<AgentSeq>,
    /// Journals that are to be written, each as it was after the last event that had it written.
    journals: BTreeMap<AttemptKey, Journal>,
    logs: Vec<LogLine>,
    events: Vec<RunEvent>,
    commands: Vec<Command>,
    effects: Vec<Effect>,
}

impl Deref for Turn<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state
    }
}

impl<'a> Turn<'a> {
    pub(super) fn at(state: &'a mut State, now: Timestamp) -> Self {
        Self {
            state,
            now,
            actor: None,
            progress: false,
            records: BTreeSet::new(),
            noticed: BTreeSet::new(),
            journals: BTreeMap::new(),
            logs: Vec::new(),
            events: Vec::new(),
            commands: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Has something happen: the state takes it in, and what is kept of it will be written.
    pub(super) fn emit(&mut self, what: impl Into<What>) -> Legal {
        let what = what.into();
        let touch = touches(&what);
        if let (true, Some(agent)) = (touch.told, what.told_about())
            && !matches!(what, What::Agent(_, OfAgent::WrittenDown))
        {
            // What the history says next about the agent builds on what is known by then.
            self.write_down(agent)?;
        }
        let is_late = mutant!(EventOutOfOrder);
        let seq = self.progress().next_event;
        let mut history = if touch.told && !is_late { told(self.state, &what)? } else { None };
        let event = Event { at: self.now, what };
        evolve(self.state, &event)?;
        if touch.told && is_late {
            history = told(self.state, &event.what)?;
        }
        if let Some(what) = history {
            self.events.push(RunEvent {
                run: self.snapshot().id,
                seq,
                at: self.now,
                actor: self.actor.clone(),
                what,
                finish_ts: self.progress().finishing_at,
            });
        }
        self.note(touch, event.what)
    }

    /// Notes which documents must be written because of an event.
    fn note(&mut self, touch: Touch, what: What) -> Legal {
        self.progress |= touch.progress;
        if let What::Agent(seq, OfAgent::Noticed(_)) = what {
            self.noticed.insert(seq);
            return Ok(());
        }
        let agent = match what {
            What::Agent(seq, _) => Some(seq),
            What::Call(seq, event) => {
                if let Some(journal) = event.into_closed() {
                    self.journals.insert(journal.key, journal);
                }
                Some(seq)
            }
            What::Membership(OfMembership::Made { .. }) => self.last_agent(),
            What::Membership(_) | What::Run(_) | What::Strategy(_) => None,
        };
        if let (Some(agent), true) = (agent, touch.record) {
            self.records.insert(agent);
        }
        if let (Some(agent), true) = (agent, touch.journal) {
            let journal = self.attempt(agent)?.journal.clone();
            self.journals.insert(journal.key, journal);
        }
        Ok(())
    }

    /// Asks for an effect.
    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Sets who asked for what happens from now on.
    pub(super) fn asked_by(&mut self, actor: Option<&String>) {
        self.actor = actor.cloned();
    }

    /// Adds a command that has got its outcome.
    pub(super) fn commanded(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Changes the status of the run.
    pub(super) fn become_status(&mut self, to: RunStatus, reason: Option<StatusReason>) -> Legal {
        self.emit(OfRun::Status { to, reason })
    }

    /// Pauses the run. A run that is being cancelled has no time for that: its last stage is given up instead.
    pub(super) fn pause(&mut self, code: ReasonCode, message: String) -> Legal {
        if self.status() == RunStatus::Cancelling {
            return self.give_up_stage(code, message);
        }
        self.become_status(RunStatus::Paused, Some(StatusReason { code, message }))
    }

    /// Takes over what is now known about an agent, and records what was known before: one record and one event,
    /// or nothing if nothing changed.
    pub(super) fn about(&mut self, seq: AgentSeq, new: About) -> Legal {
        let address = self.record(seq)?.address.clone();
        self.about_with_address(seq, new, address)
    }

    /// Like [`about`](Self::about), for an agent that is taken in and may have a new address.
    pub(super) fn about_with_address(
        &mut self,
        seq: AgentSeq,
        about: About,
        address: String,
    ) -> Legal {
        self.write_down(seq)?;
        let record = self.record(seq)?;
        let known = record.about();
        if known == about && record.address == address {
            return Ok(());
        }
        let now = Arc::clone(&about.attributes);
        self.emit((seq, OfAgent::Info { about, address }))?;
        if known.attributes != now {
            self.keep_attributes(seq, known.attributes, now)?;
        }
        Ok(())
    }

    /// Writes down what is known about an agent, if that was put off. It must come before anything else that is
    /// written about the agent, because that builds on it.
    pub(super) fn write_down(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        let Some(written) = agent.written() else { return Ok(()) };
        match *written == agent.record().about() {
            true => self.emit((seq, OfAgent::Unchanged)),
            false => self.emit((seq, OfAgent::WrittenDown)),
        }
    }

    /// Keeps for an attempt in flight what its step has seen of the agent so far, since all activations of an
    /// attempt must see the same. An attempt that is not activated yet sees what is known now. Its journal says so
    /// too, because it may have been written before, when a person held the attempt.
    fn keep_attributes(
        &mut self,
        seq: AgentSeq,
        before: Arc<Map<String, Value>>,
        now: Arc<Map<String, Value>>,
    ) -> Legal {
        let Some(attempt) = self.agent(seq)?.attempt() else { return Ok(()) };
        let attributes = match &attempt.journal.attributes {
            _ if attempt.doing == Doing::Checking => now,
            None => before,
            Some(_) => return Ok(()),
        };
        self.emit((seq, OfCall::Sees { attributes, written: true }))
    }

    /// Appends log lines that a plugin wrote: those of an agent's attempt, or of the strategy.
    pub(super) fn log(
        &mut self,
        lines: Vec<PluginLine>,
        source: &str,
        of: Option<AgentSeq>,
    ) -> Legal {
        for PluginLine { level, message } in lines {
            let progress = self.progress();
            let event = progress.next_event.saturating_sub(1);
            let (attempt, agent, line) = match of {
                Some(seq) => {
                    let journal = &self.attempt(seq)?.journal;
                    let line = journal.log_lines.saturating_add(1);
                    (Some(journal.key), Some(journal.agent.clone()), line)
                }
                None => (None, None, progress.log.line_of_strategy(event)),
            };
            let line = LogLine {
                run: self.snapshot().id,
                attempt,
                agent,
                source: source.to_owned(),
                line,
                event,
                number: progress.log.last + 1,
                at: self.now,
                level,
                message,
                finish_ts: progress.finishing_at,
            };
            self.emit(OfRun::Logged(Box::new(line.clone())))?;
            self.logs.push(line);
        }
        Ok(())
    }

    /// Number of documents to write so far, without the run itself.
    pub(super) fn documents(&self) -> usize {
        self.records.union(&self.noticed).count()
            + self.journals.len()
            + self.logs.len()
            + self.events.len()
            + self.commands.len()
    }

    /// Agents whose records are to be written, as far as it is decided.
    pub(super) fn written_records(&self) -> Vec<AgentSeq> {
        self.records.iter().copied().collect()
    }

    /// Makes the transition of everything that was decided.
    pub(super) fn done(mut self) -> Legal<Transition> {
        for seq in self.written_records() {
            self.write_down(seq)?;
        }
        let records =
            self.records.union(&self.noticed).map(|seq| match self.records.contains(seq) {
                true => self.record(*seq).cloned(),
                false => Ok(self.agent(*seq)?.record_as_written()),
            });
        let records = records.collect::<Legal<Vec<_>>>()?;
        let written = self.progress
            || !records.is_empty()
            || !self.journals.is_empty()
            || !self.commands.is_empty();
        let writes = Writes {
            progress: written.then(|| self.progress().clone()),
            records,
            journals: self.journals.into_values().collect(),
            logs: self.logs,
            events: self.events,
            commands: self.commands,
        };
        Ok(Transition { writes, effects: self.effects })
    }
}
