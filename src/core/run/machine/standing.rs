//! Works out what the selection of a stage says about a member, even if the member did not answer, or another node
//! answered in its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::entering::{NOT_IN_RUN, NOT_SELECTED, STANDS_BY};
use super::inputs::Machine;
use super::steps::MAX_EXPRESSION_BYTES;
use crate::playbook::{Expr, Identity, Stage};
use crate::run::datastore::agent_in_scope;
use crate::run::failure::beginning;
use crate::run::state::{Standing, State};
use crate::run::{
    AgentId, AgentRecord, AgentState, Datastore, FailureReason, Member, Refusal, Snapshot, Wanted,
    declared_over,
};

impl Standing {
    /// The state in which a member with this standing begins the stage, and why it takes no part.
    pub(super) fn state(&self) -> (AgentState, Option<String>) {
        match self {
            Self::In => (AgentState::Pending, None),
            Self::Out(why) => (AgentState::Skipped, Some((*why).to_owned())),
            Self::Bystander => (AgentState::Skipped, Some(STANDS_BY.to_owned())),
            Self::Fails { .. } => (AgentState::Failed, None),
        }
    }
}

impl Member {
    /// Why the answers that only the member's node could give are unknown.
    fn why_unknown(&self) -> (FailureReason, String) {
        match &self.refusal {
            Some(Refusal { reason, message }) => {
                (*reason, beginning(message.clone(), MAX_EXPRESSION_BYTES))
            }
            None => {
                let about = if self.node.is_null() { "" } else { " about its store" };
                let message = format!(
                    "it did not answer{about}, and the stage selects agents by what they say"
                );
                (FailureReason::Unreachable, message)
            }
        }
    }
}

impl State {
    /// What the selection of the stage says about a member. If the member did not answer, the attributes that it
    /// reported in an earlier stage still count; `record` has them. What another node says in its place never
    /// counts.
    ///
    /// # Errors
    /// An expression has no value for a member that answered. The error is human-readable text.
    pub(super) fn standing(
        &self,
        member: &mut Member,
        record: Option<&AgentRecord>,
    ) -> Result<Standing, String> {
        let wrong = member.identity.expects(&member.agent).and_then(|expected| {
            let Member { address, node, datastore, .. } = &*member;
            expected.check(address, node, &datastore.store).err()
        });
        if wrong.is_some() {
            (member.node, member.datastore) = (Value::Null, Datastore::default());
        }
        if member.node.is_null() {
            let said = record.map(|record| reported(&record.attributes, &record.declared));
            member.attributes = declared_over(said.unwrap_or_default(), &member.declared);
        }
        let known = self.snapshot().selected(self.progress().stage.index, member)?;
        let (reason, message) = match (&wrong, known) {
            (_, Selected::No(why)) => return Ok(Standing::Out(why)),
            (None, Selected::Yes) => return Ok(Standing::In),
            (Some(wrong), _) => (FailureReason::WrongNode, wrong.to_string()),
            (None, Selected::Unknown) => member.why_unknown(),
        };
        Ok(Standing::Fails { reason, message, undecided: known == Selected::Unknown })
    }
}

