//! Plugins that nothing pins: how their retention begins and ends.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, doc};

use super::base::{Base, LIMIT, call, live, within};
use super::failure::{failed, is_duplicate};
use super::pins::{UNPINNED_AT, refuse_pinned};
use super::plugins::{by_digest, plugins, remove_plugin};
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use crate::contract::{MAX_PAGE, MAX_SWEPT_PLUGINS, Result};
use crate::documents::{Plugin, SweptPlugins};
use crate::error::StoreError;
use crate::options::Moment;
use crate::upkeep::{Fate, PLUGIN_SWEEP, fate, goes_on_after_found, is_due};
use replibook_core::run::{Digest, Timestamp};

/// The `_id` of the document about the sweeps, in the collection `meta`.
const ROUND: &str = "plugin_sweep";

/// The field of that document with the moment from which on the next sweep may be made.
const NEXT: &str = "next";

/// The field of that document with the last plugin that was looked at.
const AFTER: &str = "after";

/// Begins the retention of these plugins anew, and returns how many of them are there.
pub(super) async fn renew(base: &Base, digests: &[Digest], at: &Moment) -> Result<u64> {
    const DOING: &str = "renew plugins";
    let digests = digests.iter().take(MAX_PAGE as usize).map(Digest::as_str);
    let these = doc! { "_id": { "$in": digests.collect::<Vec<_>>() } };
    let mut older = these.clone();
    older.insert(UNPINNED_AT, doc! { "$lt": date(at.now) });
    let set = doc! { "$set": { UNPINNED_AT: date(at.now) } };
    call(DOING, base.plugins.update_many(older, set)).await?;
    // Counted after the update: whatever is there now is kept as long as it says.
    call(DOING, base.plugins.count_documents(these)).await
}

/// Makes the next sweep over plugins, if it is time.
pub(super) async fn sweep(base: &Base, limit: u32, at: &Moment) -> Result<Option<SweptPlugins>> {
    let limit = limit.min(MAX_SWEPT_PLUGINS);
    let Some(after) = take_turn(base, at).await? else { return Ok(None) };
    let found = plugins(base, after.as_ref(), limit).await?;
    let last = goes_on_after_found(&found, limit);
    let looked_at = u32::try_from(found.len()).unwrap_or(limit);
    let mut swept = SweptPlugins { looked_at, removed: Vec::new() };
    for known in found.into_iter().flatten() {
        match look_after(base, &known, at).await {
            Ok(true) => swept.removed.push(known.info.digest),
            Ok(false) => {}
            Err(error) => {
                // What fails each time must not keep the sweep from all that comes after it.
                go_on(base, Some(&known.info.digest)).await?;
                return Err(error);
            }
        }
    }
    go_on(base, last.as_ref()).await?;
    Ok(Some(swept))
}

/// Does with a plugin what is due. Returns whether it was removed.
async fn look_after(base: &Base, known: &Plugin, at: &Moment) -> Result<bool> {
    let digest = &known.info.digest;
    match fate(known, is_pinned(base, digest, at).await?, at) {
        Fate::Stays => Ok(false),
        Fate::Pinned => pinned(base, digest).await.map(|()| false),
        Fate::Unpinned => unpinned(base, digest, at).await.map(|()| false),
        Fate::Goes => remove(base, digest, at).await,
    }
}

