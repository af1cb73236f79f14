//! Counts what it costs to check one value with one schema, before the check is done.
//!
//! A schema that refers to itself twice for the same part of a value doubles the work with each level of the
//! value: a few lines could keep the validator busy for ever with a deeply nested value. The `unevaluated…`
//! keywords double the work too, because the validator goes through all parts of the schema once more for them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::problem::{Problem, code};

/// The most pairs of a schema and a value that one check may compare, about a second. The largest parameters with
/// a plain schema have some hundred thousand pairs.
pub(super) const MAX_CHECK_WORK: usize = 1_000_000;

/// Keywords whose schema applies to the same value.
const SAME: [&str; 4] = ["if", "then", "else", "not"];
/// Keywords with a list of schemas that apply to the same value.
const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords whose schema applies to the entries that `properties` does not list.
const OTHER_ENTRIES: [&str; 2] = ["additionalProperties", "unevaluatedProperties"];
/// Keywords whose schema applies to the items after those that `prefixItems` lists.
const OTHER_ITEMS: [&str; 2] = ["items", "unevaluatedItems"];
/// Keywords that depend on what the other parts of their schema have looked at.
pub(super) const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];

/// How many values of an `enum` are compared in the time of one pair.
const ENUM_VALUES: usize = 16;

/// `None` if `value` can be checked with the schema within [`MAX_CHECK_WORK`]; otherwise the problem.
pub(super) fn check(schema: &Value, value: &Value) -> Option<Problem> {
    let mut anchors = HashMap::new();
    gather(schema, &mut anchors);
    let mut work = Work { root: schema, anchors, left: vec![(Task::Check, schema, value)] };
    let mut done = 0;
    while done < MAX_CHECK_WORK && work.left.len() <= MAX_CHECK_WORK {
        let (task, schema, value) = work.left.pop()?;
        let options = schema.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
        done += 1 + options / ENUM_VALUES;
        match task {
            Task::Check => work.check(schema, value),
            Task::Mark => work.mark(schema, value),
        }
    }
    let message = "checking this with its schema takes too much work";
    let problem = Problem::new(code::TOO_LARGE, "", message);
    (!work.left.is_empty())
        .then(|| problem.expected(format!("at most {MAX_CHECK_WORK} comparisons")))
}

