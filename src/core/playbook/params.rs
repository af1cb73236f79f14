//! The parameters of runs: their schema, their defaults, and the values that a run is started with. Schema and
//! values come from users, so what filling in and checking costs is bounded first.

use serde_json::{Map, Value, json};

use super::depth::{MAX_JSON_DEPTH, json_depth_ok};
use super::integers;
use super::model::Playbook;
use super::problem::{Problem, Problems, code};
use super::schema::Schema;
use super::schema_keywords;

/// The largest parameters of a run, as bytes of JSON. They are kept in the run's document.
pub const MAX_PARAMS_BYTES: usize = 256 * 1024;

/// How many levels down defaults are looked for, and how many local references are followed in a row.
const MAX_DEFAULT_DEPTH: u32 = 16;

/// The most defaults that are filled in. A default can be an object whose members have defaults in turn, so a
/// schema of a few lines could fill in more than any memory holds.
const MAX_DEFAULTS: usize = 10_000;

/// The most properties that are looked at for a default. It is well below a second of work.
const MAX_DEFAULT_WORK: usize = 500_000;

/// Checks the parameters that a run is started with, and fills in defaults, also in nested objects. The paths of
/// the problems are within the parameters.
///
/// # Example
/// ```
/// use replibook_core::playbook::{Playbook, check_params};
/// use serde_json::{Map, json};
///
/// # let mut playbook: Playbook = serde_json::from_value(json!({
/// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
/// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [],
/// # }))?;
/// playbook.params = json!({ "properties": { "batch": { "type": "integer", "default": 2 } } });
/// assert_eq!(check_params(&playbook, Map::new())?["batch"], 2);
///
/// let given = Map::from_iter([("batch".to_owned(), json!("two"))]);
/// let problems = check_params(&playbook, given).unwrap_err();
/// let expected = "/batch: wrong type of value; found \"two\"; expected a whole number";
/// assert_eq!(problems.to_string(), expected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_params(
    playbook: &Playbook,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, Problems> {
    let given = Value::Object(given);
    check_limits(&given)?;
    let Value::Object(mut params) = given else { return Ok(Map::new()) };
    Defaults::fill(&playbook.params, &mut params)?;
    let params = Value::Object(params);
    check_limits(&params)?;
    let schema = Schema::compile_params(&playbook.params).map_err(Problems)?;
    let problems = schema.check(&params);
    Problems::check(problems)?;
    let mut params = params;
    Problems::check(integers::normalize(&playbook.params, &mut params))?;
    match params {
        Value::Object(params) => Ok(params),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Ok(Map::new())
        }
    }
}

/// Checks the limits that must hold before anything recursive is done with parameters.
fn check_limits(params: &Value) -> Result<(), Problems> {
    if !json_depth_ok(params) {
        let problem = Problem::new(code::TOO_DEEP, "", "the parameters are nested too deep");
        return Err(problem.expected(format!("at most {MAX_JSON_DEPTH} levels")).into());
    }
    let size = params.to_string().len();
    if size > MAX_PARAMS_BYTES {
        let problem = Problem::new(code::TOO_LARGE, "", "the parameters are too large");
        let expected = format!("at most {MAX_PARAMS_BYTES} bytes");
        return Err(problem.found(format!("{size} bytes")).expected(expected).into());
    }
    Ok(())
}

/// The schema of a playbook that declares no parameters: none may be given.
pub(super) fn no_params() -> Value {
    json!({"type": "object", "additionalProperties": false})
}

/// What is wrong with a schema of parameters, and with the defaults in it. The paths of the
/// problems are within the schema.
pub(super) fn check_schema(source: &Value) -> Vec<Problem> {
    let mut problems = check_values(source);
    // If the schema is nested too deep, nothing further is said about it.
    if json_depth_ok(source) {
        problems.extend(schema_keywords::check(source));
    }
    problems
}

