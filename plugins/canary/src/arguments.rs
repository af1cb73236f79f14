//! The arguments that a playbook may give, and the batches that follow from them.

use replibook_plugin_sdk::arguments::{Length, Size};
use replibook_plugin_sdk::size_pattern;
use serde::Deserialize;

pub(crate) const ARGUMENTS: &str = concat!(
    r#"{
  "type": "object",
  "properties": {
    "canaries": {
      "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
      "pattern": ""#,
    size_pattern!(),
    r#"",
      "description": "How many agents go first: a number, or a share of the agents of the stage such as 5%, rounded down but never to 0. Without it and select, the first of the batches are the canaries; with select alone, all agents that it selects."
    },
    "select": {
      "type": "string", "minLength": 1, "maxLength": 2048,
      "description": "A CEL expression as in the select of a stage: which agents may be canaries."
    },
    "soak": {
      "type": "string", "format": "length-of-time",
      "description": "How long the canaries are watched once they are done, for example 10m. Without it their health is looked at once."
    },
    "healthy": {
      "type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true, "default": ["HEALTHY"],
      "items": { "type": "string", "pattern": "^[A-Z][A-Z0-9_]*$", "maxLength": 64 },
      "description": "Statuses of a node that is well."
    },
    "interval": {
      "type": "string", "format": "length-of-time", "default": "10s",
      "description": "How often the canaries are asked while they are watched."
    },
    "approval": {
      "type": ["boolean", "string"], "minLength": 1, "maxLength": 1024, "default": false,
      "description": "Whether a person has to approve once the canaries were watched; a text is the question."
    },
    "batches": {
      "type": "array", "minItems": 1, "maxItems": 50,
      "items": {
        "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
        "pattern": ""#,
    size_pattern!(),
    r#""
      },
      "description": "Sizes of the batches, one after the other; the last one counts for all that remain. By default 1, 5%, 25%, 100%, without the 1 where canaries or select is given."
    },
    "on_ill": {
      "enum": ["abort", "approval"], "default": "abort",
      "description": "What happens when a canary failed, or the node of a canary or of an agent of the last batch is not well: the run fails, or a person is asked."
    }
  },
  "additionalProperties": false
}"#
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Arguments {
    pub(crate) canaries: Option<Size>,
    pub(crate) select: Option<String>,
    pub(crate) soak: Length,
    pub(crate) healthy: Vec<String>,
    pub(crate) interval: Length,
    pub(crate) approval: Approval,
    batches: Option<Vec<Size>>,
    pub(crate) on_ill: OnIll,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            canaries: None,
            select: None,
            soak: Length(0),
            healthy: vec!["HEALTHY".to_owned()],
            interval: Length(10_000),
            approval: Approval::Asked(false),
            batches: None,
            on_ill: OnIll::Abort,
        }
    }
}

/// Whether a person is asked after the soak, and with which question.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Approval {
    Asked(bool),
    Question(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnIll {
    Abort,
    Approval,
}

/// The batches of a stage: the canaries, then the others.
pub(crate) struct Batches {
    /// None means as many as are selected.
    pub(crate) canaries: Option<Size>,
    others: Vec<Size>,
}

impl Arguments {
    pub(crate) fn batches(&self) -> Batches {
        let growing = [Size::ONE, Size::Share(500), Size::Share(2_500), Size::Share(10_000)];
        let given = self.batches.as_deref();
        if self.canaries.is_some() || self.select.is_some() {
            let others = given.unwrap_or(&growing[1..]).to_vec();
            return Batches { canaries: self.canaries, others };
        }
        let (first, others) = match given.unwrap_or(&growing).split_first() {
            Some((first, others)) => (*first, others.to_vec()),
            None => (Size::ONE, Vec::new()),
        };
        Batches { canaries: Some(first), others }
    }
}

impl Batches {
    /// The size and the label of a batch. The canaries are batch 0; a size of none means all that are
    /// selected.
    pub(crate) fn batch(&self, index: u32) -> (Option<Size>, String) {
        if index == 0 {
            return (self.canaries, "canary".to_owned());
        }
        let all = self.others.len() as u32 + 1;
        let place = (index as usize).min(self.others.len());
        let last = self.others.last().copied().or(self.canaries).unwrap_or(Size::ONE);
        let size = self.others.get(place.wrapping_sub(1)).copied().unwrap_or(last);
        let label = match index < all {
            true => format!("{}/{all} ({size})", index + 1),
            // Past the end of the list, its last size is used again.
            false => format!("{all}/{all} ({size}) +{}", index + 1 - all),
        };
        (Some(size), label)
    }
}
