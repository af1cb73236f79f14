//! Whom guards would hold if a run began now: for people who look before they start one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::held::{GuardGroup, HeldAgent, HeldBy, MAX_BECAUSE, MAX_HELD_NAMED};
use super::state::{allowed, group_of, is_well};
use crate::playbook::{ClusterGuards, Guard};
use crate::run::AgentId;

/// An agent as its node is now.
#[derive(Clone, Debug)]
pub struct AtRest {
    /// The agent.
    pub agent: AgentId,
    /// Its attributes.
    pub attributes: Arc<Map<String, Value>>,
    /// What its node said. Null if it said nothing.
    pub node: Value,
}

/// Whom the guards that count agents would hold now, while nobody is at work: each agent for itself, as if a decision
/// named it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldNow {
    /// How many agents.
    pub agents: u32,
    /// The first [`MAX_HELD_NAMED`] of them, with what holds each.
    pub some: Vec<HeldAgent>,
}

/// One group of a guard.
#[derive(Default)]
struct Group {
    size: u32,
    out: Vec<AgentId>,
}

/// What one guard counts.
struct Tally<'a> {
    guard: &'a Guard,
    groups: BTreeMap<Option<String>, Group>,
}

impl HeldNow {
    /// Whom these guards would hold of all agents of the cluster, which are in the order of a run.
    pub fn of(guards: &ClusterGuards, all: &[AtRest]) -> Self {
        let out = all.iter().filter(|one| !is_well(&one.node, &guards.healthy));
        let out: BTreeSet<&AgentId> = out.map(|one| &one.agent).collect();
        let tallies: Vec<Tally<'_>> =
            guards.guards.iter().map(|guard| Tally::of(guard, all, &out)).collect();
        let mut held = Self::default();
        for one in all {
            let is_out = out.contains(&one.agent);
            let by = tallies.iter().find_map(|tally| tally.holds(&one.attributes, is_out));
            let Some(by) = by else { continue };
            held.agents = held.agents.saturating_add(1);
            if held.some.len() < MAX_HELD_NAMED {
                held.some.push(HeldAgent { agent: one.agent.clone(), by });
            }
        }
        held
    }
}

impl<'a> Tally<'a> {
    fn of(guard: &'a Guard, all: &[AtRest], out: &BTreeSet<&AgentId>) -> Self {
        let mut groups: BTreeMap<Option<String>, Group> = BTreeMap::new();
        for one in all {
            let group = groups.entry(group_of(guard, &one.attributes)).or_default();
            group.size = group.size.saturating_add(1);
            if out.contains(&one.agent) {
                group.out.push(one.agent.clone());
            }
        }
        Self { guard, groups }
    }

    /// What holds an agent, as [`guarding`](super::machine) judges it.
    fn holds(&self, attributes: &Map<String, Value>, is_out: bool) -> Option<HeldBy> {
        let value = group_of(self.guard, attributes);
        let group = self.groups.get(&value)?;
        let told = || {
            let attribute = self.guard.attribute()?.to_owned();
            Some(GuardGroup { attribute, value: value.clone() })
        };
        let out = u32::try_from(group.out.len()).unwrap_or(u32::MAX);
        let most = allowed(self.guard, group.size);
        if out.saturating_add(u32::from(!is_out)) > most {
            return Some(HeldBy::Agents {
                guard: self.guard.name.clone(),
                group: told(),
                of: group.size,
                out,
                allowed: most,
                because: group.out.iter().take(MAX_BECAUSE).cloned().collect(),
            });
        }
        let most = self.guard.groups?;
        let touched = || self.groups.values().filter_map(|group| group.out.first());
        let count = u32::try_from(touched().count()).unwrap_or(u32::MAX);
        let count = count.saturating_add(u32::from(out == 0));
        if count <= most {
            return None;
        }
        Some(HeldBy::Groups {
            guard: self.guard.name.clone(),
            group: told()?,
            touched: count,
            allowed: most,
            because: touched().take(MAX_BECAUSE).cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::playbook::Amount;

    /// `a0 a1! b0` are agents of zones a and b, of which one is ill.
    fn agents(text: &str) -> Vec<AtRest> {
        let one = |word: &str| {
            let name = word.trim_end_matches('!');
            let status = if name == word { "HEALTHY" } else { "UNHEALTHY" };
            let attributes = json!({ "zone": &name[..1] }).as_object().cloned().unwrap();
            AtRest {
                agent: AgentId(name.to_owned()),
                attributes: Arc::new(attributes),
                node: json!({ "node_status": status }),
            }
        };
        text.split_whitespace().map(one).collect()
    }

    fn guard(name: &str, by: Option<&str>, max_out: Amount, groups: Option<u32>) -> Guard {
        Guard { name: name.to_owned(), by: by.map(str::to_owned), max_out, groups }
    }

    #[test]
    fn each_agent_is_judged_alone_by_the_first_guard_that_holds_it() {
        let zone = Some("attributes.zone");
        let one_zone = guard("one-zone", zone, Amount::Count(1), Some(1));
        let third = guard("third", zone, Amount::Share(3_300), None);
        let two = guard("two", None, Amount::Count(2), None);
        for (guards, all, expected) in [
            (vec![&one_zone], "a0 a1 b0", ""),
            // Another one of the zone would be too many, and of another zone one zone too many. The ill one may go.
            (vec![&one_zone], "a0 a1! b0", "a0 one-zone, b0 one-zone"),
            (vec![&one_zone], "a0 a1! b0!", "a0 one-zone, a1 one-zone, b0 one-zone"),
            (vec![&third], "a0 a1 b0 b1 b2 b3", "a0 third, a1 third"),
            (vec![&two], "a0! a1 b0", ""),
            (vec![&two, &one_zone], "a0! a1! b0", "a0 one-zone, a1 one-zone, b0 two"),
            (vec![], "a0! a1!", ""),
        ] {
            let guards = guards.into_iter().cloned().collect();
            let guards = ClusterGuards { guards, ..ClusterGuards::default() };
            let healthy = vec!["HEALTHY".to_owned()];
            let held = HeldNow::of(&ClusterGuards { healthy, ..guards }, &agents(all));
            let told = held.some.iter().map(|one| format!("{} {}", one.agent, one.by.guard()));
            assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "{all}");
            assert_eq!(held.agents as usize, held.some.len(), "{all}");
        }
    }

    #[test]
    fn a_node_that_says_nothing_is_out_and_only_some_are_named() {
        let mut all = agents("a0 a1 a2 a3 a4 a5 a6");
        all[0].node = Value::Null;
        let healthy = vec!["HEALTHY".to_owned()];
        let guards = vec![guard("one", None, Amount::Count(1), None)];
        let held =
            HeldNow::of(&ClusterGuards { guards, healthy, ..ClusterGuards::default() }, &all);
        assert_eq!((held.agents, held.some.len()), (6, MAX_HELD_NAMED));
        let HeldBy::Agents { out: 1, allowed: 1, because, .. } = &held.some[0].by else {
            panic!("{held:?}")
        };
        assert_eq!(because, &[AgentId("a0".to_owned())]);
    }
}
