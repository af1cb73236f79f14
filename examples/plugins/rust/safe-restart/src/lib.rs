//! The step `safe-restart`: restarts a healthy node and waits until it is healthy again.
//!
//! It reads like a program that runs once, from its first line to its last. In truth it runs again from
//! its start after every answer, and gets the earlier answers again. So it keeps no state of its own, and
//! has effects only through the calls of its world.

use std::time::Duration;

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::step::{Agent, StepError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

replibook_plugin_sdk::step! {
    name: "safe-restart",
    summary: "Restarts a node and waits until it is healthy again.",
    arguments: ARGUMENTS,
    run: restart,
}

fn restart(agent: &Agent<'_>, arguments: Arguments) -> Result<Outcome, StepError> {
    let (id, started) = (agent.id(), agent.now());

    let before = agent.info()?.status;
    if arguments.only_healthy && before != "HEALTHY" {
        let message = format!("found the node {before} before the restart, expected HEALTHY");
        return Err(StepError::Retryable(message));
    }
    agent.log(Level::Info, &format!("{id} is {before}; restarting it"));

    let restart = agent.run_action(&arguments.kind, &arguments.args)?;
    agent.sleep(Duration::from_millis(arguments.settle_ms.into()));

    let timeout = Duration::from_secs(arguments.timeout_seconds.into());
    let after = agent.wait_status(&["HEALTHY".to_owned()], timeout)?;
    let took_ms = agent.now() - started;
    agent.log(Level::Info, &format!("{id} is {after} after {took_ms} ms"));
    Ok(Outcome { before, after, restart, took_ms })
}
