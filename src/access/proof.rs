//! By what somebody has proved who they are, so that it can be asked later whether that still counts. It has no part of the
//! proof itself.

use super::identity::{Identity, Subject};
use super::oidc::Sessions;
use super::token::token_sum;
use crate::playbook::access::{Access, AccessToken, OidcIssuer};

/// By what somebody has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a token of ours, with this sum.
    Token(String),
    /// By what the issuer with this identifier says. Its short name may come to stand for another one.
    Issuer(String),
    /// By the session of a browser, with this sum.
    Session(String),
}

impl Proof {
    /// Of somebody whom this bearer token is about.
    pub(super) fn of_bearer(access: &Access, identity: &Identity, bearer: &str) -> Self {
        let named = match identity.subject() {
            Subject::User { issuer, .. } => access.oidc.iter().find(|one| one.name == *issuer),
            Subject::Token(_) | Subject::Anybody => None,
        };
        match named {
            Some(issuer) => Self::Issuer(issuer.issuer.clone()),
            None => Self::Token(token_sum(bearer)),
        }
    }

    /// Of somebody whose browser sends this session.
    pub(crate) fn of_session(session: &str) -> Self {
        Self::Session(token_sum(session))
    }

    /// Whether it still counts: the token, or the issuer, may have been taken out of the document, and the session may have
    /// ended.
    pub(super) fn counts(&self, identity: &Identity, access: &Access, sessions: &Sessions) -> bool {
        match (self, identity.subject()) {
            (Self::Token(sum), Subject::Token(name)) => {
                let is_it = |one: &AccessToken| one.name == *name && one.sha256 == *sum;
                access.tokens.iter().any(is_it)
            }
            (Self::Issuer(identifier), Subject::User { issuer, .. }) => {
                let is_it = |one: &OidcIssuer| one.name == *issuer && one.issuer == *identifier;
                access.oidc.iter().any(is_it)
            }
            (Self::Session(sum), Subject::User { .. }) => {
                sessions.find_by_sum(sum, &access.oidc).as_ref() == Some(identity)
            }
            (Self::Token(_), Subject::User { .. } | Subject::Anybody)
            | (Self::Issuer(_) | Self::Session(_), Subject::Token(_) | Subject::Anybody) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, TokioClock};
    use crate::playbook::access::parse_access;
    use crate::run::Timestamp;

    const SUM: &str = "abababababababababababababababababababababababababababababababab";

    fn access(name: &str, issuer: &str, token: &str) -> Access {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec:\n  tokens: [{{ name: {token}, \
             sha256: {SUM}, expires: 2099-01-01T00:00:00Z }}]\n  oidc: [{{ name: {name}, issuer: '{issuer}', audience: x, \
             user: sub }}]\n  rules: []\n"
        );
        parse_access(text.as_bytes()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_counts_as_long_as_what_vouches_for_it() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1)));
        let sessions = Sessions::new(clock);
        let alice = Identity::user("id", "alice", [], Timestamp::MAX).unwrap();
        let (ci, issuer) = (Identity::token("ci", None), "https://id.example.com");
        let now = access("id", issuer, "ci");
        let other_issuer = access("id", "https://other.example.com", "ci");
        let other_names = access("other", issuer, "cd");

        let of_ci = Proof::Token(SUM.to_owned());
        let by_issuer = Proof::of_bearer(&now, &alice, "header.claims.signature");
        assert_eq!(by_issuer, Proof::Issuer(issuer.to_owned()));
        let opened = sessions.open(issuer, alice.clone()).unwrap();
        let by_session = Proof::of_session(&opened);
        let cases = [
            (&of_ci, &ci, &now, true),
            (&of_ci, &ci, &other_names, false),
            (&Proof::Token(token_sum("x")), &ci, &now, false),
            (&of_ci, &alice, &now, false),
            (&by_issuer, &alice, &now, true),
            (&by_issuer, &alice, &other_issuer, false),
            (&by_issuer, &alice, &other_names, false),
            (&by_issuer, &ci, &now, false),
            (&by_session, &alice, &now, true),
            (&by_session, &alice, &other_issuer, false),
            (&by_session, &alice, &other_names, false),
            (&by_session, &Identity::anybody(), &now, false),
        ];
        for (proof, identity, access, expected) in cases {
            let counts = proof.counts(identity, access, &sessions);
            assert_eq!(counts, expected, "{proof:?} {identity:?} {:?}", access.oidc);
        }
        sessions.close(&opened);
        assert!(!by_session.counts(&alice, &now, &sessions), "it was closed");
        assert!(by_issuer.counts(&alice, &now, &sessions));
    }
}
