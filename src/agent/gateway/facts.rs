//! What the gateway says about a node: what is found out there, under what the inventory says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::nodes::{Facts, Said};
use crate::agent::door::is_status_word;
use crate::agent::server::NodeStatus;
use crate::playbook::inventory::InventoryNode;
use crate::run::Millis;

/// How old facts may be that are told again: several who ask at the same moment share one answer. Nothing older counts, as a
/// node may have been restarted since.
const FRESH: Millis = Millis(1_000);

/// The most own facts of a node that are told. Each is an attribute in the record of each run.
const MAX_OWN: usize = 200;

/// The most characters of a fact.
const MAX_FACT: usize = 1_024;

/// The most characters of what a node says of a status that is not known.
const MAX_REASON: usize = 200;

/// How many facts are kept before old ones are looked for.
const KEPT: usize = 1_024;

/// The facts that were found out within the last moment, by node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct FreshFacts(Arc<Mutex<HashMap<String, Known>>>);

/// What is known of a node.
#[derive(Debug)]
struct Known {
    /// When it was asked, or when something was done there.
    at: Millis,
    /// `None`: what it said before does not count.
    facts: Option<Arc<Facts>>,
}

impl FreshFacts {
    /// The facts of a node, if they are fresh, and how old they are.
    pub(super) fn get(&self, id: &str, now: Millis) -> Option<(Arc<Facts>, Millis)> {
        self.with(|known| {
            let Known { at, facts } = known.get(id)?;
            let age = Millis(now.0.saturating_sub(at.0));
            Some((Arc::clone(facts.as_ref()?), age)).filter(|(_, age)| *age <= FRESH)
        })
    }

    /// Keeps what a node answered that was asked at this moment, unless something was done there since.
    pub(super) fn put(&self, id: &str, asked: Millis, facts: Arc<Facts>) {
        self.with(|known| {
            let is_overtaken =
                known.get(id).is_some_and(|known| known.at >= asked && known.facts.is_none());
            if !is_overtaken {
                Self::insert(known, id, Known { at: asked, facts: Some(facts) });
            }
        });
    }

    /// Something was done at a node, or has ended there: what it said before does not count.
    pub(super) fn forget(&self, id: &str, now: Millis) {
        self.with(|known| Self::insert(known, id, Known { at: now, facts: None }));
    }

