//! JSON Schemas: those of the kinds of document, made from their types, and those that documents and plugins bring
//! along. No schema ever makes the validator fetch anything.

use std::sync::LazyLock;

use jsonschema::{PatternOptions, Validator};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::access::AccessFile;
use super::depth::{MAX_JSON_DEPTH, json_depth_ok};
use super::document::{Kind, PlaybookFile};
use super::document_cluster::ClusterFile;
use super::explain::explain;
use super::inventory::InventoryFile;
use super::policy::PolicyFile;
use super::problem::{Problem, Problems, code, cut};
use super::schema_limits;
use super::schema_work;
use super::units::parse_duration;
use crate::length::LENGTH_FORMAT;

/// The largest schema that a document or plugin may bring along, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// The largest compiled regular expression of a schema, in bytes. Matching takes time linear in the text, so this
/// bounds what a hostile pattern can cost. A schema can have some two hundred patterns.
const MAX_REGEX_BYTES: usize = 256 * 1024;

/// Formats that the library can check. Where formats are not checked, only our own format counts: formats in
/// plugins' schemas were never meant to refuse anything.
const FORMATS_OF_OTHERS: [&str; 19] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// The longest part of another library's message that is passed on, in characters.
const MAX_MESSAGE: usize = 200;

/// The JSON Schema (2020-12) of a kind of document, for editors and for checking.
///
/// # Example
/// ```
/// use replibook_core::playbook::{Kind, json_schema};
///
/// let schema = json_schema(Kind::Cluster);
/// assert_eq!(schema["properties"]["kind"]["const"], "Cluster");
/// assert_eq!(schema["additionalProperties"], false);
/// ```
pub fn json_schema(kind: Kind) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        Kind::Playbook => generator.into_root_schema_for::<PlaybookFile>(),
        Kind::Cluster => generator.into_root_schema_for::<ClusterFile>(),
        Kind::Policy => generator.into_root_schema_for::<PolicyFile>(),
        Kind::Access => generator.into_root_schema_for::<AccessFile>(),
        Kind::Inventory => generator.into_root_schema_for::<InventoryFile>(),
    };
    let mut schema = Value::from(schema);
    refuse_null(&mut schema);
    schema
}

