//! What pins a plugin, and so keeps it from being removed.
//!
//! Pinning a plugin and removing it must conflict: both write to the plugin's document. So of two simultaneous
//! transactions one is repeated, and then sees what the other did.

use std::collections::BTreeSet;

use mongodb::ClientSession;
use mongodb::bson::doc;

use super::base::{Base, live};
use super::bodies;
use super::transaction::Failure;
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::run::Digest;

/// The field of a plugin with the moment at which its retention began.
pub(super) const UNPINNED_AT: &str = "unpinned_at";

/// Writes to the plugins that are about to be pinned, and ends their retention.
///
/// # Errors
/// [`StoreError::MissingPlugin`] for the lowest digest that is not in the store.
pub(super) async fn touch(
    base: &Base,
    pins: &BTreeSet<&Digest>,
    session: &mut ClientSession,
) -> Result<(), Failure> {
    for digest in pins {
        let plugin = doc! { "_id": digest.as_str() };
        let touch = doc! { "$inc": { "pinned": 1_i64 }, "$unset": { UNPINNED_AT: "" } };
        let touched = base.plugins.update_one(plugin, touch);
        if touched.session(&mut *session).await?.matched_count == 0 {
            return Err(StoreError::MissingPlugin { digest: (*digest).clone() }.into());
        }
    }
    Ok(())
}

/// Fails if something pins a plugin.
///
/// # Errors
/// [`StoreError::Pinned`] with what pins it.
pub(super) async fn refuse_pinned(
    base: &Base,
    digest: &Digest,
    at: &Moment,
    session: &mut ClientSession,
) -> Result<(), Failure> {
    match pinned_by(base, digest, at, session).await? {
        Some(by) => Err(StoreError::Pinned { digest: digest.clone(), by }.into()),
        None => Ok(()),
    }
}

/// What pins a plugin, as human-readable text: a playbook, or a run that has not expired. None if nothing does.
async fn pinned_by(
    base: &Base,
    digest: &Digest,
    at: &Moment,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<String>> {
    let pinning = doc! { "pins": digest.as_str() };
    let playbook = base.playbooks.find_one(pinning.clone());
    let playbook = playbook.sort(doc! { "name": 1, "version_key": 1 });
    let playbook = playbook.projection(doc! { "name": 1, "version": 1 });
    if let Some(playbook) = playbook.session(&mut *session).await? {
        let text = |key| playbook.get_str(key).unwrap_or_default();
        return Ok(Some(format!("playbook {} version {}", text("name"), text("version"))));
    }
    let mut pinning = pinning;
    pinning.insert("finish_ts", live(at.cutoff));
    let run = base.runs.find_one(pinning).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
    let run = run.session(&mut *session).await?;
    let id = run.and_then(|run| run.get("_id").and_then(bodies::read_uuid));
    Ok(id.map(|id| format!("run {id}")))
}
