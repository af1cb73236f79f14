//! The step `http`: sends a request, and returns the response.

use std::collections::BTreeMap;
use std::time::Duration;

use replibook_plugin_sdk::outside::{Request, Response};
use replibook_plugin_sdk::step::{Agent, StepError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "url": {
      "type": "string", "minLength": 1, "maxLength": 8192,
      "description": "Absolute URL. Its origin has to be written down: an expression there could not be granted."
    },
    "method": {
      "enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
      "description": "Method; GET without a body, and POST with one, when absent."
    },
    "headers": {
      "type": "object", "additionalProperties": { "type": "string" }, "maxProperties": 60,
      "description": "Headers by their names."
    },
    "body": {
      "description": "Body: text is sent as it is, anything else as JSON."
    },
    "expect": {
      "type": "array", "minItems": 1, "maxItems": 100,
      "items": { "type": "integer", "minimum": 100, "maximum": 599 },
      "description": "Statuses that are success; 200 to 299 when absent."
    },
    "timeout_seconds": {
      "type": "integer", "minimum": 1, "maximum": 600, "default": 30,
      "description": "How long to wait for the whole response."
    }
  },
  "required": ["url"],
  "additionalProperties": false
}"#;

/// How much of a body an error quotes, in characters.
const QUOTED: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    expect: Option<Vec<u16>>,
    #[serde(default = "half_a_minute")]
    timeout_seconds: u32,
}

const fn half_a_minute() -> u32 {
    30
}

/// What the step returns.
#[derive(Serialize)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    /// A value where the server says that it is JSON, else text.
    body: Value,
}

replibook_plugin_sdk::step! {
    name: "http",
    summary: "Sends an HTTP request, and returns the response.",
    arguments: ARGUMENTS,
    run: send,
    outside: yes,
}

fn send(agent: &Agent<'_>, arguments: Arguments) -> Result<Answer, StepError> {
    let Arguments { url, method, headers, body, expect, timeout_seconds } = arguments;
    let usual = if body.is_some() { "POST" } else { "GET" };
    let mut request = Request::new(method.as_deref().unwrap_or(usual), &url);
    let has_type = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    request.timeout = Duration::from_secs(timeout_seconds.into());
    match body {
        None => {}
        Some(Value::String(text)) => request.body = text.into_bytes(),
        Some(value) if has_type => request.body = serde_json::to_vec(&value)?,
        Some(value) => request = request.json(&value)?,
    }
    let response = agent.send(&request)?;
    let status = response.status;
    let is_success = match &expect {
        Some(statuses) => statuses.contains(&status),
        None => (200..300).contains(&status),
    };
    if !is_success {
        return Err(refused(&response, expect.as_deref()));
    }
    let body = match is_json(&response) {
        true => response.json()?,
        false => Value::String(response.text()),
    };
    Ok(Answer { status, headers: response.headers.into_iter().collect(), body })
}

fn is_json(response: &Response) -> bool {
    let mut types = response.headers.iter().filter(|(name, _)| name == "content-type");
    let kind = types.next().map(|(_, value)| value.split(';').next().unwrap_or_default().trim());
    kind.is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
        && !response.body.is_empty()
}

/// A server that is busy or broken may answer better later; what it refuses, it refuses again.
fn refused(response: &Response, expect: Option<&[u16]>) -> StepError {
    let text = response.text();
    let quoted: String = text.chars().take(QUOTED).collect();
    let expected = match expect {
        Some(statuses) => format!("one of {statuses:?}"),
        None => "200 to 299".to_owned(),
    };
    let status = response.status;
    let message = format!("found status {status}, expected {expected}: {quoted}");
    match status {
        408 | 425 | 429 | 500..=599 => StepError::Retryable(message),
        _ => StepError::Permanent(message),
    }
}
