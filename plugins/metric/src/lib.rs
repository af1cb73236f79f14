//! The step `metric`: asks a Prometheus server for the value of a query, and fails where it is out of bounds. So a
//! stage between two others is a gate.

use std::fmt::Write as _;
use std::time::Duration;

use replibook_plugin_sdk::outside::Request;
use replibook_plugin_sdk::step::{Agent, StepError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const ARGUMENTS: &str = r#"{
  "type": "object",
  "properties": {
    "server": {
      "type": "string", "minLength": 1, "maxLength": 2048,
      "description": "Base URL of the Prometheus server. Its origin has to be written down."
    },
    "query": {
      "type": "string", "minLength": 1, "maxLength": 4096,
      "description": "Query with one value as its result, for example sum(rate(errors_total[5m]))."
    },
    "at_least": { "type": "number", "description": "The smallest value that is good." },
    "at_most": { "type": "number", "description": "The largest value that is good." },
    "timeout_seconds": {
      "type": "integer", "minimum": 1, "maximum": 600, "default": 30,
      "description": "How long to wait for the answer."
    }
  },
  "required": ["server", "query"],
  "anyOf": [{ "required": ["at_least"] }, { "required": ["at_most"] }],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    server: String,
    query: String,
    #[serde(default)]
    at_least: Option<f64>,
    #[serde(default)]
    at_most: Option<f64>,
    #[serde(default = "half_a_minute")]
    timeout_seconds: u32,
}

const fn half_a_minute() -> u32 {
    30
}

/// The part of an answer of Prometheus that matters here.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

/// What the step returns.
#[derive(Serialize)]
struct Measured {
    value: f64,
}

replibook_plugin_sdk::step! {
    name: "metric",
    summary: "Asks Prometheus for a value, and fails where it is out of bounds.",
    arguments: ARGUMENTS,
    run: measure,
    outside: yes,
}

fn measure(agent: &Agent<'_>, arguments: Arguments) -> Result<Measured, StepError> {
    let Arguments { server, query, at_least, at_most, timeout_seconds } = arguments;
    let server = server.trim_end_matches('/');
    let url = format!("{server}/api/v1/query?query={}", encoded(&query));
    let mut request = Request::new("GET", &url).header("accept", "application/json");
    request.timeout = Duration::from_secs(timeout_seconds.into());
    let response = agent.send(&request)?;
    let answered = response.json::<Answered>();
    let said = answered.as_ref().ok().and_then(|answered| answered.error.clone());
    match response.status {
        200..=299 => {}
        status @ (408 | 429 | 500..=599) => {
            let said = said.unwrap_or_else(|| "no reason given".to_owned());
            return Err(StepError::Retryable(format!("Prometheus answered {status}: {said}")));
        }
        status => {
            let said = said.unwrap_or_else(|| "no reason given".to_owned());
            return Err(StepError::Permanent(format!("Prometheus answered {status}: {said}")));
        }
    }
    let value = value_of(answered?)?;
    let is_low = at_least.is_some_and(|least| value < least);
    let is_high = at_most.is_some_and(|most| value > most);
    // Nothing can be said of a value that is no number.
    if is_low || is_high || value.is_nan() {
        let mut message = format!("found {value}, expected");
        if let Some(least) = at_least {
            let _ = write!(message, " at least {least}");
        }
        if let Some(most) = at_most {
            let and = if at_least.is_some() { " and" } else { "" };
            let _ = write!(message, "{and} at most {most}");
        }
        // It may be better later.
        return Err(StepError::Retryable(message));
    }
    Ok(Measured { value })
}

/// The one value of a scalar, or of a vector with one series.
fn value_of(answered: Answered) -> Result<f64, StepError> {
    let Some(Data { kind, result }) = answered.data else {
        return Err(StepError::Permanent("Prometheus answered without data".to_owned()));
    };
    let sample = match (kind.as_str(), result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(mut series)) if series.len() == 1 => {
            series.remove(0).get_mut("value").map(Value::take).unwrap_or_default()
        }
        ("vector", Value::Array(series)) if series.is_empty() => {
            return Err(StepError::Retryable("the query has no value".to_owned()));
        }
        ("vector", Value::Array(series)) => {
            let found = series.len();
            return Err(StepError::Permanent(format!(
                "the query has {found} values, expected one: aggregate them, for example with sum(…)"
            )));
        }
        (kind, _) => {
            return Err(StepError::Permanent(format!(
                "the result is a {kind}, expected a scalar or a vector of one value"
            )));
        }
    };
    let text = sample.get(1).and_then(Value::as_str);
    // Prometheus writes +Inf, -Inf and NaN as words, which Rust reads too.
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| StepError::Permanent("Prometheus answered without a value".to_owned()))
}

/// A query as a part of a URL.
fn encoded(query: &str) -> String {
    let mut text = String::with_capacity(query.len() * 2);
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(byte.into());
            }
            _ => {
                // Writing to a text can't fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
