//! What the selection of a stage says about a member, even if it did not answer, or if another node
//! answered in its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::entering::NOT_SELECTED;
use super::inputs::Machine;
use super::steps::MAX_EXPRESSION_BYTES;
use crate::playbook::{Expr, Identity};
use crate::run::datastore::agent_in_scope;
use crate::run::failure::beginning;
use crate::run::state::{Standing, State};
use crate::run::{
    AgentId, AgentRecord, AgentState, Datastore, FailureReason, Member, Refusal, Snapshot, Wanted,
    declared_over,
};

impl Standing {
    /// The state in which such a member begins the stage, and why it takes no part.
    pub(super) fn state(&self) -> (AgentState, Option<String>) {
        match self {
            Self::In => (AgentState::Pending, None),
            Self::Out => (AgentState::Skipped, Some(NOT_SELECTED.to_owned())),
            Self::Fails { .. } => (AgentState::Failed, None),
        }
    }
}

impl Member {
    /// Why it is not known what only its node says.
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
    /// What the selection of the stage says about a member. If it did not answer, what it said of its
    /// attributes in an earlier stage still counts, and `record` has that. What another node says in
    /// its place never counts.
    ///
    /// # Errors
    /// An expression has no value for a member that answered; the text is for people.
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
        let known = self.snapshot().selects(self.progress().stage.index, member)?;
        let (reason, message) = match (&wrong, known) {
            (_, Some(false)) => return Ok(Standing::Out),
            (None, Some(true)) => return Ok(Standing::In),
            (Some(wrong), _) => (FailureReason::WrongNode, wrong.to_string()),
            (None, None) => member.why_unknown(),
        };
        Ok(Standing::Fails { reason, message, undecided: known.is_none() })
    }
}

/// What an agent said of its attributes when it last answered.
fn reported(known: &Map<String, Value>, declared: &Map<String, Value>) -> Map<String, Value> {
    let said = known.iter().filter(|(name, _)| !declared.contains_key(*name));
    said.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Snapshot {
    /// Whether a stage selects a member; none if that depends on what its node did not say.
    fn selects(&self, stage: u16, member: &Member) -> Result<Option<bool>, String> {
        let stage = self.playbook.stages.get(usize::from(stage));
        let Some(select) = stage.and_then(|stage| stage.select.as_ref()) else {
            return Ok(Some(true));
        };
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

/// Says what must be known of members before the selection of a stage can be worked out. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Selection {
    snapshot: Arc<Snapshot>,
    stage: u16,
    wanted: Wanted,
    /// What agents said of their attributes in stages before; of nobody where no member has to answer.
    said: Arc<HashMap<AgentId, Map<String, Value>>>,
    /// Who takes no part in it whatever it says.
    out: Arc<HashSet<AgentId>>,
}

impl Machine {
    /// The selection of the stage that begins, or is running.
    pub fn selection(&self) -> Selection {
        let state = self.state();
        let needs = state.stage().ok().and_then(|stage| stage.select.as_ref());
        let (nothing, silent) = (Map::new(), Datastore::default());
        let known = Known::of(&nothing, &Value::Null, &silent, false);
        let needs = needs.is_some_and(|select| select.looks_at_unknown(&known));
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
    /// What a member is asked that has to be compared so.
    pub fn wanted(&self, identity: &Identity) -> Wanted {
        self.wanted.and_compare(identity)
    }

    /// Whether a member has to be asked again, since it did not answer and whether it is selected
    /// depends on what it would have said. Who refuses to answer would do so again.
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
    /// Whether it looks at what only a node says that did not.
    pub(super) fn looks_at_unknown(&self, known: &Known<'_>) -> bool {
        self.paths().iter().any(|path| known.is_unknown(path))
    }
}

/// What is known of an agent that perhaps did not answer.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    attributes: &'a Map<String, Value>,
    node: &'a Value,
    /// Whether all that it says of its node is.
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

    /// Whether a part of the scope is not.
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
