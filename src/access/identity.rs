//! Who sends a request, as far as that was proved.

use std::collections::BTreeSet;
use std::fmt;

use crate::playbook::is_identifier;
use crate::run::Timestamp;

/// The longest name of a user, in bytes: with `user:` and the name of the issuer before it, it still is an actor that every
/// command and event takes.
pub const MAX_USER_NAME: usize = 187;

/// The most groups that somebody is in. Each is compared with the rules at each request; directories that put people in
/// more groups leave them out of their tokens anyway.
pub const MAX_GROUPS: usize = 1_000;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person whom an issuer of OpenID Connect vouches for.
    User {
        /// The short name of the issuer, in the document that says who may do what.
        issuer: String,
        /// What the issuer calls the person.
        name: String,
    },
    /// Whoever has the token of this name.
    Token(String),
    /// Anybody who reaches a server on loopback that asks nobody who they are.
    Anybody,
}

/// As it is written as an actor: `user:id/alice@example.com`, `token:ci`. An issuer's name has no slash, so no two subjects
/// are written alike.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { issuer, name } => write!(f, "user:{issuer}/{name}"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Anybody => f.write_str("anybody"),
        }
    }
}

/// Who sends a request, in which groups they are, and until when the proof of that holds. It has no part of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    subject: Subject,
    /// Names of groups, all of the issuer of the subject: no issuer can say anything about another's groups.
    groups: BTreeSet<String>,
    expires: Option<Timestamp>,
}

impl Identity {
    /// A person whom the issuer with this short name vouches for until `expires`. Groups whose names no rule can have are
    /// left out, and so are those beyond [`MAX_GROUPS`].
    ///
    /// `None` if the name can't be written as an actor: it has white space or invisible characters, or is empty or too long.
    pub fn user(
        issuer: &str,
        name: &str,
        groups: impl IntoIterator<Item = String>,
        expires: Timestamp,
    ) -> Option<Self> {
        let fits = is_identifier(name) && name.len() <= MAX_USER_NAME;
        let groups = groups.into_iter().filter(|group| is_identifier(group)).take(MAX_GROUPS);
        let subject = Subject::User { issuer: issuer.to_owned(), name: name.to_owned() };
        fits.then(|| Self { subject, groups: groups.collect(), expires: Some(expires) })
    }

    /// Whoever has the token of this name.
    pub fn token(name: &str, expires: Option<Timestamp>) -> Self {
        Self { subject: Subject::Token(name.to_owned()), groups: BTreeSet::new(), expires }
    }

    /// Anybody, on a server that asks nobody who they are.
    pub fn anybody() -> Self {
        Self { subject: Subject::Anybody, groups: BTreeSet::new(), expires: None }
    }

    /// Who it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// When the proof ends; `None`: never.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Whether the issuer of this short name says that they are in this group.
    pub fn is_in(&self, issuer: &str, group: &str) -> bool {
        match &self.subject {
            Subject::User { issuer: own, .. } => own == issuer && self.groups.contains(group),
            Subject::Token(_) | Subject::Anybody => false,
        }
    }

    /// Their groups, as rules name them: `group:ISSUER/NAME`.
    pub fn groups(&self) -> impl Iterator<Item = String> + '_ {
        let issuer = match &self.subject {
            Subject::User { issuer, .. } => issuer.as_str(),
            Subject::Token(_) | Subject::Anybody => "",
        };
        self.groups.iter().map(move |group| format!("group:{issuer}/{group}"))
    }

    /// What is written as the actor of events and commands; `None` for anybody, who has no name.
    pub fn actor(&self) -> Option<String> {
        match &self.subject {
            Subject::User { .. } | Subject::Token(_) => Some(self.subject.to_string()),
            Subject::Anybody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_actor_that_is_no_one_elses() {
        let until = Timestamp::from_millis(9);
        let groups = ["dba", "domain admins", "dba"].map(str::to_owned);
        let alice = Identity::user("id", "alice@example.com", groups, until).unwrap();
        assert_eq!(alice.actor().as_deref(), Some("user:id/alice@example.com"));
        assert_eq!(alice.groups().collect::<Vec<_>>(), ["group:id/dba"]);
        assert!(
            alice.is_in("id", "dba") && !alice.is_in("other", "dba") && !alice.is_in("id", "x")
        );
        assert_eq!(alice.expires(), Some(until));
        assert_eq!(Identity::token("ci", None).actor().as_deref(), Some("token:ci"));
        assert_eq!(Identity::anybody().actor(), None);
        for bad in ["", "a b", "a\nb", "a\u{202e}b", &"a".repeat(MAX_USER_NAME + 1)] {
            assert_eq!(Identity::user("id", bad, [], until), None, "{bad:?}");
        }
        assert!(Identity::user("id", &"a".repeat(MAX_USER_NAME), [], until).is_some());
    }

    #[test]
    fn a_person_is_in_a_bounded_number_of_groups() {
        let groups = (0..=MAX_GROUPS).map(|number| number.to_string());
        let alice = Identity::user("id", "alice", groups, Timestamp::default()).unwrap();
        assert_eq!(alice.groups().count(), MAX_GROUPS);
    }
}
