//! What agents say about their stores, and which expressions look at that. It is apart from what they say about
//! their nodes, because agents are asked for it only if someone wants it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ids::AgentId;
use crate::playbook::{Expr, Identity, Stage, Template};

/// Where expressions find what an agent says about its store.
const STORE: [&str; 2] = ["agent", "store"];

/// Where expressions find the shards of the store.
const SHARDS: [&str; 2] = ["agent", "shards"];

/// What an agent says about its store. Agents are asked for it only if an expression looks at it, or if the
/// cluster of the store is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Datastore {
    /// What `info/store` said: `cluster_id` and `attributes`. `{}` if the agent has no such call; null if it was
    /// not asked, or did not answer.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub store: Value,
    /// The shards that `info/shards` listed, each with `id`, `role`, `commit_offset` and `lag`. `[]` if the agent
    /// has no such call; null if it was not asked, or did not answer.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub shards: Value,
}

impl Datastore {
    /// Whether nothing is known about the store.
    pub fn is_empty(&self) -> bool {
        self.store.is_null() && self.shards.is_null()
    }
}

/// What an agent is asked for in addition to what it says about its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What it says about its store, because an expression looks at it.
    pub store: bool,
    /// Its shards, because an expression looks at them.
    pub shards: bool,
    /// The cluster of its store, because the agent's identity is checked against it.
    pub cluster: bool,
}

impl Wanted {
    /// What the expression looks at.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Expr;
    /// use replibook_core::run::Wanted;
    ///
    /// let wanted = Wanted::of(&Expr::parse("agent.shards.all(shard, shard.role == 'SECONDARY')")?);
    /// assert!(wanted.shards && !wanted.store);
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn of(expression: &Expr) -> Self {
        Self {
            store: expression.looks_at(&STORE),
            shards: expression.looks_at(&SHARDS),
            cluster: false,
        }
    }

    /// What the expressions of a stage look at.
    pub(super) fn of_stage(stage: &Stage, params: &Map<String, Value>) -> Self {
        let looks_at = |path: [&str; 2]| {
            let looks = |expression: &Expr| expression.looks_at(&path);
            stage.select.as_ref().is_some_and(looks)
                || stage.steps.iter().any(|step| {
                    step.when.iter().chain(&step.require).any(looks) || step.with.any(looks)
                })
                || may_ask(&stage.strategy.with, params, &path.join("."))
        };
        Self { store: looks_at(STORE), shards: looks_at(SHARDS), cluster: false }
    }

    /// The same, plus what `other` looks at.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            store: self.store || other.store,
            shards: self.shards || other.shards,
            cluster: self.cluster || other.cluster,
        }
    }

    /// The same, plus the cluster if `identity` compares it.
    #[must_use]
    pub(super) fn and_compare(self, identity: &Identity) -> Self {
        Self { cluster: self.cluster || identity.cluster_id().is_some(), ..self }
    }
}

/// Whether a strategy with these arguments may ask for `word` of agents. A strategy gets expressions as text, so
/// what counts is what its arguments say, and what the parameters say if the arguments are made from parameters.
fn may_ask(with: &Template, params: &Map<String, Value>, word: &str) -> bool {
    has_word(with.source(), word)
        || !with.is_literal() && params.values().any(|value| has_word(value, word))
}

/// Whether a text in a value contains `word`. The values come from documents, which are not nested deeply.
fn has_word(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.contains(word),
        Value::Array(items) => items.iter().any(|item| has_word(item, word)),
        Value::Object(map) => map.values().any(|value| has_word(value, word)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What expressions see as `agent`.
pub(super) fn agent_in_scope(
    id: &AgentId,
    address: &str,
    attributes: &Map<String, Value>,
    node: &Value,
    Datastore { store, shards }: &Datastore,
) -> Value {
    json!({
        "id": id, "address": address, "attributes": attributes, "node": node, "store": store,
        "shards": shards,
    })
}
