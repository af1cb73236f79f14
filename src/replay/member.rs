//! The members of an export, and the manifest that lists them. The names are an enum, so a text from an export
//! never becomes a path by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits::{MANIFEST_BYTES, OBJECT_BYTES, PLUGIN_BYTES};
use crate::run::{Digest, RunId, Timestamp};

/// Version of the format of exports. A manifest with another version is refused.
pub const FORMAT: u32 = 1;

/// The first member of an export, which lists all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// Identifier of the exported run.
    pub run: RunId,
    /// When it was exported.
    pub made_at: Timestamp,
    /// The program that made the export, with its version.
    pub made_by: String,
    /// All other members, in the order in which they follow.
    pub members: Vec<Member>,
}

/// A member, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name, which also is its path in the archive.
    pub name: MemberName,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The names that a member may have. There are no others, so no name can lead out of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MemberName {
    /// The list of the other members.
    Manifest,
    /// The run as the API shows it, for people to read.
    Run,
    /// What the run was started with.
    Snapshot,
    /// Agent records, one per line, ordered by sequence.
    Records,
    /// Journals, one per line, ordered by key.
    Journals,
    /// Events, one per line, ordered by sequence.
    Events,
    /// Lines of the log, one per line.
    Logs,
    /// The bytes of the plugin with this digest.
    Plugin(Digest),
}

/// The text is not the name of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found a member {0:?}, expected manifest.json, run.json, snapshot.json, records.ndjson, \
     journals.ndjson, events.ndjson, logs.ndjson or plugins/DIGEST.wasm"
)]
pub struct NoMember(String);

impl MemberName {
    /// The members that every export has, besides the manifest.
    pub const ALWAYS: [Self; 6] =
        [Self::Run, Self::Snapshot, Self::Records, Self::Journals, Self::Events, Self::Logs];

    /// The most bytes that the member may have; `None` if only the limit on the whole export applies.
    pub(super) fn most_bytes(&self) -> Option<u64> {
        match self {
            Self::Manifest => Some(MANIFEST_BYTES),
            Self::Run | Self::Snapshot => Some(OBJECT_BYTES),
            Self::Plugin(_) => Some(PLUGIN_BYTES),
            Self::Records | Self::Journals | Self::Events | Self::Logs => None,
        }
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest.json"),
            Self::Run => f.write_str("run.json"),
            Self::Snapshot => f.write_str("snapshot.json"),
            Self::Records => f.write_str("records.ndjson"),
            Self::Journals => f.write_str("journals.ndjson"),
            Self::Events => f.write_str("events.ndjson"),
            Self::Logs => f.write_str("logs.ndjson"),
            Self::Plugin(digest) => write!(f, "plugins/{}.wasm", digest.hex()),
        }
    }
}

impl FromStr for MemberName {
    type Err = NoMember;

    fn from_str(text: &str) -> Result<Self, NoMember> {
        let known = [Self::Manifest].into_iter().chain(Self::ALWAYS);
        if let Some(name) = known.into_iter().find(|name| name.to_string() == text) {
            return Ok(name);
        }
        let hex = text.strip_prefix("plugins/").and_then(|rest| rest.strip_suffix(".wasm"));
        let digest = hex.and_then(|hex| format!("sha256:{hex}").parse().ok());
        digest.map(Self::Plugin).ok_or_else(|| NoMember(text.to_owned()))
    }
}

impl TryFrom<String> for MemberName {
    type Error = NoMember;

    fn try_from(text: String) -> Result<Self, NoMember> {
        text.parse()
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        let plugin = MemberName::Plugin(Digest::of(b"x"));
        for name in MemberName::ALWAYS.into_iter().chain([MemberName::Manifest, plugin]) {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for bad in
            ["", "../run.json", "/run.json", "plugins/../x.wasm", "plugins/ab.wasm", "RUN.JSON"]
        {
            let error = bad.parse::<MemberName>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("found a member {bad:?}, expected")), "{error}");
        }
    }
}
