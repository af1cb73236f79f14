//! The documents that an inventory of Ansible becomes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::carry;
use super::hosts::without_tags;
use super::notes::Notes;
use super::shared::take_shared;
use crate::agent::gateway::{AnsibleHost, ansible_hosts, node_of};
use crate::playbook::Problems;
use crate::playbook::inventory::{Allowance, MAX_GROUPS_OF_NODE, is_group_name, is_node_name};

/// What the documents are to say besides what the inventory says.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// What both documents are called.
    pub(super) name: &'a str,
    /// Base URL of the gateway.
    pub(super) gateway: &'a str,
    /// The variables that may become attributes; all if it is `None`.
    pub(super) attributes: Option<&'a BTreeSet<String>>,
    /// Which of a gateway's own actions may be done on all nodes.
    pub(super) allow: &'a [Allowance],
}

/// What came of an inventory.
#[derive(Debug)]
pub(super) struct Imported {
    /// The `Inventory`, for a gateway.
    pub(super) inventory: Value,
    /// The `Cluster`, for a server.
    pub(super) cluster: Value,
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// How many groups there are, besides `all`.
    pub(super) groups: usize,
}

/// Makes the documents, and notes what is not in them.
///
/// # Errors
/// Everything that is wrong with the inventory.
pub(super) fn imported(
    bytes: &[u8],
    wanted: &Wanted<'_>,
    notes: &mut Notes,
) -> Result<Imported, Problems> {
    let hosts = ansible_hosts(&without_tags(bytes))?;
    let nodes = hosts.into_iter().filter_map(|host| node(host, wanted, notes));
    let mut nodes: Vec<Map<String, Value>> = nodes.collect();
    let mut groups = take_shared(&mut nodes);
    if !wanted.allow.is_empty() {
        let words: Vec<&str> = wanted.allow.iter().map(|one| one.word()).collect();
        groups.entry("all".to_owned()).or_default().insert("allow".to_owned(), json!(words));
    }
    let (count, all) = (nodes.len(), usize::from(groups.contains_key("all")));
    let named = groups.len() - all;
    let mut spec = Map::new();
    if !groups.is_empty() {
        spec.insert("groups".to_owned(), json!(groups));
    }
    spec.insert("nodes".to_owned(), json!(nodes));
    let inventory = json!({
        "apiVersion": "replicante.io/v1",
        "kind": "Inventory",
        "metadata": { "name": wanted.name },
        "spec": spec,
    });
    let cluster = json!({
        "apiVersion": "replicante.io/v1",
        "kind": "Cluster",
        "metadata": { "name": wanted.name },
        "spec": { "discovery": { "url": wanted.gateway, "cluster": wanted.name } },
    });
    Ok(Imported { inventory, cluster, nodes: count, groups: named })
}

/// The node that a host is; `None` if it can't be one.
fn node(host: AnsibleHost, wanted: &Wanted<'_>, notes: &mut Notes) -> Option<Map<String, Value>> {
    let AnsibleHost { name, groups, vars } = host;
    if !is_node_name(&name) {
        let text = format!("the host {name:?} is left out: no node can be called that");
        notes.all(text);
        return None;
    }
    let vars = vars.into_iter().map(|(key, value)| (key, carry::unwrapped(value)));
    let vars: Map<String, Value> = vars.collect();
    let mut node = Map::new();
    node.insert("id".to_owned(), json!(name));
    let groups = groups_of(&name, groups, notes);
    if !groups.is_empty() {
        node.insert("groups".to_owned(), json!(groups));
    }
    // What is said about a host begins with its name, which notes put elsewhere.
    let begin = format!("{name}: ");
    let said = |text: String| text.strip_prefix(&begin).map_or(text.clone(), str::to_owned);
    let place = node_of(&name, &reachable(&vars), &[], &mut |text| notes.host(&name, said(text)));
    node.extend(place);
    if vars.contains_key("ansible_become_user") && !node.contains_key("become") {
        let text = "ansible_become_user is left out: nothing says `ansible_become: true`; write `become` where it is wanted";
        notes.host(&name, text);
    }
    let attributes =
        carry::attributes(&vars, wanted.attributes, &mut |text| notes.host(&name, text));
    if !attributes.is_empty() {
        node.insert("attributes".to_owned(), Value::Object(attributes));
    }
    Some(node)
}

/// The variables without those of the vault, which would be taken for names and addresses.
fn reachable(vars: &Map<String, Value>) -> Map<String, Value> {
    let plain = vars.iter().filter(|(_, value)| !carry::is_vault(value));
    plain.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn groups_of(host: &str, groups: Vec<String>, notes: &mut Notes) -> Vec<String> {
    let (mut fitting, other): (Vec<String>, Vec<String>) =
        groups.into_iter().partition(|group| is_group_name(group));
    for group in other {
        notes
            .host(host, format!("the group {group:?} is left out: an inventory has no such names"));
    }
    if fitting.len() > MAX_GROUPS_OF_NODE {
        // The last ones are the deepest, and say most.
        let beyond = fitting.len() - MAX_GROUPS_OF_NODE;
        let left: Vec<String> = fitting.drain(..beyond).collect();
        notes.host(
            host,
            format!(
                "a node is in at most {MAX_GROUPS_OF_NODE} groups: {} are left out",
                left.join(", ")
            ),
        );
    }
    fitting
}
