//! Documents that exist but can't be read. They are values and not only errors, so that a list can go on past
//! them.

use std::sync::Arc;

use bytes::Bytes;

use super::contract::Result;
use super::error::StoreError;
use replibook_core::run::{
    AgentSeq, AttemptKey, Digest, Run, RunId, RunStatus, Snapshot, Timestamp,
};

/// How many characters describe one damaged document: decoders quote what they found, which may be of any length.
pub const MAX_WHY: usize = 300;

/// A document that exists but can't be read. Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in the store is damaged: {why}")]
pub struct Damage {
    /// Which document, as human-readable text: its kind, and its key if that is known.
    pub what: String,
    /// The key of the document, after which a list can go on. Empty if it is not known.
    pub key: String,
    /// What is wrong with the document, in at most [`MAX_WHY`] characters.
    pub why: String,
}

impl Damage {
    /// Damage to a document of this kind.
    pub(super) fn new(kind: &str, key: String, why: &impl std::fmt::Display) -> Self {
        let what = match key.as_str() {
            "" => kind.to_owned(),
            _ => format!("{kind} ({key})"),
        };
        let why = why.to_string();
        Self { what, key, why: why.chars().take(MAX_WHY).collect() }
    }

    /// The attempt to which a damaged journal belongs, if the key says so.
    pub fn attempt(&self) -> Option<AttemptKey> {
        let mut parts = self.key.split('.');
        let agent = AgentSeq(parts.next()?.parse().ok()?);
        let (stage, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let attempt = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(AttemptKey { agent, stage, step, attempt })
    }
}

/// What a list found: each document, or what is wrong with it, in order.
pub type Found<T> = Vec<std::result::Result<T, Damage>>;

/// A run whose documents can't be read, with what is known of it all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct DamagedRun {
    /// What is known of the run without its documents.
    pub glance: Glance,
    /// What is wrong with its documents.
    pub damage: Damage,
}

/// What is known of a run without its documents. Each part but the identifier may be unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// Always known, since it is the key.
    pub id: RunId,
    /// The cluster's name; None if it can't be read.
    pub cluster: Option<String>,
    /// None if it can't be read.
    pub status: Option<RunStatus>,
    /// When the run finished. None if it has not, or if that can't be read.
    pub finish_ts: Option<Timestamp>,
    /// What the run was started with; None if it can't be read.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// A run as it was stored, or what is known of it if it can't be read.
pub type KeptRun = std::result::Result<Run, Box<DamagedRun>>;

/// A page of runs.
#[derive(Debug)]
pub struct RunPage {
    /// In the order of the list, damaged runs among them.
    pub runs: Vec<KeptRun>,
    /// Why there may be runs, also between these, that the store can no longer find. None if the page is complete.
    pub lost: Option<StoreError>,
}

impl RunPage {
    /// The runs of the page, if all of them can be read.
    ///
    /// # Errors
    /// The first damage, or [`lost`](Self::lost).
    pub fn whole(self) -> Result<Vec<Run>> {
        match self.lost {
            Some(lost) => Err(lost),
            None => {
                self.runs.into_iter().map(|run| run.map_err(|lost| lost.damage.into())).collect()
            }
        }
    }
}

impl From<Vec<KeptRun>> for RunPage {
    fn from(runs: Vec<KeptRun>) -> Self {
        Self { runs, lost: None }
    }
}

/// The bytes of a plugin, if they still match its digest.
pub(super) fn whole_bytes(digest: &Digest, bytes: Bytes) -> Result<Bytes> {
    let found = Digest::of(&bytes);
    match found == *digest {
        true => Ok(bytes),
        false => {
            let why = format!("their digest is {found}");
            Err(Damage::new(PLUGIN_BYTES, digest.to_string(), &why).into())
        }
    }
}

/// The damage of a plugin whose bytes are missing.
pub(super) fn no_bytes(digest: &Digest) -> Damage {
    Damage::new(PLUGIN_BYTES, digest.to_string(), &"they are not there")
}

/// Logs that a command which waits for a run is skipped because it can't be read. This happens each time the run
/// is parked in spite of the command.
pub(super) fn pass_over(run: RunId, command: &Damage) {
    tracing::warn!(%run, "passing over a damaged command that waits for the run: {command}");
}

/// What messages call the bytes of a plugin, to tell them from the stored information about it.
pub(super) const PLUGIN_BYTES: &str = "the bytes of a plugin";

/// All documents of a list; fails if one of them can't be read.
pub(super) fn whole<T>(found: Found<T>) -> Result<Vec<T>> {
    found.into_iter().map(|one| one.map_err(StoreError::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_damage_is_bounded() {
        let damage = Damage::new("a journal", "1.0.0.1".to_owned(), &"é".repeat(MAX_WHY + 1));
        assert_eq!(damage.why.chars().count(), MAX_WHY);
        assert!(damage.to_string().starts_with("a journal (1.0.0.1) in the store is damaged: é"));
        assert_eq!(Damage::new("a lease", String::new(), &"x").what, "a lease");
        let key = AttemptKey { agent: AgentSeq(7), stage: 1, step: 0, attempt: 2 };
        assert_eq!(Damage::new("a journal", "7.1.0.2".to_owned(), &"x").attempt(), Some(key));
        for none in ["", "7.1.0", "7.1.0.2.3", "7.-1.0.2", "node-1"] {
            assert_eq!(Damage::new("a journal", none.to_owned(), &"x").attempt(), None);
        }
    }
}
