//! Whether what answers at an agent's address is that agent.

use serde_json::Value;

use super::ids::AgentId;
use super::time::Millis;
use crate::mutants::mutant;

/// How old an answer about the node may be when the first action of a stage is sent: short enough that
/// nobody gives an address to another node meanwhile, and long enough that agents which start with their
/// stage are not asked twice.
pub(super) const FRESH: Millis = Millis::from_secs(10);

/// Characters of a foreign identifier that are quoted: as many as an agent's own may have.
const MAX_QUOTED_CHARS: usize = 256;

/// What answers at an agent's address is not that agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what answers at {address} says that it is node {found}, expected {expected}")]
pub struct WrongNode {
    /// Base URL of the API.
    pub address: String,
    /// What was found, shortened where it is very long.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl WrongNode {
    /// Compares the `node_id` of an answer to `info/node` with the identifier of the agent that was
    /// asked. An answer without one, or with an empty one, contradicts nobody.
    ///
    /// # Errors
    /// What contradicts.
    pub fn check(agent: &AgentId, address: &str, node: &Value) -> Result<(), Self> {
        match node.get("node_id").and_then(Value::as_str) {
            None | Some("") => Ok(()),
            Some(_) if mutant!(IdentityNotChecked) => Ok(()),
            Some(found) if found == agent.as_str() => Ok(()),
            Some(found) => Err(Self {
                address: address.to_owned(),
                found: quoted(found),
                expected: agent.to_string(),
            }),
        }
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_another_name_contradicts() {
        let check = |node: Value| WrongNode::check(&AgentId::from("web-3"), "http://a", &node);
        for same in [json!({"node_id": "web-3"}), json!({"node_id": ""}), json!({"node_id": 3})] {
            assert_eq!(check(same), Ok(()));
        }
        assert_eq!(check(json!({"node_id": null})), Ok(()));
        assert_eq!(check(Value::Null), Ok(()));
        let error = check(json!({"node_id": "web-6"})).unwrap_err();
        let expected = "what answers at http://a says that it is node web-6, expected web-3";
        assert_eq!(error.to_string(), expected);
        let long = check(json!({"node_id": "x".repeat(1_000_000)})).unwrap_err();
        assert_eq!(long.found.chars().count(), MAX_QUOTED_CHARS + 1);
    }
}