/// Refuses null for optional keys: such a key may be left out, but not be null. A key without a value is more
/// often a slip than a wish for the default.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type")
                && types.len() == 2
            {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if object.get("default") == Some(&Value::Null) {
                object.shift_remove("default");
            }
            let null = serde_json::json!({"type": "null"});
            let either = object.get("anyOf").and_then(Value::as_array);
            if let Some([Value::Object(other), last]) = either.map(Vec::as_slice)
                && *last == null
            {
                let other = other.clone();
                object.shift_remove("anyOf");
                object.extend(other);
            }
            object.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Checks the schema that a plugin gives for its arguments, in the same way as [`resolve`](super::resolve) does
/// when a playbook uses the plugin. The error is a message that says what is wrong, and where.
///
/// # Example
/// ```
/// use replibook_core::playbook::check_arguments_schema;
/// use serde_json::json;
///
/// let arguments = json!({ "type": "object", "properties": { "kind": { "type": "string" } } });
/// assert_eq!(check_arguments_schema(&arguments), Ok(()));
/// let error = check_arguments_schema(&json!({ "properties": { "kind": { "type": "text" } } }));
/// assert!(error.unwrap_err().starts_with("/properties/kind/type: not a valid JSON Schema"));
/// assert!(check_arguments_schema(&json!({ "$ref": "https://example.com/s.json" })).is_err());
/// ```
pub fn check_arguments_schema(schema: &Value) -> Result<(), String> {
    let problems = Schema::compile(schema).map(drop);
    problems.map_err(|problems| Problems(problems).to_string())
}

/// A schema that is ready to check values.
pub(super) struct Schema {
    source: Value,
    validator: Validator,
    /// Whether the schema comes from outside. If so, the work of checking with it is counted.
    is_foreign: bool,
}

impl Schema {
    /// Compiles a schema. The paths of the problems are within the schema.
    pub(super) fn compile(source: &Value) -> Result<Self, Vec<Problem>> {
        Self::compile_as(source, false)
    }

    /// Compiles a schema of parameters, whose formats are checked too.
    pub(super) fn compile_params(source: &Value) -> Result<Self, Vec<Problem>> {
        Self::compile_as(source, true)
    }

    fn compile_as(source: &Value, with_formats: bool) -> Result<Self, Vec<Problem>> {
        let bad = |message: String| Problem::new(code::BAD_SCHEMA, "", message);
        if !json_depth_ok(source) {
            let problem = bad("the schema is nested too deep".to_owned());
            return Err(vec![problem.expected(format!("at most {MAX_JSON_DEPTH} levels"))]);
        }
        let size = source.to_string().len();
        if size > MAX_SCHEMA_BYTES {
            let problem = bad("the schema is too large".to_owned()).found(format!("{size} bytes"));
            return Err(vec![problem.expected(format!("at most {MAX_SCHEMA_BYTES} bytes"))]);
        }
        schema_limits::check(source).map_err(|problems| problems.0)?;
        Ok(Self { is_foreign: true, ..Self::build_as(source, with_formats)? })
    }

    fn build(source: &Value) -> Result<Self, Vec<Problem>> {
        Self::build_as(source, false)
    }

    fn build_as(source: &Value, with_formats: bool) -> Result<Self, Vec<Problem>> {
        let patterns =
            PatternOptions::regex().size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        let options = options.should_validate_formats(true);
        let options =
            options.with_format(LENGTH_FORMAT, |text: &str| parse_duration(text).is_some());
        let unchecked = FORMATS_OF_OTHERS.iter().filter(|_| !with_formats);
        let options = unchecked.fold(options, |all, name| all.with_format(*name, |_: &str| true));
        let validator = options.build(source).map_err(|error| {
            let path = error.instance_path().as_str().to_owned();
            let message = cut(&format!("not a valid JSON Schema: {error}"), MAX_MESSAGE);
            vec![Problem::new(code::BAD_SCHEMA, path, message)]
        })?;
        Ok(Self { source: source.clone(), validator, is_foreign: false })
    }

    /// What is wrong with `value`. The paths of the problems are within `value`.
    pub(super) fn check(&self, value: &Value) -> Vec<Problem> {
        self.check_where(value, |_| true)
    }

    /// Like [`Schema::check`], but only the errors for which `counts` is true are reported.
    pub(super) fn check_where(
        &self,
        value: &Value,
        counts: impl Fn(&jsonschema::ValidationError<'_>) -> bool,
    ) -> Vec<Problem> {
        if self.is_foreign
            && let Some(problem) = schema_work::check(&self.source, value)
        {
            return vec![problem];
        }
        let errors = self.validator.iter_errors(value).filter(counts);
        let errors = errors.take(super::problem::MAX_PROBLEMS + 1);
        errors.flat_map(|error| explain(&error, &self.source)).collect()
    }
}

static PLAYBOOK: LazyLock<Value> = LazyLock::new(|| json_schema(Kind::Playbook));
static CLUSTER: LazyLock<Value> = LazyLock::new(|| json_schema(Kind::Cluster));
static POLICY: LazyLock<Value> = LazyLock::new(|| json_schema(Kind::Policy));
static ACCESS: LazyLock<Value> = LazyLock::new(|| json_schema(Kind::Access));
static INVENTORY: LazyLock<Value> = LazyLock::new(|| json_schema(Kind::Inventory));
static PLAYBOOKS: LazyLock<Result<Schema, Vec<Problem>>> =
    LazyLock::new(|| Schema::build(&PLAYBOOK));
static CLUSTERS: LazyLock<Result<Schema, Vec<Problem>>> = LazyLock::new(|| Schema::build(&CLUSTER));
static POLICIES: LazyLock<Result<Schema, Vec<Problem>>> = LazyLock::new(|| Schema::build(&POLICY));
static ACCESSES: LazyLock<Result<Schema, Vec<Problem>>> = LazyLock::new(|| Schema::build(&ACCESS));
static INVENTORIES: LazyLock<Result<Schema, Vec<Problem>>> =
    LazyLock::new(|| Schema::build(&INVENTORY));

/// The JSON Schema of a kind of document, made once.
pub(super) fn of(kind: Kind) -> &'static Value {
    match kind {
        Kind::Playbook => &PLAYBOOK,
        Kind::Cluster => &CLUSTER,
        Kind::Policy => &POLICY,
        Kind::Access => &ACCESS,
        Kind::Inventory => &INVENTORY,
    }
}

/// What is wrong with a document according to the schema of its kind.
pub(super) fn check_document(kind: Kind, document: &Value) -> Vec<Problem> {
    let schema = match kind {
        Kind::Playbook => &PLAYBOOKS,
        Kind::Cluster => &CLUSTERS,
        Kind::Policy => &POLICIES,
        Kind::Access => &ACCESSES,
        Kind::Inventory => &INVENTORIES,
    };
    match &**schema {
        Ok(schema) => schema.check(document),
        Err(problems) => problems.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_schemas_of_the_kinds_are_valid_and_described() {
        for kind in Kind::ALL {
            let schema = json_schema(kind);
            assert!(Schema::build(&schema).is_ok());
            assert_eq!(schema["title"], kind.as_str());
            let text = schema.to_string();
            assert!(text.contains("Name: lowercase letters") && !text.contains("anyOf"), "{text}");
        }
    }

    #[test]
    fn nothing_is_fetched() {
        for remote in ["https://example.com/s.json", "file:///etc/passwd", "other.json"] {
            assert!(Schema::compile(&json!({"$ref": remote})).is_err());
        }
        assert!(Schema::compile(&json!({"$schema": "https://example.com/s.json"})).is_err());
        let local = json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"});
        assert_eq!(Schema::compile(&local).map(|s| s.check(&json!(1)).len()).unwrap(), 1);
    }

    #[test]
    fn of_the_formats_only_that_of_lengths_of_time_counts_in_arguments() {
        for format in FORMATS_OF_OTHERS {
            let schema = Schema::compile(&json!({"format": format})).map_err(|_| "schema").unwrap();
            assert_eq!(schema.check(&json!("\u{0}")), [], "{format}");
        }
        let schema =
            Schema::compile(&json!({"format": LENGTH_FORMAT})).map_err(|_| "schema").unwrap();
        assert_eq!(schema.check(&json!("1h30m")), []);
        let problems = schema.check(&json!("60d"));
        assert_eq!(problems[0].found.as_deref(), Some("\"60d\""));
        assert_eq!(
            problems[0].expected.as_deref(),
            Some(crate::playbook::units::DURATION_EXPECTED)
        );
    }

    #[test]
    fn schemas_have_limits() {
        let large = json!({"description": "x".repeat(MAX_SCHEMA_BYTES)});
        let problems = Schema::compile(&large).map(drop).unwrap_err();
        assert_eq!(problems[0].expected.as_deref(), Some("at most 65536 bytes"));
        let hungry = json!({"pattern": "(x{1000}){1000}"});
        assert!(Schema::compile(&hungry).is_err());
        let problems = Schema::compile(&json!({"properties": {"a": {"type": 5}}}));
        assert_eq!(problems.map(drop).unwrap_err()[0].path, "/properties/a/type");
    }

    #[test]
    fn the_schema_of_arguments_is_checked_as_a_whole() {
        assert_eq!(check_arguments_schema(&json!({"type": "object"})), Ok(()));
        let nested = |depth| (0..depth).fold(json!({}), |below, _| json!({"not": below}));
        assert_eq!(check_arguments_schema(&nested(MAX_JSON_DEPTH - 1)), Ok(()));
        let bad = [nested(MAX_JSON_DEPTH), json!({"$ref": "x"}), json!({"pattern": "("}), json!(7)];
        for schema in bad {
            assert!(check_arguments_schema(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for endless in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})] {
            if let Ok(schema) = Schema::compile(&endless) {
                schema.check(&json!({"a": 1}));
            }
        }
    }
}
