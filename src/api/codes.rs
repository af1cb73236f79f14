//! The codes of errors, in one table with status and meaning, from which answers and the description of the API are made.

use axum::http::StatusCode;

/// The kinds of error. Programs may rely on their words and statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`entry` says what each means, also to the readers of the API")]
pub enum Code {
    BadParameter,
    BadHeader,
    BadBody,
    DigestMismatch,
    HostRefused,
    OriginRefused,
    LoginRefused,
    NotAuthenticated,
    NotAllowed,
    PluginRefused,
    RouteNotFound,
    PlaybookNotFound,
    ClusterNotFound,
    PluginNotFound,
    RunNotFound,
    AgentNotFound,
    NoAction,
    NoOutput,
    EngineNotFound,
    IssuerNotFound,
    CommandNotFound,
    ImportNotFound,
    NoAudit,
    MethodNotAllowed,
    Conflict,
    IdempotencyKeyReused,
    CommandIdReused,
    CommandRefused,
    ApprovalOutdated,
    ApprovalNotWanted,
    AccessNeeded,
    RunNotFinished,
    RunNotTroubled,
    NothingToRetry,
    ClusterGone,
    ClusterBusy,
    ClusterInUse,
    PluginMissing,
    PluginPinned,
    SecretUnavailable,
    CredentialsUnavailable,
    TooManyRequests,
    BodyTooSlow,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidDocument,
    InvalidParams,
    InvalidPlugin,
    BadSignature,
    Internal,
    StoreDamaged,
    StoreUnavailable,
    PluginsUnavailable,
    IdentityUnclear,
    AuditUnavailable,
    AgentUnavailable,
    NotReady,
    TooManyStreams,
    TooBusy,
    TimedOut,
}

impl Code {
    /// Every code, once.
    pub const ALL: [Self; 60] = [
        Self::BadParameter,
        Self::BadHeader,
        Self::BadBody,
        Self::DigestMismatch,
        Self::HostRefused,
        Self::OriginRefused,
        Self::LoginRefused,
        Self::NotAuthenticated,
        Self::NotAllowed,
        Self::PluginRefused,
        Self::RouteNotFound,
        Self::PlaybookNotFound,
        Self::ClusterNotFound,
        Self::PluginNotFound,
        Self::RunNotFound,
        Self::AgentNotFound,
        Self::NoAction,
        Self::NoOutput,
        Self::EngineNotFound,
        Self::IssuerNotFound,
        Self::CommandNotFound,
        Self::ImportNotFound,
        Self::NoAudit,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::IdempotencyKeyReused,
        Self::CommandIdReused,
        Self::CommandRefused,
        Self::ApprovalOutdated,
        Self::ApprovalNotWanted,
        Self::AccessNeeded,
        Self::RunNotFinished,
        Self::RunNotTroubled,
        Self::NothingToRetry,
        Self::ClusterGone,
        Self::ClusterBusy,
        Self::ClusterInUse,
        Self::PluginMissing,
        Self::PluginPinned,
        Self::SecretUnavailable,
        Self::CredentialsUnavailable,
        Self::TooManyRequests,
        Self::BodyTooSlow,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidDocument,
        Self::InvalidParams,
        Self::InvalidPlugin,
        Self::BadSignature,
        Self::Internal,
        Self::StoreDamaged,
        Self::StoreUnavailable,
        Self::PluginsUnavailable,
        Self::IdentityUnclear,
        Self::AuditUnavailable,
        Self::AgentUnavailable,
        Self::NotReady,
        Self::TooManyStreams,
        Self::TooBusy,
        Self::TimedOut,
    ];

