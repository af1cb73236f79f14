//! Sorts the answer of a platform into what can be used and what can't. It keeps the doubts about an answer out of
//! the follower.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::playbook::{ADDRESS_EXPECTED, IDENTIFIER_EXPECTED, is_agent_identifier, parse_address};
use crate::run::AgentId;

/// The most discovered agents that are known of one cluster, absent ones included: as many as a Cluster object may
/// list. Without a limit, a platform with new names in every answer would fill the memory.
pub const MAX_FOUND: usize = 100_000;

/// The most characters of `node_class` and `node_group`. A longer text is hardly a name, and is left out.
pub const MAX_ATTRIBUTE_CHARS: usize = 256;

/// For how many of the nodes that are left out a reason is kept. The others are only counted.
pub const MAX_TOLD: usize = 5;

/// How many characters are quoted of an identifier or address that can't be used.
const MAX_QUOTED_CHARS: usize = 100;

/// A node as a platform reports it. Nothing is checked; a field is `None` if it is missing or not a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformNode {
    /// Identifier of the node, which is that of its agent.
    pub node_id: Option<String>,
    /// Base URL of the agent's API.
    pub agent_address: Option<String>,
    /// The kind of the node; becomes an attribute of the agent.
    pub node_class: Option<String>,
    /// What the node belongs to; becomes an attribute of the agent.
    pub node_group: Option<String>,
}

/// The nodes of an answer that can't be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many nodes there are.
    pub count: usize,
    /// What is wrong with the first of them, at most [`MAX_TOLD`].
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) address: String,
    class: Option<String>,
    group: Option<String>,
}

/// The names of a node's attributes.
const CLASS: &str = "node_class";
const GROUP: &str = "node_group";

impl Node {
    /// The attributes of the agent on this node.
    pub(super) fn attributes(self) -> Map<String, Value> {
        let named = [(CLASS, self.class), (GROUP, self.group)].into_iter();
        named.filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?)))).collect()
    }

    /// Whether an agent with this address and these attributes, which were made here, is as the node says.
    pub(super) fn is_as(&self, address: &str, attributes: &Map<String, Value>) -> bool {
        let named = |name| attributes.get(name).and_then(Value::as_str);
        self.address == address
            && self.class.as_deref() == named(CLASS)
            && self.group.as_deref() == named(GROUP)
    }
}

/// An answer, sorted into what can be used and what can't.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// The nodes that can be used. No two of them have the same address.
    pub(super) usable: BTreeMap<AgentId, Node>,
    /// Agents that the answer names in a way that can't be used: they count neither as present nor as absent.
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

/// Sorts the nodes of an answer. `address_of` gives the address under which an agent is known.
///
/// A node is left out if it has no readable identifier or address, and if another node with its identifier has a
/// different address. Nodes that share an address are all left out, except for an agent that is already known
/// under that address. The order of the nodes plays no part.
///
/// An answer may have a node for each of 100,000 agents, and comes every few seconds. So only the addresses of
/// usable nodes are copied, which is necessary since an address has many spellings.
pub(super) fn sort<'a>(
    nodes: Vec<PlatformNode>,
    address_of: impl Fn(&AgentId) -> Option<&'a str>,
) -> Sorted {
    let mut sorted = Sorted::default();
    let nodes = nodes.into_iter().filter_map(|node| read(node, &mut sorted.left_out));
    let mut nodes: Vec<(AgentId, Option<Node>)> = nodes.collect();
    // All nodes with the same identifier are decided about together.
    nodes.sort();
    let mut nodes = nodes.into_iter().peekable();
    let usable = std::iter::from_fn(|| {
        loop {
            let (id, mut node) = nodes.next()?;
            let mut again = Vec::new();
            while let Some((_, other)) = nodes.next_if(|(other, _)| *other == id) {
                again.push(other);
            }
            if !again.is_empty() {
                node = one_of(&id, node, again, &mut sorted.left_out);
            }
            match node {
                Some(node) => return Some((id, node)),
                None => sorted.vague.insert(id),
            };
        }
    });
    sorted.usable = usable.collect();
    for (address, ids) in shared(&sorted.usable) {
        for id in ids.iter().filter(|id| address_of(id) != Some(address.as_str())) {
            let why = || format!("node {id}: {} nodes have the address {address}", ids.len());
            sorted.leave_out(id, why);
        }
    }
    sorted
}

