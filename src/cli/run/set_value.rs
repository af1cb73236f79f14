//! The value of a `--set`: reads what a person typed as the type that the playbook gives. YAML would change
//! many texts silently; here a text is either taken exactly as it was typed, or is an error.

use serde_json::Value;

use super::params::kind;
use crate::playbook::{SchemaPlace, Types, read_value, type_of};

/// A character that nobody types, to put in the place of others.
const STAND_IN: &str = "\u{e000}";

/// Reads the value for the parameter at `keys`. If the parameter may be a text, and YAML reads the typed text
/// as a type that it may not have, it is that text: `2.1` then is the version of something. Nothing is changed:
/// a value that can't be taken exactly as it was typed is an error.
pub(super) fn read_as(schema: &Value, keys: &[&str], text: &str) -> Result<Value, String> {
    let place = keys.iter().fold(SchemaPlace::of(schema), |place, key| place.below(key));
    let types = place.types();
    let may_be_text = types.as_ref().is_none_or(|types| types.contains("string"));
    match read(text) {
        Ok(value) if types.as_ref().is_none_or(|types| fits(&value, types)) => {
            check_inside(&value, &place)?;
            Ok(value)
        }
        _ if types.is_some() && may_be_text && !is_quoted(text) => {
            Ok(Value::String(text.to_owned()))
        }
        // The server will say what is wrong with the value, and where it is among the parameters.
        Ok(value) => Ok(value),
        Err(what) if may_be_text => {
            Err(format!("{what}; a text needs quotes here, or --set-string"))
        }
        Err(what) => {
            let expected: Vec<&str> = types.into_iter().flatten().collect();
            Err(format!("{what}; expected {}", expected.join(" or ")))
        }
    }
}

fn is_quoted(text: &str) -> bool {
    text.trim_start().starts_with(['"', '\''])
}

