//! Reads where the bytes of a plugin come from. Nothing is opened or fetched here.

use std::fmt;

use semver::Version;

use super::names;
use crate::ids::Digest;
use crate::shown::is_unseen;

/// Where the bytes of a plugin come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path that the client reads, relative to the document. The server never opens it.
    File(String),
    /// A plugin that the store already has, by the name and version that it gives itself.
    Store {
        /// The name that the plugin gives itself.
        name: String,
        /// The version that the plugin gives itself.
        version: String,
    },
    /// An artefact in an OCI registry.
    Oci(OciReference),
}

/// An artefact in an OCI registry: `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    /// Host of the registry, perhaps with a port.
    pub registry: String,
    /// Path of the repository there.
    pub repository: String,
    /// Which artefact of the repository.
    pub version: OciVersion,
}

/// Which artefact of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OciVersion {
    /// The artefact that has this tag at present.
    Tag(String),
    /// The artefact whose manifest has this digest.
    Digest(Digest),
}

/// The longest tag and the longest name of a repository that registries accept, in bytes.
const MAX_TAG: usize = 128;
pub(super) const MAX_REPOSITORY: usize = 255;

/// Whether `text` can be a tag.
pub(super) fn is_tag(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    starts && text.len() <= MAX_TAG && text.chars().all(fits)
}

/// Whether `text` can be the path of a repository.
pub(super) fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(ends)
            && part.ends_with(ends)
            && part.chars().all(|c| ends(c) || "_.-".contains(c))
    };
    text.len() <= MAX_REPOSITORY && text.split('/').all(is_part)
}

impl OciReference {
    fn parse(text: &str) -> Option<Self> {
        let (registry, rest) = text.strip_prefix("//")?.split_once('/')?;
        names::parse_address(&format!("https://{registry}"))?;
        let (repository, version) = match rest.split_once('@') {
            Some((repository, digest)) => (repository, OciVersion::Digest(digest.parse().ok()?)),
            None => {
                let (repository, tag) = rest.rsplit_once(':')?;
                (repository, is_tag(tag).then(|| OciVersion::Tag(tag.to_owned()))?)
            }
        };
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        is_repository(&repository).then_some(Self { registry, repository, version })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, version } = self;
        match version {
            OciVersion::Tag(tag) => write!(f, "{registry}/{repository}:{tag}"),
            OciVersion::Digest(digest) => write!(f, "{registry}/{repository}@{digest}"),
        }
    }
}

/// What a source may be, as human-readable text.
pub(super) const SOURCE_EXPECTED: &str = "file:PATH, store:NAME@VERSION, \
     oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST";

impl Source {
    /// Reads a source as it is written in a document.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{OciReference, OciVersion, Source};
    ///
    /// let drain = Source::parse("oci://registry.example.com/ops/drain:1.4");
    /// let expected = OciReference {
    ///     registry: "registry.example.com".to_owned(),
    ///     repository: "ops/drain".to_owned(),
    ///     version: OciVersion::Tag("1.4".to_owned()),
    /// };
    /// assert_eq!(drain, Some(Source::Oci(expected)));
    /// assert_eq!(Source::parse("store:drain@newest"), None, "that is no version");
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if rest.is_empty() || rest.chars().any(is_unseen) {
            return None;
        }
        match scheme {
            "file" => Some(Self::File(rest.to_owned())),
            "oci" => OciReference::parse(rest).map(Self::Oci),
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
            Self::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

/// A plugin that a document declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSource {
    /// The name that the document uses for it.
    pub name: String,
    /// Where its bytes come from.
    pub source: Source,
    /// The digest that its bytes must have, if the document pins one.
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
        let digest = Digest::of(b"x");
        for text in ["oci://localhost:5000/x:v1.0_a", &format!("oci://a.example/b/c@{digest}")] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        let oci =
            ["oci:a/b:1", "oci://a", "oci://a/b", "oci://a/B:1", "oci://a/b:", "oci://a/b:-1"];
        let worse = ["oci:///b:1", "oci://a/b@sha256:12", "oci://a//b:1", "oci://u@a/b:1"];
        for bad in oci.into_iter().chain(worse) {
            assert_eq!(Source::parse(bad), None, "{bad}");
        }
        for bad in ["", "a.wasm", "file:", "store:x", "store:x@new", "store:@1.0.0", "http://a/b"] {
            assert_eq!(Source::parse(bad), None, "{bad}");
        }
    }
}
