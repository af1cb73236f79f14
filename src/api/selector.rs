//! The parameter `selector` of lists: an expression that says which items a client wants. It is evaluated here, page by
//! page, so that a long list does not have to be sent to be searched.
//!
//! A page looks at a bounded number of items, and then ends even if it has few items or none; its `next` leads on.

use serde_json::Value;

use super::error::{ApiError, Code};
use super::params::InQuery;
use crate::playbook::{MAX_QUERY_WORK, Picks, Query, Root, Scope};

/// The name of the parameter.
pub const SELECTOR: &str = "selector";

/// The most items that one page looks at. Whoever looks for a few runs among 100,000 then needs a hundred requests, none
/// of which takes long.
pub(super) const MAX_EXAMINED: u32 = 1_000;

/// The most bytes of items that one page looks at, unless the first piece that it reads has more.
pub(super) const MAX_EXAMINED_BYTES: usize = 32 * 1024 * 1024;

/// What queries of runs may look at: a run as the list shows it.
pub const RUN_ROOTS: [Root; 1] = [Root {
    name: "run",
    members: &[
        "id",
        "status",
        "playbook",
        "version",
        "cluster",
        "reason",
        "asks",
        "waits",
        "trouble",
        "since",
        "last_event",
        "stage",
        "stage_index",
        "stages",
        "once",
        "closing",
        "narrowed",
        "hold",
        "selected",
        "counts",
        "silent",
        "held",
        "held_agents",
        "overridden",
        "failures",
        "all_failures",
        "passed_over",
        "outcomes",
        "nobody",
        "gone",
        "dropped_lines",
        "params",
        "plugins",
        "vcs",
        "retry_of",
        "started_by",
        "created_at",
        "started_at",
        "finish_ts",
    ],
}];

/// What queries of a cluster's agents may look at: an agent as the list shows it. Where agents are asked, `node` is what
/// `info/node` says, and attributes that only the agent reports count too, as in the selection of a stage.
pub const AGENT_ROOTS: [Root; 2] = [
    Root {
        name: "agent",
        members: &["id", "address", "source", "attributes", "since", "node", "now"],
    },
    Root { name: "cluster", members: &["name"] },
];

/// A query, and how much more it may look at for this page.
#[derive(Debug)]
pub(super) struct Selector {
    query: Query,
    /// The name in scope that stands for an item.
    root: &'static str,
    /// The value of `cluster`.
    cluster: Value,
    left: u64,
}

impl Selector {
    /// Takes the parameter; `None` if it is not given.
    pub(super) fn take(query: &mut InQuery, roots: &[Root]) -> Result<Option<Self>, ApiError> {
        let source = query.take::<String>(SELECTOR, "an expression")?;
        source.map(|source| Self::parse(&source, roots)).transpose()
    }

    /// Reads the value of the parameter.
    pub(super) fn parse(source: &str, roots: &[Root]) -> Result<Self, ApiError> {
        let root = roots.first().map_or("", |root| root.name);
        match Query::parse(source, roots) {
            Ok(query) => Ok(Self { query, root, cluster: Value::Null, left: MAX_QUERY_WORK }),
            Err(error) => {
                let at = error.at.map(|at| format!(" (at its character {})", at + 1));
                let at = at.filter(|_| !error.message.contains("(at its "));
                let at = at.unwrap_or_default();
                let detail = format!("query parameter `{SELECTOR}`: found {source:?}: {error}{at}");
                Err(ApiError::new(Code::BadParameter, detail))
            }
        }
    }

    /// The same, with the name of the cluster in scope.
    pub(super) fn of_cluster(self, name: &str) -> Self {
        Self { cluster: serde_json::json!({ "name": name }), ..self }
    }

    /// Whether the item is wanted.
    ///
    /// # Errors
    /// The expression has no value for it; `name` says which item that is.
    pub(super) fn picks(&mut self, item: &Value, name: &str) -> Result<Picks, ApiError> {
        let Self { query, root, cluster, left } = self;
        query.picks(&scope(root, item, cluster), left).map_err(|error| no_value(&error, name))
    }

    /// The same while parts of the item are unknown: `None` if they may matter.
    pub(super) fn picks_without(
        &mut self,
        item: &Value,
        unknown: &dyn Fn(&[&str]) -> bool,
        name: &str,
    ) -> Result<Option<Picks>, ApiError> {
        let Self { query, root, cluster, left } = self;
        let picks = query.picks_without(&scope(root, item, cluster), unknown, left);
        picks.map_err(|error| no_value(&error, name))
    }

    /// The same query with all its work ahead of it: for items that were looked at before and have been asked since.
    pub(super) fn anew(&mut self) {
        self.left = MAX_QUERY_WORK;
    }
}

fn scope<'v>(root: &str, item: &'v Value, cluster: &'v Value) -> Scope<'v> {
    static NONE: Value = Value::Null;
    let of = |name: &str| if root == name { item } else { &NONE };
    Scope { params: &NONE, agent: of("agent"), steps: &NONE, run: of("run"), cluster }
}

fn no_value(error: &crate::playbook::ExprError, name: &str) -> ApiError {
    let detail = format!("query parameter `{SELECTOR}`: {error} (of {name})");
    ApiError::new(Code::BadParameter, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::wire::{ClusterAgentView, RunView};

    fn members<T: schemars::JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T).to_value();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn whatever_a_list_shows_can_be_looked_at() {
        let of = |root: &Root| root.members.iter().map(|name| (*name).to_owned());
        let mut run = members::<RunView>();
        // Only the view of a single run has it.
        assert!(run.remove("engine"));
        assert_eq!(of(&RUN_ROOTS[0]).collect::<BTreeSet<_>>(), run);
        let mut agent = members::<ClusterAgentView>();
        agent.insert("node".to_owned());
        assert_eq!(of(&AGENT_ROOTS[0]).collect::<BTreeSet<_>>(), agent);
    }
}
