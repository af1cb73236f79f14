//! Patterns of where plugins came from. They are compared with what the server recorded when it took the plugin, and
//! never with what a document says.

use std::fmt;

use serde::Serialize;

use super::web::{HostPattern, parts};
use crate::ids::Digest;
use crate::playbook::names::parse_origin;
use crate::playbook::source::{
    MAX_REPOSITORY, OciReference, OciVersion, Source, is_repository, is_tag,
};

/// What a pattern may be, as human-readable text.
const MATCH_EXPECTED: &str = "oci://HOST/REPOSITORY, perhaps with *. before the host and /* or :TAG after the \
     repository, file:*, builtin:*, builtin:NAME, or sha256: and 64 hex digits";

/// The scheme of plugins that came with the program.
const BUILTIN: &str = "builtin:";

/// Which plugins a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Those that somebody uploaded. A file says nothing of itself, so there are no narrower patterns.
    File,
    /// Those that came with the program: all, or the one of this name.
    Builtin(Option<String>),
    /// The one whose bytes have this digest, wherever it came from.
    Digest(Digest),
    /// Those from a registry.
    Oci {
        /// Which registries.
        host: HostPattern,
        /// Which repositories there: all, those below a path that ends with a slash, or one.
        repository: Repositories,
        /// Which artefacts of the repository.
        version: Versions,
    },
}

/// Which repositories of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repositories {
    /// Those whose path begins with this, which is empty or ends with a slash.
    Below(String),
    /// This one.
    One(String),
}

/// Which artefacts of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// All of them.
    Any,
    /// Those that were asked for by a tag that begins with this.
    TagsFrom(String),
    /// The one that was asked for in this way.
    One(OciVersion),
}

/// The text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; expected {expected}")]
pub struct NotMatch {
    /// What is wrong.
    pub message: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl Match {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`NotMatch`] says what was expected.
    ///
    /// # Example
    /// ```
    /// # use replibook_core::ids::Digest;
    /// use replibook_core::playbook::policy::Match;
    ///
    /// let of_ops = Match::parse("oci://registry.example.com/ops/*").unwrap();
    /// let digest = Digest::of(b"the plugin");
    /// assert!(of_ops.fits("oci://registry.example.com/ops/drain:1.4", &digest));
    /// assert!(!of_ops.fits("oci://registry.example.com.evil.org/ops/drain:1.4", &digest));
    /// assert!(!of_ops.fits("oci://registry.example.com/opsy/drain:1.4", &digest));
    /// assert!(!of_ops.fits("file:drain.wasm", &digest));
    /// assert!(Match::parse(digest.as_str()).unwrap().fits("file:drain.wasm", &digest));
    /// ```
    pub fn parse(text: &str) -> Result<Self, NotMatch> {
        let wrong = |message, expected| Err(NotMatch { message, expected });
        let other = NotMatch { message: "not a valid match", expected: MATCH_EXPECTED };
        match text.split_once(':') {
            Some(("file", "*")) => Ok(Self::File),
            Some(("file", _)) => wrong("whoever uploads a file may call it anything", "file:*"),
            Some(("store", _)) => wrong(
                "a plugin of the store counts as what it once came from",
                "that: oci://HOST/REPOSITORY or file:*",
            ),
            Some(("builtin", "*")) => Ok(Self::Builtin(None)),
            Some(("builtin", name)) if is_label(name) => Ok(Self::Builtin(Some(name.to_owned()))),
            Some(("sha256", _)) => text.parse().map(Self::Digest).map_err(|_| other),
            Some(("oci", rest)) => Self::oci(rest).ok_or(other),
            Some(_) | None => Err(other),
        }
    }

    fn oci(text: &str) -> Option<Self> {
        let (host, rest) = text.strip_prefix("//")?.split_once('/')?;
        let host = HostPattern::parse("https", host)?;
        let (repository, version) = match (rest.split_once('@'), rest.rsplit_once(':')) {
            (Some((repository, digest)), _) => {
                (repository, Versions::One(OciVersion::Digest(digest.parse().ok()?)))
            }
            (None, Some((repository, tag))) => match tag.strip_suffix('*') {
                Some("") => (repository, Versions::TagsFrom(String::new())),
                Some(prefix) => {
                    (repository, Versions::TagsFrom(is_tag(prefix).then(|| prefix.to_owned())?))
                }
                None => {
                    let tag = is_tag(tag).then(|| tag.to_owned())?;
                    (repository, Versions::One(OciVersion::Tag(tag)))
                }
            },
            (None, None) => (rest, Versions::Any),
        };
        let repository = match repository.strip_suffix('*') {
            Some("") => Repositories::Below(String::new()),
            Some(path) => {
                let fits = path.strip_suffix('/').is_some_and(is_repository);
                Repositories::Below(fits.then(|| path.to_owned())?)
            }
            None => Repositories::One(is_repository(repository).then(|| repository.to_owned())?),
        };
        Some(Self::Oci { host, repository, version })
    }

