//! The step `safe-restart`: restarts a healthy node and waits until it is healthy again.
//!
//! It reads like a program that runs from its first line to its last. In truth it runs again from
//! the start after every answer, with the answers that it got before; so it keeps nothing anywhere,
//! and does nothing but through the calls of its world.

use serde::{Deserialize, Serialize};
use serde_json::Value;

wit_bindgen::generate!({ path: "../../../../wit", world: "step" });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::agent::{self, AgentError};
use replicante::playbook::logging::{Level, log};
use replicante::playbook::timer;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "kind": { "type": "string", "minLength": 1, "maxLength": 256, "description": "Kind of the action that restarts the node." },
    "args": { "default": null, "description": "Arguments of that action." },
    "settle_ms": { "type": "integer", "minimum": 0, "maximum": 600000, "default": 100, "description": "How long the node is left alone after the restart." },
    "timeout_seconds": { "type": "integer", "minimum": 1, "maximum": 86400, "default": 120, "description": "How long to wait for the node to be healthy again." },
    "only_healthy": { "type": "boolean", "default": true, "description": "Whether a node that is not healthy is left as it is." }
  },
  "required": ["kind"],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    kind: String,
    #[serde(default)]
    args: Value,
    #[serde(default = "settle_ms")]
    settle_ms: u32,
    #[serde(default = "timeout_seconds")]
    timeout_seconds: u32,
    #[serde(default = "only_healthy")]
    only_healthy: bool,
}

fn settle_ms() -> u32 {
    100
}

fn timeout_seconds() -> u32 {
    120
}

fn only_healthy() -> bool {
    true
}

#[derive(Serialize)]
struct Outcome {
    before: String,
    after: String,
    restart: Value,
    took_ms: u64,
}

struct SafeRestart;

impl Guest for SafeRestart {
    fn describe() -> Description {
        Description {
            name: "safe-restart".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Restarts a node and waits until it is healthy again.".to_owned(),
            arguments: ARGUMENTS.to_owned(),
        }
    }

    fn run(input: StepInput) -> Result<String, StepError> {
        let arguments: Arguments = serde_json::from_str(&input.arguments).map_err(permanent)?;
        let started = timer::now();

        let before = agent::info().map_err(step_error)?.status;
        if arguments.only_healthy && before != "HEALTHY" {
            let message = format!("found the node {before} before the restart, expected HEALTHY");
            return Err(StepError::Retryable(message));
        }
        log(Level::Info, &format!("{} is {before}; restarting it", input.agent));

        let args = arguments.args.to_string();
        let restart = agent::run_action(&arguments.kind, &args).map_err(step_error)?;
        timer::sleep(arguments.settle_ms);

        let wanted = ["HEALTHY".to_owned()];
        let timeout = arguments.timeout_seconds.saturating_mul(1_000);
        let after = agent::wait_status(&wanted, timeout).map_err(step_error)?;
        let took_ms = (timer::now() - started) as u64;
        log(Level::Info, &format!("{} is {after} after {took_ms} ms", input.agent));

        let restart = serde_json::from_str(&restart).map_err(permanent)?;
        let outcome = Outcome { before, after, restart, took_ms };
        serde_json::to_string(&outcome).map_err(permanent)
    }
}

fn permanent(error: serde_json::Error) -> StepError {
    StepError::Permanent(error.to_string())
}

/// What the agent or the playbook refuses will be refused again; the rest may go well next time.
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

export!(SafeRestart);
