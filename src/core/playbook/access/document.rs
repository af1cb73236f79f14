//! Who may do what, as people write it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::verb::Verb;
use crate::playbook::document::API_VERSION;
use crate::playbook::names::LABEL_PATTERN;

/// The most rules of a document. Each request is compared with all of them.
pub const MAX_RULES: usize = 1_000;

/// The most tokens of a document. Each request that has one is compared with all of them.
pub const MAX_TOKENS: usize = 1_000;

/// The most issuers of a document. Each has its keys fetched again and again.
pub const MAX_ISSUERS: usize = 16;

/// The most identities of a rule. Where there are more, a group is easier to look after.
pub const MAX_WHO: usize = 1_000;

/// The most patterns of playbooks in a rule, and the most of clusters. Each item of a list is compared with all that
/// somebody's rules have, also in the store.
pub const MAX_PATTERNS: usize = 100;

/// Who may do what on a server. It is a file of the server (`replibook serve --access FILE`), and can't be applied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Access")]
pub(crate) struct AccessFile {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    api_version: String,
    /// Kind of the document.
    #[schemars(extend("const" = "Access"))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    kind: String,
    /// What the document is called.
    pub(super) metadata: AccessMetadata,
    /// What the document says.
    pub(super) spec: AccessSpec,
}

/// What a document about access is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessMetadata {
    /// Name: lowercase letters, digits and dashes.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
}

/// Who there is, and what they may do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessSpec {
    /// Tokens for programs. `replibook token new NAME` makes one, and prints what goes here.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_TOKENS))]
    pub(super) tokens: Vec<TokenFile>,
    /// Issuers of OpenID Connect that vouch for people.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_ISSUERS))]
    pub(super) oidc: Vec<IssuerFile>,
    /// Who may do what. Rules add up, and what no rule gives is refused.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_RULES))]
    pub(super) rules: Vec<RuleFile>,
}

/// A token for a program.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenFile {
    /// Name: lowercase letters, digits and dashes. Rules and actors say `token:NAME`.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
    /// SHA-256 of the token: 64 lowercase hex digits. The token itself is in no file of the server.
    pub(super) sha256: String,
    /// Until when the token is taken, as RFC 3339.
    pub(super) expires: String,
}

/// An issuer of OpenID Connect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerFile {
    /// Short name: lowercase letters, digits and dashes. Rules and actors say `user:NAME/…` and `group:NAME/…`.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
    /// The issuer's identifier, exactly as it is in its tokens: an `https` address, or an `http` one of this machine.
    pub(super) issuer: String,
    /// What tokens must have in `aud`.
    #[schemars(length(min = 1))]
    pub(super) audience: String,
    /// The claim that says who somebody is. An `email` counts only if the issuer has verified it.
    #[schemars(length(min = 1))]
    pub(super) user: String,
    /// The claim that has the groups of somebody; nobody of this issuer is in a group when absent.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) groups: Option<String>,
    /// The client identifier with which `replictl login` and browsers ask for tokens; they can't when absent.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) client: Option<String>,
}

/// A rule: some may do something.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// Whom the rule is about: `user:ISSUER/NAME`, `group:ISSUER/NAME` or `token:NAME`.
    #[schemars(length(min = 1), extend("maxItems" = MAX_WHO))]
    pub(super) who: Vec<String>,
    /// What they may do. Nothing of this includes anything else, but `admin` includes all.
    #[schemars(length(min = 1))]
    pub(super) may: Vec<Verb>,
    /// The playbooks for which they may: names, of which a `*` at the end stands for any rest. All when absent.
    #[serde(default)]
    #[schemars(length(min = 1), extend("maxItems" = MAX_PATTERNS))]
    pub(super) playbooks: Option<Vec<String>>,
    /// The clusters for which they may: names, of which a `*` at the end stands for any rest. All when absent.
    #[serde(default)]
    #[schemars(length(min = 1), extend("maxItems" = MAX_PATTERNS))]
    pub(super) clusters: Option<Vec<String>>,
}
