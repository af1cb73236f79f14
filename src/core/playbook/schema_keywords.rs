//! Looks for keywords in JSON Schemas that check nothing. A validator ignores words that it does not know, so a
//! slip in a schema would let everything pass.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::problem::{MAX_PROBLEMS, Problem, code, did_you_mean};
use super::spans::push_segment;
use crate::length::LENGTH_FORMAT;

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

/// Keywords with schemas by name. `definitions` is the former name of `$defs`, and references may lead there.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Keywords with a list of schemas.
const LISTED: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// All other keywords of draft 2020-12.
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

/// Keywords of other tools begin with this.
const OWN: &str = "x-";

/// The formats that are checked. Any other would check nothing.
pub(super) const FORMATS: [&str; 13] = [
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "uuid",
    "json-pointer",
    LENGTH_FORMAT,
];

/// Keywords that check nothing without another keyword, with that keyword.
const WITH: [(&str, &str); 4] =
    [("then", "if"), ("else", "if"), ("minContains", "contains"), ("maxContains", "contains")];

/// Keywords that check only values of certain types, with these types.
const OF_TYPES: [(&[&str], &[&str]); 4] = [
    (
        &["number", "integer"],
        &["multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"],
    ),
    (
        &["string"],
        &["maxLength", "minLength", "pattern", "format", "contentEncoding", "contentMediaType"],
    ),
    (
        &["array"],
        &[
            "maxItems",
            "minItems",
            "uniqueItems",
            "items",
            "prefixItems",
            "contains",
            "unevaluatedItems",
        ],
    ),
    (
        &["object"],
        &[
            "maxProperties",
            "minProperties",
            "required",
            "dependentRequired",
            "dependentSchemas",
            "properties",
            "patternProperties",
            "additionalProperties",
            "propertyNames",
            "unevaluatedProperties",
        ],
    ),
];

/// Finds what checks nothing in a schema: at every depth, and where references lead. The nesting of `schema` must
/// be bounded. The paths of the problems are within the schema.
pub(super) fn check(schema: &Value) -> Vec<Problem> {
    let mut check = Check::default();
    check.schema(schema, &mut String::new());
    while let Some(mut target) = check.targets.pop() {
        if let Some(schema) = schema.pointer(&target) {
            check.schema(schema, &mut target);
        }
    }
    check.problems
}

#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
    /// The places of the schemas that were looked at already.
    seen: HashSet<String>,
    /// The places where references lead, still to be looked at.
    targets: Vec<String>,
}

impl Check {
    fn schema(&mut self, schema: &Value, path: &mut String) {
        let Value::Object(object) = schema else { return };
        if !self.seen.insert(path.clone()) {
            return;
        }
        let length = path.len();
        for (keyword, below) in object {
            if self.problems.len() > MAX_PROBLEMS {
                return;
            }
            push_segment(path, keyword);
            self.problems.extend(useless(keyword, below, object, path));
            match keyword.as_str() {
                word if ONE.contains(&word) => self.schema(below, path),
                word if NAMED.contains(&word) => {
                    let named = below.as_object().into_iter().flatten();
                    self.each(named.map(|(name, one)| (name.clone(), one)), path);
                }
                word if LISTED.contains(&word) => {
                    let listed = below.as_array().into_iter().flatten().enumerate();
                    self.each(listed.map(|(at, one)| (at.to_string(), one)), path);
                }
                "$ref" => {
                    let target = below.as_str().and_then(|to| to.strip_prefix('#'));
                    self.targets.extend(target.map(str::to_owned));
                }
                word if PLAIN.contains(&word) || word.starts_with(OWN) => {}
                word => self.problems.push(unknown(word, object, path)),
            }
            path.truncate(length);
        }
    }

    fn each<'a>(&mut self, schemas: impl Iterator<Item = (String, &'a Value)>, path: &mut String) {
        let length = path.len();
        for (name, schema) in schemas {
            push_segment(path, &name);
            self.schema(schema, path);
            path.truncate(length);
        }
    }
}

