//! Parameters of a run from `--params FILE` and `--set key=value`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::error::CliError;
use crate::cli::files::read_documents;
use crate::cli::text::clean;

/// Parts of a key, `a.b.c`, at most: deeper values belong in a file.
pub(crate) const MAX_DEPTH: usize = 16;

/// The parameters: those of the file, with each `--set` put over them in order.
///
/// # Errors
/// [`CliError::Invalid`] for the file, [`CliError::Usage`] for a `--set`.
pub(crate) fn parameters(
    file: Option<&Path>,
    sets: &[String],
) -> Result<Map<String, Value>, CliError> {
    let mut params = match file {
        Some(path) => read_params(path)?,
        None => Map::new(),
    };
    for set in sets {
        put(&mut params, set)?;
    }
    Ok(params)
}

fn read_params(path: &Path) -> Result<Map<String, Value>, CliError> {
    let documents = read_documents(path)?;
    let file = path.display().to_string();
    let invalid = |message: String| CliError::Invalid {
        file: file.clone(),
        count: 1,
        shown: clean(&format!("{file}: {message}")) + "\n",
    };
    let [document] = documents.as_slice() else {
        return Err(invalid(format!("found {} documents, expected one", documents.len())));
    };
    match serde_yaml::from_str::<Value>(&document.text) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(other) => Err(invalid(format!("found {}, expected a map of parameters", kind(&other)))),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn put(params: &mut Map<String, Value>, set: &str) -> Result<(), CliError> {
    let wrong = |message: String| CliError::Usage(format!("--set {set}: {message}"));
    let Some((key, text)) = set.split_once('=') else {
        return Err(wrong("expected KEY=VALUE".to_owned()));
    };
    let value = read_value(text).map_err(wrong)?;
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong("found an empty part of the key".to_owned()));
    }
    if parts.len() > MAX_DEPTH {
        return Err(wrong(format!(
            "found {} parts of the key, expected at most {MAX_DEPTH}",
            parts.len()
        )));
    }
    let mut place = params;
    let (last, parents) = parts.split_last().unwrap_or((&"", &[]));
    for parent in parents {
        let next = place.entry(*parent).or_insert_with(|| Value::Object(Map::new()));
        let found = kind(next);
        place = next.as_object_mut().ok_or_else(|| {
            wrong(format!("found {found} at {parent:?}, expected a map to put it in"))
        })?;
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}

/// Reads a value as YAML does: a scalar, or a list or map in brackets.
fn read_value(text: &str) -> Result<Value, String> {
    let value: Value = serde_yaml::from_str(text)
        .map_err(|error| format!("{error}; a text with special characters needs quotes"))?;
    let bracketed = text.trim_start().starts_with(['[', '{']);
    match &value {
        Value::Array(_) | Value::Object(_) if !bracketed => {
            Err(format!("found {}; a text such as this needs quotes", kind(&value)))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Ok(value),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(sets: &[&str]) -> Result<Value, String> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        parameters(None, &sets).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn values_have_the_types_of_yaml() {
        let sets = [
            "i=30",
            "n=-1.5",
            "b=true",
            "s=hello world",
            "q='30'",
            "e=",
            "u=http://x/?a=b",
            "w=no",
        ];
        let expected = json!({"i": 30, "n": -1.5, "b": true, "s": "hello world", "q": "30",
            "e": null, "u": "http://x/?a=b", "w": "no"});
        assert_eq!(set(&sets).unwrap(), expected);
        assert_eq!(set(&["l=[1, a]", "m={a: 1}"]).unwrap(), json!({"l": [1, "a"], "m": {"a": 1}}));
    }

    #[test]
    fn dots_lead_into_maps_and_the_last_one_counts() {
        let value = set(&["a.b=1", "a.c.d=2", "a.b=3"]).unwrap();
        assert_eq!(value, json!({"a": {"b": 3, "c": {"d": 2}}}));
    }

    #[test]
    fn what_makes_no_sense_says_so() {
        for (sets, part) in [
            (&["a"][..], "expected KEY=VALUE"),
            (&["=1"], "empty part"),
            (&["a..b=1"], "empty part"),
            (&["a=1", "a.b=2"], "found a number at \"a\""),
            (&["a=b: c"], "needs quotes"),
            (&["a=*x"], "needs quotes"),
        ] {
            let error = set(sets).unwrap_err();
            assert!(error.contains(part), "{sets:?}: {error}");
        }
        let deep = format!("{}=1", vec!["a"; MAX_DEPTH + 1].join("."));
        assert!(set(&[&deep]).unwrap_err().contains("expected at most 16"));
    }

    #[test]
    fn sets_go_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("params.yaml");
        std::fs::write(&file, "grace: 5\nzones: [a, b]\n").unwrap();
        let params = parameters(Some(&file), &["grace=7".to_owned()]).unwrap();
        assert_eq!(Value::Object(params), json!({"grace": 7, "zones": ["a", "b"]}));
        std::fs::write(&file, "- 1\n").unwrap();
        assert!(matches!(parameters(Some(&file), &[]), Err(CliError::Invalid { .. })));
    }
}
