//! The arguments that a playbook may give.

use replibook_plugin_sdk::arguments::{Length, Size};
use replibook_plugin_sdk::batch::Mode;
use replibook_plugin_sdk::size_pattern;
use serde::Deserialize;

use crate::group::Name;

pub(crate) const ARGUMENTS: &str = concat!(
    r#"{
  "type": "object",
  "properties": {
    "by": {
      "type": "string", "minLength": 1, "maxLength": 63,
      "description": "Attribute of an agent that names its group, for example zone."
    },
    "order": {
      "type": "array", "minItems": 1, "maxItems": 256, "uniqueItems": true,
      "items": { "type": ["string", "number", "boolean", "null"], "maxLength": 100 },
      "description": "Groups in the order in which they go; null stands for agents without the attribute. Values are compared as text. By default groups go in the order of their names, and agents without the attribute last."
    },
    "others": {
      "enum": ["after", "refuse"], "default": "after",
      "description": "What happens to groups that order does not name: they go after the others, or the run fails before anything is started. An agent of such a group that joins later is left out then."
    },
    "batch": {
      "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
      "pattern": ""#,
    size_pattern!(),
    r#"", "default": 1,
      "description": "How many agents of a group at a time: a number, or a share of the group such as 50%, rounded down but never to 0."
    },
    "mode": {
      "enum": ["batch", "window"], "default": "batch",
      "description": "batch: the next batch of a group starts when the last one has ended. window: an agent starts as soon as a place is free."
    },
    "soak": {
      "type": "string", "format": "length-of-time",
      "description": "How long to wait after a group before the next one, for example 10m."
    }
  },
  "required": ["by"],
  "if": { "properties": { "others": { "const": "refuse" } }, "required": ["others"] },
  "then": { "required": ["order"] },
  "additionalProperties": false
}"#
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) order: Vec<Name>,
    #[serde(default)]
    pub(crate) others: Others,
    #[serde(default = "one")]
    pub(crate) batch: Size,
    #[serde(default)]
    pub(crate) mode: Mode,
    #[serde(default)]
    pub(crate) soak: Length,
}

fn one() -> Size {
    Size::ONE
}

/// What happens to groups that the order does not name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Others {
    #[default]
    After,
    Refuse,
}
