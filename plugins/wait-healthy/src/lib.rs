//! The step `wait-healthy`: waits until the node has one of the wanted statuses, and returns the status that
//! it found.

use std::time::Duration;

use replibook_plugin_sdk::step::{Agent, StepError};
use serde::{Deserialize, Serialize};

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "statuses": {
      "type": "array", "minItems": 1, "maxItems": 16, "default": ["HEALTHY"],
      "items": { "type": "string", "minLength": 1, "maxLength": 64 },
      "description": "Statuses that end the wait."
    },
    "timeout_seconds": {
      "type": "integer", "minimum": 1, "maximum": 604800, "default": 300,
      "description": "How long to wait."
    }
  },
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    statuses: Vec<String>,
    timeout_seconds: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { statuses: vec!["HEALTHY".to_owned()], timeout_seconds: 300 }
    }
}

#[derive(Serialize)]
struct Found {
    status: String,
}

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::step! {
    name: "wait-healthy",
    summary: "Waits until the node has a wanted status.",
    arguments: ARGUMENTS,
    run: wait,
}

fn wait(agent: &Agent<'_>, arguments: Arguments) -> Result<Found, StepError> {
    let timeout = Duration::from_secs(arguments.timeout_seconds.into());
    Ok(Found { status: agent.wait_status(&arguments.statuses, timeout)? })
}
