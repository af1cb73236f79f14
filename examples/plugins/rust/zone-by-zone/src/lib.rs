//! The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of the
//! zones' names, so that it never touches two zones at a time.
//!
//! The order of the zones is worked out once, at the first decision of the stage, and kept in the
//! memo. Each decision looks at every agent that waits, which is simple and fast enough for a few thousand.
//!
//! With `healthy`, the agents of a zone that is done are asked how they are before the next zone begins.

mod health;

use std::collections::{BTreeMap, VecDeque};

use health::{Health, Look, done, look};

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "attribute": { "type": "string", "minLength": 1, "default": "zone", "description": "Attribute of an agent that names its zone." },
    "max_parallel": { "type": "integer", "minimum": 1, "maximum": 300, "default": 1, "description": "How many agents of the zone go at a time." },
    "healthy": { "type": "string", "minLength": 1, "maxLength": 2048, "description": "A CEL expression that holds for an agent that is well, for example agent.node.node_status == \"HEALTHY\". Before the next zone begins, and at the end, the agents of the zone that are done are asked afresh. Without it nobody is asked." },
    "on_ill": { "enum": ["abort", "approval"], "default": "abort", "description": "What happens when an agent of the zone is not well: the run fails, or a person is asked." }
  },
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    attribute: String,
    max_parallel: u32,
    healthy: Option<String>,
    on_ill: OnIll,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnIll {
    Abort,
    Approval,
}

impl Default for Arguments {
    fn default() -> Self {
        let attribute = "zone".to_owned();
        Self { attribute, max_parallel: 1, healthy: None, on_ill: OnIll::Abort }
    }
}

/// What one decision hands to the next.
#[derive(Default, Deserialize, Serialize)]
struct Memo {
    /// The zones that are not done, the present one first.
    zones: VecDeque<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    look: Option<Look>,
}

replibook_plugin_sdk::strategy! {
    name: "zone-by-zone",
    summary: "Goes through a cluster one zone after the other.",
    arguments: ARGUMENTS,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, arguments: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    if counts.pending == 0 && (counts.running > 0 || arguments.healthy.is_none()) {
        let next = if counts.running == 0 { Next::Complete } else { Next::Wait };
        return Ok(Decision::new(next).memo(input.memo.clone()));
    }

    let free = arguments.max_parallel.saturating_sub(counts.running).min(input.max_start);
    let waiting = by_zone(roster, &arguments.attribute);
    let all = || Memo { zones: waiting.keys().cloned().collect(), look: None };
    let mut memo = input.memo()?.unwrap_or_else(all);
    let mut before = memo.look.take();
    // A zone is left only once none of its agents is in flight. A zone that turned up later comes last.
    while let Some(zone) = memo.zones.front().cloned() {
        if waiting.contains_key(&zone) {
            break;
        }
        if counts.running > 0 {
            return Decision::new(Next::Wait).remember(&memo);
        }
        match health(roster, input, &arguments, &zone, before.take())? {
            Health::Asking(look) => {
                memo.look = Some(look);
                return Decision::new(Next::WaitUntil(input.now)).remember(&memo);
            }
            Health::Ill(who) => {
                // A person who lets the run go on is not asked about this zone again.
                memo.zones.pop_front();
                let next = stop(&arguments, &zone, &who, counts.pending);
                return Decision::new(next).remember(&memo);
            }
            Health::Well => {}
        }
        roster.log(Level::Info, &format!("zone {zone} is done"));
        memo.zones.pop_front();
    }
    if memo.zones.is_empty() {
        if counts.pending == 0 {
            return Decision::new(Next::Complete).remember(&memo);
        }
        memo = all();
    }

    let zone = memo.zones.front().cloned().unwrap_or_default();
    let agents = waiting.get(&zone).into_iter().flatten();
    let start = agents.take(free as usize).cloned().collect();
    Decision::new(Next::Wait).start(start, &format!("zone {zone}")).remember(&memo)
}

/// How the agents of a zone that is done are; well if the playbook does not ask for that.
fn health(
    roster: &Roster<'_>,
    input: &Input,
    arguments: &Arguments,
    zone: &str,
    before: Option<Look>,
) -> Result<Health, String> {
    let Some(healthy) = &arguments.healthy else { return Ok(Health::Well) };
    let is_of_zone = |id: &str| zone_of(roster, id, &arguments.attribute) == zone;
    let agents = |after| done(roster, is_of_zone, after);
    look(roster, agents, healthy, before, input.now as u64)
}

fn stop(arguments: &Arguments, zone: &str, who: &str, pending: u32) -> Next {
    let told = format!("zone {zone} is not well: {who}");
    match arguments.on_ill {
        OnIll::Abort => Next::Abort(told),
        OnIll::Approval if pending == 0 => {
            Next::Approval(format!("{told}; end the stage all the same?"))
        }
        OnIll::Approval => Next::Approval(format!("{told}; go on with the other {pending}?")),
    }
}

/// The agents that wait, by zone. Agents without a zone are a zone of their own with an empty name.
fn by_zone(roster: &Roster<'_>, attribute: &str) -> BTreeMap<String, Vec<String>> {
    let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in roster.agents(State::Pending) {
        zones.entry(zone_of(roster, &id, attribute)).or_default().push(id);
    }
    zones
}

fn zone_of(roster: &Roster<'_>, id: &str, attribute: &str) -> String {
    let agent = roster.details(id);
    agent.map(|agent| zone(&agent.attributes, attribute)).unwrap_or_default()
}

/// A text as it is; a number, true or false as it is written; empty for any other value.
fn zone(attributes: &str, attribute: &str) -> String {
    let attributes: Map<String, Value> = serde_json::from_str(attributes).unwrap_or_default();
    match attributes.get(attribute) {
        Some(Value::String(zone)) => zone.clone(),
        Some(Value::Bool(zone)) => zone.to_string(),
        Some(Value::Number(zone)) => zone.to_string(),
        Some(Value::Null | Value::Object(_) | Value::Array(_)) | None => String::new(),
    }
}
