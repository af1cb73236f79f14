//! The file of a platform: from its text to the body of the answer. All checks are made when the file is read,
//! so that a request only copies bytes.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::playbook::{
    ADDRESS_EXPECTED, IDENTIFIER_EXPECTED, Limits, Problem, Problems, Text, code, describe,
    is_identifier, parse_address,
};

/// The content of a file, ready to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nodes {
    /// The body of the answer, in JSON.
    pub(super) body: Bytes,
    pub(super) clusters: usize,
    pub(super) nodes: usize,
}

/// Reads and checks the content of a file.
///
/// # Errors
/// Everything that is wrong with it, each problem with path, line and column.
pub(super) fn read(bytes: &[u8]) -> Result<Nodes, Problems> {
    let text = Text::read(bytes, Limits::CLUSTER)?;
    let mut check = Check { problems: text.problems.clone(), nodes: 0 };
    let clusters = check.file(&text.value);
    text.check(check.problems)?;
    let body = json!({ "clusters": clusters }).to_string();
    Ok(Nodes { body: body.into(), clusters: clusters.len(), nodes: check.nodes })
}

/// Reads the parts of the file, and collects what is wrong.
struct Check {
    problems: Vec<Problem>,
    nodes: usize,
}

/// Values that must differ, each with the index where it was first found.
type Seen = HashMap<String, usize>;

impl Check {
    fn file(&mut self, value: &Value) -> Vec<Value> {
        let mut clusters = Vec::new();
        let mut seen = Seen::new();
        let file = self.object("", value, &["clusters"]);
        for (index, value) in self.list("", file, "clusters").iter().enumerate() {
            let path = format!("/clusters/{index}");
            let cluster = self.object(&path, value, &["cluster_id", "nodes"]);
            let id = self.required(&path, cluster, "cluster_id");
            self.identifier(&path, "cluster_id", id);
            self.unique(&path, "cluster_id", id, index, &mut seen);
            let nodes = self.nodes(&path, cluster);
            clusters.push(json!({ "cluster_id": id, "nodes": nodes }));
        }
        clusters
    }

    fn nodes(&mut self, path: &str, cluster: Option<&Map<String, Value>>) -> Vec<Value> {
        const KEYS: [&str; 4] = ["node_id", "agent_address", "node_class", "node_group"];
        let mut nodes = Vec::new();
        let (mut ids, mut addresses) = (Seen::new(), Seen::new());
        for (index, value) in self.list(path, cluster, "nodes").iter().enumerate() {
            let path = format!("{path}/nodes/{index}");
            let node = self.object(&path, value, &KEYS);
            let id = self.required(&path, node, "node_id");
            self.identifier(&path, "node_id", id);
            self.unique(&path, "node_id", id, index, &mut ids);
            let address = self.required(&path, node, "agent_address");
            let read = address.and_then(parse_address);
            if let (Some(found), None) = (address, &read) {
                self.bad(&format!("{path}/agent_address"), found, ADDRESS_EXPECTED);
            }
            self.unique(&path, "agent_address", read.as_deref(), index, &mut addresses);
            let mut written = json!({ "node_id": id, "agent_address": read });
            for key in ["node_class", "node_group"] {
                if let Some(text) = self.text(&path, node, key) {
                    written[key] = json!(text);
                }
            }
            nodes.push(written);
            self.nodes += 1;
        }
        nodes
    }

