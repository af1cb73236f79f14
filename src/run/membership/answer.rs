//! The answer of a platform, sorted into what can be used of it and what can't.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::playbook::{ADDRESS_EXPECTED, IDENTIFIER_EXPECTED, is_identifier, parse_address};
use crate::run::AgentId;

/// Discovered agents that are known of one cluster at most, the absent ones among them: as many as a
/// Cluster object may list. Without it a platform with new names in every answer would fill the memory.
pub const MAX_FOUND: usize = 100_000;

/// Characters of `node_class` and `node_group`; a longer one is no name of anything, and is left out.
pub const MAX_ATTRIBUTE_CHARS: usize = 256;

/// Nodes that are left out of which it is said why; of the others there is the number.
pub const MAX_TOLD: usize = 5;

/// Characters of an identifier or an address that can't be used which are quoted.
const MAX_QUOTED_CHARS: usize = 100;

/// A node as a platform tells of it: nothing is checked, and what is missing or no text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformNode {
    /// Identifier of the node, which is that of its agent.
    pub node_id: Option<String>,
    /// Base URL of the agent's API.
    pub agent_address: Option<String>,
    /// What kind of node it is; an attribute of the agent.
    pub node_class: Option<String>,
    /// What the node belongs to; an attribute of the agent.
    pub node_group: Option<String>,
}

/// The nodes of an answer that can't be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many there are.
    pub count: usize,
    /// What is wrong with the first ones.
    pub first: Vec<String>,
}

impl LeftOut {
    pub(super) fn add(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_TOLD {
            self.first.push(why());
        }
    }
}

/// A node that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) address: String,
    pub(super) attributes: Map<String, Value>,
}

/// An answer, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// No two of these have the same address.
    pub(super) usable: BTreeMap<AgentId, Node>,
    /// Agents that the answer names in a way that says nothing: neither present nor absent.
    pub(super) vague: BTreeSet<AgentId>,
    pub(super) left_out: LeftOut,
}

impl Sorted {
    /// Takes a node out of what can be used.
    pub(super) fn leave_out(&mut self, id: &AgentId, why: impl FnOnce() -> String) {
        if self.usable.remove(id).is_some() {
            self.vague.insert(id.clone());
            self.left_out.add(why);
        }
    }
}

/// Sorts the nodes of an answer. `address_of` tells the address under which an agent is known.
///
/// A node is left out without a readable identifier or address, when another one with the same
/// identifier has another address, and when another one has the same address: unless the agent is
/// known under that address already; then the others are left out. The order of nodes plays no part.
pub(super) fn sort(
    nodes: Vec<PlatformNode>,
    address_of: impl Fn(&AgentId) -> Option<String>,
) -> Sorted {
    let mut sorted = Sorted::default();
    for node in nodes {
        take(node, &mut sorted);
    }
    let mut by_address: HashMap<String, Vec<AgentId>> = HashMap::new();
    for (id, node) in &sorted.usable {
        by_address.entry(node.address.clone()).or_default().push(id.clone());
    }
    let mut shared: Vec<_> = by_address.into_iter().filter(|(_, ids)| ids.len() > 1).collect();
    shared.sort();
    for (address, ids) in shared {
        for id in ids.iter().filter(|id| address_of(id).as_deref() != Some(address.as_str())) {
            let why = || format!("node {id}: {} nodes have the address {address}", ids.len());
            sorted.leave_out(id, why);
        }
    }
    sorted
}

