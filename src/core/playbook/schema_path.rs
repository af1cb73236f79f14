//! Finds out what the JSON Schemas of the kinds say about a place in a document. It knows only the few keywords
//! that those schemas use.

use serde_json::{Map, Value};

/// The longest chain of references and required keys that is followed. The schemas of the kinds have only a
/// handful.
const MAX_STEPS: usize = 16;

/// The schema that `schema` refers to, through all references, or `schema` itself.
pub(super) fn target<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..MAX_STEPS {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let found = reference.and_then(|to| root.pointer(to.strip_prefix('#')?));
        match found {
            Some(found) => schema = found,
            None => break,
        }
    }
    schema
}

/// The schema of one member of a value: of the entry with the key `segment`, or of an item.
pub(super) fn below<'a>(root: &'a Value, schema: &'a Value, segment: &str) -> Option<&'a Value> {
    let schema = target(root, schema);
    let property = schema.get("properties").and_then(|all| all.get(segment));
    let items = || schema.get("items").filter(|_| segment.parse::<usize>().is_ok());
    let others = || schema.get("additionalProperties").filter(|others| others.is_object());
    property.or_else(items).or_else(others)
}

/// The schema of the value at `pointer`, if there is one.
pub(super) fn at<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    let segments = pointer.split('/').skip(1);
    let names = segments.map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    { names }.try_fold(root, |schema, name| below(root, schema, &name))
}

/// The keys that the schema lists for a mapping.
pub(super) fn keys<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let properties = target(root, schema).get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// Whether a mapping must have the key.
pub(super) fn requires(root: &Value, schema: &Value, key: &str) -> bool {
    let required = target(root, schema).get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|name| name == key))
}

/// The smallest value of the type that `schema` asks for. Every text in it is empty.
pub(super) fn stand_in(root: &Value, schema: &Value) -> Value {
    smallest(root, schema, MAX_STEPS)
}

fn smallest(root: &Value, schema: &Value, steps: usize) -> Value {
    let schema = target(root, schema);
    let forms = schema.get("oneOf").and_then(Value::as_array);
    if let Some(first) = forms.and_then(|forms| forms.first()) {
        return first.get("const").cloned().unwrap_or_default();
    }
    if let Some(only) = schema.get("const") {
        return only.clone();
    }
    if let Some(Value::Array(options)) = schema.get("enum") {
        return options.first().cloned().unwrap_or_default();
    }
    let name = match schema.get("type") {
        Some(Value::Array(types)) => types.first().and_then(Value::as_str),
        Some(Value::String(name)) => Some(name.as_str()),
        _ => None,
    };
    match name {
        _ if steps == 0 => Value::Null,
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let entries = names.filter_map(|name| {
                let value = smallest(root, below(root, schema, name)?, steps - 1);
                Some((name.to_owned(), value))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Some("array") => Value::Array(Vec::new()),
        Some("string") => "".into(),
        Some("integer") => schema.get("minimum").cloned().unwrap_or_else(|| 0.into()),
        Some("number") => schema.get("minimum").cloned().unwrap_or_else(|| 0.0.into()),
        Some("boolean") => false.into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Kind;
    use super::super::schema::json_schema;
    use super::*;
    use serde_json::json;

    #[test]
    fn places_of_documents_have_their_schemas() {
        let root = json_schema(Kind::Playbook);
        let step = at(&root, "/spec/stages/0/steps/3").unwrap();
        assert!(keys(&root, step).contains(&"retry") && requires(&root, step, "name"));
        assert!(at(&root, "/spec/plugins/x~1y/grants/http/0").is_some());
        for nowhere in ["/spec/stage", "/spec/stages/x", "/metadata/name/x"] {
            assert_eq!(at(&root, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_stand_in_is_the_smallest_value_of_its_type() {
        let root = json_schema(Kind::Playbook);
        let of = |path: &str| stand_in(&root, at(&root, path).unwrap());
        let stage = json!({"name": "", "steps": []});
        assert_eq!(of("/spec/stages/0"), stage);
        assert_eq!(of("/spec/stages/0/steps/0/retry"), json!({"attempts": 1}));
        assert_eq!(of("/spec/approval"), json!({}));
    }
}
