//! Whom a rule is about.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::playbook::names::{is_identifier, is_label};

/// What names somebody, as human-readable text.
pub const WHO_EXPECTED: &str =
    "user:ISSUER/NAME, group:ISSUER/NAME or token:NAME, in visible characters";

/// Whether `text` can be the name of a token or an issuer.
pub fn is_access_name(text: &str) -> bool {
    is_label(text)
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A person, as an issuer calls them.
    User {
        /// Short name of the issuer.
        issuer: String,
        /// What it calls the person.
        name: String,
    },
    /// Everybody whom an issuer has in a group.
    Group {
        /// Short name of the issuer.
        issuer: String,
        /// What it calls the group.
        name: String,
    },
    /// Whoever has a token.
    Token(String),
}

impl Who {
    /// Reads `user:ISSUER/NAME`, `group:ISSUER/NAME` or `token:NAME`.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::access::Who;
    ///
    /// let dba = Who::parse("group:id/eu/dba").unwrap();
    /// assert_eq!(dba, Who::Group { issuer: "id".to_owned(), name: "eu/dba".to_owned() });
    /// assert_eq!(dba.to_string(), "group:id/eu/dba");
    /// assert_eq!(Who::parse("alice@example.com"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        if kind == "token" {
            return is_label(rest).then(|| Self::Token(rest.to_owned()));
        }
        let (issuer, name) = rest.split_once('/')?;
        if !is_label(issuer) || !is_identifier(name) {
            return None;
        }
        let (issuer, name) = (issuer.to_owned(), name.to_owned());
        match kind {
            "user" => Some(Self::User { issuer, name }),
            "group" => Some(Self::Group { issuer, name }),
            _ => None,
        }
    }

    /// The short name of the issuer that says who this is; `None` for a token.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::User { issuer, .. } | Self::Group { issuer, .. } => Some(issuer),
            Self::Token(_) => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { issuer, name } => write!(f, "user:{issuer}/{name}"),
            Self::Group { issuer, name } => write!(f, "group:{issuer}/{name}"),
            Self::Token(name) => write!(f, "token:{name}"),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
