//! The roster as it was at any event of a run's history, made by applying the events up to that one. With it a
//! replay can ask a strategy again what it was asked then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent_record::{About, AgentRecord, Was};
use super::decision::Roster;
use super::document::{Run, Snapshot};
use super::history::{Happened, RunEvent};
use super::start::first_progress;
use super::state::{Event, State, evolve};
use super::status::AgentState;
use crate::ids::{AgentId, AgentSeq};
use crate::playbook::{Expr, ExprError};

/// What strategies saw of a run's agents, at one event after another. It is the state of the run, made from its
/// history alone.
///
/// # Guarantees
/// After the events up to [`Happened::Decision::roster`] it answers as the run's own roster did when the strategy
/// was asked. It does not have the results of steps, which no strategy sees.
#[derive(Debug)]
pub struct RosterAt {
    pub(super) state: State,
    /// Agents whose records were not made yet at this point of the history.
    pub(super) unmade: BTreeMap<AgentId, Unmade>,
    /// What was known about an agent after each [`Happened::AgentInfo`], by the sequence of that event.
    pub(super) news: HashMap<u64, Known>,
    /// Index of the stage that began last. `None` before the first stage has begun.
    pub(super) began: Option<u16>,
}

/// What never changes about an agent, and what was known about it first.
#[derive(Debug)]
pub(super) struct Unmade {
    pub(super) seq: AgentSeq,
    pub(super) declared: Arc<Map<String, Value>>,
    pub(super) known: Known,
}

/// What is known about an agent.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) about: About,
    pub(super) address: String,
}

/// A change of what is known about an agent.
#[derive(Clone, Debug)]
pub struct InfoChange {
    /// Sequence of the event of the change.
    pub seq: u64,
    /// The agent.
    pub agent: AgentId,
    /// What was known before the change.
    pub before: Before,
}

/// What was known about an agent before a change.
#[derive(Clone, Debug)]
pub enum Before {
    /// What the agent had said about itself, and perhaps its address.
    Said(Was),
    /// Only the agent's address.
    Address(String),
}

impl InfoChange {
    /// The change that an event reports, if it reports one.
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
            | Happened::Guards { .. }
            | Happened::Closing { .. }
            | Happened::Approval { .. }
            | Happened::Command { .. } => None,
        }
    }
}

/// A history that can't be that of this run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq}: found {found}, expected {expected}")]
pub struct HistoryError {
    /// Sequence of the event that does not fit.
    pub seq: u64,
    /// What the event says.
    pub found: String,
    /// What would have fitted.
    pub expected: String,
}

impl RosterAt {
    /// The roster before the first event.
    ///
    /// `records` are the records of the run as they are at its end. `changes` are all changes of what was known
    /// about its agents, in the order of the history.
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
        let progress = first_progress(&snapshot);
        Self { state: State::new(Run { snapshot, progress }), unmade, news, began: None }
    }

    /// Sequence of the last event that the roster reflects; 0 before the first event.
    pub fn seq(&self) -> u64 {
        self.state.progress().next_event.saturating_sub(1)
    }

    /// Index of the stage that is under way, or whose agents are being taken in.
    pub fn stage(&self) -> u16 {
        self.state.progress().stage.index
    }

    /// Applies the next event.
    ///
    /// # Errors
    /// [`HistoryError`] when the event does not follow the last one, or says something that can't be.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentRecord, AgentSeq, AgentState, Happened, RunEvent};
    /// use replibook_core::run::{Roster, RosterAt};
    /// # use replibook_core::run::{Timestamp, new_run};
    /// # use serde_json::{Map, json};
    /// # let (id, now) = ("0192a3b4-0000-7000-8000-000000000001".parse()?, Timestamp::from_millis(0));
    /// # let playbook = serde_json::from_value(json!({
    /// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
    /// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [{
    /// #         "name": "all", "select": null, "strategy": { "plugin": "rolling", "with": {} },
    /// #         "budget": { "max_failed": { "count": 0 }, "scope": "stage", "on_exceeded": "pause" },
    /// #         "membership": { "added": "include", "removed": "ignore" }, "steps": [],
    /// #     }],
    /// # }))?;
    /// # let (run, events) = new_run(id, &playbook, Map::new(), "eu", None, now);
    /// # let created = &events[0];
    ///
    /// let address = "http://node-1".to_owned();
    /// let record = AgentRecord::new(id, AgentSeq(0), "node-1".into(), address, 1);
    /// let mut roster = RosterAt::new(run.snapshot, [record], Vec::new());
    /// roster.apply(created)?;
    /// assert_eq!((roster.seq(), roster.count(AgentState::Pending)), (1, 0));
    ///
    /// let what = Happened::Agent {
    ///     agent: "node-1".into(),
    ///     from: None,
    ///     to: AgentState::Pending,
    ///     # batch: None,
    ///     # why: None,
    ///     # failure: None,
    /// };
    /// let joined = RunEvent { seq: 2, what, ..created.clone() };
    /// roster.apply(&joined)?;
    /// assert_eq!((roster.seq(), roster.count(AgentState::Pending)), (2, 1));
    /// assert!(roster.apply(&joined).is_err(), "that was number 2 already");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), HistoryError> {
        let next = self.seq() + 1;
        if event.seq != next {
            return Err(HistoryError::at(event, format!("sequence {}", event.seq), next));
        }
        let events = self.read(event)?;
        match &event.what {
            Happened::Stage { index, .. } => self.began = Some(*index),
            Happened::Closing { .. }
            | Happened::Approval { .. }
            | Happened::Status { .. }
            | Happened::Decision { .. }
            | Happened::NoDecision { .. }
            | Happened::Agent { .. }
            | Happened::AgentInfo { .. }
            | Happened::Moved { .. }
            | Happened::StepStarted { .. }
            | Happened::StepSkipped { .. }
            | Happened::StepEnded { .. }
            | Happened::LateAction { .. }
            | Happened::Guards { .. }
            | Happened::Command { .. } => {}
        }
        for what in events {
            let evolved = evolve(&mut self.state, &Event { at: event.at, what });
            evolved.map_err(|illegal| {
                let (found, expected) = illegal.found_and_expected();
                HistoryError::at(event, found, expected)
            })?;
        }
        if let Happened::Closing { next: Some(_), .. } = &event.what {
            // The present stage is left, whether it had begun or not.
            self.began = Some(self.stage());
        }
        debug_assert_eq!(self.seq(), next, "an event of the history is told once");
        Ok(())
    }
}

impl HistoryError {
    pub(super) fn at(
        event: &RunEvent,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        Self { seq: event.seq, found: found.to_string(), expected: expected.to_string() }
    }
}

impl Roster for RosterAt {
    fn count(&self, state: AgentState) -> u32 {
        self.state.count(state)
    }

    fn selected(&self) -> u32 {
        self.state.selected()
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.state.page(state, after, limit)
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        Roster::record(&self.state, id)
    }

    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.state.held(after, limit)
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        self.state.matches(id, expression)
    }
}