fn check_values(source: &Value) -> Vec<Problem> {
    let schema = match Schema::compile_params(source) {
        Ok(schema) => schema,
        Err(problems) => return problems,
    };
    if let Some(found) = source.get("type")
        && found != "object"
    {
        let problem = Problem::new(code::BAD_SCHEMA, "/type", "parameters are an object");
        return vec![problem.found(found).expected("object")];
    }
    let mut defaults = Map::new();
    if let Err(Problems(problems)) = Defaults::fill(source, &mut defaults) {
        let bad = |problem| Problem { code: code::BAD_SCHEMA.to_owned(), ..problem };
        return problems.into_iter().map(bad).collect();
    }
    let mut defaults = Value::Object(defaults);
    let mut problems = schema.check(&defaults);
    if problems.is_empty() {
        problems = integers::normalize(source, &mut defaults);
    }
    if let Some(costly) = problems.iter().find(|problem| problem.code == code::TOO_LARGE) {
        return vec![Problem { code: code::BAD_SCHEMA.to_owned(), ..costly.clone() }];
    }
    let problems = problems.into_iter();
    // A required parameter without a default is fine: the person who starts the run gives it.
    let of_defaults = problems.filter(|p| p.code != code::MISSING_KEY && !p.path.is_empty());
    let placed = of_defaults.map(|problem| {
        let name = problem.path.split('/').nth(1).unwrap_or_default();
        let path = format!("/properties/{name}/default");
        let message = format!("the default does not fit its own schema: {}", problem.message);
        Problem { code: code::BAD_SCHEMA.to_owned(), path, message, ..problem }
    });
    placed.collect()
}

/// Fills in defaults, within limits.
struct Defaults<'a> {
    root: &'a Value,
    /// How many defaults may still be filled in.
    count: usize,
    /// How many bytes those defaults may still have in all.
    bytes: usize,
    /// How many properties may still be looked at.
    work: usize,
}

impl<'a> Defaults<'a> {
    /// Fills in what `object` lacks. After an error, `object` must not be used: it may be filled in half.
    fn fill(root: &'a Value, object: &mut Map<String, Value>) -> Result<(), Problems> {
        let (count, bytes, work) = (MAX_DEFAULTS, MAX_PARAMS_BYTES, MAX_DEFAULT_WORK);
        Self { root, count, bytes, work }.object(root, object, 0)
    }