    /// Whether the rule is about a plugin with this recorded source and this digest. What can't be read as a source fits
    /// only its digest.
    pub fn fits(&self, source: &str, digest: &Digest) -> bool {
        match self {
            Self::Digest(one) => one == digest,
            Self::File => source.starts_with("file:"),
            Self::Builtin(name) => source
                .strip_prefix(BUILTIN)
                .is_some_and(|found| name.as_ref().is_none_or(|name| name == found)),
            Self::Oci { host, repository, version } => match Source::parse(source) {
                Some(Source::Oci(reference)) => {
                    is_at(host, &reference.registry)
                        && repository.fit(&reference.repository)
                        && version.fit(&reference)
                }
                Some(Source::File(_) | Source::Store { .. }) | None => false,
            },
        }
    }

    /// Whether everything that fits the other pattern fits this one.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Builtin(None), Self::Builtin(_)) => true,
            (
                Self::Oci { host, repository, version },
                Self::Oci { host: hosts, repository: repositories, version: versions },
            ) => {
                let in_path = match (repository, repositories) {
                    (
                        Repositories::Below(all),
                        Repositories::Below(path) | Repositories::One(path),
                    ) => path.starts_with(all.as_str()),
                    (one, other) => one == other,
                };
                host.includes(hosts) && in_path && version.includes(versions)
            }
            (one, other) => one == other,
        }
    }
}

/// Whether the recorded source is that of a plugin that came with the program.
pub(super) fn is_builtin(source: &str) -> bool {
    source.starts_with(BUILTIN)
}

fn is_at(host: &HostPattern, registry: &str) -> bool {
    let origin = parse_origin(&format!("https://{registry}"));
    let found = origin.as_deref().and_then(parts);
    found.is_some_and(|(name, port)| host.fits(&name, port))
}

fn is_label(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= MAX_REPOSITORY && name.chars().all(fits)
}

impl Repositories {
    fn fit(&self, path: &str) -> bool {
        match self {
            Self::Below(above) => path.starts_with(above.as_str()),
            Self::One(one) => one == path,
        }
    }
}

impl Versions {
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::TagsFrom(all), Self::TagsFrom(start) | Self::One(OciVersion::Tag(start))) => {
                start.starts_with(all.as_str())
            }
            (Self::One(one), Self::One(other)) => one == other,
            (Self::TagsFrom(_), Self::Any | Self::One(OciVersion::Digest(_)))
            | (Self::One(_), Self::Any | Self::TagsFrom(_)) => false,
        }
    }

    fn fit(&self, reference: &OciReference) -> bool {
        match (self, &reference.version) {
            (Self::Any, _) => true,
            (Self::TagsFrom(prefix), OciVersion::Tag(tag)) => tag.starts_with(prefix.as_str()),
            (Self::TagsFrom(_), OciVersion::Digest(_)) => false,
            (Self::One(one), found) => one == found,
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file:*"),
            Self::Builtin(name) => write!(f, "{BUILTIN}{}", name.as_deref().unwrap_or("*")),
            Self::Digest(digest) => digest.fmt(f),
            Self::Oci { host, repository, version } => {
                write!(f, "oci://{host}/")?;
                match repository {
                    Repositories::Below(path) => write!(f, "{path}*")?,
                    Repositories::One(path) => f.write_str(path)?,
                }
                match version {
                    Versions::Any => Ok(()),
                    Versions::TagsFrom(prefix) => write!(f, ":{prefix}*"),
                    Versions::One(OciVersion::Tag(tag)) => write!(f, ":{tag}"),
                    Versions::One(OciVersion::Digest(digest)) => write!(f, "@{digest}"),
                }
            }
        }
    }
}