/// Gathers the places that have an anchor. The nesting of the schema is bounded.
fn gather<'a>(schema: &'a Value, anchors: &mut HashMap<&'a str, &'a Value>) {
    match schema {
        Value::Object(object) => {
            for name in ["$anchor", "$dynamicAnchor"] {
                if let Some(Value::String(name)) = object.get(name) {
                    anchors.insert(name, schema);
                }
            }
            object.values().for_each(|below| gather(below, anchors));
        }
        Value::Array(items) => items.iter().for_each(|below| gather(below, anchors)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the validator does with a schema and a value.
#[derive(Clone, Copy)]
enum Task {
    /// Checks the value.
    Check,
    /// Finds out which parts of the value the schema looks at.
    Mark,
}

/// Pairs that are still to be compared. It is a list and no recursion, because a schema can refer to itself
/// without end.
struct Work<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    left: Vec<(Task, &'a Value, &'a Value)>,
}

impl<'a> Work<'a> {
    fn check(&mut self, schema: &'a Value, value: &'a Value) {
        let Value::Object(keywords) = schema else { return };
        let unevaluated = UNEVALUATED.iter().filter(|key| keywords.contains_key(**key));
        self.left.extend(unevaluated.map(|_| (Task::Mark, schema, value)));
        let parts = self.parts(keywords);
        self.left.extend(parts.map(|schema| (Task::Check, schema, value)));
        self.check_below(keywords, value);
    }

    /// The validator finds out whether the value fits each part, and if so, what that part looks at.
    fn mark(&mut self, schema: &'a Value, value: &'a Value) {
        let Value::Object(keywords) = schema else { return };
        let parts = self.parts(keywords);
        let tasks = parts.flat_map(|part| [(Task::Check, part, value), (Task::Mark, part, value)]);
        self.left.extend(tasks);
        let below = ["contains", UNEVALUATED[0], UNEVALUATED[1]];
        let below = below.iter().filter_map(|key| keywords.get(*key));
        let values: Vec<&Value> = match value {
            Value::Object(entries) => entries.values().collect(),
            Value::Array(items) => items.iter().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        for schema in below {
            self.left.extend(values.iter().map(|value| (Task::Check, schema, *value)));
        }
    }

    /// The schemas that apply to the same value.
    fn parts(&self, keywords: &'a Map<String, Value>) -> impl Iterator<Item = &'a Value> + use<'a> {
        let target = |key| self.target(keywords.get(key)?.as_str()?);
        let targets = ["$ref", "$dynamicRef"].map(target).into_iter().flatten();
        let same = SAME.iter().filter_map(|key| keywords.get(*key));
        let lists = SAME_LISTS.iter().filter_map(|key| keywords.get(*key)?.as_array()).flatten();
        let dependent = keywords.get("dependentSchemas").and_then(Value::as_object);
        let dependent = dependent.into_iter().flatten().map(|(_, schema)| schema);
        targets.chain(same).chain(lists).chain(dependent)
    }

    fn check_below(&mut self, keywords: &'a Map<String, Value>, value: &'a Value) {
        match value {
            Value::Object(entries) => {
                let listed = keywords.get("properties").and_then(Value::as_object);
                let patterns = keywords.get("patternProperties").and_then(Value::as_object);
                for (key, entry) in entries {
                    let named = listed.and_then(|listed| listed.get(key));
                    let others = OTHER_ENTRIES.iter().filter_map(|other| keywords.get(*other));
                    let others = others.filter(|_| named.is_none());
                    let patterns = patterns.into_iter().flatten().map(|(_, schema)| schema);
                    let all = named.into_iter().chain(others).chain(patterns);
                    self.left.extend(all.map(|schema| (Task::Check, schema, entry)));
                }
            }
            Value::Array(items) => {
                let first = keywords.get("prefixItems").and_then(Value::as_array);
                for (index, item) in items.iter().enumerate() {
                    let own = first.and_then(|first| first.get(index));
                    let others = OTHER_ITEMS.iter().filter_map(|other| keywords.get(*other));
                    let others = others.filter(|_| own.is_none()).chain(keywords.get("contains"));
                    let all = own.into_iter().chain(others);
                    self.left.extend(all.map(|schema| (Task::Check, schema, item)));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        let to = reference.strip_prefix('#')?;
        match to.starts_with('/') || to.is_empty() {
            true => self.root.pointer(to),
            false => self.anchors.get(to).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |value, _| json!({"a": value}))
    }

    #[test]
    fn a_schema_that_branches_into_itself_is_not_followed_for_ever() {
        let twice = json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert_eq!(check(&twice, &nested(10)), None);
        let problem = check(&twice, &nested(60)).unwrap();
        assert_eq!(problem.expected.as_deref(), Some("at most 1000000 comparisons"));
        let named = json!({"$anchor": "x", "additionalProperties": {"anyOf": [
            {"$ref": "#x"}, {"$ref": "#x"}, {"not": {"$dynamicRef": "#x"}}]}});
        assert!(check(&named, &nested(60)).is_some());
        let items = json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}});
        let list = (0..60).fold(json!([]), |below, _| json!([below]));
        assert!(check(&items, &list).is_some());
        assert!(check(&json!({"$ref": "#"}), &json!(1)).is_some());
    }

    #[test]
    fn what_is_unevaluated_is_found_by_checking_again() {
        for parts in ["anyOf", "allOf", "oneOf"] {
            let below = json!({"properties": {"a": {"$ref": "#"}}});
            let again = json!({parts: [below], "unevaluatedProperties": false});
            assert_eq!(check(&again, &nested(5)), None);
            assert!(check(&again, &nested(40)).is_some(), "{parts}");
        }
        let again = json!({"anyOf": [{"prefixItems": [{"$ref": "#"}]}], "unevaluatedItems": false});
        let list = (0..40).fold(json!([]), |below, _| json!([below]));
        assert!(check(&again, &list).is_some());
    }

    #[test]
    fn a_long_enumeration_counts_for_more_than_one_comparison() {
        let schema = |values| json!({"items": {"enum": vec![json!(1); values]}});
        let list = json!(vec![2; 100_000]);
        assert_eq!(check(&schema(15), &list), None);
        assert!(check(&schema(16 * ENUM_VALUES), &list).is_some());
    }

    #[test]
    fn a_schema_of_a_tree_costs_what_the_tree_is_large() {
        let tree = json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}},
            "additionalProperties": {"$ref": "#"}, "prefixItems": [{"$ref": "#"}],
            "items": {"$ref": "#"}});
        let mut value = json!([]);
        for _ in 0..14 {
            value = json!({"a": value, "c": [value]});
        }
        assert_eq!(check(&tree, &value), None);
    }
}
