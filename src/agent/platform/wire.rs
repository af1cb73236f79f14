//! The JSON of a platform's answer.
//!
//! ```json
//! {"clusters": [{"cluster_id": "mongo-eu", "nodes": [
//!   {"node_id": "node-1", "agent_address": "http://10.0.0.11:8000",
//!    "node_class": "m5.large", "node_group": "eu-west-1a"}]}]}
//! ```
//!
//! One bad node must not hide the others, so every part of a node is optional. Everything around the nodes has
//! to be right, since otherwise nothing is known.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::Error as _};

use crate::agent::door::cut;
use crate::run::PlatformNode;

/// Nodes of one cluster that are read: as many as a cluster may have, and as many again that can't be used.
/// Whatever an answer holds beyond that, or of other clusters, is never kept: a node can be as small as a few
/// bytes of text, so the limit on bytes alone would let an answer fill the memory.
pub(super) const MAX_NODES: usize = 200_000;

/// How many bytes of a node's text are kept. No identifier, address or attribute may be this long, so only
/// texts that can't be used are cut.
const TEXT_BYTES: usize = 4 * 1024;

/// Why an answer can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Malformed(String),
    TooManyNodes,
}

/// Reads the nodes of one cluster; `None` when the answer does not contain it. If the cluster occurs several
/// times, the nodes of all occurrences are returned.
pub(super) fn read(body: &[u8], cluster: &str) -> Result<Option<Vec<PlatformNode>>, Unread> {
    let malformed = |error: serde_json::Error| {
        let expected = r#"{"clusters": [{"cluster_id": …, "nodes": […]}]}"#;
        // The error quotes the unexpected value in full, so it is cut.
        Unread::Malformed(cut(&format!("the body: expected {expected}: {error}")))
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let found = AnswerOf(cluster).deserialize(&mut json).map_err(malformed)?;
    json.end().map_err(malformed)?;
    match found {
        Some(Nodes { too_many: true, .. }) => Err(Unread::TooManyNodes),
        Some(Nodes { read, .. }) => Ok(Some(read)),
        None => Ok(None),
    }
}

/// Reads an answer, and keeps only the nodes of this cluster.
#[derive(Clone, Copy)]
struct AnswerOf<'c>(&'c str);

impl<'de> DeserializeSeed<'de> for AnswerOf<'_> {
    type Value = Option<Nodes>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerOf<'_> {
    type Value = Option<Nodes>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "clusters" if found.is_some() => return Err(A::Error::duplicate_field("clusters")),
                "clusters" => found = Some(map.next_value_seed(ClustersOf(self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        found.ok_or_else(|| A::Error::missing_field("clusters"))
    }
}

struct ClustersOf<'c>(&'c str);

impl<'de> DeserializeSeed<'de> for ClustersOf<'_> {
    type Value = Option<Nodes>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ClustersOf<'_> {
    type Value = Option<Nodes>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of clusters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Cluster {
            cluster_id: String,
            nodes: Nodes,
        }
        let mut found: Option<Nodes> = None;
        while let Some(Cluster { cluster_id, nodes }) = seq.next_element()? {
            if cluster_id == self.0 {
                found.get_or_insert_default().add(nodes);
            }
        }
        Ok(found)
    }
}

/// The nodes of one cluster, at most [`MAX_NODES`].
#[derive(Default)]
struct Nodes {
    read: Vec<PlatformNode>,
    too_many: bool,
}

impl Nodes {
    fn add(&mut self, other: Self) {
        self.too_many |= other.too_many || self.read.len() + other.read.len() > MAX_NODES;
        if !self.too_many {
            self.read.extend(other.read);
        }
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfCluster;
        impl<'de> Visitor<'de> for OfCluster {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of nodes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Nodes, A::Error> {
                let mut nodes = Nodes::default();
                while nodes.read.len() < MAX_NODES {
                    let Some(Lenient(node)) = seq.next_element()? else { return Ok(nodes) };
                    nodes.read.push(node);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    nodes.too_many = true;
                }
                Ok(nodes)
            }
        }
        deserializer.deserialize_seq(OfCluster)
    }
}

/// A part of a node. Any JSON may stand in its place: a value of the wrong type reads as nothing, and is not
/// kept.
trait Part: Default {
    fn of_text(_text: String) -> Self {
        Self::default()
    }

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl Part for Option<String> {
    fn of_text(text: String) -> Self {
        Some(text)
    }
}

impl Part for PlatformNode {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut node = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            let place = match key.as_str() {
                "node_id" => &mut node.node_id,
                "agent_address" => &mut node.agent_address,
                "node_class" => &mut node.node_class,
                "node_group" => &mut node.node_group,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            Lenient(*place) = map.next_value()?;
        }
        Ok(node)
    }
}

struct Lenient<P>(P);

impl<'de, P: Part> Deserialize<'de> for Lenient<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyOf<P>(PhantomData<P>);
        impl<'de, P: Part> Visitor<'de> for AnyOf<P> {
            type Value = P;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<P, E> {
                Ok(P::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<P, E> {
                Ok(P::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<P, E> {
                Ok(P::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<P, E> {
                Ok(P::default())
            }

            fn visit_unit<E: de::Error>(self) -> Result<P, E> {
                Ok(P::default())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<P, E> {
                let end = text.floor_char_boundary(TEXT_BYTES);
                Ok(P::of_text(text.get(..end).unwrap_or_default().to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<P, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(P::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<P, A::Error> {
                P::of_map(map)
            }
        }
        deserializer.deserialize_any(AnyOf(PhantomData)).map(Self)
    }
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
        let half = vec!["1"; MAX_NODES / 2 + 1].join(",");
        let part = format!(r#"{{"cluster_id": "eu", "nodes": [{half}]}}"#);
        let twice = format!(r#"{{"clusters": [{part}, {part}]}}"#);
        assert_eq!(read(twice.as_bytes(), "eu"), Err(Unread::TooManyNodes));
    }

    #[test]
    fn nodes_of_other_clusters_and_what_stands_in_place_of_one_are_not_kept() {
        let much = vec!["[1,{\"a\":[]}]"; 10_000].join(",");
        let body = format!(
            r#"{{"clusters": [{{"nodes": [{much}], "cluster_id": "us"}},
               {{"nodes": [[{much}], {{"node_id": [{much}], "x": [{much}]}}], "cluster_id": "eu"}}]}}"#
        );
        let nodes = read(body.as_bytes(), "eu").unwrap().unwrap();
        assert_eq!(nodes, [PlatformNode::default(), PlatformNode::default()]);
    }

    #[test]
    fn of_a_text_no_more_is_kept_than_can_be_used() {
        let long = "é".repeat(1_000_000);
        let body = json!({"clusters": [{"cluster_id": "eu", "nodes": [{"node_id": long}]}]});
        let kept = ids(&body, "eu").unwrap().remove(0).unwrap();
        assert_eq!((kept.len(), long.starts_with(&kept)), (TEXT_BYTES, true));
    }

    #[test]
    fn clusters_are_there_once() {
        let read = read(br#"{"clusters": [], "clusters": []}"#, "eu");
        assert!(matches!(read, Err(Unread::Malformed(message)) if message.contains("duplicate")));
    }
}
