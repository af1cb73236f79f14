//! Secrets that a playbook grants to plugins: how they are named, and where they may be sent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{self, covers};

/// The most secrets that one plugin is granted: a step that needs more does the work of several.
pub const MAX_SECRETS: usize = 16;

/// The most destinations of one secret.
pub(super) const MAX_DESTINATIONS: usize = 32;

/// The longest name of a secret, in characters. It is the name of a file, and a part of tokens, which go into headers.
const MAX_NAME: usize = 63;

/// What the name of a secret may be, as human-readable text.
pub const SECRET_NAME_EXPECTED: &str =
    "1 to 63 letters, digits, dots, dashes and underscores, the first a letter or a digit";

/// What a destination of a secret may be, as human-readable text.
pub(super) const DESTINATION_EXPECTED: &str = "an origin, such as https://events.example.com, or a kind of action, perhaps with a * at its end";

/// Whether `text` can be the name of a secret. It is the name of a file in the folder of secrets, so it never leads out
/// of that folder.
///
/// # Example
/// ```
/// use replibook_core::playbook::is_secret_name;
///
/// assert!(is_secret_name("pager") && is_secret_name("tls.key"));
/// assert!(!is_secret_name("../pager") && !is_secret_name(".pager") && !is_secret_name(""));
/// ```
pub fn is_secret_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    text.len() <= MAX_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(fits)
}

/// A secret that a plugin may send to some destinations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretGrant {
    /// Name of the secret.
    pub name: String,
    /// Where it may be sent: origins of HTTP servers in their normal form, and kinds of action, of which a `*` at the end
    /// stands for any rest. To all other destinations it may not.
    pub to: Vec<String>,
}

impl SecretGrant {
    /// Whether the secret may be sent there.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Destination, SecretGrant};
    ///
    /// let to = ["https://events.example.com", "demo.example.com/*"].map(str::to_owned).to_vec();
    /// let pager = SecretGrant { name: "pager".to_owned(), to };
    /// assert!(pager.allows(&Destination::Origin("https://events.example.com".to_owned())));
    /// assert!(pager.allows(&Destination::Action("demo.example.com/rotate".to_owned())));
    /// assert!(!pager.allows(&Destination::Origin("https://evil.example.com".to_owned())));
    /// assert!(!pager.allows(&Destination::Action("https://events.example.com".to_owned())));
    /// ```
    pub fn allows(&self, to: &Destination) -> bool {
        self.to.iter().any(|granted| match to {
            Destination::Origin(origin) => granted == origin,
            Destination::Action(kind) => !is_origin(granted) && covers(granted, kind),
        })
    }

    /// Whether this grants all that the other one grants.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let includes = |to: &String| self.to.iter().any(|granted| includes(granted, to));
        self.name == other.name && other.to.iter().all(includes)
    }
}

impl fmt::Display for SecretGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.name, self.to.join(", "))
    }
}

/// Where a call sends what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An HTTP server: its origin in the normal form.
    Origin(String),
    /// An agent, for an action of this kind.
    Action(String),
}

impl Destination {
    /// The destination as a grant names it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Origin(text) | Self::Action(text) => text,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => f.write_str(origin),
            Self::Action(kind) => write!(f, "the action {kind}"),
        }
    }
}

/// Adds grants to others, so that each secret has one with all its destinations.
pub(super) fn merge(into: &mut Vec<SecretGrant>, others: &[SecretGrant]) {
    for other in others {
        match into.iter_mut().find(|grant| grant.name == other.name) {
            Some(grant) => {
                let new = other.to.iter().filter(|to| !grant.to.contains(to));
                let new: Vec<String> = new.cloned().collect();
                grant.to.extend(new);
            }
            None => into.push(other.clone()),
        }
    }
}

/// Reads a destination of a grant; `None` if it is none. A `*` alone is none: it would stand for every action of every
/// agent.
pub(super) fn parse_destination(text: &str) -> Option<String> {
    if is_origin(text) {
        return names::parse_origin(text);
    }
    (text != "*" && names::is_action_pattern(text)).then(|| text.to_owned())
}

/// Whether a destination is an origin and not a kind of action.
pub(super) fn is_origin(destination: &str) -> bool {
    destination.contains("://")
}

fn includes(granted: &str, other: &str) -> bool {
    match is_origin(granted) {
        true => granted == other,
        false => !is_origin(other) && covers(granted, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(to: &[&str]) -> SecretGrant {
        let to = to.iter().map(|text| (*text).to_owned()).collect();
        SecretGrant { name: "pager".to_owned(), to }
    }

    #[test]
    fn a_name_is_a_file_in_the_folder() {
        for good in ["a", "pager", "db-1.password", "A_b", "0", &"x".repeat(MAX_NAME)] {
            assert!(is_secret_name(good), "{good}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", ".", "..", "..data", "a/b", "a b", "-a", "_a", "é", "a\n", "a\0", &long] {
            assert!(!is_secret_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_destination_is_an_origin_or_some_kinds_of_action() {
        let origin = parse_destination("https://Events.example.com:443/").unwrap();
        assert_eq!(origin, "https://events.example.com");
        for good in ["demo.example.com/rotate", "demo.example.com/*"] {
            assert_eq!(parse_destination(good).as_deref(), Some(good));
        }
        for bad in ["", "*", "https://a.example/x", "ftp://a.example", "a b", "a/*/b", "://"] {
            assert_eq!(parse_destination(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wider_grant_includes_a_narrower_one() {
        let wide = grant(&["https://a.example", "demo.example.com/*"]);
        for narrow in [&["https://a.example"][..], &["demo.example.com/x"], &[]] {
            assert!(wide.includes(&grant(narrow)), "{narrow:?}");
        }
        for other in [&["https://b.example"][..], &["demo.example.org/x"], &["https://a.example*"]]
        {
            assert!(!wide.includes(&grant(other)), "{other:?}");
        }
        let named = SecretGrant { name: "other".to_owned(), ..grant(&[]) };
        assert!(!wide.includes(&named));
        // An action whose kind looks like the beginning of an origin is no origin.
        assert!(!grant(&["h*"]).includes(&grant(&["https://a.example"])));
        assert!(!grant(&["h*"]).allows(&Destination::Origin("https://a.example".to_owned())));
        assert_eq!(wide.to_string(), "pager to https://a.example, demo.example.com/*");
    }
}
