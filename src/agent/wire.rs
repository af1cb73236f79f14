//! The JSON that is sent to agents. What is understood of their answers is decided at the
//! [door](super::door).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::ActionRequest;
use crate::run::{JsonText, Timestamp};

/// Bytes in a second at which a request is taken to be sent at least. Only arguments of actions are large,
/// up to 1 MiB: a minute.
const SEND_RATE: usize = 16 * 1024;

/// How long it may take to send a body of so many bytes, whoever sends it: ourselves, what is between us and
/// the agent, or the system, which goes on with what it took from a process that has died. The second of a
/// small one is in every limit already.
pub(super) fn sending_time(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes.saturating_sub(SEND_RATE) as f64 / SEND_RATE as f64)
}

/// The same for a request to schedule.
pub(super) fn schedule_time(request: &ActionRequest) -> Duration {
    sending_time(schedule_body(request).len())
}

/// The same if it had arguments of so many bytes.
pub(super) fn schedule_time_with(request: &ActionRequest, arguments: usize) -> Duration {
    let others = schedule_body(request).len().saturating_sub(request.args.bytes());
    sending_time(others.saturating_add(arguments))
}

#[derive(Serialize)]
struct Scheduling<'a> {
    kind: &'a str,
    args: &'a JsonText,
    id: Uuid,
    created_time: Timestamp,
    metadata: &'a Map<String, Value>,
}

/// The body of a request to schedule.
pub(super) fn schedule_body(request: &ActionRequest) -> String {
    let ActionRequest { id, kind, args, created_time, metadata } = request;
    let body = Scheduling { kind, args, id: *id, created_time: *created_time, metadata };
    // What is made of JSON values always has a text.
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_sent_in_utc() {
        let id = Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555);
        let body = schedule_body(&ActionRequest {
            id,
            kind: "k".to_owned(),
            args: json!({"a": 1}).into(),
            created_time: Timestamp::from_millis(1_763_802_000_000),
            metadata: Map::new(),
        });
        let expected = json!({
            "kind": "k", "args": {"a": 1}, "id": id,
            "created_time": "2025-11-22T09:00:00.000Z", "metadata": {}
        });
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }
}
