//! The strategy `all-at-once`: starts every agent as soon as it may start.

use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {}

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::strategy! {
    name: "all-at-once",
    summary: "Starts every agent at once.",
    arguments: r#"{ "type": "object", "additionalProperties": false }"#,
    plan: plan,
}

fn plan(roster: &Roster<'_>, input: &Input, Arguments {}: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    let start = roster.first(State::Pending, input.max_start.min(counts.pending));
    let next = match start.is_empty() && counts.running == 0 {
        true => Next::Complete,
        false => Next::Wait,
    };
    Ok(Decision::new(next).start(start, "all"))
}