/// Reads a value as YAML does: a scalar, or a list or map in brackets.
fn read(text: &str) -> Result<Value, String> {
    let value = plain(text)?;
    if text.contains('#') {
        // If a part of the text was a comment, other characters in place of the # change what is read.
        let other = plain(&text.replace('#', STAND_IN));
        if other.map(back) != Ok(value.clone()) {
            return Err("YAML takes what follows the # as a comment".to_owned());
        }
    }
    let typed = text.trim();
    // YAML drops a tag, an anchor or the beginning of a document before a value.
    let is_bare = !typed.starts_with(['&', '!']) && !typed.contains(char::is_whitespace);
    match &value {
        Value::Array(_) | Value::Object(_) if typed.starts_with(['[', '{']) => Ok(value),
        Value::Array(_) | Value::Object(_) => Err(format!("found {}", kind(&value))),
        Value::String(_) if is_quoted(text) && typed.contains(['\n', '\r']) => {
            Err("YAML folds line feeds in quotes".to_owned())
        }
        Value::String(_) if is_quoted(text) => Ok(value),
        Value::String(read) if read == text => Ok(value),
        Value::Null if typed.is_empty() && !text.is_empty() => {
            Err("YAML reads it as nothing".to_owned())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) if is_bare => Ok(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(format!("YAML reads it as {value}"))
        }
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
        what.unwrap_or_default()
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

/// Refuses a value inside a list or a map that would have to be a text: it is no longer known how it was typed.
fn check_inside(value: &Value, place: &SchemaPlace<'_>) -> Result<(), String> {
    let check = |key: &str, below: &Value| {
        let place = place.below(key);
        let wants_text = |types: Types| types.contains("string") && !fits(below, &types);
        match below {
            Value::Array(_) | Value::Object(_) => check_inside(below, &place),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                match place.types().is_some_and(wants_text) {
                    true => {
                        Err(format!("found {below} at {key:?}, expected a text: put it in quotes"))
                    }
                    false => Ok(()),
                }
            }
        }
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(at, item)| check(&at.to_string(), item))
        }
        Value::Object(members) => members.iter().try_for_each(|(key, member)| check(key, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn fits(value: &Value, types: &Types) -> bool {
    types.contains(type_of(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
            ("|", "YAML reads it as \"\"; a text needs quotes here, or --set-string"),
            (">-", "YAML reads it as"),
            ("|+", "YAML reads it as"),
            ("&a b", "YAML reads it as \"b\""),
            ("&a 5", "YAML reads it as 5"),
            ("--- x", "YAML reads it as \"x\""),
            (" x ", "YAML reads it as \"x\""),
            ("  ", "YAML reads it as nothing"),
            ("a\nb", "YAML reads it as \"a b\""),
            ("\"a\nb\"", "YAML folds line feeds"),
            ("!!str 5", ""),
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
        for text in [
            "2.1",
            "true",
            "",
            "a # b",
            "a: b",
            "[x",
            ".nan",
            "99999999999999999999",
            "no",
            "|",
            ">",
            ">-",
            "|+",
            "&a b",
            "--- x",
            " x ",
            "!!str 5",
            "a\nb",
            "[a]",
            "- a",
            "...",
            "%x",
            "\u{feff}x",
        ] {
            assert_eq!(read(&["s"], text), Ok(json!(text)));
            assert_eq!(read(&["deep", "v"], text), Ok(json!(text)));
        }
        assert_eq!(read(&["s"], "'2.1'"), Ok(json!("2.1")), "quotes are YAML's");
        assert!(read(&["s"], "'2.1").is_err());
        assert_eq!(read(&["of"], "2.0"), Ok(json!("2.0")));
        assert_eq!(read(&["maybe"], "30"), Ok(json!(30)));
        assert_eq!(read(&["maybe"], "3.5"), Ok(json!("3.5")));
        assert_eq!(read(&["n"], "30"), Ok(json!(30)));
        let error = read(&["n"], "99999999999999999999").unwrap_err();
        assert!(error.ends_with("; expected integer or number"), "{error}");
        assert!(read(&["n"], "|").is_err() && read(&["n"], "'2' # x").is_err());
        // The server will say what is wrong with the value, and where it is among the parameters.
        assert_eq!(read(&["n"], "x"), Ok(json!("x")));
        for keys in [&["any"][..], &["other"], &["s", "t"], &["round"]] {
            assert_eq!(read(keys, "2.1"), Ok(json!(2.1)), "{keys:?}");
        }
    }

    #[test]
    fn the_schema_is_followed_into_lists_maps_and_alternatives() {
        let schema = json!({"properties": {
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "labels": {"additionalProperties": {"type": "string"}},
            "versions": {"type": "array", "items": {"type": "string"}},
        }});
        let read = |keys: &[&str], text: &str| read_as(&schema, keys, text);
        assert_eq!(read(&["maybe"], "2.10"), Ok(json!("2.10")));
        assert_eq!(read(&["maybe"], "null"), Ok(json!(null)));
        assert_eq!(read(&["labels", "release"], "2.10"), Ok(json!("2.10")));
        assert_eq!(read(&["versions"], "['2.10', b]"), Ok(json!(["2.10", "b"])));
        let error = read(&["versions"], "[b, 2.10]").unwrap_err();
        assert_eq!(error, "found 2.1 at \"1\", expected a text: put it in quotes");
        assert!(read(&["labels"], "{release: 2.10}").unwrap_err().contains("at \"release\""));
    }

    proptest! {
        /// Texts also contain characters that have a meaning in YAML.
        #[test]
        fn a_text_is_what_was_typed_or_an_error(
            text in "([ -~]|[|>&*!%@#:,?\n\t -]|---|!!str |é|日|\u{feff}|\u{85}){0,8}"
        ) {
            let schema = json!({"properties": {"s": {"type": "string"}}});
            let read = read_as(&schema, &["s"], &text);
            prop_assert!(is_quoted(&text) || read == Ok(json!(text)), "{:?}", read);
            let any = read_as(&Value::Null, &["s"], &text);
            match any {
                Ok(Value::String(read)) => prop_assert!(read == text || is_quoted(&text)),
                Ok(Value::Array(_) | Value::Object(_)) => {
                    let is_bracketed = text.trim_start().starts_with(['[', '{']);
                    prop_assert!(is_bracketed);
                }
                Ok(Value::Null | Value::Bool(_) | Value::Number(_)) => {
                    prop_assert!(!text.trim().contains(char::is_whitespace), "{:?}", any);
                }
                Err(_) => {}
            }
        }
    }
}
