//! Explains the fields of documents to people. It reads the JSON Schemas of the kinds, so there is no second
//! description that could differ from the format.

use serde::Serialize;
use serde_json::Value;

use super::document::Kind;
use super::problem::did_you_mean;
use super::units::DURATION_EXPECTED;
use super::{schema, schema_path};
use crate::length::LENGTH_FORMAT;

/// The deepest nesting of fields that is followed; documents have seven levels.
const MAX_LEVELS: usize = 16;

/// One field of a kind of document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// The path of the field: `playbook.spec.stages.steps.retry`. Indexes of lists and names of entries are left
    /// out.
    pub path: String,
    /// The field's type as human-readable text: `a list of mappings`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether the mapping around the field must have it.
    pub required: bool,
    /// The value that the field has when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The values that are allowed, if there are only a few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Allowed>,
    /// Further rules for the value: `at least 1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// What the field means.
    pub description: String,
    /// The fields below this field, as far down as they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// One value that a field may have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Allowed {
    /// The value, as it is written.
    pub value: Value,
    /// What the value means, if the schema says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// No such field exists. The message may name the field that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}{hint}")]
pub struct UnknownField {
    what: String,
    name: String,
    hint: String,
}

/// Explains the field at a path such as `playbook.spec.stages.steps.retry`, together with the fields below it: all
/// levels of them if `recursive`, or else one.
///
/// # Errors
/// [`UnknownField`] when there is no such kind or field. It names the one that was probably meant.
///
/// # Example
/// ```
/// use replibook_core::playbook::explain_field;
///
/// let field = explain_field("playbook.spec.stages.budget.on_exceeded", false)?;
/// assert_eq!(field.default, Some("pause".into()));
/// assert_eq!(field.allowed[1].value, "abort");
///
/// let error = explain_field("playbook.spec.stages.bugdet", false).unwrap_err();
/// assert!(error.to_string().ends_with("did you mean \"budget\"?"));
/// # Ok::<(), replibook_core::playbook::UnknownField>(())
/// ```
pub fn explain_field(path: &str, recursive: bool) -> Result<Field, UnknownField> {
    let mut names = path.split('.');
    let kind = kind_named(names.next().unwrap_or_default())?;
    let root = schema::of(kind);
    let mut at = Place { root, schema: root, path: kind.as_str().to_lowercase(), required: true };
    for name in names {
        at = at.below(name)?;
    }
    Ok(at.explain(if recursive { MAX_LEVELS } else { 1 }))
}

/// The kind of document that `name` means, in upper or lower case, singular or plural.
fn kind_named(name: &str) -> Result<Kind, UnknownField> {
    let word = name.to_lowercase();
    let names = Kind::ALL.map(|kind| kind.as_str().to_lowercase());
    let singular = match word.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => word.trim_end_matches('s').to_owned(),
    };
    // The name of a kind may end like a plural.
    let found = names.iter().position(|known| *known == word || *known == singular);
    match found {
        Some(index) => Ok(Kind::ALL[index]),
        None => Err(unknown("kind of document".to_owned(), name, names.iter().map(String::as_str))),
    }
}

fn unknown<'a>(
    what: String,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> UnknownField {
    let hint = match did_you_mean(name, known.clone()) {
        Some(meant) => format!(": did you mean {meant:?}?"),
        None => match known.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => ": it has no fields".to_owned(),
            all => format!(", expected one of {all}"),
        },
    };
    UnknownField { what, name: name.to_owned(), hint }
}

/// A place in the schema of a kind.
struct Place {
    root: &'static Value,
    schema: &'static Value,
    path: String,
    required: bool,
}

