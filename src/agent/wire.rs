//! The JSON that is sent to agents, and how long sending it may take. How their answers are read is decided at
//! the [door](super::door).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::ActionRequest;
use crate::run::{JsonText, Timestamp};

/// The lowest rate, in bytes per second, at which a request is assumed to be sent. Only arguments of actions
/// are large, up to 1 MiB: that takes a minute.
const SEND_RATE: usize = 16 * 1024;

/// How long it may take to send a body of `bytes` bytes, whoever sends it: ourselves, something between us and
/// the agent, or the system, which goes on sending what it took from a process that has died. Every limit
/// already includes the second that a small body takes.
pub(super) fn sending_time(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes.saturating_sub(SEND_RATE) as f64 / SEND_RATE as f64)
}

/// How long it may take to send a request to schedule.
pub(super) fn schedule_time(request: &ActionRequest) -> Duration {
    sending_time(schedule_body(request).len())
}

/// How long it may take to send the request if it had arguments of `arguments` bytes.
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
    // A value made of JSON values can always be serialized.
    serde_json::to_string(&body).unwrap_or_default()
}

/// What agents of the released generation are told of who asks: they know no other word for it.
const REQUESTER: &str = "CORE_PLAYBOOK";

#[derive(Serialize)]
struct StableScheduling<'a> {
    action_id: Uuid,
    args: &'a JsonText,
    created_ts: Timestamp,
    requester: &'static str,
}

/// The body of a request to schedule, for agents of the released generation. Kind and labels are elsewhere in the
/// request.
pub(super) fn stable_schedule_body(request: &ActionRequest) -> String {
    let ActionRequest { id, kind: _, args, created_time, metadata: _ } = request;
    let (action_id, created_ts, requester) = (*id, *created_time, REQUESTER);
    let body = StableScheduling { action_id, args, created_ts, requester };
    // A value made of JSON values can always be serialized.
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
