//! Checks the arguments of a plugin against the plugin's own schema, before there is a run. It reports only what
//! is wrong whatever the expressions in the arguments will result in, so a playbook is never refused by mistake.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::expr::ExprError;
use super::problem::{Problem, Problems, code};
use super::schema::Schema;
use super::template::{Placed, Template};

/// What is surely wrong with the arguments; the paths of the problems are within them. What depends on the value
/// of an expression is checked during the run.
pub(super) fn check(schema: &Schema, arguments: &Template) -> Vec<Problem> {
    let unknown = arguments.unknown();
    schema.check_where(arguments.source(), |error| is_certain(error, &unknown))
}

/// Checks arguments without a playbook around them against the schema that a plugin gives of them. The paths of the problems
/// are within the arguments.
///
/// # Errors
/// All that is surely wrong with them, or why the schema can't be used.
///
/// # Example
/// ```
/// use replibook_core::playbook::check_arguments;
/// use serde_json::json;
///
/// let schema = json!({ "properties": { "batch": { "type": "integer" } } });
/// assert!(check_arguments(&schema, json!({ "batch": 2 })).is_ok());
/// let problems = check_arguments(&schema, json!({ "batch": "two" })).unwrap_err();
/// assert!(problems.to_string().starts_with("/batch: wrong type of value"));
/// ```
pub fn check_arguments(schema: &Value, arguments: Value) -> Result<Template, Problems> {
    let schema = Schema::compile(schema).map_err(Problems)?;
    let bad = |error: ExprError| {
        Problems(vec![Problem::new(code::BAD_EXPRESSION, "", error.to_string())])
    };
    let arguments = Template::parse(arguments).map_err(bad)?;
    Problems::check(check(&schema, &arguments))?;
    Ok(arguments)
}

fn is_certain(error: &ValidationError<'_>, unknown: &[Placed<bool>]) -> bool {
    let at = error.instance_path().as_str();
    let schema_path = error.schema_path().as_str();
    let is_conditional = schema_path.contains("/then/") || schema_path.contains("/else/");
    unknown.iter().all(|place| {
        if is_at_or_below(at, &place.pointer) {
            // Of a text with expressions in it, only the type is known: it is a string.
            return place.value && matches!(error.kind(), Kind::Type { .. });
        }
        if is_conditional {
            return false;
        }
        !is_at_or_below(&place.pointer, at) || !looks_inside(error.kind())
    })
}

fn is_at_or_below(pointer: &str, around: &str) -> bool {
    pointer.strip_prefix(around).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an error of this kind, at a list or an object, may be due to a value within it.
fn looks_inside(kind: &Kind) -> bool {
    match kind {
        Kind::AnyOf { .. }
        | Kind::OneOfNotValid { .. }
        | Kind::OneOfMultipleValid { .. }
        | Kind::Not { .. }
        | Kind::Contains
        | Kind::UniqueItems
        | Kind::Constant { .. }
        | Kind::Enum { .. }
        | Kind::UnevaluatedItems { .. }
        | Kind::UnevaluatedProperties { .. }
        | Kind::Custom { .. } => true,
        Kind::AdditionalItems { .. }
        | Kind::AdditionalProperties { .. }
        | Kind::BacktrackLimitExceeded { .. }
        | Kind::RegexEngineFailure { .. }
        | Kind::ContentEncoding { .. }
        | Kind::ContentMediaType { .. }
        | Kind::ExclusiveMaximum { .. }
        | Kind::ExclusiveMinimum { .. }
        | Kind::FalseSchema
        | Kind::Format { .. }
        | Kind::FromUtf8 { .. }
        | Kind::MaxItems { .. }
        | Kind::Maximum { .. }
        | Kind::MaxLength { .. }
        | Kind::MaxProperties { .. }
        | Kind::MinItems { .. }
        | Kind::Minimum { .. }
        | Kind::MinLength { .. }
        | Kind::MinProperties { .. }
        | Kind::MultipleOf { .. }
        | Kind::Pattern { .. }
        | Kind::PropertyNames { .. }
        | Kind::Required { .. }
        | Kind::Type { .. }
        | Kind::Referencing(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(schema: Value, arguments: Value) -> Vec<String> {
        let schema = Schema::compile(&schema).map_err(|_| "schema").unwrap();
        let arguments = Template::parse(arguments).unwrap();
        check(&schema, &arguments).into_iter().map(|p| format!("{} {}", p.code, p.path)).collect()
    }

    #[test]
    fn literal_parts_are_checked_and_expressions_are_left_to_the_run() {
        let schema = json!({"type": "object", "required": ["batch"], "additionalProperties": false,
            "properties": {"batch": {"type": "integer"}, "mode": {"enum": ["batch", "window"]}}});
        let fits = json!({"batch": "${{ params.batch }}", "mode": "${{ params.mode }}"});
        assert_eq!(problems(schema.clone(), fits), [""; 0]);
        let text = json!({"batch": "${{ params.batch }}%", "mode": "all"});
        assert_eq!(problems(schema.clone(), text), ["wrong-type /batch", "bad-value /mode"]);
        let unknown = json!({"bach": "${{ params.batch }}"});
        assert_eq!(problems(schema, unknown), ["unknown-key /bach", "missing-key /batch"]);
    }

    #[test]
    fn a_length_of_time_that_is_defined_once_is_explained_everywhere() {
        let format = crate::length::LENGTH_FORMAT;
        let schema = json!({"$defs": {"length": {"type": "string", "format": format}},
            "properties": {"soak": {"$ref": "#/$defs/length"}, "wait": {"$ref": "#/$defs/length"}}});
        let schema = Schema::compile(&schema).map_err(|_| "schema").unwrap();
        let arguments = Template::parse(json!({"soak": "50d", "wait": 30})).unwrap();
        let found = check(&schema, &arguments);
        let expected: Vec<_> = found.iter().map(|problem| problem.expected.as_deref()).collect();
        assert_eq!(expected, [Some(super::super::units::DURATION_EXPECTED); 2], "{found:?}");
    }

    #[test]
    fn an_error_around_an_expression_counts_only_when_it_cannot_be_due_to_it() {
        let schema = json!({"anyOf": [
            {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
            {"required": ["c"]},
        ]});
        assert_eq!(problems(schema.clone(), json!({"a": "${{ params.a }}", "b": 1})), [""; 0]);
        assert_eq!(problems(schema, json!({"a": "x", "b": 1})).len(), 1);
        let unique = json!({"properties": {"list": {"uniqueItems": true, "maxItems": 2}}});
        let same = json!({"list": ["${{ params.a }}", "${{ params.a }}", 1]});
        assert_eq!(problems(unique, same), ["bad-value /list"]);
        let when = json!({"if": {"properties": {"mode": {"const": "window"}}},
            "else": {"required": ["batch"]}});
        assert_eq!(problems(when.clone(), json!({"mode": "${{ params.mode }}"})), [""; 0]);
        assert_eq!(problems(when, json!({"mode": "other"})), ["missing-key /batch"]);
    }
}
