//! What the gateway tells of its nodes as a platform, and how a node of the inventory is reached.

use axum::http::{HeaderMap, header};
use serde::Serialize;

use super::inventory::KnownNodes;
use super::nodes::{DEFAULT_FOLDER, Engine, Node, Place};
use crate::playbook::inventory::{ContainerEngine, InventoryNode, InventoryPlace};
use crate::playbook::parse_address;

/// How a node is reached, and where on it the gateway keeps what was done.
pub(super) fn node(node: &InventoryNode) -> Node {
    // A path that does not begin with a slash is one in the home.
    let folder = node.work_folder.as_deref().map(|path| path.strip_prefix("~/").unwrap_or(path));
    Node { place: place(&node.place), folder: folder.unwrap_or(DEFAULT_FOLDER).to_owned() }
}

fn place(place: &InventoryPlace) -> Place {
    match place.clone() {
        InventoryPlace::Ssh { host, user, port } => Place::Ssh { host, user, port },
        InventoryPlace::Local => Place::Local,
        InventoryPlace::Container { engine, name, user } => {
            let engine = match engine {
                ContainerEngine::Docker => Engine::Docker,
                ContainerEngine::Podman => Engine::Podman,
            };
            Place::Container { engine, name, user }
        }
        InventoryPlace::Pod { context, namespace, pod, container } => {
            Place::Pod { context, namespace, pod, container }
        }
    }
}

/// Where a request came to, as its sender writes it; `None` if it does not say.
pub(super) fn base(scheme: &str, headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    parse_address(&format!("{scheme}://{host}"))
}

#[derive(Serialize)]
struct Answer<'a> {
    clusters: [Cluster<'a>; 1],
}

#[derive(Serialize)]
struct Cluster<'a> {
    cluster_id: &'a str,
    nodes: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    node_id: &'a str,
    agent_address: String,
    /// The first group of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_group: Option<&'a str>,
}

/// The answer of `GET /discover`: all nodes, each at its address below `base`.
pub(super) fn body(known: &KnownNodes, base: &str) -> Vec<u8> {
    let nodes = known.nodes().iter().map(|node| Told {
        node_id: &node.id,
        agent_address: address(base, &node.id),
        node_group: node.groups.first().map(String::as_str),
    });
    let answer =
        Answer { clusters: [Cluster { cluster_id: known.cluster(), nodes: nodes.collect() }] };
    // Texts and lists are always JSON.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// The address of a node. Its identifier is one part of the path, whatever characters it has.
pub(super) fn address(base: &str, id: &str) -> String {
    let mut address = format!("{}/nodes/", base.trim_end_matches('/'));
    for byte in id.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => address.push(char::from(byte)),
            false => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::playbook::inventory::parse_inventory;

    #[test]
    fn every_identifier_has_an_address_that_stays_as_it_is() {
        let long = "é".repeat(170);
        for id in ["web-1", "fe80::1", "eu/web 1%2F", "é", "~a_b.c", &long] {
            let address = address("https://gw.example.com:8300/", id);
            assert_eq!(parse_address(&address).as_deref(), Some(address.as_str()), "{id}");
        }
        assert_eq!(address("http://gw/a", "x/y"), "http://gw/a/nodes/x%2Fy");
    }

    #[test]
    fn all_nodes_are_told_with_their_first_group() {
        let text = "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: { name: web }\nspec:\n  groups: { a: {}, b: {} }\n  nodes:\n    \
                    - { id: web-1, groups: [b, a], work_folder: ~/x }\n    - { id: 'x/y', carrier: podman }\n";
        let inventory = parse_inventory(text.as_bytes()).unwrap();
        assert_eq!(node(&inventory.nodes[0]).folder, "x");
        assert_eq!(node(&inventory.nodes[1]).folder, DEFAULT_FOLDER);
        let known = KnownNodes::new(inventory);
        let found: Value = serde_json::from_slice(&body(&known, "http://127.0.0.1:1")).unwrap();
        let expected = json!({"clusters": [{"cluster_id": "web", "nodes": [
            {"node_id": "web-1", "agent_address": "http://127.0.0.1:1/nodes/web-1", "node_group": "b"},
            {"node_id": "x/y", "agent_address": "http://127.0.0.1:1/nodes/x%2Fy"},
        ]}]});
        assert_eq!(found, expected);
    }

    #[test]
    fn the_base_is_where_the_request_came_to() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            base("https", &headers)
        };
        assert_eq!(of("gw.example.com:8300").as_deref(), Some("https://gw.example.com:8300"));
        assert_eq!(of("[::1]:1").as_deref(), Some("https://[::1]:1"));
        assert_eq!(of("a b"), None);
        assert_eq!(base("https", &HeaderMap::new()), None);
    }
}
