//! The JSON that is sent to agents. What is understood of their answers is decided at the
//! [door](super::door).

use serde_json::{Value, json};

use super::client::ActionRequest;

/// The body of a request to schedule.
pub(super) fn schedule_body(request: &ActionRequest) -> Value {
    json!({
        "kind": request.kind,
        "args": request.args,
        "id": request.id,
        "created_time": request.created_time,
        "metadata": request.metadata,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;
    use crate::run::Timestamp;

    #[test]
    fn times_are_sent_in_utc() {
        let id = Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555);
        let body = schedule_body(&ActionRequest {
            id,
            kind: "k".to_owned(),
            args: json!({"a": 1}),
            created_time: Timestamp::from_millis(1_763_802_000_000),
            metadata: Map::new(),
        });
        let expected = json!({
            "kind": "k", "args": {"a": 1}, "id": id,
            "created_time": "2025-11-22T09:00:00.000Z", "metadata": {}
        });
        assert_eq!(body, expected);
    }
}
