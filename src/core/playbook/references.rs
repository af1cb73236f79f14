//! Which names an expression may use where it stands.

use serde_json::Value;

use super::problem::did_you_mean;

/// What expressions may refer to at one place of a playbook.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// The roots that there are.
    pub(super) roots: &'static [&'static str],
    /// The steps of the stage before this place.
    pub(super) earlier: &'a [String],
    /// The steps of the stages before.
    pub(super) before: &'a [(String, String)],
    /// All steps of the stage.
    pub(super) steps: &'a [String],
    /// The steps of every stage, with the name of it.
    pub(super) all: &'a [(String, String)],
    /// JSON Schema of the parameters.
    pub(super) params: &'a Value,
}

/// Where agents are selected.
pub(super) const IN_SELECT: &[&str] = &["params", "agent", "run", "cluster"];
/// In the arguments of a strategy.
pub(super) const IN_STRATEGY: &[&str] = &["params", "run", "cluster"];
/// In a step.
pub(super) const IN_STEP: &[&str] = &["params", "agent", "steps", "run", "cluster"];

impl Names<'_> {
    /// What is wrong with a path into the scope; nothing: it may lead somewhere.
    pub(super) fn check(&self, path: &[&str]) -> Option<String> {
        let (root, rest) = path.split_first()?;
        if !self.roots.contains(root) {
            return Some(format!(
                "there is no {root:?} at this place, expected one of {}",
                self.roots.join(", ")
            ));
        }
        match *root {
            "agent" => known(root, rest, &["id", "attributes", "node", "store", "shards"]),
            "run" => known(root, rest, &["id"]),
            "cluster" => known(root, rest, &["name"]),
            "steps" => self.step(rest),
            _ => self.param(rest),
        }
    }

    fn step(&self, path: &[&str]) -> Option<String> {
        let (name, rest) = path.split_first()?;
        let before = self.before.iter().map(|(_, step)| step);
        if self.earlier.iter().chain(before).any(|step| step == name) {
            return known("steps", rest, &["result"]);
        }
        if self.steps.iter().any(|step| step == name) {
            return Some(format!(
                "step {name:?} has no result yet: it does not come before this place"
            ));
        }
        // A step whose own name is missing or wrong may be the one.
        if self.steps.iter().any(String::is_empty) {
            return None;
        }
        if let Some((stage, _)) = self.all.iter().find(|(_, step)| step == name) {
            return Some(format!(
                "step {name:?} belongs to stage {stage:?}, which does not come before this one"
            ));
        }
        let before = self.before.iter().map(|(_, step)| step);
        let known = self.earlier.iter().chain(before).map(String::as_str);
        Some(match did_you_mean(name, known) {
            Some(meant) => format!("there is no step {name:?}: did you mean {meant:?}?"),
            None => format!("there is no step {name:?} before this place"),
        })
    }

    /// Only where the schema lists every parameter: others may be given where it says so.
    fn param(&self, path: &[&str]) -> Option<String> {
        let name = path.first()?;
        let keywords = self.params.as_object()?;
        const OPEN: [&str; 9] = [
            "$ref",
            "$dynamicRef",
            "allOf",
            "anyOf",
            "oneOf",
            "if",
            "patternProperties",
            "dependentSchemas",
            "unevaluatedProperties",
        ];
        // Where nothing is said of others they may be given, but no schema says so to anybody.
        let open = keywords.get("additionalProperties").is_some_and(|it| *it != Value::Bool(false));
        if open || OPEN.iter().any(|keyword| keywords.contains_key(*keyword)) {
            return None;
        }
        let properties = keywords.get("properties").and_then(Value::as_object);
        let required = keywords.get("required").and_then(Value::as_array);
        let is_required = required.is_some_and(|names| names.iter().any(|known| known == name));
        if is_required || properties.is_some_and(|properties| properties.contains_key(*name)) {
            return None;
        }
        let known = properties.into_iter().flatten().map(|(key, _)| key.as_str());
        Some(match did_you_mean(name, known) {
            Some(meant) => format!("there is no parameter {name:?}: did you mean {meant:?}?"),
            None if keywords.contains_key("additionalProperties") => {
                format!("there is no parameter {name:?} in spec.params")
            }
            None => format!(
                "there is no parameter {name:?} in spec.params: name it under \"properties\", or add \
                 `additionalProperties: true`"
            ),
        })
    }
}

fn known(of: &str, path: &[&str], keys: &[&str]) -> Option<String> {
    let key = path.first()?;
    if keys.contains(key) {
        return None;
    }
    Some(format!("{of:?} has no {key:?}, expected one of {}", keys.join(", ")))
}
