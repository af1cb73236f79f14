//! Where the bytes of a plugin come from.

use std::fmt;

use semver::Version;

use crate::run::Digest;

/// Where the bytes of a plugin come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path that the client reads, relative to the document. The server never opens it.
    File(String),
    /// A plugin that the store already has, by the name and version that it gives itself.
    Store {
        /// The name.
        name: String,
        /// The version.
        version: String,
    },
    /// A reference into an OCI registry.
    Oci(String),
}

/// What a source may be, for people.
pub(super) const SOURCE_EXPECTED: &str = "file:PATH, store:NAME@VERSION or oci:REFERENCE";

impl Source {
    /// Reads a source as it is written in a document.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if rest.is_empty() || rest.chars().any(char::is_control) {
            return None;
        }
        match scheme {
            "file" => Some(Self::File(rest.to_owned())),
            "oci" => Some(Self::Oci(rest.to_owned())),
            "store" => {
                let (name, version) = rest.split_once('@')?;
                Version::parse(version).ok()?;
                (!name.is_empty())
                    .then(|| Self::Store { name: name.to_owned(), version: version.to_owned() })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Store { name, version } => write!(f, "store:{name}@{version}"),
            Self::Oci(reference) => write!(f, "oci:{reference}"),
        }
    }
}

/// A plugin that a document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSource {
    /// The name used in the document.
    pub name: String,
    /// Where its bytes come from.
    pub source: Source,
    /// The digest that its bytes must have, where the document says so.
    pub digest: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_back_as_written() {
        for text in ["file:a/b c.wasm", "store:step-down@1.4.0", "oci://ghcr.io/a/b:1"] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "a.wasm", "file:", "store:x", "store:x@new", "store:@1.0.0", "http://a/b"] {
            assert_eq!(Source::parse(bad), None, "{bad}");
        }
    }
}
