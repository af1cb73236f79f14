//! Bounds what a JSON Schema may cost, before anything is built from it.
//!
//! A schema is measured with every reference written out, which is about the work of checking one value with it: a
//! few lines of references to references can stand for billions of schemas. This is safe only if a reference means
//! the same here and to the validator. So there is one dialect, one base (no `$id` below the root), and every
//! reference must lead to a place within the schema.

use std::collections::HashMap;

use serde_json::Value;

use super::problem::{MAX_PROBLEMS, Problem, Problems, code};
use super::schema_work::UNEVALUATED;
use super::spans::push_segment;

/// The most values in a schema with its references written out. A reference to a schema that is just being written
/// out ends there, so a schema may refer to itself.
pub(super) const MAX_SCHEMA_VALUES: usize = 20_000;

/// How many times a value counts in a schema with an `unevaluated…` keyword. The validator builds the parts of
/// such a schema once more, and if those have the keyword, their parts once more again.
const UNEVALUATED_FACTOR: usize = 3;

/// The deepest nesting of a schema with its references written out. Building and checking are recursive.
pub(super) const MAX_SCHEMA_DEPTH: usize = 128;

/// The most bytes of regular expressions in a schema, all together. Ten bytes can stand for a compiled expression
/// of the largest allowed size.
pub(super) const MAX_PATTERNS_BYTES: usize = 2 * 1024;

/// The only `$schema` that is accepted.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Checks what a schema may cost. The nesting of `schema` must be bounded. The path of the problem is within the
/// schema.
pub(super) fn check(schema: &Value) -> Result<(), Problems> {
    let mut limits = Limits {
        root: schema,
        anchors: HashMap::new(),
        values: 0,
        patterns: 0,
        open: Vec::new(),
        problems: Vec::new(),
    };
    limits.gather(schema, &mut String::new());
    if !limits.problems.is_empty() {
        return Err(Problems(limits.problems));
    }
    limits.write_out(schema, 0, 1)
}

fn bad(path: &str, message: &str, expected: impl Into<String>) -> Problems {
    Problem::new(code::BAD_SCHEMA, path, message).expected(expected).into()
}

/// A problem that quotes what was found.
fn bad_text(path: &str, message: &str, expected: &str, found: &str) -> Problems {
    let problem = Problem::new(code::BAD_SCHEMA, path, message).expected(expected);
    problem.found(format!("{found:?}")).into()
}

struct Limits<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    values: usize,
    patterns: usize,
    /// The schemas that are being written out, by address.
    open: Vec<*const Value>,
    problems: Vec<Problem>,
}

