//! Groups of agents, and what the strategy remembers of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The longest value of an attribute that may name a group, and the most groups. All groups are handed from
/// decision to decision in the memo, which holds at most 64 KiB.
const MAX_NAME_BYTES: usize = 100;
const MAX_GROUPS: usize = 256;

/// Name of a group: the value of the attribute as text; none for agents without that attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Name(pub(crate) Option<String>);

impl Name {
    /// The name that a value gives: a text, a number, true or false. Any other value gives none.
    fn of(value: Value) -> Self {
        Self(match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
    }

    /// The group of an agent with these attributes (a JSON object), by the attribute `by`.
    pub(crate) fn read(attributes: &str, by: &str) -> Result<Self, String> {
        let failed = |error| format!("failed to read its attributes: {error}");
        let attributes: BTreeMap<String, &RawValue> =
            serde_json::from_str(attributes).map_err(failed)?;
        let Some(value) = attributes.get(by) else { return Ok(Self(None)) };
        let name = Self::of(serde_json::from_str(value.get()).map_err(failed)?);
        let bytes = name.0.as_ref().map_or(0, String::len);
        if bytes > MAX_NAME_BYTES {
            return Err(format!(
                "found {bytes} bytes as its {by}, expected at most {MAX_NAME_BYTES}"
            ));
        }
        Ok(name)
    }

    /// As text: `zone a`, or `without zone`.
    pub(crate) fn told(&self, by: &str) -> String {
        match &self.0 {
            Some(name) => format!("{by} {name}"),
            None => format!("without {by}"),
        }
    }

    /// Where an agent was found, as text: `in zone a`, or `without zone`.
    pub(crate) fn found(&self, by: &str) -> String {
        match self.0 {
            Some(_) => format!("in {}", self.told(by)),
            None => self.told(by),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::of)
    }
}

/// A group. In the memo it is a JSON list, which is shorter than an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "(Name, u32, u32, u32)", into = "(Name, u32, u32, u32)")]
pub(crate) struct Group {
    pub(crate) name: Name,
    /// How many agents wait, as far as is known.
    pub(crate) waiting: u32,
    /// The most agents that were ever counted as waiting: percentages are of this number.
    pub(crate) size: u32,
    /// Number of the group's last batch; 0 before the first.
    pub(crate) batches: u32,
}

impl From<(Name, u32, u32, u32)> for Group {
    fn from((name, waiting, size, batches): (Name, u32, u32, u32)) -> Self {
        Self { name, waiting, size, batches }
    }
}

impl From<Group> for (Name, u32, u32, u32) {
    fn from(group: Group) -> Self {
        (group.name, group.waiting, group.size, group.batches)
    }
}

/// All groups of a stage.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Groups(pub(crate) Vec<Group>);

impl Groups {
    /// Counts one more agent that waits.
    pub(crate) fn count(&mut self, name: Name, by: &str) -> Result<(), String> {
        if let Some(group) = self.0.iter_mut().find(|group| group.name == name) {
            group.waiting += 1;
            return Ok(());
        }
        if self.0.len() == MAX_GROUPS {
            return Err(format!("found more than {MAX_GROUPS} groups by {by}: it names no groups"));
        }
        self.0.push(Group { name, waiting: 1, size: 0, batches: 0 });
        Ok(())
    }

    /// Puts the groups into the order in which they go.
    pub(crate) fn sort(&mut self, order: &[Name]) {
        let place = |name: &Name| order.iter().position(|it| it == name).unwrap_or(order.len());
        self.0.sort_by(|one, other| {
            let by_place = place(&one.name).cmp(&place(&other.name));
            by_place.then_with(|| match (&one.name.0, &other.name.0) {
                (Some(one), Some(other)) => one.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            })
        });
    }

    /// How many agents wait in all groups, as far as is known.
    pub(crate) fn waiting(&self) -> u32 {
        self.0.iter().map(|group| group.waiting).sum()
    }

    /// The first group in which agents wait.
    pub(crate) fn first(&self) -> Option<Name> {
        self.0.iter().find(|group| group.waiting > 0).map(|group| group.name.clone())
    }

    pub(crate) fn get_mut(&mut self, name: &Name) -> Option<&mut Group> {
        self.0.iter_mut().find(|group| group.name == *name)
    }
}
