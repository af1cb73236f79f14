//! Keywords of JSON Schema. What is no keyword checks nothing, so that a slip in a schema would let
//! everything pass.

use serde_json::{Map, Value};

use super::problem::{MAX_PROBLEMS, Problem, code, did_you_mean};
use super::spans::push_segment;

/// Keywords with a schema below them.
const ONE: [&str; 11] = [
    "additionalProperties",
    "propertyNames",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];

/// Keywords with schemas by name. The fourth is what `$defs` was called once; references lead there.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Keywords with a list of schemas.
const LISTED: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// All others of draft 2020-12.
const PLAIN: [&str; 38] = [
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "format",
    "contentEncoding",
    "contentMediaType",
];

/// Keywords of one's own, for other tools, begin with this.
const OWN: &str = "x-";

/// What in a schema is no keyword, at every depth. Its own nesting must be bounded. The paths of the
/// problems are within the schema.
pub(super) fn check(schema: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    schema_at(schema, &mut String::new(), &mut problems);
    problems
}

fn schema_at(schema: &Value, path: &mut String, problems: &mut Vec<Problem>) {
    let Value::Object(object) = schema else { return };
    let length = path.len();
    for (keyword, below) in object {
        if problems.len() > MAX_PROBLEMS {
            return;
        }
        push_segment(path, keyword);
        match keyword.as_str() {
            word if ONE.contains(&word) => schema_at(below, path, problems),
            word if NAMED.contains(&word) => {
                let named = below.as_object().into_iter().flatten();
                each(named.map(|(name, one)| (name.clone(), one)), path, problems);
            }
            word if LISTED.contains(&word) => {
                let listed = below.as_array().into_iter().flatten().enumerate();
                each(listed.map(|(at, one)| (at.to_string(), one)), path, problems);
            }
            word if PLAIN.contains(&word) || word.starts_with(OWN) => {}
            word => problems.push(unknown(word, object, path)),
        }
        path.truncate(length);
    }
}

fn each<'a>(
    schemas: impl Iterator<Item = (String, &'a Value)>,
    path: &mut String,
    problems: &mut Vec<Problem>,
) {
    let length = path.len();
    for (name, schema) in schemas {
        push_segment(path, &name);
        schema_at(schema, path, problems);
        path.truncate(length);
    }
}

/// A word that is none. One with a schema below it is the name of a property most likely, where there are
/// none.
fn unknown(word: &str, around: &Map<String, Value>, path: &str) -> Problem {
    let is_schema = around.get(word).is_some_and(Value::is_object);
    let known = ONE.iter().chain(&NAMED).chain(&LISTED).chain(&PLAIN).copied();
    let is_property = is_schema && !around.contains_key("properties");
    let message = match did_you_mean(word, known) {
        meant if is_property && meant != Some("properties") => {
            format!("{word:?} is no keyword of JSON Schema: did you mean it under \"properties\"?")
        }
        Some(meant) => {
            format!("{word:?} is no keyword of JSON Schema: did you mean {meant:?}?")
        }
        None => format!("{word:?} is no keyword of JSON Schema, so it would check nothing"),
    };
    Problem::new(code::UNKNOWN_KEY, path, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_keyword_is_found_at_every_depth() {
        let schema = json!({
            "type": "object", "title": "x", "$defs": {"level": {"enum": [1], "enun": [2]}},
            "properties": {
                "type": {"type": "string"},
                "mode": {"oneOf": [{"const": 1}, {"cons": 2}], "x-of": "others"},
                "tuning": {"type": "object", "level": {"type": "string"}},
                "list": {"items": {"maxLenght": 3}},
            },
            "additionalProperties": {"colour": "red"},
        });
        let found = check(&schema);
        let found: Vec<_> =
            found.iter().map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
        let is_none = |word: &str| format!("\"{word}\" is no keyword of JSON Schema");
        let expected = [
            ("/$defs/level/enun", is_none("enun") + ": did you mean \"enum\"?"),
            ("/properties/mode/oneOf/1/cons", is_none("cons") + ": did you mean \"const\"?"),
            (
                "/properties/tuning/level",
                is_none("level") + ": did you mean it under \"properties\"?",
            ),
            (
                "/properties/list/items/maxLenght",
                is_none("maxLenght") + ": did you mean \"maxLength\"?",
            ),
            ("/additionalProperties/colour", is_none("colour") + ", so it would check nothing"),
        ];
        assert_eq!(found, expected.each_ref().map(|(path, message)| (*path, message.as_str())));
        assert_eq!(check(&json!(true)), []);
    }

    #[test]
    fn a_report_ends() {
        let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(1))).collect();
        assert!(check(&Value::Object(many)).len() <= MAX_PROBLEMS + 1);
    }
}
