//! `--sort-by PATH`: sorts a list by the value that each item has at a path.

use std::cmp::Ordering;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use super::path::Path;
use super::template::shown;
use crate::cli::error::CliError;

/// The path to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortBy(Path);

impl FromStr for SortBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Path::parse(text).map(Self)
    }
}

/// The items, sorted by what each has at the path. Those that have nothing there come first; otherwise the order stays.
///
/// # Errors
/// [`CliError::Usage`] when no item has anything there.
pub(crate) fn sorted<T: Serialize>(items: Vec<T>, by: &SortBy) -> Result<Vec<T>, CliError> {
    let mut found_any = items.is_empty();
    let mut keyed = Vec::with_capacity(items.len());
    let mut members = Vec::new();
    for item in items {
        let value = serde_json::to_value(&item)
            .map_err(|error| CliError::Encode { format: "JSON", message: error.to_string() })?;
        let found = by.0.find(&value, &value);
        found_any |= !found.is_empty();
        let key = found.first().map_or(Value::Null, |found| Value::clone(found));
        if members.is_empty()
            && let Value::Object(value) = &value
        {
            members = value.keys().cloned().collect();
        }
        keyed.push((key, item));
    }
    if !found_any {
        let message =
            format!("--sort-by: no item has {:?}; each has {}", by.0.source(), members.join(", "));
        return Err(CliError::Usage(message));
    }
    keyed.sort_by(|(a, _), (b, _)| compare(a, b));
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

/// Compares numbers by their value, and texts by their characters. The order of different types is null, false and true,
/// numbers, texts, all else.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| shown(a).cmp(&shown(b))),
    }
}

const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by(path: &str, items: &Value) -> Result<Vec<Value>, CliError> {
        sorted(items.as_array().unwrap().clone(), &path.parse().unwrap())
    }

    #[test]
    fn items_are_sorted_by_what_they_have() {
        let items =
            json!([{"n": 10, "s": "b"}, {"n": 9, "s": "a"}, {"n": 9.5}, {"n": "x", "s": "c"}]);
        let sorted = by(".n", &items).unwrap();
        let order: Vec<_> = sorted.iter().map(|item| item["n"].to_string()).collect();
        assert_eq!(order, ["9", "9.5", "10", "\"x\""]);
        let sorted = by("s", &items).unwrap();
        let order: Vec<_> = sorted.iter().map(|item| item["s"].to_string()).collect();
        assert_eq!(order, ["null", "\"a\"", "\"b\"", "\"c\""]);
        assert!(by(".any", &json!([])).unwrap().is_empty());
        let large = json!([{"n": u64::MAX}, {"n": -1}, {"n": i64::MAX}, {"n": i64::MAX - 1}]);
        let sorted = by(".n", &large).unwrap();
        assert_eq!((&sorted[0]["n"], &sorted[1]["n"]), (&json!(-1), &json!(i64::MAX - 1)));
    }

    #[test]
    fn a_path_that_no_item_has_is_refused() {
        let error = by(".progress.since", &json!([{"id": 1, "since": 2}])).unwrap_err();
        let expected = "--sort-by: no item has \".progress.since\"; each has id, since";
        assert_eq!((error.to_string().as_str(), error.exit().code()), (expected, 2));
    }
}