    fn insert(known: &mut HashMap<String, Known>, id: &str, new: Known) {
        if known.len() >= KEPT {
            known.retain(|_, known| new.at.0.saturating_sub(known.at.0) <= FRESH.0);
        }
        known.insert(id.to_owned(), new);
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<String, Known>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The answer of `info/node`.
pub(super) fn node(node: &InventoryNode, facts: &Facts, age: Millis) -> Value {
    let mut attributes = of_facts(facts);
    attributes.insert("facts.age".to_owned(), json!(age.0 / 1_000));
    attributes.extend(node.attributes.clone());
    json!({
        "address": { "client": null, "member": null },
        "agent_version": {
            "checkout": "unknown",
            "number": env!("CARGO_PKG_VERSION"),
            "taint": "unknown",
        },
        "attributes": attributes,
        "node_id": node.id,
        "node_status": status(facts.status.as_ref()),
        "store_id": "none",
        "store_version": { "checkout": null, "number": "0.0.0", "extra": null },
    })
}

fn of_facts(facts: &Facts) -> Map<String, Value> {
    let cut = |text: &str| text.chars().take(MAX_FACT).collect::<String>();
    let mut attributes = Map::new();
    for (name, value) in facts.own.iter().take(MAX_OWN) {
        let value = match value {
            Value::String(text) => Value::String(cut(text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            // Attributes have no parts.
            Value::Array(_) | Value::Object(_) => Value::String(cut(&value.to_string())),
        };
        attributes.insert(cut(name), value);
    }
    for (name, text) in [
        ("os", &facts.os),
        ("kernel", &facts.kernel),
        ("arch", &facts.arch),
        ("hostname", &facts.hostname),
    ] {
        attributes.insert(name.to_owned(), json!(cut(text)));
    }
    let uptime = facts.uptime.map(|uptime| uptime.0 / 1_000);
    attributes.insert("uptime".to_owned(), json!(uptime));
    attributes
}

/// The status of a node. Without a command for it, a node that can be asked is healthy.
fn status(said: Option<&Said>) -> NodeStatus {
    let word = |word: &str| NodeStatus::Word(word.to_owned());
    let unknown = |reason: String| NodeStatus::Unknown { reason };
    let Some(Said { code, stdout }) = said else { return word("HEALTHY") };
    let text = String::from_utf8_lossy(stdout);
    let text = text.trim();
    let shown: String = text.chars().take(MAX_REASON).collect();
    match (*code, text.strip_prefix("UNKNOWN:")) {
        (126 | 127, _) => {
            unknown(format!("the status command could not be run there (exit code {code})"))
        }
        (0, Some(_)) => unknown(shown.trim_start_matches("UNKNOWN:").trim().to_owned()),
        (0, None) if text.is_empty() => word("HEALTHY"),
        (0, None) if is_status_word(text) => word(text),
        (0, None) => {
            unknown(format!("the status command printed {shown:?}, which is no word in capitals"))
        }
        (_, _) => word("UNAVAILABLE"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::playbook::inventory::parse_inventory;

    fn said(code: i32, stdout: &str) -> Value {
        json!(status(Some(&Said { code, stdout: Bytes::from(stdout.to_owned()) })))
    }

    #[test]
    fn the_status_is_what_the_command_says() {
        assert_eq!(json!(status(None)), "HEALTHY");
        for (code, stdout, expected) in [
            (0, "", json!("HEALTHY")),
            (0, " DEGRADED\n", json!("DEGRADED")),
            (0, "UNKNOWN: who knows\n", json!({"UNKNOWN": "who knows"})),
            (3, "", json!("UNAVAILABLE")),
            (3, "inactive", json!("UNAVAILABLE")),
            (1, "HEALTHY", json!("UNAVAILABLE")),
            (
                127,
                "",
                json!({"UNKNOWN": "the status command could not be run there (exit code 127)"}),
            ),
            (
                0,
                "active",
                json!({"UNKNOWN": "the status command printed \"active\", which is no word in capitals"}),
            ),
        ] {
            assert_eq!(said(code, stdout), expected, "{code} {stdout:?}");
        }
        let long = said(0, &"x".repeat(10_000)).to_string();
        assert!(long.len() < MAX_REASON + 100, "{}", long.len());
    }

    #[test]
    fn what_the_inventory_says_counts_over_what_is_found_out() {
        let text = "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: { name: web }\nspec:\n  groups: { web: {} }\n  nodes:\n    \
                    - { id: web-1, groups: [web], attributes: { os: mine, zone: a } }\n";
        let inventory = parse_inventory(text.as_bytes()).unwrap();
        let mut facts = Facts {
            os: "debian 12".to_owned(),
            kernel: "Linux 6.1".to_owned(),
            arch: "x86_64".to_owned(),
            hostname: "h".repeat(5_000),
            uptime: Some(Millis(61_999)),
            ..Facts::default()
        };
        facts.own.insert("rack".to_owned(), json!("r1"));
        facts.own.insert("os".to_owned(), json!("own"));
        facts.own.extend((0..500).map(|n| (format!("x{n}"), json!({"a": n}))));
        let said = node(&inventory.nodes[0], &facts, Millis(2_500));
        let attributes = &said["attributes"];
        for (name, expected) in [
            ("os", json!("mine")),
            ("zone", json!("a")),
            ("group.web", json!(true)),
            ("kernel", json!("Linux 6.1")),
            ("uptime", json!(61)),
            ("rack", json!("r1")),
            ("facts.age", json!(2)),
            ("x0", json!("{\"a\":0}")),
        ] {
            assert_eq!(attributes[name], expected, "{name}");
        }
        assert_eq!(attributes["hostname"].as_str().unwrap().len(), MAX_FACT);
        assert!(attributes.as_object().unwrap().len() <= MAX_OWN + 8, "{attributes}");
        assert_eq!((&said["node_id"], &said["node_status"]), (&json!("web-1"), &json!("HEALTHY")));
    }

    #[test]
    fn only_facts_of_this_moment_are_told_again() {
        let facts = FreshFacts::default();
        facts.put("a", Millis(100), Arc::default());
        assert_eq!(facts.get("a", Millis(100 + FRESH.0)).unwrap().1, FRESH);
        assert!(
            facts.get("a", Millis(101 + FRESH.0)).is_none() && facts.get("b", Millis(0)).is_none()
        );
        facts.forget("a", Millis(150));
        assert!(facts.get("a", Millis(150)).is_none());
        facts.put("a", Millis(150), Arc::default());
        assert!(facts.get("a", Millis(160)).is_none(), "the question came before what was done");
        facts.put("a", Millis(151), Arc::default());
        assert!(facts.get("a", Millis(160)).is_some());
        for n in 0..3 * KEPT {
            facts.put(&n.to_string(), Millis(n as u64 * 10), Arc::default());
        }
        assert!(facts.with(|facts| facts.len()) <= KEPT + 1);
    }
}
