//! The JSON of a platform's answer.
//!
//! ```json
//! {"clusters": [{"cluster_id": "mongo-eu", "nodes": [
//!   {"node_id": "node-1", "agent_address": "http://10.0.0.11:8000",
//!    "node_class": "m5.large", "node_group": "eu-west-1a"}]}]}
//! ```
//!
//! One node that is no good must not hide the others, so of a node everything is optional. What is
//! around the nodes has to be right: with less, nothing is known.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::run::PlatformNode;

/// Nodes of one cluster that are read: as many as a cluster may have, and as many again that can't
/// be used.
pub(super) const MAX_NODES: usize = 200_000;

/// Why an answer can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Malformed(String),
    TooManyNodes,
}

#[derive(Deserialize)]
struct Answer {
    clusters: Vec<ClusterPart>,
}

#[derive(Deserialize)]
struct ClusterPart {
    cluster_id: String,
    nodes: Vec<NodePart>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NodePart {
    Fields {
        #[serde(default, deserialize_with = "text")]
        node_id: Option<String>,
        #[serde(default, deserialize_with = "text")]
        agent_address: Option<String>,
        #[serde(default, deserialize_with = "text")]
        node_class: Option<String>,
        #[serde(default, deserialize_with = "text")]
        node_group: Option<String>,
    },
    Other(IgnoredAny),
}

/// A text; none for anything else.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Part {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Part::deserialize(deserializer)? {
        Part::Text(text) => Some(text),
        Part::Other(IgnoredAny) => None,
    })
}

impl From<NodePart> for PlatformNode {
    fn from(part: NodePart) -> Self {
        match part {
            NodePart::Fields { node_id, agent_address, node_class, node_group } => {
                Self { node_id, agent_address, node_class, node_group }
            }
            NodePart::Other(IgnoredAny) => Self::default(),
        }
    }
}

/// Reads the nodes of one cluster; none when the answer does not have it. A cluster that is in it
/// several times has the nodes of all of them.
pub(super) fn read(body: &[u8], cluster: &str) -> Result<Option<Vec<PlatformNode>>, Unread> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        let expected = r#"{"clusters": [{"cluster_id": …, "nodes": […]}]}"#;
        Unread::Malformed(format!("the body: expected {expected}: {error}"))
    })?;
    let mut found: Option<Vec<PlatformNode>> = None;
    for part in answer.clusters.into_iter().filter(|part| part.cluster_id == cluster) {
        let nodes = found.get_or_insert_default();
        if nodes.len() + part.nodes.len() > MAX_NODES {
            return Err(Unread::TooManyNodes);
        }
        nodes.extend(part.nodes.into_iter().map(PlatformNode::from));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(body: &serde_json::Value, cluster: &str) -> Option<Vec<Option<String>>> {
        let nodes = read(body.to_string().as_bytes(), cluster).unwrap()?;
        Some(nodes.into_iter().map(|node| node.node_id).collect())
    }

    #[test]
    fn the_nodes_of_one_cluster_are_read_and_unknown_fields_are_not_looked_at() {
        let body = json!({"more": 1, "clusters": [
            {"cluster_id": "us", "nodes": [{"node_id": "x"}]},
            {"cluster_id": "eu", "shape": {}, "nodes": [{"node_id": "a", "agent_address": "http://a",
                "node_class": "m5", "node_group": null, "colour": [1]}]},
            {"cluster_id": "eu", "nodes": [{"node_id": "b"}]},
        ]});
        let nodes = read(body.to_string().as_bytes(), "eu").unwrap().unwrap();
        let first = PlatformNode {
            node_id: Some("a".to_owned()),
            agent_address: Some("http://a".to_owned()),
            node_class: Some("m5".to_owned()),
            node_group: None,
        };
        assert_eq!((nodes.len(), &nodes[0]), (2, &first));
        assert_eq!(ids(&body, "asia"), None);
        assert_eq!(
            ids(&json!({"clusters": [{"cluster_id": "eu", "nodes": []}]}), "eu"),
            Some(vec![])
        );
    }

    #[test]
    fn a_node_that_is_no_good_does_not_hide_the_others() {
        let body = json!({"clusters": [{"cluster_id": "eu", "nodes": [
            7, null, [], {}, {"node_id": 7, "agent_address": {}}, {"node_id": "a"}]}]});
        let none = || None::<String>;
        let expected = vec![none(), none(), none(), none(), none(), Some("a".to_owned())];
        assert_eq!(ids(&body, "eu"), Some(expected));
    }

    #[test]
    fn what_is_around_the_nodes_has_to_be_right() {
        for bad in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"clusters": {}}"#,
            r#"{"clusters": [{"cluster_id": "eu"}]}"#,
            r#"{"clusters": [{"nodes": []}]}"#,
            r#"{"clusters": [{"cluster_id": 1, "nodes": []}]}"#,
            r#"{"clusters": []} x"#,
        ] {
            let Err(Unread::Malformed(message)) = read(bad.as_bytes(), "eu") else {
                panic!("{bad:?} was read")
            };
            assert!(message.contains("expected {\"clusters\""), "{message}");
        }
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let body = |nodes: usize| {
            let nodes = vec!["1"; nodes].join(",");
            format!(r#"{{"clusters": [{{"cluster_id": "eu", "nodes": [{nodes}]}}]}}"#)
        };
        assert!(read(body(MAX_NODES).as_bytes(), "eu").is_ok());
        assert_eq!(read(body(MAX_NODES + 1).as_bytes(), "eu"), Err(Unread::TooManyNodes));
        assert_eq!(read(body(MAX_NODES + 1).as_bytes(), "us"), Ok(None));
    }
}
