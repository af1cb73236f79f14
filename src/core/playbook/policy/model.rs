//! A policy that was read. It is valid by construction: only [`parse_policy`](super::parse_policy) makes one.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;

use super::keys::PublicKey;
use super::origin::Match;
use super::web::OriginPattern;

/// Which plugins a server takes, and what they may ever be granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    /// What the policy is called. Refusals say it.
    pub name: String,
    /// Public keys by the names that the rules use. No key has two names.
    pub keys: BTreeMap<String, PublicKey>,
    /// The rules. The first that matches a plugin counts.
    pub plugins: Vec<Rule>,
}

/// A rule about plugins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// Where the plugins came from.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Names of keys, one of which must have signed the plugin. Empty: nobody needs to.
    pub signed_by: Vec<String>,
    /// What may be granted to the plugins.
    pub may: May,
    /// Patterns for the names of the playbooks that may use the plugins. `None`: all.
    pub playbooks: Option<Vec<String>>,
    /// How well a strategy must have been proved. It is met by a certificate that a key of the policy has signed.
    pub proved: Option<Proved>,
}

/// What may be granted to plugins. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct May {
    /// Patterns of kinds of action.
    pub actions: Vec<String>,
    /// Patterns of origins.
    pub http: Vec<OriginPattern>,
    /// Patterns of names of secrets.
    pub secrets: Vec<String>,
    /// Patterns of names of signals.
    pub signals: Vec<String>,
    /// Networks that are not public but may be reached.
    pub networks: Vec<IpNet>,
}

/// How well a strategy must have been proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// The number of random histories that must have kept all properties, beyond what was tried whole.
    pub seeds: u32,
    /// What must have been proved in addition to what always is, as certificates say it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
}

impl Policy {
    /// The name of a public key, given as text; `None` if the policy does not know the key.
    pub fn name_of_key(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(_, known)| known.as_str() == key).map(|(name, _)| name.as_str())
    }

    /// All that any rule wants to be proved.
    pub fn all_properties(&self) -> Vec<String> {
        let asked = self.plugins.iter().filter_map(|rule| rule.proved.as_ref());
        let always = super::proof::ALWAYS_PROVED.into_iter().map(str::to_owned);
        always.chain(asked.flat_map(|proved| proved.properties.clone())).collect()
    }

    /// Whether a signature of the key with this identifier could be checked.
    pub fn knows_key_id(&self, id: &str) -> bool {
        self.keys.values().any(|key| key.id() == id)
    }
}
