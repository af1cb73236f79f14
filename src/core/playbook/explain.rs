//! Puts errors of the JSON Schema validator in the words of this project. Its own messages speak of schemas, which
//! authors of documents need not know.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::approvers::{APPROVAL_EXPECTED, APPROVAL_PATTERN};
use super::names::{
    CREDENTIALS_EXPECTED, CREDENTIALS_PATTERN, LABEL_EXPECTED, LABEL_PATTERN,
    PLAYBOOK_NAME_EXPECTED, PLAYBOOK_NAME_PATTERN,
};
use super::problem::{MAX_PROBLEMS, Problem, code, did_you_mean, excerpt};
use super::spans::push_segment;
use super::units::{
    AMOUNT_EXPECTED, DURATION_EXPECTED, PLUGIN_SIZE_PATTERN, SHARE_PATTERN, SIZE_EXPECTED,
    STATUS_EXPECTED, STATUS_PATTERN,
};
use crate::length::LENGTH_FORMAT;

/// What our own patterns, and those of the built-in plugins, ask for, in human-readable text.
const PATTERNS: [(&str, &str); 7] = [
    (APPROVAL_PATTERN, APPROVAL_EXPECTED),
    (LABEL_PATTERN, LABEL_EXPECTED),
    (PLAYBOOK_NAME_PATTERN, PLAYBOOK_NAME_EXPECTED),
    (SHARE_PATTERN, AMOUNT_EXPECTED),
    (PLUGIN_SIZE_PATTERN, SIZE_EXPECTED),
    (STATUS_PATTERN, STATUS_EXPECTED),
    (CREDENTIALS_PATTERN, CREDENTIALS_EXPECTED),
];

/// The most alternatives that are listed in a message.
pub(super) const MAX_LISTED: usize = 20;

/// The problems that an error stands for: one, or one for each unknown key. `schema` is the schema that the value
/// was checked against.
pub(super) fn explain(error: &ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    let path = error.instance_path().as_str();
    let around = parent(error.schema_path().as_str()).and_then(|path| schema.pointer(path));
    let problem = |code: &str, message: &str| Problem::new(code, path, message);
    let bad = |expected: String| {
        let known = around.and_then(known_expected).map(str::to_owned);
        problem(code::BAD_VALUE, "this value is not allowed")
            .found(describe(error.instance()))
            .expected(known.unwrap_or(expected))
    };
    let one = match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            // A mapping can have a million of them.
            let some = unexpected.iter().take(MAX_PROBLEMS + 1);
            return some.map(|key| unknown_key(path, key, around)).collect();
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let mut path = path.to_owned();
            push_segment(&mut path, key);
            Problem::new(code::MISSING_KEY, path, format!("the key {key:?} is missing"))
        }
        Kind::Type { kind } => wrong_type(error, kind, around),
        Kind::Enum { options } => one_of(error, options.as_array().map_or(&[], Vec::as_slice)),
        Kind::Constant { expected_value } => one_of(error, std::slice::from_ref(expected_value)),
        Kind::Pattern { pattern } => bad(format!("text that matches {pattern}")),
        Kind::Minimum { limit } => bad(format!("at least {limit}")),
        Kind::Maximum { limit } => bad(format!("at most {limit}")),
        Kind::ExclusiveMinimum { limit } => bad(format!("more than {limit}")),
        Kind::ExclusiveMaximum { limit } => bad(format!("less than {limit}")),
        Kind::MultipleOf { multiple_of } => bad(format!("a multiple of {multiple_of}")),
        Kind::MinLength { limit } => bad(format!("at least {limit} character(s)")),
        Kind::MaxLength { limit } => bad(format!("at most {limit} character(s)")),
        Kind::MinItems { limit } => bad(format!("at least {limit} item(s)")),
        Kind::MaxItems { limit } => bad(format!("at most {limit} item(s)")),
        Kind::AdditionalItems { limit } => bad(format!("at most {limit} item(s)")),
        Kind::MinProperties { limit } => bad(format!("at least {limit} key(s)")),
        Kind::MaxProperties { limit } => bad(format!("at most {limit} key(s)")),
        Kind::UniqueItems => bad("items that differ from each other".to_owned()),
        Kind::Format { format } => bad(format!("text in the format {format:?}")),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            match around.and_then(constants) {
                Some(options) => one_of(error, &options),
                None => bad(either(context)),
            }
        }
        Kind::OneOfMultipleValid { .. } => {
            bad("a value that fits exactly one of the forms".to_owned())
        }
        Kind::PropertyNames { error: of_name } => {
            let key = of_name.instance().as_str().unwrap_or_default();
            let mut path = path.to_owned();
            push_segment(&mut path, key);
            let mut expected = excerpt(&of_name.to_string());
            if let Kind::Pattern { pattern } = of_name.kind() {
                expected = known_pattern(pattern).map_or(expected, str::to_owned);
            }
            let problem = Problem::new(code::UNKNOWN_KEY, path, "this key is not allowed");
            problem.found(format!("{key:?}")).expected(expected)
        }
        Kind::FalseSchema => problem(code::UNKNOWN_KEY, "there must be no value here"),
        Kind::BacktrackLimitExceeded { .. }
        | Kind::RegexEngineFailure { .. }
        | Kind::Contains
        | Kind::ContentEncoding { .. }
        | Kind::ContentMediaType { .. }
        | Kind::Custom { .. }
        | Kind::FromUtf8 { .. }
        | Kind::Not { .. }
        | Kind::UnevaluatedItems { .. }
        | Kind::Referencing(_) => problem(code::BAD_VALUE, &excerpt(&error.to_string())),
    };
    vec![one]
}

