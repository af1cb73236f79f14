//! The roster as it was at any event of a run's history: the fold of the events up to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent_record::{About, AgentRecord, Failure, FailureReason, Was};
use super::decision::Roster;
use super::document::Snapshot;
use super::history::{Happened, RunEvent};
use super::status::AgentState;
use crate::ids::{AgentId, AgentSeq};
use crate::playbook::{Expr, ExprError, OnRemoved};
use crate::time::Timestamp;

/// What strategies saw of a run's agents, at one event after another.
///
/// # Guarantees
/// After the events up to that of [`Happened::Decision::roster`] it answers as the run's own roster did
/// when the strategy was asked. A step's results and attempts are not in it: no strategy sees them.
#[derive(Debug)]
pub struct RosterAt {
    snapshot: Arc<Snapshot>,
    /// Agents whose record was not made yet, by that point of the history.
    unmade: BTreeMap<AgentId, Unmade>,
    /// What was known of an agent after each [`Happened::AgentInfo`], by its sequence.
    news: HashMap<u64, Known>,
    records: BTreeMap<AgentSeq, AgentRecord>,
    by_id: BTreeMap<AgentId, AgentSeq>,
    by_state: BTreeMap<AgentState, BTreeSet<AgentSeq>>,
    selected: u32,
    /// The stage that the agents are in, or that they are being taken into.
    stage: u16,
    /// Whether its agents are known.
    begun: bool,
    /// Label of the last decision.
    label: Option<String>,
    /// Sequence of the last event.
    seq: u64,
}

/// What never changes of an agent, and what was known of it first.
#[derive(Debug)]
struct Unmade {
    seq: AgentSeq,
    declared: Arc<Map<String, Value>>,
    known: Known,
}

/// What is known of an agent.
#[derive(Clone, Debug)]
struct Known {
    about: About,
    address: String,
}

/// A change of what is known about an agent.
#[derive(Clone, Debug)]
pub struct InfoChange {
    /// Sequence of its event.
    pub seq: u64,
    /// The agent.
    pub agent: AgentId,
    /// What was known before.
    pub before: Before,
}

/// What was known before a change.
#[derive(Clone, Debug)]
pub enum Before {
    /// What it had said, and perhaps its address.
    Said(Was),
    /// Its address alone.
    Address(String),
}

impl InfoChange {
    /// The change that an event tells of, if it does.
    pub fn of(event: &RunEvent) -> Option<Self> {
        match &event.what {
            Happened::AgentInfo { agent, was } => {
                let before = Before::Said(was.clone());
                Some(Self { seq: event.seq, agent: agent.clone(), before })
            }
            Happened::Moved { agent, from, to: _ } => {
                let before = Before::Address(from.clone());
                Some(Self { seq: event.seq, agent: agent.clone(), before })
            }
            Happened::Status { .. }
            | Happened::Stage { .. }
            | Happened::Decision { .. }
            | Happened::NoDecision { .. }
            | Happened::Agent { .. }
            | Happened::StepStarted { .. }
            | Happened::StepSkipped { .. }
            | Happened::StepEnded { .. }
            | Happened::LateAction { .. }
            | Happened::Command { .. } => None,
        }
    }
}

/// A history that can't be one of this run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq}: found {found}, expected {expected}")]
pub struct HistoryError {
    /// Sequence of the event.
    pub seq: u64,
    /// What it says.
    pub found: String,
    /// What would have fitted.
    pub expected: String,
}

impl RosterAt {
    /// The roster before the first event.
    ///
    /// `records` are the run's own, as they are in the end, and `changes` all changes of what was
    /// known about its agents, in the order of the history.
    pub fn new(
        snapshot: Arc<Snapshot>,
        records: impl IntoIterator<Item = AgentRecord>,
        changes: Vec<InfoChange>,
    ) -> Self {
        let mut unmade: BTreeMap<AgentId, Unmade> = BTreeMap::new();
        for record in records {
            let about = record.about();
            let AgentRecord { seq, agent, address, declared, .. } = record;
            unmade.insert(agent, Unmade { seq, declared, known: Known { about, address } });
        }
        let mut news = HashMap::new();
        for InfoChange { seq, agent, before } in changes.into_iter().rev() {
            let Some(Unmade { known, .. }) = unmade.get_mut(&agent) else { continue };
            match before {
                Before::Said(was) => {
                    news.insert(seq, known.clone());
                    known.about.take_back(&was);
                    known.address = was.address.unwrap_or_else(|| known.address.clone());
                }
                Before::Address(address) => known.address = address,
            }
        }
        Self {
            snapshot,
            unmade,
            news,
            records: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_state: BTreeMap::new(),
            selected: 0,
            stage: 0,
            begun: false,
            label: None,
            seq: 0,
        }
    }

