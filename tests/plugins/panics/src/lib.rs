//! A step that is made with the SDK and panics after a call.

use std::time::Duration;

use replibook_plugin_sdk::step::{Agent, StepError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Arguments {
    numbers: Vec<u32>,
}

replibook_plugin_sdk::step! {
    name: "panics",
    summary: "Panics unless it is given a number.",
    arguments: "{}",
    run: first,
}

fn first(agent: &Agent<'_>, arguments: Arguments) -> Result<u32, StepError> {
    agent.sleep(Duration::from_millis(1));
    let first = arguments.numbers.first();
    Ok(*first.expect("boom: found no number"))
}