/// Takes the turn to make a sweep, if it is time: of several engines that try it at once, one has it. Returns after
/// which plugin to go on. An engine that dies in its turn keeps nobody from the next one.
async fn take_turn(base: &Base, at: &Moment) -> Result<Option<Option<Digest>>> {
    const DOING: &str = "take the turn to look after plugins";
    let next = at.now.plus(PLUGIN_SWEEP);
    let Some(before) = call(DOING, base.meta.find_one(doc! { "_id": ROUND })).await? else {
        let first = base.meta.insert_one(doc! { "_id": ROUND, NEXT: date(next) });
        let first = within(LIMIT, DOING, first).await?;
        return match first {
            Ok(_) => Ok(Some(None)),
            // Another engine was faster.
            Err(error) if is_duplicate(&error) => Ok(None),
            Err(error) => Err(failed(DOING, error)),
        };
    };
    let due = before.get(NEXT).cloned().unwrap_or(Bson::Null);
    let moment = due.as_datetime().map(|at| Timestamp::from_millis(at.timestamp_millis()));
    if moment.is_some_and(|moment| !is_due(moment, at)) {
        return Ok(None);
    }
    // Only if it still is as it was read.
    let unchanged = doc! { "_id": ROUND, NEXT: due };
    let taken = base.meta.update_one(unchanged, doc! { "$set": { NEXT: date(next) } });
    let taken = call(DOING, taken).await?.matched_count > 0;
    let after = before.get_str(AFTER).ok().and_then(|after| after.parse().ok());
    Ok(taken.then_some(after))
}

/// Notes after which plugin the next sweep goes on.
async fn go_on(base: &Base, after: Option<&Digest>) -> Result<()> {
    let change = match after {
        Some(after) => doc! { "$set": { AFTER: after.as_str() } },
        None => doc! { "$unset": { AFTER: "" } },
    };
    let noted = base.meta.update_one(doc! { "_id": ROUND }, change);
    call("note which plugins were looked at", noted).await.map(drop)
}

/// Whether something pins a plugin. The answer may be out of date at once, so it decides about no removal.
async fn is_pinned(base: &Base, digest: &Digest, at: &Moment) -> Result<bool> {
    const DOING: &str = "look for what pins a plugin";
    let id = doc! { "_id": 1 };
    let pinning = doc! { "pins": digest.as_str() };
    let playbook = base.playbooks.find_one(pinning.clone()).projection(id.clone());
    if call(DOING, playbook).await?.is_some() {
        return Ok(true);
    }
    let mut pinning = pinning;
    pinning.insert("finish_ts", live(at.cutoff));
    Ok(call(DOING, base.runs.find_one(pinning).projection(id)).await?.is_some())
}

/// Ends the retention of a plugin that something pins: an engine of an earlier version did not end it when it was pinned.
/// If nothing pins it any more, the next round finds that.
async fn pinned(base: &Base, digest: &Digest) -> Result<()> {
    let end = doc! { "$unset": { UNPINNED_AT: "" } };
    call("keep a plugin", base.plugins.update_one(by_digest(digest), end)).await.map(drop)
}

/// Begins the retention of a plugin, unless somebody pins it meanwhile.
async fn unpinned(base: &Base, digest: &Digest, at: &Moment) -> Result<()> {
    match transaction::make(base, &Begin { digest, at }).await {
        Ok(()) | Err(StoreError::Pinned { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

struct Begin<'a> {
    digest: &'a Digest,
    at: &'a Moment,
}

#[async_trait]
impl Transaction for Begin<'_> {
    type Output = ();

    const DOING: &'static str = "begin the retention of a plugin";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<(), Failure> {
        let Self { digest, at } = *self;
        // This write comes first, as for a removal.
        let mut filter = by_digest(digest);
        filter.insert(UNPINNED_AT, Bson::Null);
        let begun = base.plugins.update_one(filter, doc! { "$set": { UNPINNED_AT: date(at.now) } });
        if begun.session(&mut *session).await?.matched_count == 0 {
            return Ok(());
        }
        refuse_pinned(base, digest, at, session).await
    }
}

/// Removes a plugin whose retention has passed, unless somebody pins, renews or removes it meanwhile. Returns whether it
/// was removed.
async fn remove(base: &Base, digest: &Digest, at: &Moment) -> Result<bool> {
    match remove_plugin(base, digest, Some(at.plugins_cutoff), at).await {
        Err(StoreError::Pinned { .. }) => Ok(false),
        removed => removed,
    }
}