impl Serialize for Match {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, source: &str) -> bool {
        let pattern = Match::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        pattern.fits(source, &Digest::of(b"x"))
    }

    #[test]
    fn a_rule_is_about_what_the_server_recorded() {
        let of_manifest = format!("oci://r.example/a/b@{}", Digest::of(b"manifest"));
        for (pattern, source) in [
            ("file:*", "file:any/thing.wasm"),
            ("file:*", "file:"),
            ("builtin:*", "builtin:rolling"),
            ("builtin:http", "builtin:http"),
            ("oci://r.example/a/*", "oci://r.example/a/b:1"),
            ("oci://r.example/a/*", "oci://R.Example:443/a/b/c:1"),
            ("oci://r.example/*", "oci://r.example./a:1"),
            ("oci://*.example/a", "oci://r.example/a:latest"),
            ("oci://*:*/a/*", "oci://localhost:5000/a/b:1"),
            ("oci://r.example:5000/a:1.*", "oci://r.example:5000/a:1.4"),
            ("oci://r.example/a/b", &of_manifest),
            (&of_manifest, &of_manifest),
            (Digest::of(b"x").as_str(), "what nobody can read"),
        ] {
            assert!(fits(pattern, source), "{pattern} {source}");
        }
        for (pattern, source) in [
            ("file:*", "oci://r.example/file:1"),
            ("file:*", "builtin:action"),
            ("builtin:*", "file:builtin:rolling"),
            ("builtin:http", "builtin:https"),
            ("oci://r.example/a/*", "oci://r.example/a:1"),
            ("oci://r.example/a/*", "oci://r.example/ab/c:1"),
            ("oci://r.example/a", "oci://r.example/a/b:1"),
            ("oci://r.example/a/*", "oci://r.example.evil.org/a/b:1"),
            ("oci://r.example/a/*", "oci://r.example:5000/a/b:1"),
            ("oci://r.example/a/*", "oci://evil.org/r.example/a/b:1"),
            ("oci://r.example/a/*", "oci://u@r.example/a/b:1"),
            ("oci://r.example/a/*", "oci://r.example/a/../b:1"),
            ("oci://r.example/a/*", "file://r.example/a/b:1"),
            ("oci://r.example/a/*", "store:oci@1.0.0"),
            ("oci://r.example/a/*", ""),
            ("oci://r.example/a:1.*", "oci://r.example/a:2.0"),
            ("oci://r.example/a/b:*", &of_manifest),
            (Digest::of(b"y").as_str(), "file:x.wasm"),
        ] {
            assert!(!fits(pattern, source), "{pattern} {source}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        let expected = |text: &str| Match::parse(text).unwrap_err().expected;
        assert_eq!(expected("file:lab/*"), "file:*");
        assert!(expected("store:x@1.0.0").starts_with("that: oci://"));
        for bad in [
            "",
            "*",
            "oci:*",
            "oci://r.example",
            "oci://r.example/",
            "oci://r.example/a*",
            "oci://r.example/*/b",
            "oci://r.example/A/*",
            "oci://r.example/a:",
            "oci://r.example/a:-*",
            "oci://r.example/a@sha256:1",
            "oci://r.*.example/a",
            "oci://r.example:5000:*/a",
            "oci://*:5000:*/a",
            "oci://u@r.example/a",
            "builtin:",
            "builtin:A",
            "sha256:12",
            "http://r.example/a",
        ] {
            assert_eq!(expected(bad), MATCH_EXPECTED, "{bad}");
        }
    }

    #[test]
    fn a_wider_pattern_includes_a_narrower_one() {
        let match_of = |text: &str| Match::parse(text).unwrap();
        for (wide, narrow) in [
            ("file:*", "file:*"),
            ("builtin:*", "builtin:http"),
            ("oci://*:*/*", "oci://r.example/a/*"),
            ("oci://r.example/a/*", "oci://r.example/a/b/*"),
            ("oci://r.example/a/*", "oci://r.example/a/b:1"),
            ("oci://r.example/a", "oci://r.example/a:1"),
            ("oci://r.example/a:*", "oci://r.example/a:1.*"),
            ("oci://r.example/a:1.*", "oci://r.example/a:1.4"),
        ] {
            assert!(match_of(wide).includes(&match_of(narrow)), "{wide} {narrow}");
            assert!(
                wide == narrow || !match_of(narrow).includes(&match_of(wide)),
                "{narrow} {wide}"
            );
        }
        assert!(!match_of("oci://r.example/a/*").includes(&match_of("oci://r.example/b/*")));
        assert!(!match_of("file:*").includes(&match_of("builtin:*")));
    }
}