/// Reads one node. It has no address if that can't be read; without an identifier there is no node.
fn read(node: PlatformNode, left_out: &mut LeftOut) -> Option<(AgentId, Option<Node>)> {
    let PlatformNode { node_id, agent_address, node_class, node_group } = node;
    let Some(id) = node_id.as_ref().filter(|id| is_agent_identifier(id)) else {
        let found = quote(node_id.as_deref());
        let why = || format!("a node: node_id: found {found}, expected {IDENTIFIER_EXPECTED}");
        left_out.add(why);
        return None;
    };
    let Some(address) = agent_address.as_deref().and_then(parse_address) else {
        let found = quote(agent_address.as_deref());
        left_out.add(|| {
            format!("node {id}: agent_address: found {found}, expected {ADDRESS_EXPECTED}")
        });
        return Some((AgentId(node_id?), None));
    };
    let fits = |text: &String| {
        text.len() <= MAX_ATTRIBUTE_CHARS || text.chars().count() <= MAX_ATTRIBUTE_CHARS
    };
    let (class, group) = (node_class.filter(fits), node_group.filter(fits));
    Some((AgentId(node_id?), Some(Node { address, class, group })))
}

/// What counts of several nodes with the same identifier, given in order. `None` if they contradict each other.
fn one_of(
    id: &AgentId,
    first: Option<Node>,
    again: Vec<Option<Node>>,
    left_out: &mut LeftOut,
) -> Option<Node> {
    let all = || std::iter::once(&first).chain(&again);
    if all().any(Option::is_none) {
        for _ in all().flatten() {
            left_out.add(|| format!("node {id} is named again, and one of the two can't be used"));
        }
        return None;
    }
    let mut addresses: Vec<&str> = all().flatten().map(|node| node.address.as_str()).collect();
    addresses.dedup();
    if addresses.len() > 1 {
        let addresses = addresses.join(" and ");
        left_out.add(|| format!("node {id} is named with the addresses {addresses}"));
        return None;
    }
    // All have the same address. Of their attributes, the first in order count.
    first
}

/// The addresses that several nodes share, each with these nodes, in order.
fn shared(usable: &BTreeMap<AgentId, Node>) -> BTreeMap<String, Vec<AgentId>> {
    let mut owners: HashMap<&str, u32> = HashMap::with_capacity(usable.len());
    for node in usable.values() {
        *owners.entry(&node.address).or_default() += 1;
    }
    let mut shared: BTreeMap<String, Vec<AgentId>> = BTreeMap::new();
    if owners.len() == usable.len() {
        return shared;
    }
    for (id, node) in usable {
        if owners.get(node.address.as_str()).is_some_and(|owners| *owners > 1) {
            shared.entry(node.address.clone()).or_default().push(id.clone());
        }
    }
    shared
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
            // This identifier would look like `a` on every terminal.
            node("a\u{200b}", "http://f:1"),
        ];
        let sorted = sort(nodes, |_| None);
        assert_eq!(ids(&sorted), ["a", "e"]);
        assert_eq!(sorted.usable[&AgentId::from("a")].address, "http://a:1");
        assert_eq!(sorted.vague, ["c", "d"].map(AgentId::from).into());
        assert_eq!(sorted.left_out.count, 5);
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
        let known = |id: &AgentId| (id.as_str() == "b").then_some("http://x");
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
        let node = sorted.usable[&AgentId::from("a")].clone();
        let attributes = node.clone().attributes();
        assert_eq!(Value::Object(attributes.clone()).to_string(), r#"{"node_class":"m5.large"}"#);
        assert!(node.is_as("http://a", &attributes) && !node.is_as("http://b", &attributes));
        assert!(!node.is_as("http://a", &Map::new()));
    }

    #[test]
    fn only_some_of_many_are_told() {
        let sorted = sort(vec![PlatformNode::default(); 1_000], |_| None);
        assert_eq!((sorted.left_out.count, sorted.left_out.first.len()), (1_000, MAX_TOLD));
    }
}
