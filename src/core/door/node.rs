//! Reads what an agent says about its node. It is kept whole, with the fields that nobody here knows, because
//! steps may ask for it.

use serde_json::{Map, Value};

use super::bounds::{NODE, STATUS_BYTES};
use super::json::{Malformed, read_object};
use crate::run::{Datastore, NodeInfo};

/// Reads what an agent says about its node. All of it is kept, unknown fields too, so all of it must be within
/// [`NODE`].
///
/// # Errors
/// [`Malformed`] when the answer is over its bounds, or when a field that is understood has the wrong shape.
pub fn read_node(body: &[u8]) -> Result<NodeInfo, Malformed> {
    let answer = read_object(body, &NODE)?;
    let status = match answer.get("node_status") {
        Some(Value::String(word)) if is_status_word(word) => word.clone(),
        Some(Value::Object(map)) if map.len() == 1 && map.contains_key("UNKNOWN") => {
            "UNKNOWN".to_owned()
        }
        other => {
            let expected = "a word in capitals or {\"UNKNOWN\": reason}";
            return Err(Malformed::unexpected("/node_status", other, expected));
        }
    };
    let attributes = match answer.get("attributes") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        other => return Err(Malformed::unexpected("/attributes", other, "an object")),
    };
    for (name, value) in &attributes {
        if value.is_object() || value.is_array() {
            let expected = "a string, a number, a boolean or null";
            let place = format!("/attributes/{name}");
            return Err(Malformed::unexpected(&place, Some(value), expected));
        }
    }
    Ok(NodeInfo { status, attributes, raw: Value::Object(answer), datastore: Datastore::default() })
}

/// Whether `word` can be the status of a node: a word in capitals, of at most [`STATUS_BYTES`] bytes.
pub fn is_status_word(word: &str) -> bool {
    let mut letters = word.chars();
    word.len() <= STATUS_BYTES
        && letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && letters.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(body: &str) -> String {
        read_node(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_recorded_node_is_read_whole() {
        let body = r#"{"address":{"client":"127.0.0.1:27017","member":null},"agent_version":{"checkout":"c","number":"0.1.0","taint":"not tainted"},"attributes":{"rack":null,"role":"SECONDARY"},"node_id":"node-1","node_status":"HEALTHY","store_id":"demo","store_version":{"checkout":null,"number":"1.2.3","extra":null}}"#;
        let node = read_node(body.as_bytes()).unwrap();
        assert_eq!(node.status, "HEALTHY");
        assert_eq!(
            node.attributes,
            *json!({"rack": null, "role": "SECONDARY"}).as_object().unwrap()
        );
        assert_eq!(node.raw["store_version"]["number"], "1.2.3");
    }

    #[test]
    fn the_status_of_a_node_is_a_word_or_unknown_with_a_reason() {
        let read = |status: &str| read_node(format!(r#"{{"node_status":{status}}}"#).as_bytes());
        assert_eq!(read(r#""NOT_IN_CLUSTER""#).unwrap().status, "NOT_IN_CLUSTER");
        assert_eq!(read(r#"{"UNKNOWN":"no such code"}"#).unwrap().status, "UNKNOWN");
        let long = format!("\"{}\"", "A".repeat(STATUS_BYTES + 1));
        for bad in ["1", "null", "\"\"", "\"healthy\"", "{}", r#"{"SICK":"x"}"#, "[]", &long] {
            let message = read(bad).unwrap_err().to_string();
            assert!(message.starts_with("/node_status: found"), "{bad}: {message}");
        }
    }

    #[test]
    fn attributes_are_flat() {
        let read = |attributes: &str| {
            message(&format!(r#"{{"node_status":"HEALTHY","attributes":{attributes}}}"#))
        };
        assert!(read("[]").starts_with("/attributes: found []"));
        assert!(read(r#"{"a":{}}"#).starts_with("/attributes/a: found {}, expected a string"));
        let long = "n".repeat(1_000);
        let told = read(&format!(r#"{{"{long}":[]}}"#));
        assert!(told.len() < 400 && told.starts_with("/attributes/nnn"), "{told}");
    }

    #[test]
    fn what_is_over_a_bound_is_malformed_wherever_it_stands() {
        let node = |more: &str| message(&format!(r#"{{"node_status":"HEALTHY",{more}}}"#));
        let deep = format!(r#""x":{}{}"#, "[".repeat(126), "]".repeat(126));
        assert_eq!(node(&deep), "the body: found more than 64 levels, expected at most that");
        let deeper = format!(r#""x":{}{}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(node(&deeper), "the body: found more than 64 levels, expected at most that");
        let wide = format!(r#""x":[{}0]"#, "0,".repeat(5_000));
        assert_eq!(node(&wide), "the body: found more than 4000 values, expected at most that");
        let long = format!(r#""x":"{}""#, "x".repeat(70_000));
        assert_eq!(node(&long), "the body: found a text of 70000 bytes, expected at most 65536");
        let key = format!(r#""attributes":{{"{}":1}}"#, "k".repeat(2_000));
        assert!(
            node(&key).starts_with("the body: found a key of 2000 bytes (\"kkk"),
            "{}",
            node(&key)
        );
        let large = format!(r#""x":"{}""#, "x".repeat(3_900_000));
        assert!(node(&large).starts_with("the body: found 39000"), "{}", node(&large));
    }
}
