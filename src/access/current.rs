//! Who may do what now, shared by everything in the process that asks for it.

use std::sync::{Arc, PoisonError, RwLock};

use super::identity::{Identity, Subject};
use crate::playbook::access::{Access, Rights, Who};
use crate::run::Digest;

/// Who may do what now, or nothing: then the server asks nobody who they are. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CurrentAccess {
    shared: Arc<RwLock<Option<AccessStanding>>>,
}

/// Who may do what, and how the file that says so fares.
#[derive(Clone, Debug)]
pub struct AccessStanding {
    /// The last good content of the file.
    pub access: Arc<Access>,
    /// Digest of that content.
    pub content: Digest,
    /// Why a later content of the file does not count; `None` if the file has what counts.
    pub problem: Option<String>,
}

impl CurrentAccess {
    /// This counts.
    pub fn of(access: Access, content: Digest) -> Self {
        let current = Self::default();
        current.changed(access, content);
        current
    }

    /// What counts; `None` if the server asks nobody who they are.
    pub fn now(&self) -> Option<Arc<Access>> {
        self.read(|standing| Arc::clone(&standing.access))
    }

    /// What counts, and how its file fares; `None` if the server asks nobody who they are.
    pub fn standing(&self) -> Option<AccessStanding> {
        self.read(AccessStanding::clone)
    }

    /// What somebody may do at this moment.
    pub fn rights(&self, identity: &Identity) -> Rights {
        match self.now() {
            Some(access) => access.rights(|who| is(identity, who)),
            None => Rights::all(),
        }
    }

    /// Something else counts from now on, in whatever is not done yet.
    pub fn changed(&self, access: Access, content: Digest) {
        let standing = AccessStanding { access: Arc::new(access), content, problem: None };
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    /// The file got broken: what counts stays as it is.
    pub(super) fn broke(&self, problem: String) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = shared.as_mut() {
            standing.problem = Some(problem);
        }
    }

    fn read<T>(&self, of: impl Fn(&AccessStanding) -> T) -> Option<T> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(of)
    }
}

/// Whether a name in a rule stands for somebody.
fn is(identity: &Identity, who: &Who) -> bool {
    match (who, identity.subject()) {
        (Who::User { issuer, name }, Subject::User { issuer: own, name: called }) => {
            issuer == own && name == called
        }
        (Who::Group { issuer, name }, _) => identity.is_in(issuer, name),
        (Who::Token(name), Subject::Token(own)) => name == own,
        (
            Who::User { .. } | Who::Token(_),
            Subject::User { .. } | Subject::Token(_) | Subject::Anybody,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::access::{Object, Verb, parse_access};
    use crate::run::Timestamp;

    fn access(rules: &str) -> Access {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec:\n  tokens: [{{ name: ci, sha256: \
             {}, expires: 2099-01-01T00:00:00Z }}]\n  oidc: [{{ name: id, issuer: 'https://a.example', audience: x, \
             user: sub }}, {{ name: other, issuer: 'https://b.example', audience: x, user: sub }}]\n  rules: [{rules}]\n",
            "ab".repeat(32)
        );
        parse_access(text.as_bytes()).unwrap()
    }

    #[test]
    fn nobody_is_taken_for_someone_else() {
        let until = Timestamp::MAX;
        let alice =
            |issuer: &str| Identity::user(issuer, "alice", ["dba".to_owned()], until).unwrap();
        let token = |name: &str| Identity::token(name, None);
        let named_like_a_token = Identity::user("id", "token:ci", [], until).unwrap();
        let cases = [
            ("user:id/alice", alice("id"), true),
            ("user:id/alice", alice("other"), false),
            ("group:id/dba", alice("id"), true),
            ("group:id/dba", alice("other"), false),
            ("group:id/alice", alice("id"), false),
            ("user:id/dba", alice("id"), false),
            ("token:ci", token("ci"), true),
            ("token:ci", token("cd"), false),
            ("token:ci", named_like_a_token, false),
            ("user:id/ci", token("ci"), false),
            ("token:ci", Identity::anybody(), false),
        ];
        for (who, identity, expected) in cases {
            let rule = format!("{{ who: ['{who}'], may: [view] }}");
            let current = CurrentAccess::of(access(&rule), Digest::of(b""));
            let may = current.rights(&identity).may(Verb::View, Object::Server);
            assert_eq!(may, expected, "{who} {identity:?}");
        }
    }

    #[test]
    fn a_broken_file_changes_nothing_but_what_is_said() {
        let current = CurrentAccess::default();
        current.broke("there is none that could break".to_owned());
        assert!(current.standing().is_none());
        assert!(current.rights(&Identity::anybody()).may(Verb::Admin, Object::Server));

        let current = CurrentAccess::of(access(""), Digest::of(b"a"));
        let shared = current.clone();
        current.broke("it is broken".to_owned());
        let standing = shared.standing().unwrap();
        assert_eq!(standing.problem.as_deref(), Some("it is broken"));
        assert!(!shared.rights(&Identity::anybody()).may_somewhere(Verb::View));
        current.changed(access(""), Digest::of(b"b"));
        assert_eq!(shared.standing().unwrap().problem, None);
    }
}
