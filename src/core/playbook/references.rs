//! Says which names an expression may use at its place, so that a misspelled name is an error at import and not in
//! the middle of a run.

use serde_json::Value;

use super::problem::did_you_mean;

/// What expressions may refer to at one place of a playbook.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// The roots that exist at this place.
    pub(super) roots: &'static [&'static str],
    /// The steps of this stage that come before this place.
    pub(super) earlier: &'a [String],
    /// The steps of earlier stages: name of the stage, name of the step.
    pub(super) before: &'a [(String, String)],
    /// All steps of this stage.
    pub(super) steps: &'a [String],
    /// The steps of every stage: name of the stage, name of the step.
    pub(super) all: &'a [(String, String)],
    /// JSON Schema of the parameters.
    pub(super) params: &'a Value,
}

/// The roots in the `select` of a stage.
pub(super) const IN_SELECT: &[&str] = &["params", "agent", "run", "cluster"];
/// The roots in the arguments of a strategy.
pub(super) const IN_STRATEGY: &[&str] = &["params", "run", "cluster"];
/// The roots in a step of a stage on the run.
pub(super) const IN_ONCE: &[&str] = &["params", "steps", "run", "cluster"];
/// The roots in a step.
pub(super) const IN_STEP: &[&str] = &["params", "agent", "steps", "run", "cluster"];

impl Names<'_> {
    /// What is wrong with a path into the scope; `None` if the path may lead somewhere.
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
        // A step whose own name is missing or wrong may be the step that is meant.
        if self.steps.iter().any(String::is_empty) {
            return None;
        }
        if let Some((stage, _)) = self.all.iter().find(|(_, step)| step == name) {
            if std::ptr::eq(self.roots, IN_ONCE) {
                return Some(format!(
                    "step {name:?} belongs to stage {stage:?}: a stage on the run sees only results of earlier \
                     stages on the run"
                ));
            }
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

    /// What is wrong with a name below `params`. Only a schema that lists all parameters can tell.
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
        // A schema without `additionalProperties` allows further parameters, but nobody can know their names from
        // it.
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