    /// The mapping that `value` has to be, with no keys other than `keys`.
    fn object<'v>(
        &mut self,
        path: &str,
        value: &'v Value,
        keys: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let Value::Object(object) = value else {
            self.wrong_type(path, value, "a mapping");
            return None;
        };
        for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
            let segment = key.replace('~', "~0").replace('/', "~1");
            let message = format!("unknown key {key:?}");
            let problem = Problem::new(code::UNKNOWN_KEY, format!("{path}/{segment}"), message);
            self.problems.push(problem.expected(format!("one of {}", keys.join(", "))));
        }
        Some(object)
    }

    /// The list under a key that is required.
    fn list<'v>(
        &mut self,
        path: &str,
        object: Option<&'v Map<String, Value>>,
        key: &str,
    ) -> &'v [Value] {
        let Some(object) = object else { return &[] };
        match object.get(key) {
            Some(Value::Array(items)) => return items,
            Some(other) => self.wrong_type(&format!("{path}/{key}"), other, "a list"),
            None => self.missing(path, key),
        }
        &[]
    }

    /// The text under a key; `None` if the key is missing or null.
    fn text<'v>(
        &mut self,
        path: &str,
        object: Option<&'v Map<String, Value>>,
        key: &str,
    ) -> Option<&'v str> {
        match object?.get(key)? {
            Value::String(text) => return Some(text),
            Value::Null => {}
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.wrong_type(&format!("{path}/{key}"), other, "a string: put it in quotes");
            }
        }
        None
    }

    /// The text under a key that is required.
    fn required<'v>(
        &mut self,
        path: &str,
        object: Option<&'v Map<String, Value>>,
        key: &str,
    ) -> Option<&'v str> {
        if object?.get(key).is_none_or(Value::is_null) {
            self.missing(path, key);
        }
        self.text(path, object, key)
    }

    fn identifier(&mut self, path: &str, key: &str, found: Option<&str>) {
        if let Some(found) = found.filter(|found| !is_identifier(found)) {
            self.bad(&format!("{path}/{key}"), found, IDENTIFIER_EXPECTED);
        }
    }

    fn unique(
        &mut self,
        path: &str,
        key: &str,
        found: Option<&str>,
        index: usize,
        seen: &mut Seen,
    ) {
        let Some(found) = found else { return };
        if let Some(other) = seen.insert(found.to_owned(), index) {
            let message = format!("entry {other} of the list has the same {key}");
            let problem = Problem::new(code::DUPLICATE, format!("{path}/{key}"), message);
            self.problems.push(problem.found(found));
        }
    }

    fn bad(&mut self, path: &str, found: &str, expected: &str) {
        let problem = Problem::new(code::BAD_VALUE, path, "this value is not allowed");
        self.problems.push(problem.found(format!("{found:?}")).expected(expected));
    }

    fn missing(&mut self, path: &str, key: &str) {
        let message = format!("the key {key:?} is missing");
        self.problems.push(Problem::new(code::MISSING_KEY, format!("{path}/{key}"), message));
    }

    fn wrong_type(&mut self, path: &str, found: &Value, expected: &str) {
        let problem = Problem::new(code::WRONG_TYPE, path, "wrong type of value");
        self.problems.push(problem.found(describe(found)).expected(expected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_some_and_the_help_text_shows_one() {
        let examples: [&[u8]; 2] = [
            include_bytes!("../../../../examples/platform/nodes.yaml"),
            include_bytes!("../../../../examples/membership/nodes.yaml"),
        ];
        for example in examples {
            let nodes = read(example).unwrap();
            assert!(nodes.clusters > 0 && nodes.nodes > 0);
        }
        let nodes = read(super::super::args::EXAMPLE.as_bytes()).unwrap();
        let expected = json!({"clusters": [{"cluster_id": "mongo-eu", "nodes": [{
            "node_id": "node-1", "agent_address": "http://10.0.0.11:8000",
            "node_class": "m5.large", "node_group": "eu-west-1a"}]}]});
        assert_eq!(serde_json::from_slice::<Value>(&nodes.body).unwrap(), expected);
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        let text = "\
clusters:
  - cluster_id: eu
    nodes:
      - { node_id: a, agent_address: a:80 }
      - { node_id: a, agent_address: 'http://a/', node_class: 5 }
      - { node_id: 'b c', agent_address: 'http://a', color: red }
      - { agent_address: 'http://b' }
  - { cluster_id: eu, nodes: {} }
  - 7
";
        let found = read(text.as_bytes()).unwrap_err().to_string();
        let expected = "\
4:38: /clusters/0/nodes/0/agent_address: this value is not allowed; found \"a:80\"; expected http:// or https://, a host, perhaps a port and a path, and nothing else
5:20: /clusters/0/nodes/1/node_id: entry 0 of the list has the same node_id; found a
5:63: /clusters/0/nodes/1/node_class: wrong type of value; found 5; expected a string: put it in quotes
6:20: /clusters/0/nodes/2/node_id: this value is not allowed; found \"b c\"; expected 1 to 256 visible characters, without white space
6:42: /clusters/0/nodes/2/agent_address: entry 1 of the list has the same agent_address; found http://a
6:54: /clusters/0/nodes/2/color: unknown key \"color\"; expected one of node_id, agent_address, node_class, node_group
7:9: /clusters/0/nodes/3/node_id: the key \"node_id\" is missing
8:19: /clusters/1/cluster_id: entry 0 of the list has the same cluster_id; found eu
8:30: /clusters/1/nodes: wrong type of value; found a mapping of 0; expected a list
9:5: /clusters/2: wrong type of value; found 7; expected a mapping";
        assert_eq!(found, expected);
        let found = read(b"clusters: [\n").unwrap_err();
        assert!(found.0[0].line.is_some(), "{found}");
        assert!(read(b"").is_err() && read(b"[]").is_err() && read(b"{}").is_err());
        assert_eq!(read(b"clusters: []").unwrap().clusters, 0);
    }
}