    /// The words of all codes, in the order of [`ALL`](Self::ALL).
    pub fn words() -> Vec<&'static str> {
        Self::ALL.map(Self::as_str).to_vec()
    }

    /// The table: word, HTTP status, meaning.
    const fn entry(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadParameter => ("bad-parameter", 400, "a part of the path or query is wrong"),
            Self::BadHeader => ("bad-header", 400, "a header is wrong"),
            Self::BadBody => ("bad-body", 400, "the body is not the JSON that is expected"),
            Self::DigestMismatch => ("digest-mismatch", 400, "the bytes have another digest"),
            Self::HostRefused => ("host-refused", 403, "the server is not known by this name"),
            Self::OriginRefused => {
                ("origin-refused", 403, "the request comes from a web page of another site")
            }
            Self::LoginRefused => (
                "login-refused",
                403,
                "nobody is logged in; `detail` says why the login came to nothing",
            ),
            Self::NotAuthenticated => {
                ("not-authenticated", 401, "nothing proves who sends the request")
            }
            Self::NotAllowed => (
                "not-allowed",
                403,
                "whoever sends the request may not do this; `detail` names the verb",
            ),
            Self::PluginRefused => (
                "plugin-refused",
                403,
                "the policy of the server refuses a plugin, or a grant of it",
            ),
            Self::RouteNotFound => ("route-not-found", 404, "there is nothing at this path"),
            Self::PlaybookNotFound => ("playbook-not-found", 404, "there is no such playbook"),
            Self::ClusterNotFound => ("cluster-not-found", 404, "there is no such cluster"),
            Self::PluginNotFound => ("plugin-not-found", 404, "there is no such plugin"),
            Self::RunNotFound => ("run-not-found", 404, "there is no such run, or it has expired"),
            Self::AgentNotFound => ("agent-not-found", 404, "the run has no such agent"),
            Self::NoAction => ("no-action", 404, "the run has sent no action to the agent"),
            Self::NoOutput => {
                ("no-output", 404, "the agent can't tell what its last action has written")
            }
            Self::IssuerNotFound => ("issuer-not-found", 404, "the server knows no such issuer"),
            Self::EngineNotFound => ("engine-not-found", 404, "there is no such engine"),
            Self::CommandNotFound => ("command-not-found", 404, "the run has no such command"),
            Self::ImportNotFound => ("import-not-found", 404, "there is no such import"),
            Self::NoAudit => ("no-audit", 404, "the server writes no audit"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", 405, "the path is known, the method is not")
            }
            Self::Conflict => ("conflict", 409, "the name already exists with different content"),
            Self::IdempotencyKeyReused => {
                ("idempotency-key-reused", 409, "the key was used for another request")
            }
            Self::CommandIdReused => {
                ("command-id-reused", 409, "the identifier was used for another command")
            }
            Self::CommandRefused => ("command-refused", 409, "the command does not fit the run"),
            Self::ApprovalOutdated => (
                "approval-outdated",
                409,
                "the approval is of something else than what the run asks now",
            ),
            Self::ApprovalNotWanted => (
                "approval-not-wanted",
                403,
                "the playbook does not count the approval of this person",
            ),
            Self::AccessNeeded => (
                "access-needed",
                409,
                "the playbook counts the approvals of certain people, and this server asks nobody who they are",
            ),
            Self::RunNotFinished => ("run-not-finished", 409, "the run has not finished yet"),
            Self::RunNotTroubled => {
                ("run-not-troubled", 409, "the run can go on, so it is given up only with `force`")
            }
            Self::NothingToRetry => ("nothing-to-retry", 409, "the run has no such agents"),
            Self::ClusterGone => ("cluster-gone", 409, "the cluster of the run was removed"),
            Self::ClusterBusy => (
                "cluster-busy",
                409,
                "another run holds the cluster or is queued for it, and the playbook rejects that",
            ),
            Self::ClusterInUse => {
                ("cluster-in-use", 409, "a run that has not ended uses the cluster or waits for it")
            }
            Self::PluginMissing => ("plugin-missing", 409, "a pinned plugin is not in the store"),
            Self::PluginPinned => {
                ("plugin-pinned", 409, "a playbook or run pins the plugin, or it is built in")
            }
            Self::SecretUnavailable => {
                ("secret-unavailable", 409, "the server can't use a secret that the playbook names")
            }
            Self::CredentialsUnavailable => (
                "credentials-unavailable",
                409,
                "the server can't use the credentials that the cluster names",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                429,
                "too many requests, or wrong tokens, came from one sender; `retry-after` says how long to wait",
            ),
            Self::BodyTooSlow => ("body-too-slow", 408, "the body came too slowly"),
            Self::BodyTooLarge => ("body-too-large", 413, "the body is larger than allowed"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", 415, "the body has another media type than expected")
            }
            Self::InvalidDocument => {
                ("invalid-document", 422, "the document is not valid; `problems` says where")
            }
            Self::InvalidParams => (
                "invalid-params",
                422,
                "the parameters, or what narrows the run, do not fit the playbook",
            ),
            Self::InvalidPlugin => ("invalid-plugin", 422, "the bytes are no usable plugin"),
            Self::BadSignature => {
                ("bad-signature", 422, "a signature does not fit these bytes, or can't be read")
            }
            Self::Internal => ("internal", 500, "the server failed; its log says more"),
            Self::StoreDamaged => (
                "store-damaged",
                500,
                "what was asked for, or the database itself, is damaged; `replibook store check` shows where",
            ),
            Self::StoreUnavailable => ("store-unavailable", 503, "the store does not answer now"),
            Self::PluginsUnavailable => {
                ("plugins-unavailable", 503, "no plugin can be taken now; `detail` says why")
            }
            Self::IdentityUnclear => (
                "identity-unclear",
                503,
                "whoever vouches for the sender of the request can't be asked now",
            ),
            Self::AuditUnavailable => {
                ("audit-unavailable", 503, "the audit can't be written, so nothing is changed")
            }
            Self::AgentUnavailable => {
                ("agent-unavailable", 409, "the agent does not answer now; `detail` says why")
            }
            Self::NotReady => ("not-ready", 503, "the server can't do its work now"),
            Self::TooManyStreams => ("too-many-streams", 503, "too many event streams are open"),
            Self::TooBusy => ("too-busy", 503, "too many requests are in progress"),
            Self::TimedOut => ("timed-out", 503, "the request took too long"),
        }
    }

    /// The word in the field `code` of a problem document.
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// What the code means, for readers of the description of the API.
    pub const fn meaning(self) -> &'static str {
        self.entry().2
    }

    /// The HTTP status of answers with this code.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the same request may succeed later.
    pub const fn retryable(self) -> bool {
        self.entry().1 == 503
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_stable_words_with_an_error_status() {
        let words: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{code:?}");
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(!code.meaning().is_empty());
        }
    }
}
