//! A step that waits for a signal and then for another one of the same name, whose payload it returns.

use std::time::Duration;

use replibook_plugin_sdk::step::{Agent, StepError};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Arguments {
    name: String,
    /// How long each of the waits may take.
    timeout_seconds: u32,
}

replibook_plugin_sdk::step! {
    name: "waits-twice",
    summary: "Waits for a signal, and then for another one.",
    arguments: "{}",
    run: wait,
    outside: yes,
}

fn wait(agent: &Agent<'_>, arguments: Arguments) -> Result<Box<RawValue>, StepError> {
    let timeout = Duration::from_secs(arguments.timeout_seconds.into());
    let _first: Box<RawValue> = agent.wait_signal(&arguments.name, timeout)?;
    Ok(agent.wait_signal(&arguments.name, timeout)?)
}