impl<'a> Limits<'a> {
    /// Goes once over the schema as it is. It gathers anchors, adds up regular expressions, and reports what it
    /// can't judge.
    fn gather(&mut self, value: &'a Value, path: &mut String) {
        let length = path.len();
        match value {
            Value::Object(object) => {
                for (key, below) in object {
                    push_segment(path, key);
                    let checked = match below {
                        Value::String(text) => self.keyword(key, text, value, path),
                        Value::Object(of) if key == "patternProperties" => {
                            self.pattern(of.keys().map(String::len).sum(), path)
                        }
                        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
                        Value::Array(_) | Value::Object(_) => Ok(()),
                    };
                    if let Err(Problems(found)) = checked
                        && self.problems.len() < MAX_PROBLEMS
                    {
                        self.problems.extend(found);
                    }
                    self.gather(below, path);
                    path.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    push_segment(path, &index.to_string());
                    self.gather(item, path);
                    path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn keyword(
        &mut self,
        key: &str,
        text: &'a str,
        around: &'a Value,
        path: &str,
    ) -> Result<(), Problems> {
        match key {
            "$anchor" | "$dynamicAnchor" => match self.anchors.insert(text, around) {
                Some(other) if !std::ptr::eq(other, around) => {
                    let message = "there is another anchor of this name";
                    Err(bad_text(path, message, "each name once", text))
                }
                Some(_) | None => Ok(()),
            },
            "$ref" | "$dynamicRef" if !text.starts_with('#') => {
                let expected = "a reference within the schema: #/…";
                Err(bad_text(path, "nothing is fetched", expected, text))
            }
            "$id" if !std::ptr::eq(around, self.root) => {
                let message = "a part of a schema can't have a base of its own";
                Err(bad(path, message, "$id only at the root of the schema"))
            }
            "$schema" if text.trim_end_matches('#') != DIALECT => {
                let message = "the dialect is not known";
                Err(bad_text(path, message, DIALECT, text))
            }
            "pattern" => self.pattern(text.len(), path),
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, bytes: usize, path: &str) -> Result<(), Problems> {
        let before = self.patterns;
        self.patterns += bytes;
        // It is reported once, where the limit is passed.
        if self.patterns > MAX_PATTERNS_BYTES && before <= MAX_PATTERNS_BYTES {
            let expected = format!("at most {MAX_PATTERNS_BYTES} bytes of them in a schema");
            return Err(bad(path, "the regular expressions are too long", expected));
        }
        Ok(())
    }

    /// Counts `value` `times` over, with its references written out. It stops at the limits, so it never takes
    /// longer than they allow.
    fn write_out(&mut self, value: &'a Value, depth: usize, times: usize) -> Result<(), Problems> {
        self.values = self.values.saturating_add(times);
        if self.values > MAX_SCHEMA_VALUES {
            let message = "the schema is too large with its references written out";
            return Err(bad("", message, format!("at most {MAX_SCHEMA_VALUES} values")));
        }
        if depth > MAX_SCHEMA_DEPTH {
            let message = "the schema is nested too deep with its references written out";
            return Err(bad("", message, format!("at most {MAX_SCHEMA_DEPTH} levels")));
        }
        match value {
            Value::Object(object) => {
                self.open.push(value);
                let unevaluated = UNEVALUATED.iter().filter(|key| object.contains_key(**key));
                let times = unevaluated.fold(times, |n, _| n.saturating_mul(UNEVALUATED_FACTOR));
                for (key, below) in object {
                    self.write_out(below, depth + 1, times)?;
                    if let ("$ref" | "$dynamicRef", Value::String(to)) = (key.as_str(), below) {
                        let target = self.target(to)?;
                        if !self.open.iter().any(|open| std::ptr::eq(*open, target)) {
                            self.write_out(target, depth + 1, times)?;
                        }
                    }
                }
                self.open.pop();
                Ok(())
            }
            Value::Array(items) => {
                items.iter().try_for_each(|item| self.write_out(item, depth + 1, times))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn target(&self, reference: &str) -> Result<&'a Value, Problems> {
        let to = reference.strip_prefix('#').unwrap_or(reference);
        // The validator could read a percent-encoded reference differently.
        let found = match to.starts_with('/') || to.is_empty() {
            _ if to.contains('%') => None,
            true => self.root.pointer(to),
            false => self.anchors.get(to).copied(),
        };
        found.ok_or_else(|| {
            let expected = "one to a place in it: #/…, without percent-encoding";
            let message = "a reference leads nowhere in the schema";
            bad_text("", message, expected, reference)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn expected(schema: Value) -> String {
        check(&schema).unwrap_err().0.remove(0).expected.unwrap()
    }

    fn doubling(levels: usize) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/a{}", level + 1)});
            defs.insert(format!("a{level}"), json!({"allOf": [next, next]}));
        }
        defs.insert(format!("a{levels}"), json!({"type": "string"}));
        json!({"$defs": defs, "$ref": "#/$defs/a0"})
    }

    #[test]
    fn what_references_stand_for_is_bounded() {
        assert_eq!(check(&doubling(8)), Ok(()));
        assert_eq!(expected(doubling(30)), "at most 20000 values");
        let by_anchor = doubling(30).to_string().replace("{\"allOf", "{\"$anchor\":\"N\",\"allOf");
        let by_anchor = (0..30)
            .fold(by_anchor, |text, level| text.replacen("\"N\"", &format!("\"a{level}\""), 1));
        let by_anchor = by_anchor.replace("#/$defs/a30", "#/$defs/a-end").replace("#/$defs/", "#");
        let by_anchor = by_anchor.replace("#a-end", "#/$defs/a30");
        assert_eq!(expected(serde_json::from_str(&by_anchor).unwrap()), "at most 20000 values");
        // Each schema refers to all the others: there are endless ways through them.
        let all: Vec<Value> = (0..15).map(|n| json!({"$ref": format!("#/$defs/{n}")})).collect();
        let defs: Map<String, Value> =
            (0..15).map(|n| (n.to_string(), json!({"allOf": all}))).collect();
        assert_eq!(expected(json!({ "$defs": defs })), "at most 20000 values");
        assert_eq!(expected(json!({"enum": vec![1; MAX_SCHEMA_VALUES]})), "at most 20000 values");
    }

    #[test]
    fn schemas_that_are_built_again_for_what_they_look_at_are_bounded() {
        let nested = |parts: fn(Value) -> Value, depth: usize| {
            (0..depth).fold(json!({"type": "integer"}), |below, _| parts(below))
        };
        let forms: [fn(Value) -> Value; 3] = [
            |below| json!({"allOf": [below], "unevaluatedProperties": false}),
            |below| json!({"additionalProperties": below, "unevaluatedProperties": false}),
            |below| json!({"if": below, "unevaluatedItems": false}),
        ];
        for form in forms {
            assert_eq!(check(&nested(form, 5)), Ok(()));
            assert_eq!(expected(nested(form, 20)), "at most 20000 values");
        }
    }

    #[test]
    fn chains_are_bounded() {
        let chain = |length: usize| {
            let defs = (0..length)
                .map(|n| (n.to_string(), json!({"$ref": format!("#/$defs/{}", n + 1)})))
                .chain([(length.to_string(), json!(true))])
                .collect::<Map<_, _>>();
            json!({"$ref": "#/$defs/0", "$defs": defs})
        };
        assert_eq!(check(&chain(100)), Ok(()));
        assert_eq!(expected(chain(200)), "at most 128 levels");
    }

    #[test]
    fn a_schema_may_refer_to_itself() {
        let tree = json!({"$defs": {"tree": {"properties": {
            "left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"},
        }}}, "properties": {"a": {"$ref": "#/$defs/tree"}, "b": {"$ref": "#"}}});
        assert_eq!(check(&tree), Ok(()));
        assert_eq!(check(&json!({"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}})), Ok(()));
    }

    #[test]
    fn regular_expressions_are_bounded_together() {
        let with = |length: usize| {
            let properties = json!({ "x".repeat(length / 2): true });
            json!({"pattern": "x".repeat(length - length / 2), "patternProperties": properties})
        };
        assert_eq!(check(&with(MAX_PATTERNS_BYTES)), Ok(()));
        let most = "at most 2048 bytes of them in a schema";
        assert_eq!(expected(with(MAX_PATTERNS_BYTES + 1)), most);
    }

    #[test]
    fn what_could_mean_something_else_to_the_validator_is_refused() {
        let bad = [
            json!({"$defs": {"a": {"$id": "a"}}, "$ref": "a"}),
            json!({"$defs": {"a": {"$id": "https://example.com/a"}}}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"$ref": "#/$defs/a"}),
            json!({"$ref": "#/%24defs", "$defs": {}}),
            json!({"$ref": "#a"}),
            json!({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}),
        ];
        for schema in bad {
            assert!(check(&schema).is_err(), "{schema}");
        }
        let good = json!({"$schema": DIALECT, "$id": "https://example.com/a", "properties": {
            "$id": {"type": "string"}, "$ref": {"type": "string"}}});
        assert_eq!(check(&good), Ok(()));
    }
}
