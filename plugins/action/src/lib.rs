//! The step `action`: has the agent perform one action, and returns what the action returned.

use replibook_plugin_sdk::step::{Agent, StepError};
use serde::Deserialize;
use serde_json::value::RawValue;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "kind": {
      "type": "string", "minLength": 1, "maxLength": 256,
      "description": "Kind of the action, for example agent.replicante.io/test.success."
    },
    "args": { "default": null, "description": "Arguments of the action: any JSON." }
  },
  "required": ["kind"],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments<'a> {
    kind: String,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

replibook_plugin_sdk::arena!();
replibook_plugin_sdk::step! {
    name: "action",
    summary: "Has the agent perform one action.",
    arguments: ARGUMENTS,
    run: action,
}

fn action(agent: &Agent<'_>, arguments: Arguments<'_>) -> Result<Box<RawValue>, StepError> {
    Ok(agent.run_action(&arguments.kind, &arguments.args)?)
}