impl Place {
    /// The schema of the mapping that has the fields: for a list, that of its items; for named entries, that of an
    /// entry.
    fn mapping(&self) -> &'static Value {
        let mut schema = schema_path::target(self.root, self.schema);
        while let Some(below) = contained(schema) {
            schema = schema_path::target(self.root, below);
        }
        schema
    }

    fn below(&self, name: &str) -> Result<Self, UnknownField> {
        let mapping = self.mapping();
        let keys = schema_path::keys(self.root, mapping);
        match mapping.get("properties").and_then(|all| all.get(name)) {
            Some(schema) => Ok(Self {
                root: self.root,
                schema,
                path: format!("{}.{name}", self.path),
                required: schema_path::requires(self.root, mapping, name),
            }),
            None => Err(unknown(format!("field of {}", self.path), name, keys.into_iter())),
        }
    }

    fn explain(&self, levels: usize) -> Field {
        let target = schema_path::target(self.root, self.schema);
        // What the schema says about the field counts over what it says about the field's type.
        let said = |key: &str| self.schema.get(key).or_else(|| target.get(key));
        let keys = schema_path::keys(self.root, self.mapping());
        let below = keys.into_iter().filter(|_| levels > 0).filter_map(|key| self.below(key).ok());
        Field {
            path: self.path.clone(),
            type_name: type_name(self.root, self.schema),
            required: self.required,
            default: said("default").cloned(),
            allowed: allowed(target),
            rules: rules(target),
            description: said("description")
                .and_then(Value::as_str)
                .map(one_line)
                .unwrap_or_default(),
            fields: below.map(|field| field.explain(levels - 1)).collect(),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The schema of the items of a list, or of the entries of a mapping with free names.
fn contained(schema: &'static Value) -> Option<&'static Value> {
    let entries =
        || schema.get("additionalProperties").filter(|_| schema.get("properties").is_none());
    schema.get("items").or_else(entries).filter(|below| below.is_object())
}

fn type_name(root: &'static Value, schema: &'static Value) -> String {
    let schema = schema_path::target(root, schema);
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
        return "a word".to_owned();
    }
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(name)) => vec![name.as_str()],
        Some(_) | None => return "anything".to_owned(),
    };
    let words = names.into_iter().map(|name| match (name, contained(schema)) {
        ("array", Some(items)) => format!("a list, of each: {}", type_name(root, items)),
        ("object", Some(entries)) => {
            format!("a mapping of names, to each: {}", type_name(root, entries))
        }
        ("array", None) => "a list".to_owned(),
        ("object", None) => "a mapping".to_owned(),
        ("string", _) => "a text".to_owned(),
        ("integer", _) => "a whole number".to_owned(),
        ("number", _) => "a number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        (other, _) => other.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn allowed(schema: &Value) -> Vec<Allowed> {
    let described = |form: &Value| {
        let description = form.get("description").and_then(Value::as_str).map(one_line);
        Some(Allowed { value: form.get("const")?.clone(), description })
    };
    let plain = |value: &Value| Allowed { value: value.clone(), description: None };
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let only = schema.get("const").map(plain);
    list("oneOf").filter_map(described).chain(list("enum").map(plain)).chain(only).collect()
}

fn rules(schema: &Value) -> Vec<String> {
    const RULES: [(&str, &str); 5] = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minItems", "items: at least"),
        ("pattern", "matches"),
        ("format", "has the format"),
    ];
    let rules = RULES.iter().filter_map(|(key, words)| {
        let value = schema.get(*key)?;
        // The format of a number says only how it is kept in memory; that is no rule for authors.
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if (*key, text.as_str()) == ("format", LENGTH_FORMAT) {
            return Some(DURATION_EXPECTED.to_owned());
        }
        (!["uint16", "uint32", "double"].contains(&text.as_str()))
            .then(|| format!("{words} {text}"))
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(field: &Field) -> Vec<&Field> {
        let below = field.fields.iter().flat_map(all);
        std::iter::once(field).chain(below).collect()
    }

    #[test]
    fn every_field_and_every_value_is_described() {
        for (kind, at_least) in
            [("playbook", 40), ("cluster", 15), ("policies", 16), ("access", 16)]
        {
            let whole = explain_field(kind, true).unwrap();
            let fields = all(&whole);
            assert!(fields.len() >= at_least, "{}", fields.len());
            for field in fields {
                assert!(!field.description.is_empty(), "{}", field.path);
                let described =
                    |one: &Allowed| one.description.is_some() || field.allowed.len() == 1;
                assert!(field.allowed.iter().all(described), "{}", field.path);
                assert_eq!(explain_field(&field.path, false).unwrap().path, field.path);
            }
        }
    }

    #[test]
    fn a_field_has_its_type_its_default_and_what_is_allowed() {
        let field = explain_field("Playbook.spec.stages.budget.on_exceeded", false).unwrap();
        assert_eq!((field.type_name.as_str(), field.required), ("a word", false));
        assert_eq!(field.default, Some("pause".into()));
        let allowed: Vec<&Value> = field.allowed.iter().map(|one| &one.value).collect();
        assert_eq!(allowed, ["pause", "abort"]);
        let retry = explain_field("playbooks.spec.stages.steps.retry", false).unwrap();
        assert_eq!(retry.fields.len(), 4);
        assert!(
            retry.fields[0].required && retry.fields[0].rules.contains(&"at least 1".to_owned())
        );
        let timeout = explain_field("playbook.spec.stages.steps.timeout", false).unwrap();
        assert_eq!(timeout.rules, [DURATION_EXPECTED]);
        let grants = explain_field("playbook.spec.plugins.grants", false).unwrap();
        assert_eq!(grants.fields[0].type_name, "a list, of each: a text");
        assert_eq!(grants.fields[1].type_name, "a list, of each: a text or a mapping");
        assert!(explain_field("playbook.spec", false).unwrap().fields[5].fields.is_empty());
    }

    #[test]
    fn what_is_not_there_has_a_suggestion() {
        let message = |path: &str| explain_field(path, false).unwrap_err().to_string();
        let expected =
            "there is no field of playbook.spec.stages.steps \"retries\": did you mean \"retry\"?";
        assert_eq!(message("playbook.spec.stages.steps.retries"), expected);
        assert!(message("playbok").contains("did you mean \"playbook\"?"));
        assert!(message("playbook.metadata.xyz").contains("expected one of name, version, vcs"));
        assert!(message("playbook.kind.x").ends_with(": it has no fields"));
        assert!(message("").contains("expected one of playbook, cluster, policy"));
    }
}
