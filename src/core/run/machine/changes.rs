//! What one input changes, gathered until it becomes a transition.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::state::{Doing, IllegalInput, Machine};
use crate::run::{
    About, AgentId, AgentSeq, AgentState, Command, Effect, Happened, Journal, LogLine, PluginLine,
    RunEvent, RunStatus, StatusReason, Timestamp, Transition, Was, Writes,
};

/// What one input changed so far.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The moment of the input.
    pub(super) now: Timestamp,
    /// Who asked, where somebody did.
    pub(super) actor: Option<String>,
    /// Whether the run itself changed.
    pub(super) progress: bool,
    /// Agent records that changed.
    pub(super) records: BTreeSet<AgentSeq>,
    /// Journals that changed, as they are now.
    pub(super) journals: Vec<Journal>,
    logs: Vec<LogLine>,
    events: Vec<RunEvent>,
    pub(super) commands: Vec<Command>,
    pub(super) effects: Vec<Effect>,
    /// The first change of a state that its transition table does not hold.
    pub(super) illegal: Option<IllegalInput>,
}

impl Changes {
    pub(super) fn at(now: Timestamp) -> Self {
        Self { now, ..Self::default() }
    }

    /// Appends an event to the history.
    pub(super) fn event(&mut self, machine: &mut Machine, what: Happened) {
        if let Some(agent) = what.agent().and_then(|agent| machine.seq_of(agent)) {
            self.write_down(machine, agent);
        }
        let progress = &mut machine.run.progress;
        let seq = progress.next_event;
        progress.next_event += 1;
        self.progress = true;
        self.events.push(RunEvent {
            run: machine.run.snapshot.id,
            seq,
            at: self.now,
            actor: self.actor.clone(),
            what,
            finish_ts: progress.finishing_at,
        });
    }

    /// Gives the run another status, if its transition table holds the step.
    pub(super) fn status(
        &mut self,
        machine: &mut Machine,
        to: RunStatus,
        reason: Option<StatusReason>,
    ) {
        let progress = &mut machine.run.progress;
        let from = progress.status;
        if !from.next().contains(&to) {
            self.illegal = Some(IllegalInput::new("a change of the run's status", from, to));
            return;
        }
        progress.status = to;
        progress.since = self.now;
        progress.reason.clone_from(&reason);
        machine.forget_fresh();
        self.event(machine, Happened::Status { from: Some(from), to, reason });
    }

    /// Gives an agent another state, if its transition table holds the step, with the counts and the
    /// index that go with it.
    pub(super) fn agent(
        &mut self,
        machine: &mut Machine,
        seq: AgentSeq,
        to: AgentState,
        why: Option<String>,
    ) {
        let from = machine.record(seq).map(|record| record.state);
        if let Some(from) = from.filter(|from| !from.next().contains(&to)) {
            self.illegal = Some(IllegalInput::new("a change of an agent's state", from, to));
            return;
        }
        let Some((agent, from, batch)) = machine.move_agent(seq, to) else { return };
        self.records.insert(seq);
        self.event(machine, Happened::Agent { agent, from: Some(from), to, batch, why });
    }

    /// Takes over what is now known about an agent, and remembers what it was: one record and one
    /// event, or nothing where all is as it was.
    pub(super) fn about(&mut self, machine: &mut Machine, seq: AgentSeq, new: About) {
        let address = machine.record(seq).map(|record| record.address.clone());
        self.about_with_address(machine, seq, new, address.unwrap_or_default());
    }

    /// The same of an agent that is taken in and may have another address than before.
    pub(super) fn about_with_address(
        &mut self,
        machine: &mut Machine,
        seq: AgentSeq,
        new: About,
        address: String,
    ) {
        self.write_down(machine, seq);
        let Some(record) = machine.record_mut(seq) else { return };
        let known = record.about();
        let mut was = known.changed(&new);
        if record.address != address {
            let unchanged = Was { node_seen_at: known.seen_at, ..Was::default() };
            let before = std::mem::replace(&mut record.address, address);
            was.get_or_insert(unchanged).address = Some(before);
        }
        let Some(was) = was else { return };
        let agent = record.agent.clone();
        let About { attributes, node, datastore, seen_at } = new;
        let answered = !node.is_null();
        record.attributes = Arc::clone(&attributes);
        (record.node, record.datastore) = (node, datastore);
        record.node_seen_at = seen_at;
        self.records.insert(seq);
        if answered {
            machine.forget_unheard(&agent);
        }
        if let Some(before) = &was.attributes {
            self.keep_attributes(machine, seq, before, attributes);
        }
        self.event(machine, Happened::AgentInfo { agent, was });
    }

