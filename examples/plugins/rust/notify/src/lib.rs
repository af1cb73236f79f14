//! The step `notify`: tells a web hook about a node, with the HTTP client of `wstd`.
//!
//! The client is built on `wasi:http`, and the host makes a call of the journal of its request. So the step may be
//! activated again as often as it takes: the hook gets one message, which it knows by the `Idempotency-Key`.

use replibook_plugin_sdk::Level;
use replibook_plugin_sdk::step::{Agent, StepError};
use serde::{Deserialize, Serialize};
use wstd::http::{Body, Client, Error, ErrorCode, Request};
use wstd::runtime::block_on;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "url": { "type": "string", "minLength": 1, "maxLength": 8192, "description": "Address of the web hook." },
    "text": { "type": "string", "maxLength": 4096, "description": "What it is told." }
  },
  "required": ["url", "text"],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
    text: String,
}

#[derive(Serialize)]
struct Message<'a> {
    agent: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct Outcome {
    status: u16,
    answer: String,
}

replibook_plugin_sdk::step! {
    name: "notify",
    summary: "Tells a web hook about a node.",
    arguments: ARGUMENTS,
    run: notify,
}

fn notify(agent: &Agent<'_>, arguments: Arguments) -> Result<Outcome, StepError> {
    let message = Message { agent: agent.id(), text: &arguments.text };
    let message =
        serde_json::to_string(&message).map_err(|error| StepError::Permanent(error.to_string()))?;
    let answer = block_on(post(&arguments.url, message));
    let Outcome { status, answer } = answer.map_err(|error| failed(&error))?;
    agent.log(Level::Info, &format!("the web hook answered {status}"));
    match status {
        200..=299 => Ok(Outcome { status, answer }),
        408 | 425 | 429 | 500..=599 => {
            Err(StepError::Retryable(format!("the web hook answered {status}")))
        }
        _ => Err(StepError::Permanent(format!("the web hook answered {status}"))),
    }
}

async fn post(url: &str, message: String) -> Result<Outcome, Error> {
    let request = Request::post(url).header("content-type", "application/json").body(message)?;
    let response = Client::new().send(request).await?;
    let status = response.status().as_u16();
    let mut body: Body = response.into_body();
    Ok(Outcome { status, answer: body.str_contents().await?.to_owned() })
}

/// What the playbook does not grant will not be granted next time; anything else may succeed.
fn failed(error: &Error) -> StepError {
    let message = format!("failed to reach the web hook: {error:#}");
    match error.downcast_ref::<ErrorCode>() {
        Some(ErrorCode::HttpRequestDenied) => StepError::Permanent(message),
        Some(_) | None => StepError::Retryable(message),
    }
}
