//! The step `wait-healthy`: waits until the node has a wanted status, and returns the status found.

use replibook_plugin_kit::arguments;
use serde::{Deserialize, Serialize};

wit_bindgen::generate!({ path: "../../wit", world: "step" });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::agent::{AgentError, wait_status};

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

struct WaitHealthy;

impl Guest for WaitHealthy {
    fn describe() -> Description {
        Description {
            name: "wait-healthy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Waits until the node has a wanted status.".to_owned(),
            arguments: ARGUMENTS.to_owned(),
        }
    }

    fn run(input: StepInput) -> Result<String, StepError> {
        let arguments: Arguments = arguments(&input.arguments).map_err(StepError::Permanent)?;
        let timeout = arguments.timeout_seconds.saturating_mul(1_000);
        let status = wait_status(&arguments.statuses, timeout).map_err(step_error)?;
        serde_json::to_string(&Found { status })
            .map_err(|error| StepError::Permanent(error.to_string()))
    }
}

fn step_error(error: AgentError) -> StepError {
    match error {
        AgentError::Failed(message)
        | AgentError::Unreachable(message)
        | AgentError::Lost(message)
        | AgentError::TimedOut(message) => StepError::Retryable(message),
        AgentError::Refused(message)
        | AgentError::NotGranted(message)
        | AgentError::Invalid(message) => StepError::Permanent(message),
    }
}

export!(WaitHealthy);
