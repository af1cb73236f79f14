//! Checks whether what answers at an agent's address is that agent. Addresses can be given to other nodes, and an
//! action for one node must not be done on another.

use serde_json::Value;

use super::datastore::Wanted;
use super::node_info::NodeInfo;
use crate::ids::AgentId;
use crate::mutants::mutant;
use crate::playbook::Identity;
use crate::time::Millis;

/// How old an answer about the node may be when an agent's first action in a stage is sent. It is short enough
/// that nobody gives the address to another node in between, and long enough that agents which start at once are
/// not asked twice.
pub(super) const FRESH: Millis = Millis::from_secs(10);

/// How many characters of another node's identifier are quoted: as many as an agent's own identifier may have.
const MAX_QUOTED_CHARS: usize = 256;

/// Who must answer at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The agent, whose identifier is the `node_id` of `info/node`.
    pub agent: &'a AgentId,
    /// The `cluster_id` of `info/store`, if the cluster has a known one.
    pub cluster_id: Option<&'a str>,
}

/// What answers at an agent's address is not that agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what answers at {address} says that it is {what} {found}, expected {expected}")]
pub struct WrongNode {
    /// Base URL of the API that was asked.
    pub address: String,
    /// What was compared, as a word for messages.
    pub what: &'static str,
    /// The identifier that was found, shortened if it is very long.
    pub found: String,
    /// The identifier that was expected.
    pub expected: String,
}

impl Identity {
    /// Who must answer at the address of an agent. `None` if identities are not compared.
    pub fn expects<'a>(&'a self, agent: &'a AgentId) -> Option<Expected<'a>> {
        self.is_checked().then(|| Expected { agent, cluster_id: self.cluster_id() })
    }
}

impl Expected<'_> {
    /// What must be asked so that the answer can be compared.
    pub fn wanted(&self) -> Wanted {
        Wanted { cluster: self.cluster_id.is_some(), ..Wanted::default() }
    }

    /// Compares what `info/node` and `info/store` say with who must answer. An answer without an identifier, or
    /// with an empty one, contradicts nothing.
    ///
    /// # Errors
    /// [`WrongNode`]: the first identifier that differs.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Identity;
    /// use replibook_core::run::AgentId;
    /// use serde_json::{Value, json};
    ///
    /// let agent = AgentId::from("web-3");
    /// let expected = Identity::Check.expects(&agent).ok_or("nobody is expected")?;
    /// expected.check("http://web-3", &json!({ "node_id": "web-3" }), &Value::Null)?;
    /// let wrong = expected.check("http://web-3", &json!({ "node_id": "web-4" }), &Value::Null);
    /// assert_eq!(
    ///     wrong.unwrap_err().to_string(),
    ///     "what answers at http://web-3 says that it is node web-4, expected web-3",
    /// );
    /// assert!(Identity::Ignore.expects(&agent).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, address: &str, node: &Value, store: &Value) -> Result<(), WrongNode> {
        let wrong = |what, found, expected: &str| WrongNode {
            address: address.to_owned(),
            what,
            found: quoted(found),
            expected: expected.to_owned(),
        };
        if let Some(found) = said(node, "node_id").filter(|_| !mutant!(IdentityNotChecked))
            && found != self.agent.as_str()
        {
            return Err(wrong("node", found, self.agent.as_str()));
        }
        if let Some(expected) = self.cluster_id.filter(|_| !mutant!(ClusterNotCompared))
            && let Some(found) = said(store, "cluster_id")
            && found != expected
        {
            return Err(wrong("in cluster", found, expected));
        }
        Ok(())
    }

    /// Like [`check`](Self::check), for a whole answer of the agent.
    ///
    /// # Errors
    /// [`WrongNode`]: the first identifier that differs.
    pub fn check_info(&self, address: &str, info: &NodeInfo) -> Result<(), WrongNode> {
        self.check(address, &info.raw, &info.datastore.store)
    }
}

fn said<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    answer.get(name).and_then(Value::as_str).filter(|id| !id.is_empty())
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

    fn check(cluster_id: Option<&str>, node: &Value, store: &Value) -> Result<(), String> {
        let agent = AgentId::from("web-3");
        let expected = Expected { agent: &agent, cluster_id };
        expected.check("http://a", node, store).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn only_another_name_contradicts() {
        for node in ["web-3", ""].map(|id| json!({"node_id": id})) {
            assert_eq!(check(Some("rs0"), &node, &Value::Null), Ok(()));
        }
        for node in [json!({"node_id": 3}), json!({"node_id": null}), Value::Null] {
            assert_eq!(check(None, &node, &Value::Null), Ok(()));
        }
        let error = check(None, &json!({"node_id": "web-6"}), &Value::Null).unwrap_err();
        let expected = "what answers at http://a says that it is node web-6, expected web-3";
        assert_eq!(error, expected);
        let long = check(None, &json!({"node_id": "x".repeat(1_000_000)}), &Value::Null);
        assert!(long.unwrap_err().contains(&format!("{}…", "x".repeat(MAX_QUOTED_CHARS))));
    }

    #[test]
    fn only_another_cluster_contradicts_and_only_where_it_is_known() {
        let node = json!({"node_id": "web-3"});
        let store = |id: Value| json!({"cluster_id": id, "attributes": {}});
        for same in [store(json!("rs0")), store(json!("")), store(json!(7)), json!({}), Value::Null]
        {
            assert_eq!(check(Some("rs0"), &node, &same), Ok(()), "{same}");
        }
        let other = store(json!("rs1"));
        assert_eq!(check(None, &node, &other), Ok(()));
        let expected = "what answers at http://a says that it is in cluster rs1, expected rs0";
        assert_eq!(check(Some("rs0"), &node, &other).unwrap_err(), expected);
    }
}
