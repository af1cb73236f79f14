//! What all nodes of a group have in common is said once, at the group. Which of Ansible's groups said it is not known to
//! `ansible-inventory --list`, so it is found again from what came of it: each node then gets the same as before, from one
//! place.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::playbook::inventory::ALL_NODES;

/// The key of attributes, which are shared one by one.
const ATTRIBUTES: &str = "attributes";

/// The keys that name one node.
const OF_ONE: [&str; 5] = ["id", "groups", "host", "pod", "container"];

/// Takes out of the nodes what they share with all others of a group, and gives it by group. Each group of a node is among
/// the result, whether it has anything to say or not.
pub(super) fn take_shared(
    nodes: &mut [Map<String, Value>],
) -> BTreeMap<String, Map<String, Value>> {
    let mut members: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let groups = node.get("groups").and_then(Value::as_array).into_iter().flatten();
        let names = groups.filter_map(Value::as_str).chain([ALL_NODES]);
        for name in names {
            members.entry(name.to_owned()).or_default().push(index);
        }
    }
    // Large groups first: what is said of them is said of those within them. Of the same ones, one says it all.
    let mut order: Vec<(String, Vec<usize>)> = members.into_iter().collect();
    order.sort_by(|(name, of), (other, of_other)| {
        let first = |name: &str| name != ALL_NODES;
        of_other.len().cmp(&of.len()).then(first(name).cmp(&first(other))).then(name.cmp(other))
    });
    let mut groups = BTreeMap::new();
    for (name, of) in order {
        let mut said = Map::new();
        if of.len() > 1 {
            for (path, value) in common(nodes, &of) {
                of.iter().for_each(|&index| take(&mut nodes[index], path.0, &path.1));
                put(&mut said, path.0, path.1, value);
            }
        }
        if name != ALL_NODES || !said.is_empty() {
            groups.insert(name, said);
        }
    }
    groups
}

/// A key of a node, or one of its attributes.
type Path = (bool, String);

/// What all of these nodes say.
fn common(nodes: &[Map<String, Value>], of: &[usize]) -> Vec<(Path, Value)> {
    let Some((first, rest)) = of.split_first() else { return Vec::new() };
    let Some(node) = nodes.get(*first) else { return Vec::new() };
    let own = node.iter().filter(|(key, _)| *key != ATTRIBUTES && !OF_ONE.contains(&key.as_str()));
    let own = own.map(|(key, value)| ((false, key.clone()), value.clone()));
    let attributes = node.get(ATTRIBUTES).and_then(Value::as_object).into_iter().flatten();
    let attributes = attributes.map(|(key, value)| ((true, key.clone()), value.clone()));
    let mut common: Vec<(Path, Value)> = own.chain(attributes).collect();
    for index in rest {
        if common.is_empty() {
            break;
        }
        common.retain(|((is_attribute, key), value)| {
            let node = nodes.get(*index);
            let map = match is_attribute {
                true => node.and_then(|node| node.get(ATTRIBUTES)?.as_object()),
                false => node,
            };
            map.and_then(|map| map.get(key)) == Some(value)
        });
    }
    common
}

fn take(node: &mut Map<String, Value>, is_attribute: bool, key: &str) {
    if !is_attribute {
        node.shift_remove(key);
        return;
    }
    let Some(attributes) = node.get_mut(ATTRIBUTES).and_then(Value::as_object_mut) else { return };
    attributes.shift_remove(key);
    if attributes.is_empty() {
        node.shift_remove(ATTRIBUTES);
    }
}

fn put(said: &mut Map<String, Value>, is_attribute: bool, key: String, value: Value) {
    if !is_attribute {
        said.insert(key, value);
        return;
    }
    let attributes = said.entry(ATTRIBUTES).or_insert_with(|| Value::Object(Map::new()));
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_group_shares_is_said_once_and_by_the_largest_that_does() {
        let node = |id: &str, groups: &[&str], user: &str, zone: &str| {
            json!({"id": id, "groups": groups, "host": "h", "user": user, "attributes": {"zone": zone, "team": "shop"}})
                .as_object()
                .cloned()
                .unwrap()
        };
        let mut nodes = vec![
            node("a", &["eu", "web"], "ann", "1"),
            node("b", &["eu", "web"], "ann", "2"),
            node("c", &["db", "eu"], "bob", "1"),
            node("d", &["lone"], "bob", "3"),
        ];
        let groups = take_shared(&mut nodes);
        let expected = json!({
            "all": {"attributes": {"team": "shop"}},
            "db": {}, "eu": {}, "lone": {}, "web": {"user": "ann"},
        });
        assert_eq!(json!(groups), expected);
        let one =
            json!({"id": "a", "groups": ["eu", "web"], "host": "h", "attributes": {"zone": "1"}});
        assert_eq!(json!(nodes[0]), one);
        assert_eq!(nodes[2]["user"], "bob");
    }

    #[test]
    fn one_node_shares_nothing() {
        let node = json!({"id": "a", "user": "ann"}).as_object().cloned().unwrap();
        let mut nodes = vec![node.clone()];
        assert!(take_shared(&mut nodes).is_empty());
        assert_eq!(nodes, [node]);
    }
}
