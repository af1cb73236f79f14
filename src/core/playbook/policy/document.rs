//! Policies as people write them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::playbook::document::API_VERSION;
use crate::playbook::names::LABEL_PATTERN;

/// A policy: which plugins a server takes, and what they may ever be granted. It is a file of the server
/// (`replibook serve --policy FILE`), and can't be applied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Policy")]
pub(crate) struct PolicyFile {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    api_version: String,
    /// Kind of the document.
    #[schemars(extend("const" = "Policy"))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    kind: String,
    /// What the policy is called.
    pub(super) metadata: PolicyMetadata,
    /// What the policy says.
    pub(super) spec: PolicySpec,
}

/// What a policy is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyMetadata {
    /// Name: lowercase letters, digits and dashes. Refusals say it.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
}

/// What a policy says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySpec {
    /// Public keys of minisign by the name that the rules use: the second line of a `.pub` file.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": LABEL_PATTERN}))]
    pub(super) keys: BTreeMap<String, String>,
    /// The rules in order. The first whose `match` fits a plugin counts; a plugin that fits none is refused.
    #[serde(default)]
    pub(super) plugins: Vec<RuleFile>,
}

/// A rule about plugins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// Where the plugins came from: `oci://HOST/REPOSITORY` (with `*.` before the host, `/*` or `:TAG` after the
    /// repository), `file:*`, `builtin:*`, `builtin:NAME`, or the digest of one plugin, `sha256:` and 64 hex digits.
    #[serde(rename = "match")]
    pub(super) matches: String,
    /// Names in `keys`: one of them must have signed the plugin. Nobody needs to when absent.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) signed_by: Option<Vec<String>>,
    /// What may be granted to the plugins; nothing when absent.
    #[serde(default)]
    pub(super) may: MayFile,
    /// The playbooks that may use the plugins: names, of which a `*` at the end stands for any rest. All when absent.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) playbooks: Option<Vec<String>>,
    /// How well a strategy must have been proved, by a certificate that one of the keys has signed. A certificate is good for
    /// the arguments that it names. Plugins without one are refused.
    #[serde(default)]
    pub(super) proved: Option<ProvedFile>,
}

/// What may be granted to plugins. A grant counts where the playbook gives it too.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MayFile {
    /// Kinds of action; a `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) actions: Vec<String>,
    /// Origins for HTTP requests. In place of the host, `*` stands for any, and `*.` before it for all names below
    /// it; in place of the port, `*` stands for any. `*` alone stands for all origins.
    #[serde(default)]
    pub(super) http: Vec<String>,
    /// Names of secrets; a `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    /// Names of signals; a `*` at the end stands for any rest.
    #[serde(default)]
    pub(super) signals: Vec<String>,
    /// Networks that are not public but may be reached, such as `10.1.0.0/16`. Loopback, private, link-local and
    /// metadata addresses are reached only where they are listed.
    #[serde(default)]
    pub(super) networks: Vec<String>,
}

/// How well a strategy must have been proved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProvedFile {
    /// The number of random histories that must have kept all properties, beyond what was tried whole.
    #[schemars(range(min = 1))]
    pub(super) seeds: u32,
    /// What must have been proved in addition to what always is, as certificates say it: `everybody`, `in-flight 2`,
    /// `one-group zone`, `guards mongo-eu`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) properties: Option<Vec<String>>,
}
