//! Makes whole numbers in parameters the same for JSON Schema and for expressions: a schema takes `1.0` for an
//! integer, but expressions do not.

use serde_json::{Number, Value};

use super::problem::{MAX_PROBLEMS, Problem, code};
use super::schema_types::SchemaPlace;
use super::spans::push_segment;

/// The most values that are looked at. Parameters within their limit of bytes have fewer.
const MAX_VALUES: usize = 200_000;

/// Makes integers of numbers such as `1.0` and `1e3` where the schema allows only integers: JSON Schema accepts
/// them there, but in an expression `1.0 + 1` has no value. Integers that expressions can't compute with are
/// problems, with paths within the parameters.
pub(super) fn normalize(schema: &Value, params: &mut Value) -> Vec<Problem> {
    let mut walk = Walk { problems: Vec::new(), left: MAX_VALUES };
    walk.value(params, &SchemaPlace::of(schema), &mut String::new());
    walk.problems
}

/// Whether the text of a number, in JSON or YAML, is a whole number of more than 64 bits.
pub(crate) fn is_too_long(number: &str) -> bool {
    let digits = number.trim_start_matches(['-', '+']);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Most numbers are short, and no number of 18 digits is too long.
    is_whole
        && digits.len() > 18
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

struct Walk {
    problems: Vec<Problem>,
    left: usize,
}

impl Walk {
    fn value(&mut self, value: &mut Value, place: &SchemaPlace<'_>, path: &mut String) {
        // If no schema says anything about a value, none says anything about the values in it.
        if self.left == 0 || self.problems.len() > MAX_PROBLEMS || place.is_unknown() {
            return;
        }
        self.left -= 1;
        let length = path.len();
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    push_segment(path, key);
                    self.value(member, &place.below(key), path);
                    path.truncate(length);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    let key = at.to_string();
                    push_segment(path, &key);
                    self.value(item, &place.below(&key), path);
                    path.truncate(length);
                }
            }
            Value::Number(number) => {
                let types = place.types().unwrap_or_default();
                if types.contains("integer") && !types.contains("number") {
                    self.number(number, path);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }

    fn number(&mut self, number: &mut Number, path: &str) {
        if number.as_i64().is_some() {
            return;
        }
        let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
        // Going through text is exact; a cast would saturate.
        let integer = whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok());
        match integer {
            Some(integer) => *number = integer.into(),
            None => {
                let problem =
                    Problem::new(code::BAD_VALUE, path, "expressions can't work with this integer");
                let expected = format!("an integer from {} to {}", i64::MIN, i64::MAX);
                self.problems.push(problem.found(&*number).expected(expected));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_json_schema_takes_for_an_integer_becomes_one() {
        let schema = json!({"properties": {
            "n": {"type": "integer"}, "maybe": {"type": ["integer", "null"]}, "x": {"type": "number"},
            "list": {"items": {"type": "integer"}}, "any": {},
        }});
        let mut params = json!({"n": 1.0, "maybe": 1e3, "x": 1.0, "list": [2.0, 3], "any": 4.0});
        assert_eq!(normalize(&schema, &mut params), []);
        let expected = json!({"n": 1, "maybe": 1_000, "x": 1.0, "list": [2, 3], "any": 4.0});
        assert_eq!(params, expected);
    }

    #[test]
    fn an_integer_that_expressions_can_not_work_with_is_a_problem() {
        let schema = json!({"properties": {"n": {"type": "integer"}, "any": {}}});
        for (value, fits) in [
            (json!(i64::MAX), true),
            (json!(i64::MIN), true),
            (json!(9_223_372_036_854_775_808_u64), false),
            (json!(u64::MAX), false),
            (json!(1e300), false),
            (json!(-1e19), false),
        ] {
            let problems = normalize(&schema, &mut json!({"n": value}));
            assert_eq!(problems.is_empty(), fits, "{value}");
            assert!(problems.iter().all(|problem| problem.path == "/n"), "{problems:?}");
        }
        assert_eq!(normalize(&schema, &mut json!({"any": u64::MAX})), []);
    }
}
