//! Hosts that others know, as they stand in an inventory of ours: the nodes, the groups that they are in, and what could
//! not be taken over.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::playbook::inventory::{ALL_NODES, is_group_name};

/// The most notes about what was not taken over. A person reads the first few, and then mends the cause.
pub(super) const MAX_NOTES: usize = 20;

/// Hosts from elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hosts {
    /// The nodes, as an inventory has them.
    pub(super) nodes: Vec<Map<String, Value>>,
    /// What was not taken over, and what to do about it.
    notes: Vec<String>,
    /// How many notes there are beyond those that are kept.
    more: usize,
}

impl Hosts {
    /// Notes that something was not taken over; each note once.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.contains(&text) {
            return;
        }
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// The notes, and how many there are beyond them.
    pub(super) fn notes(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.notes.iter().cloned().chain(more).collect()
    }

    /// Adds a node. Groups whose names can't be those of an inventory are left out.
    pub(super) fn add(&mut self, id: &str, groups: Vec<String>, mut rest: Map<String, Value>) {
        let mut node = Map::new();
        node.insert("id".to_owned(), json!(id));
        let (fitting, other): (Vec<String>, Vec<String>) =
            groups.into_iter().partition(|group| is_group_name(group));
        for group in other {
            self.note(format!("the group {group:?} is left out: an inventory has no such names"));
        }
        if !fitting.is_empty() {
            node.insert("groups".to_owned(), json!(fitting));
        }
        node.append(&mut rest);
        self.nodes.push(node);
    }

    /// Adds the nodes to an inventory, and the groups of theirs that it has not.
    pub(super) fn add_to(&self, document: &mut Value) {
        let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) else { return };
        let of_nodes = self.nodes.iter().filter_map(|node| node.get("groups")?.as_array());
        let names: BTreeSet<&str> = of_nodes.flatten().filter_map(Value::as_str).collect();
        let groups = spec.entry("groups").or_insert_with(|| json!({}));
        if let Some(groups) = groups.as_object_mut() {
            for name in names.into_iter().filter(|name| *name != ALL_NODES) {
                groups.entry(name).or_insert_with(|| json!({}));
            }
        }
        let nodes = spec.entry("nodes").or_insert_with(|| json!([]));
        if let Some(nodes) = nodes.as_array_mut() {
            nodes.extend(self.nodes.iter().cloned().map(Value::Object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_their_groups_are_added_and_what_is_there_stays() {
        let mut hosts = Hosts::default();
        hosts.add("a", vec!["web".to_owned(), "db".to_owned(), "x y".to_owned()], Map::new());
        let mut document =
            json!({"spec": {"groups": {"db": {"become": "root"}}, "nodes": [{"id": "b"}]}});
        hosts.add_to(&mut document);
        let groups = json!({"db": {"become": "root"}, "web": {}});
        let nodes = json!([{"id": "b"}, {"id": "a", "groups": ["web", "db"]}]);
        assert_eq!(document, json!({"spec": {"groups": groups, "nodes": nodes}}));
        assert!(hosts.notes()[0].contains("\"x y\""), "{:?}", hosts.notes());
    }

    #[test]
    fn notes_are_bounded_and_said_once() {
        let mut hosts = Hosts::default();
        for n in 0..MAX_NOTES + 5 {
            hosts.note(format!("note {n}"));
            hosts.note("note 0".to_owned());
        }
        assert_eq!(hosts.notes().len(), MAX_NOTES + 1);
        assert_eq!(hosts.notes().last().map(String::as_str), Some("and 5 more"));
    }
}
