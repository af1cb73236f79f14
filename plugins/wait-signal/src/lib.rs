//! The step `wait-signal`: waits for a signal to the run or to its agent, and returns its payload.

use std::time::Duration;

use replibook_plugin_sdk::step::{Agent, StepError};
use serde::Deserialize;
use serde_json::value::RawValue;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "name": {
      "type": "string", "minLength": 1, "maxLength": 256,
      "description": "Name of the signal, written down: an expression could not be granted."
    },
    "timeout_seconds": {
      "type": "integer", "minimum": 1, "maximum": 604800, "default": 604800,
      "description": "How long to wait. The step's own timeout ends the wait too."
    }
  },
  "required": ["name"],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    name: String,
    #[serde(default = "a_week")]
    timeout_seconds: u32,
}

const fn a_week() -> u32 {
    604_800
}

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::step! {
    name: "wait-signal",
    summary: "Waits for a signal to the run, and returns its payload.",
    arguments: ARGUMENTS,
    run: wait,
    outside: yes,
}

fn wait(agent: &Agent<'_>, arguments: Arguments) -> Result<Box<RawValue>, StepError> {
    let timeout = Duration::from_secs(arguments.timeout_seconds.into());
    Ok(agent.wait_signal(&arguments.name, timeout)?)
}
