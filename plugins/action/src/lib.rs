//! The step `action`: has the agent perform one action, and returns what the action returned.

use replibook_plugin_kit::arguments;
use serde::Deserialize;
use serde_json::value::RawValue;

wit_bindgen::generate!({ path: "../../wit", world: "step" });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::agent::{AgentError, run_action};

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

struct Action;

impl Guest for Action {
    fn describe() -> Description {
        Description {
            name: "action".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Has the agent perform one action.".to_owned(),
            arguments: ARGUMENTS.to_owned(),
        }
    }

    fn run(input: StepInput) -> Result<String, StepError> {
        let arguments: Arguments<'_> = arguments(&input.arguments).map_err(StepError::Permanent)?;
        let args = arguments.args.map_or("null", RawValue::get);
        run_action(&arguments.kind, args).map_err(step_error)
    }
}

/// What happened to the action may not happen to the next one; what was refused will be again.
fn step_error(error: AgentError) -> StepError {
    match error {
        AgentError::Failed(message) => StepError::Retryable(message),
        AgentError::Unreachable(message)
        | AgentError::Lost(message)
        | AgentError::TimedOut(message) => StepError::Retryable(message),
        AgentError::Refused(message)
        | AgentError::NotGranted(message)
        | AgentError::Invalid(message) => StepError::Permanent(message),
    }
}

export!(Action);
