//! Parameters of a run from `--params FILE`, `--set key=value` and `--set-string key=text`, in this order of
//! precedence: the last one wins.

use std::path::Path;

use serde_json::{Map, Value};

use super::set_value::read_as;
use crate::cli::error::CliError;
use crate::cli::files::read_documents;
use crate::cli::problems::{self, Look};
use crate::cli::text::clean;
use crate::playbook::read_value;

/// The most parts of a key, `a.b.c`: deeper values belong in a file.
pub(crate) const MAX_DEPTH: usize = 16;

/// The parameters that the command line gives.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ParamArgs {
    /// Set a parameter; the value has the type that the playbook gives, or is read as YAML, and `a.b=1` sets
    /// `b` in the map `a`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Set a parameter to exactly this text; takes precedence over --set
    #[arg(long = "set-string", value_name = "KEY=TEXT")]
    pub strings: Vec<String>,
    /// Read parameters from a file, in YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub params: Option<std::path::PathBuf>,
}

impl ParamArgs {
    /// Whether the schema of the parameters is needed.
    ///
    /// # Errors
    /// [`CliError::Usage`] for a `--set` that is wrong whatever the schema is.
    pub(crate) fn need_schema(&self) -> Result<bool, CliError> {
        for set in &self.sets {
            keys_of("--set", set)?;
        }
        Ok(!self.sets.is_empty())
    }

    /// The parameters: those of the file, overridden by each `--set` in order, and then by each `--set-string`.
    /// `schema` is that of the playbook's parameters; null if it is not known.
    ///
    /// # Errors
    /// [`CliError::Invalid`] for the file, [`CliError::Usage`] for a `--set`.
    pub(crate) fn read(&self, schema: &Value) -> Result<Map<String, Value>, CliError> {
        let mut params = match &self.params {
            Some(path) => read_params(path)?,
            None => Map::new(),
        };
        for set in &self.sets {
            put(&mut params, "--set", set, |keys, text| read_as(schema, keys, text))?;
        }
        for set in &self.strings {
            put(&mut params, "--set-string", set, |_, text| Ok(Value::String(text.to_owned())))?;
        }
        Ok(params)
    }
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
    match read_value(document.text.as_bytes()) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(other) => Err(invalid(format!("found {}, expected a map of parameters", kind(&other)))),
        Err(wrong) => Err(CliError::Invalid {
            file,
            count: wrong.0.len(),
            shown: problems::show(document, &wrong.0, Look::default()),
        }),
    }
}

fn put(
    params: &mut Map<String, Value>,
    option: &str,
    set: &str,
    read: impl FnOnce(&[&str], &str) -> Result<Value, String>,
) -> Result<(), CliError> {
    let wrong = |message: String| CliError::Usage(format!("{option} {set}: {message}"));
    let (parts, text) = keys_of(option, set)?;
    let value = read(&parts, text).map_err(wrong)?;
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

/// The parts of the key, and the value as it was typed.
fn keys_of<'s>(option: &str, set: &'s str) -> Result<(Vec<&'s str>, &'s str), CliError> {
    let wrong = |message: String| CliError::Usage(format!("{option} {set}: {message}"));
    let Some((key, text)) = set.split_once('=') else {
        return Err(wrong("expected KEY=VALUE".to_owned()));
    };
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong("found an empty part of the key".to_owned()));
    }
    if parts.len() > MAX_DEPTH {
        let found = parts.len();
        let message = format!("found {found} parts of the key, expected at most {MAX_DEPTH}");
        return Err(wrong(message));
    }
    Ok((parts, text))
}

/// The type of a value, as human-readable text.
pub(super) fn kind(value: &Value) -> &'static str {
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

    fn read(args: ParamArgs, schema: Value) -> Result<Value, String> {
        args.read(&schema).map(Value::Object).map_err(|error| error.to_string())
    }

    fn set(sets: &[&str]) -> Result<Value, String> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        read(ParamArgs { sets, ..ParamArgs::default() }, Value::Null)
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
        ] {
            let error = set(sets).unwrap_err();
            assert!(error.contains(part), "{sets:?}: {error}");
        }
        let deep = format!("{}=1", vec!["a"; MAX_DEPTH + 1].join("."));
        assert!(set(&[&deep]).unwrap_err().contains("expected at most 16"));
    }

    #[test]
    fn a_text_is_taken_as_it_is_and_the_schema_says_what_is_one() {
        let schema = json!({"properties": {"version": {"type": "string"}}});
        let sets = vec!["version=2.1".to_owned(), "other=2.1".to_owned()];
        let args = ParamArgs { sets, ..ParamArgs::default() };
        assert_eq!(read(args, schema).unwrap(), json!({"version": "2.1", "other": 2.1}));
        let (sets, strings) = (vec!["a=1".to_owned()], vec!["a='x' # y".to_owned()]);
        let args = ParamArgs { sets, strings, ..ParamArgs::default() };
        assert_eq!(read(args, Value::Null).unwrap(), json!({"a": "'x' # y"}));
    }

    #[test]
    fn sets_go_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("params.yaml");
        std::fs::write(&file, "grace: 5\nzones: [a, b] # both\n").unwrap();
        let args = || ParamArgs { params: Some(file.clone()), ..ParamArgs::default() };
        let params = read(ParamArgs { sets: vec!["grace=7".to_owned()], ..args() }, Value::Null);
        assert_eq!(params.unwrap(), json!({"grace": 7, "zones": ["a", "b"]}));
        for (text, part) in [
            ("- 1\n", "expected a map"),
            ("a: .nan\n", ":1:4: /a: not a number of JSON"),
            ("a: 1\nb: -.inf\n", ":2:4: /b: not a number of JSON"),
            ("a: 1\na: 2\n", ":2:1: /a: found the key \"a\" twice"),
            ("{\"a\": 18446744073709551616}", "found: 18446744073709551616"),
            ("a: {b: -9223372036854775809}\n", "expected: a finite number of at most 64 bits"),
            ("1: x\n", "a key is not a string"),
        ] {
            std::fs::write(&file, text).unwrap();
            let Err(CliError::Invalid { shown, .. }) = args().read(&Value::Null) else {
                panic!("{text}");
            };
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