fn take(node: PlatformNode, sorted: &mut Sorted) {
    let PlatformNode { node_id, agent_address, node_class, node_group } = node;
    let Some(id) = node_id.as_ref().filter(|id| is_identifier(id)).cloned().map(AgentId) else {
        let found = quote(node_id.as_deref());
        let why = || format!("a node: node_id: found {found}, expected {IDENTIFIER_EXPECTED}");
        sorted.left_out.add(why);
        return;
    };
    let Some(address) = agent_address.as_deref().and_then(parse_address) else {
        let found = quote(agent_address.as_deref());
        let why =
            || format!("node {id}: agent_address: found {found}, expected {ADDRESS_EXPECTED}");
        sorted.left_out.add(why);
        sorted.usable.remove(&id);
        sorted.vague.insert(id);
        return;
    };
    if sorted.vague.contains(&id) {
        sorted
            .left_out
            .add(|| format!("node {id} is named again, and one of the two can't be used"));
        return;
    }
    let named = [("node_class", node_class), ("node_group", node_group)];
    let fits = |text: &String| text.chars().count() <= MAX_ATTRIBUTE_CHARS;
    let attributes = named.into_iter().filter_map(|(name, text)| {
        text.filter(fits).map(|text| (name.to_owned(), Value::String(text)))
    });
    let node = Node { address, attributes: attributes.collect() };
    match sorted.usable.get(&id) {
        Some(other) if other.address != node.address => {
            let addresses = [other.address.clone(), node.address];
            let why =
                || format!("node {id} is named with the addresses {}", addresses.join(" and "));
            sorted.leave_out(&id, why);
        }
        // Named twice with the same address: of two sets of attributes the lesser one, so that the
        // order plays no part.
        Some(other) if text_of(&other.attributes) <= text_of(&node.attributes) => {}
        Some(_) | None => {
            sorted.usable.insert(id, node);
        }
    }
}

fn text_of(attributes: &Map<String, Value>) -> String {
    Value::Object(attributes.clone()).to_string()
}

fn quote(text: Option<&str>) -> String {
    let Some(text) = text else { return "no text".to_owned() };
    let start: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, address: &str) -> PlatformNode {
        PlatformNode {
            node_id: Some(id.to_owned()),
            agent_address: Some(address.to_owned()),
            ..PlatformNode::default()
        }
    }

    fn ids(sorted: &Sorted) -> Vec<&str> {
        sorted.usable.keys().map(AgentId::as_str).collect()
    }

    #[test]
    fn what_can_not_be_used_is_left_out_and_said() {
        let nodes = vec![
            node("a", "http://a:1/"),
            node("b b", "http://b:1"),
            node("c", "c:1"),
            node("d", "http://d:1"),
            node("d", "http://d:2"),
            PlatformNode::default(),
            node("e", "http://e:1"),
            node("e", "http://e:1"),
        ];
        let sorted = sort(nodes, |_| None);
        assert_eq!(ids(&sorted), ["a", "e"]);
        assert_eq!(sorted.usable[&AgentId::from("a")].address, "http://a:1");
        assert_eq!(sorted.vague, ["c", "d"].map(AgentId::from).into());
        assert_eq!(sorted.left_out.count, 4);
        let told = sorted.left_out.first.join("\n");
        assert!(told.contains("a node: node_id: found \"b b\", expected 1 to 256"), "{told}");
        assert!(told.contains("node c: agent_address: found \"c:1\", expected http://"), "{told}");
        assert!(told.contains("node d is named with the addresses http://d:1 and http://d:2"));
        assert!(told.contains("found no text"), "{told}");
    }

    #[test]
    fn an_address_is_one_agents_and_the_one_that_had_it_keeps_it() {
        let nodes = vec![node("a", "http://x"), node("b", "http://x"), node("c", "http://x")];
        let sorted = sort(nodes.clone(), |_| None);
        assert!(sorted.usable.is_empty() && sorted.vague.len() == 3);
        let known = |id: &AgentId| (id.as_str() == "b").then(|| "http://x".to_owned());
        let sorted = sort(nodes, known);
        assert_eq!(ids(&sorted), ["b"]);
        let why = "node a: 3 nodes have the address http://x";
        assert_eq!((sorted.left_out.count, sorted.left_out.first[0].as_str()), (2, why));
    }

    #[test]
    fn class_and_group_become_attributes_unless_they_are_too_long() {
        let long = "x".repeat(MAX_ATTRIBUTE_CHARS + 1);
        let node = PlatformNode {
            node_class: Some("m5.large".to_owned()),
            node_group: Some(long),
            ..node("a", "http://a")
        };
        let sorted = sort(vec![node], |_| None);
        let attributes = &sorted.usable[&AgentId::from("a")].attributes;
        assert_eq!(text_of(attributes), r#"{"node_class":"m5.large"}"#);
    }

    #[test]
    fn only_some_of_many_are_told() {
        let sorted = sort(vec![PlatformNode::default(); 1_000], |_| None);
        assert_eq!((sorted.left_out.count, sorted.left_out.first.len()), (1_000, MAX_TOLD));
    }
}
