//! Replaces what is wrong with the structure of a document by stand-ins, so that the rest of the document can be
//! checked in the same go. The replaced places are remembered, and nothing further is reported about them.

use serde_json::Value;

use super::document::{API_VERSION, Kind};
use super::problem::{Problem, code, did_you_mean};
use super::schema;
use super::schema_path;
use super::suspects::Suspects;
use super::text::Text;

/// How often a document is repaired and checked again. Once is enough, unless it has more problems than one check
/// reports.
const MAX_ROUNDS: usize = 3;

/// A step has exactly one of these keys. If one of them is wrong, nothing can be said about the other.
const EITHER: [&str; 2] = ["use", "action"];

/// A document that is being repaired.
pub(super) struct Repair {
    kind: Kind,
    /// What is left of the document.
    pub(super) value: Value,
    /// The places at which the value differs from the document.
    pub(super) suspects: Suspects,
}

impl Repair {
    /// Starts with the whole document, of the given kind.
    pub(super) fn of(kind: Kind, text: &Text) -> Self {
        Self { kind, value: text.value.clone(), suspects: text.suspects.clone() }
    }

    /// Repairs what the schema has `found`, and returns the problems that are to be reported.
    pub(super) fn repair(&mut self, mut found: Vec<Problem>) -> Vec<Problem> {
        // Problems of the head were reported before.
        for (key, word) in [("apiVersion", API_VERSION), ("kind", self.kind.as_str())] {
            if let Value::Object(document) = &mut self.value {
                document.insert(key.to_owned(), word.into());
            }
            found.retain(|problem| problem.path.strip_prefix('/') != Some(key));
        }
        let mut reported = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let (known, new): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|problem| self.suspects.explain(problem));
            known.iter().chain(&new).for_each(|problem| self.repair_one(problem));
            reported.extend(new);
            found = schema::check_document(self.kind, &self.value);
            // A stand-in for a text is empty, which the schema may refuse.
            found.retain(|problem| !self.suspects.has(&problem.path) || !self.is_typed(problem));
            if found.is_empty() {
                break;
            }
        }
        reported
    }

    /// Whether the value at the place of the problem at least has the right type.
    fn is_typed(&self, problem: &Problem) -> bool {
        problem.code == code::BAD_VALUE && self.value.pointer(&problem.path).is_some()
    }

    fn repair_one(&mut self, problem: &Problem) {
        let Some((around, segment)) = problem.path.rsplit_once('/') else { return };
        let key = segment.replace("~1", "/").replace("~0", "~");
        let root = schema::of(self.kind);
        let schema_around = schema_path::at(root, around);
        let stand_in =
            schema_path::at(root, &problem.path).map(|schema| schema_path::stand_in(root, schema));
        match self.value.pointer_mut(around) {
            Some(Value::Object(object)) => {
                let known = schema_around.map(|schema| schema_path::keys(root, schema));
                let known = known.unwrap_or_default();
                if problem.code == code::UNKNOWN_KEY {
                    // All unknown keys go at once: there may be more than were reported.
                    match known.is_empty() {
                        true => drop(object.shift_remove(&key)),
                        false => object.retain(|key, _| known.contains(&key.as_str())),
                    }
                    let missing = known.into_iter().filter(|known| !object.contains_key(*known));
                    let meant = did_you_mean(&key, missing);
                    if meant.is_none_or(|meant| EITHER.contains(&meant)) {
                        self.suspects.open(around);
                    }
                    if let Some(meant) = meant {
                        self.suspects.add(format!("{around}/{meant}"));
                    }
                    return;
                }
                if EITHER.contains(&key.as_str()) {
                    self.suspects.open(around);
                }
                object.shift_remove(&key);
                if let Some(schema) = schema_around
                    && schema_path::requires(root, schema, &key)
                    && let Some(value) = stand_in
                {
                    object.insert(key, value);
                }
            }
            Some(Value::Array(items)) => {
                let item = key.parse::<usize>().ok().and_then(|index| items.get_mut(index));
                if let (Some(item), Some(value)) = (item, stand_in) {
                    *item = value;
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
        }
        self.suspects.add(problem.path.clone());
    }
}
