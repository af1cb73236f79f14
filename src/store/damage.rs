//! Documents that are there but can't be read.

use std::sync::Arc;

use bytes::Bytes;

use super::contract::Result;
use super::error::StoreError;
use replibook_core::run::{
    AgentSeq, AttemptKey, Digest, Run, RunId, RunStatus, Snapshot, Timestamp,
};

/// How many characters are said about one damaged document: a decoder quotes what it found, which may
/// be of any length.
pub const MAX_WHY: usize = 300;

/// A document that is there but can't be read. Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in the store is damaged: {why}")]
pub struct Damage {
    /// Which document, for people: its kind, and its key if that is known.
    pub what: String,
    /// Its key, after which a list can go on; empty if it is not known.
    pub key: String,
    /// What is wrong with it, at most [`MAX_WHY`] characters.
    pub why: String,
}

impl Damage {
    /// A damaged document of this kind.
    pub(super) fn new(kind: &str, key: String, why: &impl std::fmt::Display) -> Self {
        let what = match key.as_str() {
            "" => kind.to_owned(),
            _ => format!("{kind} ({key})"),
        };
        let why = why.to_string();
        Self { what, key, why: why.chars().take(MAX_WHY).collect() }
    }

    /// The attempt that a damaged journal is of, if that can be read.
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

/// A run whose documents can't be read, with what is known of it without them.
#[derive(Clone, Debug, PartialEq)]
pub struct DamagedRun {
    /// What is known of it all the same.
    pub glance: Glance,
    /// What is wrong.
    pub damage: Damage,
}

/// What is known of a run without its documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// Identifier.
    pub id: RunId,
    /// Name of its cluster.
    pub cluster: Option<String>,
    /// Its status.
    pub status: Option<RunStatus>,
    /// When it finished.
    pub finish_ts: Option<Timestamp>,
    /// What it was started with, if that can be read.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// A run as it was kept, or what is known of it if it can't be read.
pub type KeptRun = std::result::Result<Run, Box<DamagedRun>>;

/// A page of runs.
#[derive(Debug)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<KeptRun>,
    /// Why there may be more runs than these, also between them, that the store can't find any more; none where it
    /// knows all of them.
    pub lost: Option<StoreError>,
}

impl RunPage {
    /// The runs of the page, if all of them can be read.
    ///
    /// # Errors
    /// What can't be read, or found.
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

/// The bytes of a plugin, if they still are those that its digest was made of.
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

/// Of a plugin that is there without its bytes.
pub(super) fn no_bytes(digest: &Digest) -> Damage {
    Damage::new(PLUGIN_BYTES, digest.to_string(), &"they are not there")
}

/// Says that nobody takes up a command that waits for a run, since it can't be read: each time that the run is parked
/// all the same.
pub(super) fn pass_over(run: RunId, command: &Damage) {
    tracing::warn!(%run, "passing over a damaged command that waits for the run: {command}");
}

/// What the bytes of a plugin are called, beside what else is kept of it.
pub(super) const PLUGIN_BYTES: &str = "the bytes of a plugin";

/// Everything that was found, if all of it can be read.
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
