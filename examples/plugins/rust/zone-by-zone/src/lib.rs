//! The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of
//! their names, so that at most one zone is ever touched at a time.
//!
//! The order of the zones is worked out once, at the first decision of the stage, and kept in the
//! memo. Each decision looks at every agent that waits, which is simple and good for some thousands.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

wit_bindgen::generate!({ path: "../../../../wit", world: "strategy" });

use exports::replicante::playbook::planning::{Decision, Description, Guest, Next, PlanInput};
use replicante::playbook::logging::{Level, log};
use replicante::playbook::roster::{AgentState, counts, details, page};

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "attribute": { "type": "string", "minLength": 1, "default": "zone", "description": "Attribute of an agent that names its zone." },
    "max_parallel": { "type": "integer", "minimum": 1, "maximum": 300, "default": 1, "description": "How many agents of the zone go at a time." }
  },
  "additionalProperties": false
}"#;

/// Identifiers that are asked for at a time.
const PAGE: u32 = 1_000;

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

struct ZoneByZone;

impl Guest for ZoneByZone {
    fn describe() -> Description {
        Description {
            name: "zone-by-zone".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Goes through a cluster one zone after the other.".to_owned(),
            arguments: ARGUMENTS.to_owned(),
        }
    }

    fn plan(input: PlanInput) -> Result<Decision, String> {
        let arguments: Arguments = serde_json::from_str(&input.arguments).map_err(text)?;
        let counts = counts();
        if counts.pending == 0 {
            let next = if counts.running == 0 { Next::Complete } else { Next::Wait };
            return Ok(decision(Vec::new(), next, input.memo, None));
        }

        let free = arguments.max_parallel.saturating_sub(counts.running).min(input.max_start);
        let waiting = by_zone(&arguments.attribute);
        let mut memo = match input.memo.as_str() {
            "" => Memo { zones: waiting.keys().cloned().collect() },
            memo => serde_json::from_str(memo).map_err(text)?,
        };
        // A zone is left only once nothing of it is in flight. One that turned up later comes last.
        while let Some(zone) = memo.zones.front() {
            if waiting.contains_key(zone) {
                break;
            }
            if counts.running > 0 {
                return Ok(decision(Vec::new(), Next::Wait, write(&memo)?, None));
            }
            log(Level::Info, &format!("zone {zone} is done"));
            memo.zones.pop_front();
        }
        if memo.zones.is_empty() {
            memo.zones.extend(waiting.keys().cloned());
        }

        let zone = memo.zones.front().cloned().unwrap_or_default();
        let agents = waiting.get(&zone).into_iter().flatten();
        let start: Vec<_> = agents.take(free as usize).cloned().collect();
        let label = (!start.is_empty()).then(|| format!("zone {zone}").chars().take(63).collect());
        Ok(decision(start, Next::Wait, write(&memo)?, label))
    }
}

/// The agents that wait, by zone; those without one are a zone of their own with an empty name.
fn by_zone(attribute: &str) -> BTreeMap<String, Vec<String>> {
    let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let ids = page(AgentState::Pending, after.as_deref(), PAGE);
        after = ids.last().cloned();
        for id in ids {
            let zone = details(&id).map(|agent| zone(&agent.attributes, attribute));
            zones.entry(zone.unwrap_or_default()).or_default().push(id);
        }
        if after.is_none() {
            return zones;
        }
    }
}

fn zone(attributes: &str, attribute: &str) -> String {
    let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
    match attributes.get(attribute) {
        Some(Value::String(zone)) => zone.clone(),
        Some(Value::Bool(zone)) => zone.to_string(),
        Some(Value::Number(zone)) => zone.to_string(),
        Some(Value::Null | Value::Object(_) | Value::Array(_)) | None => String::new(),
    }
}

fn decision(start: Vec<String>, next: Next, memo: String, label: Option<String>) -> Decision {
    Decision { start, skip: Vec::new(), next, memo, label }
}

fn write(memo: &Memo) -> Result<String, String> {
    serde_json::to_string(memo).map_err(text)
}

fn text(error: serde_json::Error) -> String {
    error.to_string()
}

export!(ZoneByZone);
