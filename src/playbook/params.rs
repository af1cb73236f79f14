//! Parameters of runs: their schema, their defaults, and the values that a run is started with.

use serde_json::{Map, Value, json};

use super::model::Playbook;
use super::problem::{Problem, Problems, code};
use super::schema::Schema;

/// The largest parameters of a run, in bytes of JSON: they are kept in the run's document.
pub const MAX_PARAMS_BYTES: usize = 256 * 1024;

/// How deep defaults are looked for, and local references followed, in a schema of parameters.
const MAX_DEFAULT_DEPTH: u32 = 16;

/// Checks the parameters that a run is started with, and fills in the defaults, also those of
/// objects within objects. The paths of the problems are within the parameters.
pub fn check_params(
    playbook: &Playbook,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, Problems> {
    let schema = Schema::compile(&playbook.params).map_err(Problems)?;
    let mut params = given;
    fill_defaults(&playbook.params, &playbook.params, &mut params, 0);
    let params = Value::Object(params);
    let mut problems = schema.check(&params);
    let size = params.to_string().len();
    if size > MAX_PARAMS_BYTES {
        let problem = Problem::new(code::TOO_LARGE, "", "the parameters are too large");
        let expected = format!("at most {MAX_PARAMS_BYTES} bytes");
        problems.push(problem.found(format!("{size} bytes")).expected(expected));
    }
    Problems::check(problems)?;
    match params {
        Value::Object(params) => Ok(params),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Ok(Map::new())
        }
    }
}

/// The schema when a playbook has none: no parameters.
pub(super) fn no_params() -> Value {
    json!({"type": "object", "additionalProperties": false})
}

/// What is wrong with a schema of parameters, and with the defaults in it. The paths of the
/// problems are within the schema.
pub(super) fn check_schema(source: &Value) -> Vec<Problem> {
    let schema = match Schema::compile(source) {
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
    fill_defaults(source, source, &mut defaults, 0);
    let problems = schema.check(&Value::Object(defaults)).into_iter();
    // That something is missing without a value is what required parameters are for.
    let of_defaults = problems.filter(|p| p.code != code::MISSING_KEY && !p.path.is_empty());
    let placed = of_defaults.map(|problem| {
        let name = problem.path.split('/').nth(1).unwrap_or_default();
        let path = format!("/properties/{name}/default");
        let message = format!("the default does not fit its own schema: {}", problem.message);
        Problem { code: code::BAD_SCHEMA.to_owned(), path, message, ..problem }
    });
    placed.collect()
}

fn fill_defaults(root: &Value, schema: &Value, object: &mut Map<String, Value>, depth: u32) {
    if depth > MAX_DEFAULT_DEPTH {
        return;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let Some(property) = follow(root, property) else { continue };
        if !object.contains_key(name)
            && let Some(default) = property.get("default")
        {
            object.insert(name.clone(), default.clone());
        }
        if let Some(Value::Object(below)) = object.get_mut(name) {
            fill_defaults(root, property, below, depth + 1);
        }
    }
}

/// The schema that a local reference stands for.
fn follow<'a>(root: &'a Value, mut schema: &'a Value) -> Option<&'a Value> {
    for _ in 0..MAX_DEFAULT_DEPTH {
        // A default beside a reference counts over the one behind it.
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
        fill_defaults(schema, schema, &mut object, 0);
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
