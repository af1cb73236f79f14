//! The value of a `--set`: what a person typed, as the type that the playbook says.

use std::collections::BTreeSet;

use serde_json::Value;

use super::params::kind;
use crate::playbook::read_value;

/// How many local references are followed to the schema of a parameter; a circle ends there.
const MAX_REFERENCES: usize = 16;

/// A character that nobody types.
const STAND_IN: &str = "\u{e000}";

/// Reads the value for the parameter at `keys`. A parameter that may be a text, and not what YAML makes of
/// what was typed, is that text: `2.1` is the version of something then. Nothing is changed: what can't be
/// taken as it is typed is an error.
pub(super) fn read_as(schema: &Value, keys: &[&str], text: &str) -> Result<Value, String> {
    let types = types_of(schema, keys);
    let read = read(text);
    let is_quoted = text.trim_start().starts_with(['"', '\'']);
    match read {
        Ok(value) if types.is_empty() || fits(&value, &types) => Ok(value),
        _ if types.contains("string") && !is_quoted => Ok(Value::String(text.to_owned())),
        read => read,
    }
}

/// Reads a value as YAML does: a scalar, or a list or map in brackets.
fn read(text: &str) -> Result<Value, String> {
    let value = plain(text)?;
    if text.contains('#') {
        // If part of it was a comment, other characters in its place change what is read.
        let other = plain(&text.replace('#', STAND_IN));
        if other.map(back) != Ok(value.clone()) {
            return Err(
                "YAML takes what follows the # as a comment; put the value in quotes, or use \
                        --set-string"
                    .to_owned(),
            );
        }
    }
    let bracketed = text.trim_start().starts_with(['[', '{']);
    match &value {
        Value::Array(_) | Value::Object(_) if !bracketed => Err(format!(
            "found {}; a text such as this needs quotes, or --set-string",
            kind(&value)
        )),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Ok(value),
    }
}

fn plain(text: &str) -> Result<Value, String> {
    read_value(text.as_bytes()).map_err(|wrong| {
        let first = wrong.0.into_iter().next();
        let what = first.map(|problem| {
            let found = problem.found.map(|found| format!(": found {found}"));
            let expected = problem.expected.map(|expected| format!(", expected {expected}"));
            problem.message + &found.unwrap_or_default() + &expected.unwrap_or_default()
        });
        let what = what.unwrap_or_default();
        format!("{what}; a text with special characters needs quotes, or --set-string")
    })
}

fn back(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(STAND_IN, "#")),
        Value::Array(items) => Value::Array(items.into_iter().map(back).collect()),
        Value::Object(object) => {
            let members = object.into_iter();
            Value::Object(members.map(|(k, v)| (k.replace(STAND_IN, "#"), back(v))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// The types that the schema gives the parameter at `keys`; none, where it says nothing.
fn types_of<'s>(schema: &'s Value, keys: &[&str]) -> BTreeSet<&'s str> {
    let mut place = schema;
    for key in keys {
        let below = follow(schema, place).get("properties").and_then(|all| all.get(*key));
        let Some(below) = below else { return BTreeSet::new() };
        place = below;
    }
    let place = follow(schema, place);
    let words = match place.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(only) => only.as_str().into_iter().collect(),
        None => BTreeSet::new(),
    };
    let allowed = place.get("enum").and_then(Value::as_array);
    let mut values = allowed.into_iter().flatten().chain(place.get("const")).peekable();
    match words.is_empty() && values.peek().is_some() {
        true => values.map(type_of).collect(),
        false => words,
    }
}

/// The schema that a local reference stands for.
fn follow<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    for _ in 0..MAX_REFERENCES {
        let to = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        match to.and_then(|to| root.pointer(to)) {
            Some(target) => schema = target,
            None => return schema,
        }
    }
    schema
}

fn fits(value: &Value, types: &BTreeSet<&str>) -> bool {
    let found = type_of(value);
    types.contains(found) || (found == "integer" && types.contains("number"))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_a_schema_values_have_the_types_of_yaml() {
        for (text, value) in [
            ("30", json!(30)),
            ("-1.5", json!(-1.5)),
            ("true", json!(true)),
            ("hello world", json!("hello world")),
            ("'30'", json!("30")),
            ("", json!(null)),
            ("http://x/?a=b#c", json!("http://x/?a=b#c")),
            ("no", json!("no")),
            ("[1, a]", json!([1, "a"])),
            ("{m: 1}", json!({"m": 1})),
            ("\"a # b\"", json!("a # b")),
            ("a#b", json!("a#b")),
            ("['#1', b#2]", json!(["#1", "b#2"])),
        ] {
            assert_eq!(read_as(&Value::Null, &["x"], text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_yaml_would_change_is_refused_with_the_reason() {
        for (text, part) in [
            ("b: c", "needs quotes"),
            ("*x", "needs quotes"),
            ("a # b", "as a comment"),
            ("# b", "as a comment"),
            ("[1, 2] # both", "as a comment"),
            (".nan", "not a number of JSON"),
            ("-.inf", "not a number of JSON"),
            ("18446744073709551616", "at most 64 bits"),
            ("123456789012345678901234567890123456789012345", "at most 64 bits"),
            ("{a: 1, a: 2}", "twice"),
            ("${{ x }}: 1", "quote"),
        ] {
            let error = read_as(&Value::Null, &["x"], text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_is_a_text_where_the_schema_says_so() {
        let schema = json!({
            "$defs": {"version": {"type": "string"}},
            "properties": {
                "s": {"type": "string"}, "n": {"type": "number"}, "any": {"title": "x"},
                "maybe": {"type": ["string", "integer"]}, "of": {"enum": ["1.0", "2.0"]},
                "deep": {"properties": {"v": {"$ref": "#/$defs/version"}}},
                "round": {"$ref": "#/properties/round"},
            },
        });
        let read = |keys: &[&str], text: &str| read_as(&schema, keys, text);
        for text in ["2.1", "true", "", "a # b", "a: b", "[x", ".nan", "99999999999999999999", "no"]
        {
            assert_eq!(read(&["s"], text), Ok(json!(text)));
            assert_eq!(read(&["deep", "v"], text), Ok(json!(text)));
        }
        assert_eq!(read(&["s"], "'2.1'"), Ok(json!("2.1")), "quotes are YAML's");
        assert!(read(&["s"], "'2.1").is_err());
        assert_eq!(read(&["of"], "2.0"), Ok(json!("2.0")));
        assert_eq!(read(&["maybe"], "30"), Ok(json!(30)));
        assert_eq!(read(&["maybe"], "3.5"), Ok(json!("3.5")));
        assert_eq!(read(&["n"], "30"), Ok(json!(30)));
        // The server says what is wrong with it, with the place in the parameters.
        assert_eq!(read(&["n"], "x"), Ok(json!("x")));
        for keys in [&["any"][..], &["other"], &["s", "t"], &["round"]] {
            assert_eq!(read(keys, "2.1"), Ok(json!(2.1)), "{keys:?}");
        }
    }
}
