//! The strategy `everybody-now` names everybody who waits, each time it is asked. Such a strategy takes a whole cluster
//! down, unless guards of the cluster hold it back. It asks who is held only in order to log it.

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::strategy::{Decision, Input, Next, Roster, State};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {}

replibook_plugin_sdk::strategy! {
    name: "everybody-now",
    summary: "Starts everybody at once, whatever the cluster is like.",
    arguments: r#"{ "type": "object", "additionalProperties": false }"#,
    plan: plan,
    held: yes,
}

fn plan(roster: &Roster<'_>, input: &Input, Arguments {}: Arguments) -> Result<Decision, String> {
    let counts = roster.counts();
    if counts.pending == 0 {
        let next = if counts.running == 0 { Next::Complete } else { Next::Wait };
        return Ok(Decision::new(next));
    }
    if let Some(first) = roster.held().next() {
        roster
            .log(Level::Info, &format!("{} are held, the first is {first}", roster.held().count()));
    }
    let everybody = roster.first(State::Pending, input.max_start);
    Ok(Decision::new(Next::Wait).start(everybody, "everybody"))
}