    /// Sequence of the last event that the roster reflects; 0 before the first one.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Index of the stage that goes, or whose agents are being taken in.
    pub fn stage(&self) -> u16 {
        self.stage
    }

    /// Takes notice of the next event.
    ///
    /// # Errors
    /// When the event does not follow the one before, or says of an agent what can't be.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), HistoryError> {
        let next = self.seq + 1;
        if event.seq != next {
            return Err(wrong(event, format!("sequence {}", event.seq), next));
        }
        self.seq = next;
        match &event.what {
            Happened::Stage { stage: _, index, selected } => {
                if *index != self.stage {
                    let found = format!("the beginning of stage number {index}");
                    return Err(wrong(event, found, format!("that of number {}", self.stage)));
                }
                self.selected = *selected;
                self.begun = true;
            }
            Happened::Decision { label, .. } => self.label.clone_from(label),
            Happened::Agent { agent, from: None, to, batch: _, why } => {
                self.enter(event, agent, *to, why.as_ref())?;
            }
            Happened::Agent { agent, from: Some(from), to, batch, why } => {
                let (label, fails) = (self.label.clone(), self.leaving_fails());
                let record = self.record_mut(event, agent)?;
                if record.state != *from {
                    let found = format!("that agent {agent} was {from}");
                    return Err(wrong(event, found, record.state));
                }
                change(record, *to, (*batch, label), why.as_ref(), event.at);
                if *to == AgentState::Removed && fails {
                    fail_unfinished(record, *from, event.at);
                }
                let seq = record.seq;
                self.put(seq, *from, *to);
            }
            Happened::AgentInfo { agent, was: _ } => {
                let news = self.news.remove(&event.seq);
                let record = self.record_mut(event, agent)?;
                if let Some(Known { about, address }) = news {
                    (record.attributes, record.node) = (about.attributes, about.node);
                    record.datastore = about.datastore;
                    record.node_seen_at = about.seen_at;
                    record.address = address;
                }
            }
            Happened::Moved { agent, from: _, to } => {
                self.record_mut(event, agent)?.address.clone_from(to);
            }
            Happened::StepEnded { agent, failure: Some(failure), .. } => {
                self.record_mut(event, agent)?.error = Some(failure.clone());
            }
            Happened::StepEnded { failure: None, .. }
            | Happened::Status { .. }
            | Happened::NoDecision { .. }
            | Happened::StepStarted { .. }
            | Happened::StepSkipped { .. }
            | Happened::LateAction { .. }
            | Happened::Command { .. } => {}
        }
        Ok(())
    }

    /// Takes an agent into a stage: its record is made, or it was in the stage before.
    fn enter(
        &mut self,
        event: &RunEvent,
        agent: &AgentId,
        to: AgentState,
        why: Option<&String>,
    ) -> Result<(), HistoryError> {
        // One that joins while a stage goes is the only one that a stage gets after its beginning.
        if self.begun && to != AgentState::Added {
            self.begun = false;
            self.stage += 1;
        }
        let steps = self.snapshot.playbook.stages.get(usize::from(self.stage));
        let first = steps.and_then(|stage| stage.steps.first());
        let first = first.map(|step| step.name.clone()).unwrap_or_default();
        let steps = steps.map(|stage| stage.steps.len()).ok_or_else(|| {
            let stages = self.snapshot.playbook.stages.len();
            wrong(event, format!("stage number {}", self.stage), format!("one of {stages}"))
        })?;
        if let Some(Unmade { seq, declared, known }) = self.unmade.remove(agent) {
            let run = self.snapshot.id;
            let Known { about, address } = known;
            let About { attributes, node, datastore, seen_at } = about;
            let made = AgentRecord::new(run, seq, agent.clone(), address, steps);
            let made = AgentRecord { attributes, node, datastore, ..made };
            let record = AgentRecord { node_seen_at: seen_at, declared, ..made };
            self.by_id.insert(agent.clone(), seq);
            self.records.insert(seq, record);
        }
        let stage = self.stage;
        let record = self.record_mut(event, agent)?;
        let (seq, from) = (record.seq, record.state);
        record.stage = stage;
        (record.batch, record.batch_label) = (None, None);
        (record.error, record.started_at) = (None, None);
        record.skip_reason = why.filter(|_| to != AgentState::Failed).cloned();
        if to == AgentState::Failed
            && let Some((reason, message)) = why.and_then(|why| read_failure(why))
        {
            record.error = Some(Failure { reason, message, step: first, at: event.at });
        }
        let goes_on = matches!(to, AgentState::Pending | AgentState::Added);
        record.ended_at = (!goes_on).then_some(event.at);
        record.state = to;
        self.put(seq, from, to);
        Ok(())
    }

    fn record_mut(
        &mut self,
        event: &RunEvent,
        agent: &AgentId,
    ) -> Result<&mut AgentRecord, HistoryError> {
        let record = self.by_id.get(agent).and_then(|seq| self.records.get_mut(seq));
        record.ok_or_else(|| wrong(event, format!("agent {agent}"), "one that has a record"))
    }

    /// Whether the stage counts an agent that leaves before its end as a failure.
    fn leaving_fails(&self) -> bool {
        let stage = self.snapshot.playbook.stages.get(usize::from(self.stage));
        stage.is_some_and(|stage| stage.membership.removed == OnRemoved::Fail)
    }

    /// Keeps the index of states.
    fn put(&mut self, seq: AgentSeq, from: AgentState, to: AgentState) {
        if let Some(before) = self.by_state.get_mut(&from) {
            before.remove(&seq);
        }
        self.by_state.entry(to).or_default().insert(seq);
    }
}