/// The attributes that an agent itself reported when it last answered.
fn reported(known: &Map<String, Value>, declared: &Map<String, Value>) -> Map<String, Value> {
    let said = known.iter().filter(|(name, _)| !declared.contains_key(*name));
    said.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a stage of a run selects a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selected {
    Yes,
    /// No, for this reason.
    No(&'static str),
    /// That depends on what the node did not say.
    Unknown,
}

impl Snapshot {
    /// The selection of a stage, and that of the run.
    pub(super) fn selections(&self, stage: &Stage) -> impl Iterator<Item = Expr> {
        let all = [stage.select.clone(), self.narrowed.select.clone()];
        all.into_iter().flatten()
    }

    /// Whether a stage, by its index, selects a member. `None` if that depends on what the node did not say.
    ///
    /// # Errors
    /// A selection has no value for the member; the text says why, for people.
    pub fn selects(&self, stage: u16, member: &Member) -> Result<Option<bool>, String> {
        Ok(match self.selected(stage, member)? {
            Selected::Yes => Some(true),
            Selected::No(_) => Some(false),
            Selected::Unknown => None,
        })
    }

    /// Whether a stage selects a member that may take part in the run.
    fn selected(&self, stage: u16, member: &Member) -> Result<Selected, String> {
        let stage = self.playbook.stages.get(usize::from(stage));
        let of_stage = stage.and_then(|stage| stage.select.as_ref());
        let of_stage = self.chooses(of_stage, member)?;
        if of_stage == Some(false) {
            return Ok(Selected::No(NOT_SELECTED));
        }
        Ok(match (of_stage, self.chooses(self.narrowed.select.as_ref(), member)?) {
            (_, Some(false)) => Selected::No(NOT_IN_RUN),
            (Some(_), Some(true)) => Selected::Yes,
            (None, _) | (_, None) => Selected::Unknown,
        })
    }

    /// Whether a selection holds for a member. `None` if that depends on what the node did not say.
    fn chooses(&self, select: Option<&Expr>, member: &Member) -> Result<Option<bool>, String> {
        let Some(select) = select else { return Ok(Some(true)) };
        let Member { agent, address, attributes, node, datastore, refusal, .. } = member;
        let agent = agent_in_scope(agent, address, attributes, node, datastore);
        let known = Known::of(attributes, node, datastore, refusal.is_some());
        if select.looks_at_unknown(&known) {
            return Ok(self.with_scope(agent, Value::Null, |scope| {
                select.known(scope, &|path| known.is_unknown(path))
            }));
        }
        self.with_scope(agent, Value::Null, |scope| select.eval_bool(scope))
            .map(Some)
            .map_err(|error| format!("agent {}: {error}", member.agent))
    }
}

/// Says what must be known about members before the selection of a stage can be worked out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Selection {
    snapshot: Arc<Snapshot>,
    stage: u16,
    wanted: Wanted,
    /// The attributes that agents reported in earlier stages. Empty if the selection needs no answers.
    said: Arc<HashMap<AgentId, Map<String, Value>>>,
    /// Agents that take no part in the stage, whatever they say.
    out: Arc<HashSet<AgentId>>,
}

impl Machine {
    /// The selection of the stage that is beginning or running.
    pub fn selection(&self) -> Selection {
        let state = self.state();
        let (nothing, silent) = (Map::new(), Datastore::default());
        let known = Known::of(&nothing, &Value::Null, &silent, false);
        let mut selections = state.stage().ok().map(|stage| state.snapshot().selections(stage));
        let needs = selections.iter_mut().flatten().any(|select| select.looks_at_unknown(&known));
        let said = |record: &AgentRecord| {
            (record.agent.clone(), reported(&record.attributes, &record.declared))
        };
        let records = || self.records().filter(|_| needs);
        let said = records().map(said).collect();
        let failed = records().filter(|record| state.failed_in(record.seq).is_some());
        let out = Arc::new(failed.map(|record| record.agent.clone()).collect());
        let snapshot = Arc::clone(state.snapshot());
        let (stage, wanted) = (state.progress().stage.index, state.wanted());
        Selection { snapshot, stage, wanted, said: Arc::new(said), out }
    }
}

impl Selection {
    /// What a member is asked, with what its identity check needs.
    pub fn wanted(&self, identity: &Identity) -> Wanted {
        self.wanted.and_compare(identity)
    }

    /// Whether a member must be asked again, because it did not answer and its selection depends on the answer. A
    /// member that refuses to answer would only refuse again.
    pub fn needs_answer(&self, member: &Member) -> bool {
        if member.refusal.is_some() || self.out.contains(&member.agent) {
            return false;
        }
        if !member.node.is_null() {
            return matches!(self.snapshot.selects(self.stage, member), Ok(None));
        }
        let said = self.said.get(&member.agent).cloned().unwrap_or_default();
        let attributes = declared_over(said, &member.declared);
        let known = Member { attributes, ..member.clone() };
        matches!(self.snapshot.selects(self.stage, &known), Ok(None))
    }
}

impl Expr {
    /// Whether the expression looks at something that only the node can say, and that the node did not say.
    pub(super) fn looks_at_unknown(&self, known: &Known<'_>) -> bool {
        self.paths().iter().any(|path| known.is_unknown(path))
    }
}

/// What is known about an agent, which may not have answered.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    attributes: &'a Map<String, Value>,
    node: &'a Value,
    /// Whether everything is known that the agent says about its node.
    whole: bool,
    store: bool,
    shards: bool,
}

impl<'a> Known<'a> {
    pub(super) fn of(
        attributes: &'a Map<String, Value>,
        node: &'a Value,
        datastore: &Datastore,
        is_cut: bool,
    ) -> Self {
        let Datastore { store, shards } = datastore;
        let (store, shards) = (!store.is_null(), !shards.is_null());
        Self { attributes, node, whole: !node.is_null() && !is_cut, store, shards }
    }

    /// Whether a part of the scope is unknown.
    fn is_unknown(&self, path: &[&str]) -> bool {
        match path {
            ["agent"] => !(self.whole && self.store && self.shards),
            ["agent", "attributes"] | ["agent", "node"] => !self.whole,
            ["agent", "attributes", name, ..] => {
                !self.whole && !self.attributes.contains_key(*name)
            }
            ["agent", "node", name, ..] => !self.whole && self.node.get(*name).is_none(),
            ["agent", "store", ..] => !self.store,
            ["agent", "shards", ..] => !self.shards,
            _ => false,
        }
    }
}