    fn object(
        &mut self,
        schema: &'a Value,
        object: &mut Map<String, Value>,
        depth: u32,
    ) -> Result<(), Problems> {
        if depth > MAX_DEFAULT_DEPTH {
            return Ok(());
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            take(&mut self.work, 1, || {
                format!("at most {MAX_DEFAULT_WORK} properties that may have a default")
            })?;
            let Some(property) = follow(self.root, property) else { continue };
            if !object.contains_key(name)
                && let Some(default) = property.get("default")
            {
                take(&mut self.count, 1, || format!("at most {MAX_DEFAULTS} defaults"))?;
                let size = name.len() + default.to_string().len();
                let most = || format!("at most {MAX_PARAMS_BYTES} bytes of defaults");
                take(&mut self.bytes, size, most)?;
                object.insert(name.clone(), default.clone());
            }
            if let Some(Value::Object(below)) = object.get_mut(name) {
                self.object(property, below, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn take(left: &mut usize, size: usize, expected: impl Fn() -> String) -> Result<(), Problems> {
    *left = left.checked_sub(size).ok_or_else(|| {
        let message = "filling in the defaults makes the parameters too large";
        Problems::from(Problem::new(code::TOO_LARGE, "", message).expected(expected()))
    })?;
    Ok(())
}

/// The schema that `schema` stands for, once its local references are followed.
fn follow<'a>(root: &'a Value, mut schema: &'a Value) -> Option<&'a Value> {
    for _ in 0..MAX_DEFAULT_DEPTH {
        // A default beside a reference counts over a default behind it.
        let reference = schema.get("$ref").and_then(Value::as_str);
        let Some(reference) = reference.filter(|_| schema.get("default").is_none()) else {
            return Some(schema);
        };
        schema = root.pointer(reference.strip_prefix('#')?)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(schema: &Value, given: Value) -> Value {
        let mut object = given.as_object().unwrap().clone();
        Defaults::fill(schema, &mut object).unwrap();
        Value::Object(object)
    }

    #[test]
    fn defaults_are_filled_in_where_nothing_was_given() {
        let schema = json!({"properties": {
            "grace": {"default": 30},
            "tuning": {"default": {}, "properties": {"level": {"$ref": "#/$defs/level"}}},
            "other": {"properties": {"x": {"default": 1}}},
        }, "$defs": {"level": {"default": "low"}}});
        let all = json!({"grace": 30, "tuning": {"level": "low"}});
        assert_eq!(fill(&schema, json!({})), all);
        let given = json!({"grace": null, "tuning": {"level": "high"}, "other": {}});
        let filled = json!({"grace": null, "tuning": {"level": "high"}, "other": {"x": 1}});
        assert_eq!(fill(&schema, given), filled);
    }

    #[test]
    fn references_in_a_circle_end() {
        let schema = json!({"properties": {"a": {"$ref": "#/properties/a"}}});
        assert_eq!(fill(&schema, json!({"a": {}})), json!({"a": {}}));
        let own = json!({"default": {}, "properties": {"a": {"$ref": "#/x"}}});
        let schema = json!({"x": own, "properties": {"a": {"$ref": "#/x"}}});
        assert!(fill(&schema, json!({})).to_string().len() < 1_000);
    }

    #[test]
    fn what_defaults_add_is_bounded() {
        let spent = |schema: &Value, given: Value| {
            let mut object = given.as_object().unwrap().clone();
            let problem = Defaults::fill(schema, &mut object).unwrap_err().0.remove(0);
            assert_eq!(problem.code, code::TOO_LARGE);
            problem.expected.unwrap()
        };
        let ten = |to: &str| -> Map<String, Value> {
            (0..10).map(|n| (format!("a{n}"), json!({"$ref": to}))).collect()
        };
        let wide =
            json!({"properties": ten("#/x"), "x": {"default": {}, "properties": ten("#/x")}});
        assert_eq!(spent(&wide, json!({})), "at most 10000 defaults");
        assert_eq!(check_schema(&wide)[0].code, code::BAD_SCHEMA);
        let large = json!({"default": "x".repeat(MAX_PARAMS_BYTES / 9)});
        let large = json!({"properties": ten("#/x"), "x": large});
        assert_eq!(spent(&large, json!({})), "at most 262144 bytes of defaults");
        let many: Map<String, Value> =
            (0..1_000).map(|n| (format!("a{n}"), json!({"$ref": "#"}))).collect();
        let given: Map<String, Value> = (0..1_000).map(|n| (format!("a{n}"), json!({}))).collect();
        let expected = "at most 500000 properties that may have a default";
        assert_eq!(spent(&json!({ "properties": many }), Value::Object(given)), expected);
    }

    #[test]
    fn parameters_have_a_largest_size_and_depth() {
        let nested = |depth| (0..depth).fold(json!(1), |value, _| json!({"a": value}));
        assert_eq!(check_limits(&nested(MAX_JSON_DEPTH)), Ok(()));
        let problem = check_limits(&nested(MAX_JSON_DEPTH + 1)).unwrap_err().0.remove(0);
        assert_eq!(problem.code, code::TOO_DEEP);
        let problem = check_limits(&json!("x".repeat(MAX_PARAMS_BYTES))).unwrap_err().0.remove(0);
        assert_eq!(problem.code, code::TOO_LARGE);
    }

    #[test]
    fn formats_of_defaults_are_checked() {
        let schema = json!({"properties": {"host": {"format": "ipv4", "default": "not an ip"}}});
        let problems = check_schema(&schema);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "/properties/host/default");
        let schema = json!({"properties": {"host": {"format": "ipv4", "default": "10.0.0.1"}}});
        assert_eq!(check_schema(&schema), []);
        for format in schema_keywords::FORMATS {
            let schema = json!({"properties": {"x": {"format": format, "default": "\u{0}"}}});
            assert_eq!(check_schema(&schema).len(), 1, "{format} is checked");
        }
        let large = json!({"properties": {"n": {"type": "integer", "default": u64::MAX}}});
        assert_eq!(check_schema(&large)[0].path, "/properties/n/default");
    }

    #[test]
    fn a_default_must_fit() {
        let schema = json!({"required": ["b"], "properties": {
            "a": {"type": "integer", "default": "x"}, "b": {"type": "string"},
        }});
        let problems = check_schema(&schema);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "/properties/a/default");
        assert_eq!(check_schema(&json!({"type": "array"}))[0].path, "/type");
        assert_eq!(check_schema(&no_params()), []);
    }
}