/// Changes the state of an agent, and what goes with that.
fn change(
    record: &mut AgentRecord,
    to: AgentState,
    batch: (Option<u32>, Option<String>),
    why: Option<&String>,
    at: Timestamp,
) {
    let from = std::mem::replace(&mut record.state, to);
    match to {
        AgentState::Running => {
            (record.batch, record.batch_label) = batch;
            record.started_at = Some(at);
        }
        AgentState::Skipped => {
            record.skip_reason = why.cloned();
            record.ended_at = Some(at);
        }
        AgentState::Done => record.ended_at = Some(at),
        AgentState::Failed => {
            record.ended_at = Some(at);
            if let Some((reason, message)) = why.and_then(|why| read_failure(why)) {
                let step = record.error.take().map(|error| error.step).unwrap_or_default();
                record.error = Some(Failure { reason, message, step, at });
            }
        }
        // It was put back by a person; else it joined, perhaps again, and is taken into the stage.
        AgentState::Pending if from == AgentState::Failed => {
            record.error = None;
            (record.batch, record.batch_label) = (None, None);
            (record.started_at, record.ended_at) = (None, None);
        }
        AgentState::Pending => {}
        AgentState::Added => {
            record.joined_at = Some(at);
            // It is back, so that it left is no failure any more.
            record.error.take_if(|error| error.reason == FailureReason::LeftCluster);
        }
        AgentState::Removed => record.left_at = Some(at),
    }
}

/// Notes the failure of an agent that left before its end.
fn fail_unfinished(record: &mut AgentRecord, from: AgentState, at: Timestamp) {
    match from {
        AgentState::Added | AgentState::Pending | AgentState::Running => {
            let step = record.error.take().map(|error| error.step).unwrap_or_default();
            record.error = Some(Failure::left_cluster(step, at));
        }
        AgentState::Done | AgentState::Failed | AgentState::Skipped | AgentState::Removed => {}
    }
}

/// A failure as the event of an agent says it: its reason and its message.
fn read_failure(why: &str) -> Option<(FailureReason, String)> {
    let (word, message) = why.split_once(": ")?;
    let reason = FailureReason::ALL.into_iter().find(|reason| reason.as_str() == word)?;
    Some((reason, message.to_owned()))
}

fn wrong(
    event: &RunEvent,
    found: impl std::fmt::Display,
    expected: impl std::fmt::Display,
) -> HistoryError {
    HistoryError { seq: event.seq, found: found.to_string(), expected: expected.to_string() }
}

impl Roster for RosterAt {
    fn count(&self, state: AgentState) -> u32 {
        let agents = self.by_state.get(&state).map_or(0, BTreeSet::len);
        u32::try_from(agents).unwrap_or(u32::MAX)
    }

    fn selected(&self) -> u32 {
        self.selected
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let Some(set) = self.by_state.get(&state) else { return Vec::new() };
        let from = match after {
            None => AgentSeq(0),
            Some(id) => match self.by_id.get(id) {
                Some(seq) => AgentSeq(seq.0.saturating_add(1)),
                None => return Vec::new(),
            },
        };
        let records = set.range(from..).filter_map(|seq| self.records.get(seq));
        records.take(limit as usize).map(|record| record.agent.clone()).collect()
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.by_id.get(id).and_then(|seq| self.records.get(seq))
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        Some(self.snapshot.holds_for(self.record(id)?, expression))
    }
}
