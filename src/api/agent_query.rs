//! Which agents of a cluster a selector picks. Asking agents takes seconds, so only those are asked that are picked, or
//! may be, by what is known without asking.

use std::ops::Bound;

use serde_json::Value;

use super::ask_agents::Asked;
use super::cluster_agents::view;
use super::error::ApiError;
use super::selector::Selector;
use super::wire::{AgentNow, ClusterAgentView};
use crate::playbook::{Identity, Picks};
use crate::run::{AgentId, Members, declared_over};

/// The most agents that one page looks at: they are in memory, and an expression of usual length takes some
/// microseconds for one.
const MAX_LOOKED_AT: u32 = 10_000;

/// An agent that is picked, or may be.
pub(super) struct Choice {
    pub(super) view: ClusterAgentView,
    pub(super) identity: Identity,
    /// Whether it depends on the agent's answer.
    pub(super) is_open: bool,
}

/// A part of the agents of a cluster.
pub(super) struct Chosen {
    pub(super) agents: Vec<Choice>,
    /// The agent after which the list goes on.
    pub(super) next: Option<String>,
}

/// The first `limit` agents in `range` that are picked, or may be if they are asked.
///
/// # Errors
/// The expression has no value for one of them.
pub(super) fn choose(
    members: &Members,
    range: (Bound<AgentId>, Bound<AgentId>),
    limit: u32,
    ask: bool,
    selector: &mut Selector,
) -> Result<Chosen, ApiError> {
    let mut chosen = Chosen { agents: Vec::new(), next: None };
    let mut last: Option<&AgentId> = None;
    for (looked_at, (id, agent)) in (0..).zip(members.range(range)) {
        if looked_at == MAX_LOOKED_AT || chosen.agents.len() >= limit as usize {
            chosen.next = last.map(AgentId::to_string);
            return Ok(chosen);
        }
        let view = view(id, agent);
        let item = serde_json::to_value(&view).map_err(ApiError::internal)?;
        let picks = match ask {
            false => Some(selector.picks(&item, id.as_str())?),
            true => {
                let unknown = |path: &[&str]| is_unknown(&view, path);
                selector.picks_without(&item, &unknown, id.as_str())?
            }
        };
        let is_open = match picks {
            Some(Picks::Yes) => false,
            Some(Picks::No) => {
                last = Some(id);
                continue;
            }
            Some(Picks::Spent) => {
                chosen.next = last.map(AgentId::to_string);
                return Ok(chosen);
            }
            None => true,
        };
        last = Some(id);
        chosen.agents.push(Choice { view, identity: agent.identity.clone(), is_open });
    }
    Ok(chosen)
}

/// The agents that are picked, of those that were asked.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) picked: Vec<ClusterAgentView>,
    /// How many gave no answer, and might be picked with one.
    pub(super) undecided: u32,
    /// The agent after which the list goes on, if deciding about the next one would have taken too long.
    pub(super) next: Option<String>,
}

/// Decides about the agents that were asked, each with whether its answer matters.
///
/// # Errors
/// The expression has no value for one of them.
pub(super) fn decide(
    asked: impl Iterator<Item = (Asked, bool)>,
    mut selector: Selector,
) -> Result<Decided, ApiError> {
    let mut decided = Decided::default();
    let mut last: Option<String> = None;
    selector.anew();
    for (Asked { agent, node }, is_open) in asked {
        let id = agent.id.to_string();
        if is_open {
            let item = as_asked(&agent, node)?;
            let is_silent = agent.now.as_ref().is_none_or(|now| now.error.is_some());
            let unknown = |path: &[&str]| is_silent && is_unknown(&agent, path);
            match selector.picks_without(&item, &unknown, &id)? {
                Some(Picks::Yes) => decided.picked.push(agent),
                Some(Picks::No) => {}
                Some(Picks::Spent) => {
                    decided.next = last;
                    return Ok(decided);
                }
                None => decided.undecided += 1,
            }
        } else {
            decided.picked.push(agent);
        }
        last = Some(id);
    }
    Ok(decided)
}

/// Whether only the agent itself could say what is at this path.
fn is_unknown(agent: &ClusterAgentView, path: &[&str]) -> bool {
    match path {
        ["agent"] | ["agent", "attributes" | "node" | "now"] => true,
        ["agent", "attributes", name, ..] => !agent.attributes.contains_key(*name),
        ["agent", "node" | "now", ..] => true,
        _ => false,
    }
}

/// The agent as expressions see it: as it is shown, with all that its node says, and with the attributes that it reports
/// under those that it was given.
fn as_asked(agent: &ClusterAgentView, node: Value) -> Result<Value, ApiError> {
    let mut item = serde_json::to_value(agent).map_err(ApiError::internal)?;
    let reported = agent.now.as_ref().map(|now: &AgentNow| now.attributes.clone());
    let attributes = declared_over(reported.unwrap_or_default(), &agent.attributes);
    if let Value::Object(item) = &mut item {
        item.insert("attributes".to_owned(), Value::Object(attributes));
        item.insert("node".to_owned(), node);
    }
    Ok(item)
}
