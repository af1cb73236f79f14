//! The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of
//! their names, so that at most one zone is ever touched at a time.
//!
//! The order of the zones is worked out once, at the first decision of the stage, and kept in the
//! memo. Each decision looks at every agent that waits, which is simple and good for some thousands.

use std::collections::{BTreeMap, VecDeque};

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "attribute": { "type": "string", "minLength": 1, "default": "zone", "description": "Attribute of an agent that names its zone." },
    "max_parallel": { "type": "integer", "minimum": 1, "maximum": 300, "default": 1, "description": "How many agents of the zone go at a time." }
  },
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    attribute: String,
    max_parallel: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { attribute: "zone".to_owned(), max_parallel: 1 }
    }
}

/// What a decision hands to the next one: the zones that are still to do, the present one first.
#[derive(Default, Deserialize, Serialize)]
struct Memo {
    zones: VecDeque<String>,
}

replibook_plugin_sdk::strategy! {
    name: "zone-by-zone",
    summary: "Goes through a cluster one zone after the other.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    if counts.pending == 0 {
        let next = if counts.running == 0 { Next::Complete } else { Next::Wait };
        return Ok(Decision::new(next).memo(input.memo.clone()));
    }

    let free = arguments.max_parallel.saturating_sub(counts.running).min(input.max_start);
    let waiting = by_zone(roster, &arguments.attribute);
    let all = || Memo { zones: waiting.keys().cloned().collect() };
    let mut memo = input.memo()?.unwrap_or_else(all);
    // A zone is left only once nothing of it is in flight. One that turned up later comes last.
    while let Some(zone) = memo.zones.front() {
        if waiting.contains_key(zone) {
            break;
        }
        if counts.running > 0 {
            return Decision::new(Next::Wait).remember(&memo);
        }
        roster.log(Level::Info, &format!("zone {zone} is done"));
        memo.zones.pop_front();
    }
    if memo.zones.is_empty() {
        memo = all();
    }

    let zone = memo.zones.front().cloned().unwrap_or_default();
    let agents = waiting.get(&zone).into_iter().flatten();
    let start = agents.take(free as usize).cloned().collect();
    Decision::new(Next::Wait).start(start, &format!("zone {zone}")).remember(&memo)
}

/// The agents that wait, by zone; those without one are a zone of their own with an empty name.
fn by_zone(roster: &Roster<'_>, attribute: &str) -> BTreeMap<String, Vec<String>> {
    let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in roster.agents(State::Pending) {
        let zone = roster.details(&id).map(|agent| zone(&agent.attributes, attribute));
        zones.entry(zone.unwrap_or_default()).or_default().push(id);
    }
    zones
}

/// A text as it is, a number or truth value as it is written, and nothing for all else.
fn zone(attributes: &str, attribute: &str) -> String {
    let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
    match attributes.get(attribute) {
        Some(Value::String(zone)) => zone.clone(),
        Some(Value::Bool(zone)) => zone.to_string(),
        Some(Value::Number(zone)) => zone.to_string(),
        Some(Value::Null | Value::Object(_) | Value::Array(_)) | None => String::new(),
    }
}