/// The problem of a keyword that checks nothing at its place, if it has one.
fn useless(word: &str, value: &Value, around: &Map<String, Value>, path: &str) -> Option<Problem> {
    let problem = |message: String| Problem::new(code::BAD_SCHEMA, path, message);
    if let Some((_, other)) = WITH.iter().find(|(one, _)| *one == word)
        && !around.contains_key(*other)
    {
        return Some(problem(format!("{word:?} checks nothing without {other:?}")));
    }
    let unknown = value.as_str().filter(|format| word == "format" && !FORMATS.contains(format));
    if let Some(format) = unknown {
        let problem = problem("this format is not known, so it would check nothing".to_owned());
        return Some(problem.found(format).expected(format!("one of {}", FORMATS.join(", "))));
    }
    let types: Vec<&str> = match around.get("type")? {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(only) => vec![only.as_str()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let (of, _) = OF_TYPES.iter().find(|(_, words)| words.contains(&word))?;
    let checks = types.is_empty() || types.iter().any(|it| of.contains(it));
    (!checks).then(|| {
        let message = format!("{word:?} checks nothing here: it is for another type");
        problem(message).found(types.join(", ")).expected(of.join(" or "))
    })
}

/// The problem of a word that is no keyword. If there is a schema below it and no `properties` beside it, it is
/// most likely the name of a property.
fn unknown(word: &str, around: &Map<String, Value>, path: &str) -> Problem {
    let is_schema = around.get(word).is_some_and(Value::is_object);
    let known = ONE.iter().chain(&NAMED).chain(&LISTED).chain(&PLAIN).copied();
    let is_property = is_schema && !around.contains_key("properties");
    let retired = retired(word, around);
    let message = match retired.or_else(|| did_you_mean(word, known)) {
        Some(meant) if retired.is_some() => {
            format!("{word:?} is no longer a keyword of JSON Schema: did you mean {meant:?}?")
        }
        meant if is_property && meant != Some("properties") => {
            format!(
                "{word:?} is not a keyword of JSON Schema: did you mean it under \"properties\"?"
            )
        }
        Some(meant) => {
            format!("{word:?} is not a keyword of JSON Schema: did you mean {meant:?}?")
        }
        None => format!("{word:?} is not a keyword of JSON Schema, so it would check nothing"),
    };
    Problem::new(code::UNKNOWN_KEY, path, message)
}

/// The keyword that replaced a keyword of an earlier draft.
fn retired(word: &str, around: &Map<String, Value>) -> Option<&'static str> {
    let is_list =
        |value: &Value| value.as_object().is_some_and(|all| all.values().all(Value::is_array));
    match word {
        "dependencies" if around.get(word).is_some_and(is_list) => Some("dependentRequired"),
        "dependencies" => Some("dependentSchemas"),
        "additionalItems" => Some("items"),
        _ => None,
    }
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
        let is_none = |word: &str| format!("\"{word}\" is not a keyword of JSON Schema");
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

    fn found(schema: Value) -> Vec<String> {
        check(&schema).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_would_check_nothing_where_it_stands_is_a_problem() {
        for (schema, expected) in [
            (json!({"then": {}}), "/then: \"then\" checks nothing without \"if\""),
            (
                json!({"type": "array", "minContains": 1}),
                "/minContains: \"minContains\" checks nothing without \"contains\"",
            ),
            (
                json!({"type": "string", "minimum": 1}),
                "/minimum: \"minimum\" checks nothing here: it is for another type; found string; expected \
                 number or integer",
            ),
            (
                json!({"dependencies": {"v": ["w"]}}),
                "/dependencies: \"dependencies\" is no longer a keyword of JSON Schema: did you \
                 mean \"dependentRequired\"?",
            ),
        ] {
            assert_eq!(found(schema), [expected]);
        }
        let unknown = found(json!({"format": "bogus"}));
        assert!(unknown[0].contains("found bogus; expected one of date, "), "{unknown:?}");
        for fine in [
            json!({"if": {}, "then": {}}),
            json!({"type": ["string", "integer"], "minimum": 1, "minLength": 2}),
            json!({"type": "object", "minProperties": 1}),
            json!({"minimum": 1, "maxLength": 2}),
            json!({"type": "string", "format": "ipv4"}),
        ] {
            assert_eq!(found(fine.clone()), [] as [String; 0], "{fine}");
        }
    }

    #[test]
    fn references_are_followed_to_where_they_lead() {
        let schema = json!({"x-defs": {"a": {"minLenght": 1, "items": {"$ref": "#/x-defs/a"}}},
            "properties": {"a": {"$ref": "#/x-defs/a"}, "b": {"$ref": "#/x-defs/a"}, "c": {"$ref": "#"}}});
        let expected = "/x-defs/a/minLenght: \"minLenght\" is not a keyword of JSON Schema: did you mean \
                        \"minLength\"?";
        assert_eq!(found(schema), [expected], "once");
    }

    #[test]
    fn a_report_ends() {
        let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(1))).collect();
        assert!(check(&Value::Object(many)).len() <= MAX_PROBLEMS + 1);
    }
}