    /// Writes down what is known of an agent, if that was put off. What else is written of it goes on from
    /// there, so this comes first.
    pub(super) fn write_down(&mut self, machine: &mut Machine, seq: AgentSeq) {
        let Some(written) = machine.unwritten.remove(&seq) else { return };
        let Some(record) = Machine::record(machine, seq) else { return };
        let Some(was) = written.changed(&record.about()) else { return };
        let agent = record.agent.clone();
        self.records.insert(seq);
        self.event(machine, Happened::AgentInfo { agent, was });
    }

    /// Keeps for an attempt in flight what its step saw of the agent so far, since all activations of
    /// an attempt have to see the same. One that is still to be activated sees what is known now, and its
    /// journal says so too: it may have been written already, where a person held the attempt before.
    fn keep_attributes(
        &mut self,
        machine: &mut Machine,
        seq: AgentSeq,
        before: &Arc<Map<String, Value>>,
        now: Arc<Map<String, Value>>,
    ) {
        let Some(attempt) = machine.attempts.get_mut(&seq) else { return };
        let journal = &mut attempt.journal;
        journal.attributes = match &journal.attributes {
            _ if attempt.doing == Doing::Checking => Some(now),
            None => Some(Arc::clone(before)),
            Some(_) => return,
        };
        self.journals.retain(|other| other.key != journal.key);
        self.journals.push(journal.clone());
    }

    /// Appends the lines that a plugin wrote: of an attempt when there is a journal, else of the
    /// strategy. The line counter of the journal goes with it.
    pub(super) fn logs(
        &mut self,
        machine: &mut Machine,
        lines: Vec<PluginLine>,
        source: &str,
        mut of: Option<(&mut Journal, &AgentId)>,
    ) {
        let progress = &mut machine.run.progress;
        let event = progress.next_event.saturating_sub(1);
        self.progress |= !lines.is_empty();
        for line in lines {
            let number = match &mut of {
                Some((journal, _)) => {
                    journal.log_lines += 1;
                    journal.log_lines
                }
                None => progress.log.next_of_strategy(event),
            };
            let agent = of.as_ref().map(|(_, agent)| (*agent).clone());
            let of_agent = agent.as_ref().map_or("", AgentId::as_str);
            let texts = [line.message.as_str(), source, of_agent];
            self.logs.push(LogLine {
                run: machine.run.snapshot.id,
                attempt: of.as_ref().map(|(journal, _)| journal.key),
                source: source.to_owned(),
                line: number,
                event,
                number: progress.log.add(line.level, event, &texts),
                agent,
                at: self.now,
                level: line.level,
                message: line.message,
                finish_ts: progress.finishing_at,
            });
        }
        progress.log.bound();
    }

    /// Documents so far, besides the run.
    pub(super) fn documents(&self) -> usize {
        self.records.len()
            + self.journals.len()
            + self.logs.len()
            + self.events.len()
            + self.commands.len()
    }

    /// The transition.
    pub(super) fn done(mut self, machine: &mut Machine) -> Transition {
        let put_off = |seq: &&AgentSeq| machine.unwritten.contains_key(*seq);
        for seq in self.records.iter().filter(put_off).copied().collect::<Vec<_>>() {
            self.write_down(machine, seq);
        }
        let records: Vec<_> =
            self.records.iter().filter_map(|seq| machine.record(*seq)).cloned().collect();
        let written = self.progress
            || !records.is_empty()
            || !self.journals.is_empty()
            || !self.commands.is_empty();
        machine.run.progress.needs = machine.run.progress.needed();
        let writes = Writes {
            progress: written.then(|| machine.run.progress.clone()),
            records,
            journals: self.journals,
            logs: self.logs,
            events: self.events,
            commands: self.commands,
        };
        Transition { writes, effects: self.effects }
    }
}
