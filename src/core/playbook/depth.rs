//! How deeply JSON may be nested. No value may be nested deeper, wherever it comes from, so that whatever is
//! accepted can be stored and read back.

use serde_json::Value;

/// The deepest nesting of a value that comes from outside, or is made of such values. The store reads back at most
/// 127 levels, and the document of a run or a journal takes some of those for itself.
pub const MAX_JSON_DEPTH: usize = 64;

/// Whether `value` is nested at most [`MAX_JSON_DEPTH`] deep: a number is 0 deep, `[]` is 1.
pub fn json_depth_ok(value: &Value) -> bool {
    fits(value, MAX_JSON_DEPTH)
}

/// Whether `value` is nested at most `levels` deep. It looks no deeper than `levels`, so the recursion is bounded.
pub(super) fn fits(value: &Value, levels: usize) -> bool {
    let below = |item: &Value| fits(item, levels - 1);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => levels > 0 && items.iter().all(below),
        Value::Object(entries) => levels > 0 && entries.values().all(below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn depth_is_counted_in_collections() {
        assert!(fits(&json!("x"), 0) && !fits(&json!([]), 0) && !fits(&json!({}), 0));
        assert!(fits(&json!([{"a": 1}, 2]), 2) && !fits(&json!([1, {"a": []}]), 2));
        let nested = |depth| (0..depth).fold(json!(1), |value, _| json!([value]));
        assert!(json_depth_ok(&nested(MAX_JSON_DEPTH)));
        assert!(!json_depth_ok(&nested(MAX_JSON_DEPTH + 1)));
    }
}