fn parent(pointer: &str) -> Option<&str> {
    pointer.rfind('/').map(|end| &pointer[..end])
}

fn known_pattern(pattern: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|(known, _)| *known == pattern).map(|(_, expected)| *expected)
}

/// What a schema with one of our patterns or our format asks for, in human-readable text.
fn known_expected(schema: &Value) -> Option<&'static str> {
    if schema.get("format").is_some_and(|format| format == LENGTH_FORMAT) {
        return Some(DURATION_EXPECTED);
    }
    known_pattern(schema.get("pattern")?.as_str()?)
}

fn unknown_key(path: &str, key: &str, schema: Option<&Value>) -> Problem {
    let mut at = path.to_owned();
    push_segment(&mut at, key);
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let message = match did_you_mean(key, known.iter().copied()) {
        Some(meant) => format!("unknown key {key:?}: did you mean {meant:?}?"),
        None => format!("unknown key {key:?}"),
    };
    let problem = Problem::new(code::UNKNOWN_KEY, at, message);
    match known.len() {
        0 => problem.expected("no further key"),
        1..=MAX_LISTED => problem.expected(format!("one of {}", known.join(", "))),
        _ => problem,
    }
}

fn wrong_type(error: &ValidationError<'_>, kind: &TypeKind, schema: Option<&Value>) -> Problem {
    let types: Vec<JsonType> = match kind {
        TypeKind::Single(only) => vec![*only],
        TypeKind::Multiple(set) => set.iter().collect(),
    };
    let mut expected = types.iter().map(|name| type_name(*name)).collect::<Vec<_>>().join(" or ");
    let found = error.instance();
    let known = schema.and_then(known_expected);
    let is_bare = types == [JsonType::String] && (found.is_number() || found.is_boolean());
    // A number in quotes is still no length of time.
    if is_bare && known != Some(DURATION_EXPECTED) {
        expected.push_str(": put it in quotes");
    } else if let Some(known) = known {
        expected = known.to_owned();
    }
    Problem::new(code::WRONG_TYPE, error.instance_path().as_str(), "wrong type of value")
        .found(describe(found))
        .expected(expected)
}

fn one_of(error: &ValidationError<'_>, options: &[Value]) -> Problem {
    let names: Vec<String> = options.iter().take(MAX_LISTED).map(plain).collect();
    let found = error.instance();
    let meant = found
        .as_str()
        .and_then(|word| did_you_mean(&word.to_lowercase(), names.iter().map(String::as_str)));
    let message = match meant {
        Some(meant) => format!("this value is not allowed: did you mean {meant:?}?"),
        None => "this value is not allowed".to_owned(),
    };
    let expected = match &names[..] {
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    };
    Problem::new(code::BAD_VALUE, error.instance_path().as_str(), message)
        .found(describe(found))
        .expected(expected)
}

/// The values that a schema allows as constants, each with a description of its own.
fn constants(schema: &Value) -> Option<Vec<Value>> {
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    forms.iter().map(|form| form.get("const").cloned()).collect()
}

/// What each of several forms expects, without repetition.
fn either(context: &[Vec<ValidationError<'static>>]) -> String {
    let mut forms: Vec<String> = Vec::new();
    for error in context.iter().take(MAX_LISTED).filter_map(|errors| errors.first()) {
        let form = match explain(error, &Value::Null).pop() {
            Some(Problem { expected: Some(expected), .. }) => expected,
            Some(problem) => format!("a value where not: {}", problem.message),
            None => continue,
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms.join(", or ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn type_name(name: JsonType) -> &'static str {
    match name {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "a list",
        JsonType::Object => "a mapping",
    }
}

/// Describes a value in a message; `null`, scalars and texts are quoted, collections are counted.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null (nothing)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => excerpt(&value.to_string()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(entries) => format!("a mapping of {}", entries.len()),
    }
}
