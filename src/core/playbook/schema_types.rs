//! Finds out which types a JSON Schema allows at a place of a value. It works for any schema of parameters, and
//! says that it does not know rather than guess.

use std::collections::BTreeSet;

use serde_json::Value;

/// How many schemas are looked at for one value. It is more than a person writes, and it ends the search in a
/// schema that refers to itself.
const MAX_LOOKED_AT: usize = 256;

/// Type names of JSON Schema. `number` comes together with `integer`, since a whole number is an `integer`.
pub type Types = BTreeSet<&'static str>;

/// All type names.
const ALL: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// The name of the type of a value.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A place in a value, with all schemas that may apply there. It knows nothing if no schema says anything about
/// the place.
///
/// # Example
/// ```
/// use replibook_core::playbook::{SchemaPlace, Types};
/// use serde_json::json;
///
/// let schema = json!({ "properties": { "zones": { "items": { "type": ["string", "null"] } } } });
/// let zone = SchemaPlace::of(&schema).below("zones").below("0");
/// assert_eq!(zone.types(), Some(Types::from(["null", "string"])));
/// assert!(SchemaPlace::of(&schema).below("other").is_unknown());
/// ```
#[derive(Clone, Debug)]
pub struct SchemaPlace<'s> {
    root: &'s Value,
    schemas: Vec<&'s Value>,
}

impl<'s> SchemaPlace<'s> {
    /// The place of the whole value.
    pub fn of(root: &'s Value) -> Self {
        Self { root, schemas: vec![root] }
    }

    /// The place of the entry with this key, or of the item with this number.
    #[must_use]
    pub fn below(&self, key: &str) -> Self {
        let mut found = Vec::new();
        for schema in self.related() {
            let keywords = |word: &str| schema.get(word);
            let property = keywords("properties").and_then(|all| all.get(key));
            let others = || {
                keywords("additionalProperties").filter(|_| keywords("patternProperties").is_none())
            };
            let first = || {
                let first = keywords("prefixItems")?.as_array()?;
                first.get(key.parse::<usize>().ok()?)
            };
            let items = || keywords("items").filter(|_| key.parse::<usize>().is_ok());
            let below = property.or_else(others).or_else(first).or_else(items);
            found.extend(below.filter(|below| below.is_object()));
        }
        Self { root: self.root, schemas: found }
    }

    /// Whether no schema says anything about this place, nor about what is below it.
    pub fn is_unknown(&self) -> bool {
        self.schemas.is_empty()
    }

    /// The types that the value may have; `None` if the schemas leave that open.
    pub fn types(&self) -> Option<Types> {
        let mut left = MAX_LOOKED_AT;
        let mut schemas = self.schemas.iter();
        let first = self.types_of(schemas.next()?, &mut left)?;
        schemas.try_fold(first, |mut all, schema| {
            all.extend(self.types_of(schema, &mut left)?);
            Some(all)
        })
    }

    /// The schemas at this place, and those that they name for the same value.
    fn related(&self) -> Vec<&'s Value> {
        let mut related = self.schemas.clone();
        let mut at = 0;
        while let Some(schema) = related.get(at).copied().filter(|_| at < MAX_LOOKED_AT) {
            related.extend(self.target(schema));
            let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word));
            related.extend(lists.filter_map(Value::as_array).flatten());
            at += 1;
        }
        related.truncate(MAX_LOOKED_AT);
        related
    }

    /// The schema that a local reference stands for.
    fn target(&self, schema: &'s Value) -> Option<&'s Value> {
        let to = schema.get("$ref").and_then(Value::as_str)?.strip_prefix('#')?;
        self.root.pointer(to)
    }

    fn types_of(&self, schema: &'s Value, left: &mut usize) -> Option<Types> {
        *left = left.checked_sub(1)?;
        let words: Option<Types> = match schema.get("type") {
            Some(Value::Array(words)) => Some(words.iter().flat_map(named).collect()),
            Some(word) => Some(named(word).collect()),
            None => None,
        };
        let options = schema.get("enum").and_then(Value::as_array).map(|all| all.iter());
        let options = options.map(|all| all.map(type_of).collect());
        let only = schema.get("const").map(|only| Types::from([type_of(only)]));
        let target = self.target(schema).and_then(|target| self.types_of(target, left));
        let mut known: Vec<Types> = [words, options, only, target].into_iter().flatten().collect();
        let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        known.extend(parts.filter_map(|part| self.types_of(part, left)));
        for word in ["anyOf", "oneOf"] {
            let Some(parts) = schema.get(word).and_then(Value::as_array) else { continue };
            let each = parts.iter().map(|part| self.types_of(part, left));
            known.extend(
                each.collect::<Option<Vec<_>>>().map(|each| each.into_iter().flatten().collect()),
            );
        }
        known.into_iter().reduce(|all, types| all.intersection(&types).copied().collect())
    }
}

fn named(word: &Value) -> impl Iterator<Item = &'static str> + use<> {
    let known = ALL.into_iter().find(|known| word == known);
    known.into_iter().chain((known == Some("number")).then_some("integer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn types(schema: &Value, path: &[&str]) -> String {
        let place = path.iter().fold(SchemaPlace::of(schema), |place, key| place.below(key));
        let types = place.types().map(|types| types.into_iter().collect::<Vec<_>>().join(" "));
        types.unwrap_or_else(|| "?".to_owned())
    }

    #[test]
    fn types_come_from_all_that_is_said_of_a_value() {
        let schema = json!({
            "$defs": {"version": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}},
            "properties": {
                "one": {"type": "string"}, "several": {"type": ["number", "null"]},
                "of": {"enum": ["a", 1, 2.5]}, "only": {"const": true},
                "behind": {"$ref": "#/$defs/version"},
                "either": {"anyOf": [{"$ref": "#/$defs/version"}, {"type": "null"}]},
                "narrow": {"type": ["string", "null"], "allOf": [{"type": "string"}, {"title": "x"}]},
                "open": {"oneOf": [{"type": "string"}, {"title": "any"}]},
                "map": {"additionalProperties": {"type": "string"}},
                "list": {"items": {"type": "string"}, "prefixItems": [{"type": "integer"}]},
                "deep": {"allOf": [{"properties": {"v": {"type": "boolean"}}}]},
                "loop": {"$ref": "#/$defs/loop"}, "odd": {"type": "text"}, "any": true,
            },
        });
        for (path, expected) in [
            (&["one"][..], "string"),
            (&["several"], "integer null number"),
            (&["of"], "integer number string"),
            (&["only"], "boolean"),
            (&["behind"], "string"),
            (&["either"], "null string"),
            (&["narrow"], "string"),
            (&["open"], "?"),
            (&["map", "x"], "string"),
            (&["list", "0"], "integer"),
            (&["list", "1"], "string"),
            (&["deep", "v"], "boolean"),
            (&["loop"], "?"),
            (&["odd"], ""),
            (&["any"], "?"),
            (&["one", "x"], "?"),
            (&["nowhere"], "?"),
        ] {
            assert_eq!(types(&schema, path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_schema_that_branches_into_itself_ends() {
        let twice = json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "anyOf": [{"$ref": "#"}]});
        assert_eq!(types(&twice, &["a"]), "?");
        assert_eq!(types(&twice, &[]), "?");
    }
}
