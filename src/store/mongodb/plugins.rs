//! Plugins. Their bytes are in files beside their documents (`files.rs`).

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use super::base::{Base, call};
use super::bodies;
use super::codec::from_document;
use super::failure::{corrupt, failed, is_duplicate, unavailable};
use super::files;
use super::pins::{UNPINNED_AT, refuse_pinned};
use super::rows::Question;
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use crate::contract::Result;
use crate::damage::{Damage, Found, PLUGIN_BYTES, no_bytes, whole_bytes};
use crate::documents::{Plugin, Put};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::run::{Digest, Timestamp};

pub(super) const PLUGIN: &str = "a plugin";

/// How many times to look for the bytes: between two reads the plugin may be removed and put again.
const LOOKS: u32 = 3;

/// # Flow
/// The bytes go to a file that nobody knows. Then the plugin's document names the file; from that moment on the
/// plugin exists. If another call was faster, the file is removed again. If a plugin that was there is removed
/// meanwhile, all begins anew.
pub(super) async fn put_plugin(base: &Base, new: &Plugin, bytes: Bytes) -> Result<Put> {
    for _ in 0..LOOKS {
        if let Some(put) = try_put(base, new, bytes.clone()).await? {
            return Ok(put);
        }
    }
    Err(unavailable("failed to keep a plugin: it was removed each time"))
}

/// None if the plugin was there, and then was not.
async fn try_put(base: &Base, new: &Plugin, bytes: Bytes) -> Result<Option<Put>> {
    let digest = &new.info.digest;
    // Both the stored information and the bytes have to be readable.
    let bytes_of_it = plugin_bytes(base, digest).await;
    let known = match plugin(base, digest).await {
        Ok(None) => Ok(None),
        Ok(Some(_)) => bytes_of_it,
        Err(error) => Err(error),
    };
    match known {
        Ok(None) => {}
        Ok(Some(_)) => return learn(base, new).await,
        // A plugin that can't be read is mended by putting it anew.
        Err(StoreError::Damaged(_)) => {
            return mend(base, new, bytes).await.map(Some);
        }
        Err(error) => return Err(error),
    }
    let mut document = doc! { "_id": digest.as_str() };
    document.extend(bodies::body(PLUGIN, new)?);
    let file = files::write(base, digest.as_str(), bytes).await?;
    document.insert("file", file);
    let insert = tokio::time::timeout(super::base::LIMIT, base.plugins.insert_one(document)).await;
    match insert {
        Ok(Ok(_)) => Ok(Some(Put::Created)),
        Ok(Err(error)) if is_duplicate(&error) => {
            // The driver may have sent the insert twice, so the existing document may be our own.
            if matches!(self::file(base, digest).await, Ok(Some(named)) if named == file) {
                return Ok(Some(Put::Created));
            }
            files::remove(base, file).await?;
            learn(base, new).await
        }
        Ok(Err(error)) => Err(failed("keep a plugin", error)),
        Err(_) => Err(unavailable("failed to keep a plugin in time")),
    }
}

/// Adds what is new about where a plugin came from, and begins its retention anew. None if the plugin is gone by now.
async fn learn(base: &Base, new: &Plugin) -> Result<Option<Put>> {
    transaction::make(base, &Learn { new }).await
}

struct Learn<'a> {
    new: &'a Plugin,
}

#[async_trait]
impl Transaction for Learn<'_> {
    type Output = Option<Put>;

    const DOING: &'static str = "keep where a plugin came from";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Option<Put>, Failure> {
        let filter = by_digest(&self.new.info.digest);
        let found = base.plugins.find_one(filter.clone()).session(&mut *session).await?;
        let Some(found) = found else { return Ok(None) };
        let known: std::result::Result<Plugin, _> = from_document(found);
        let mut known = known.map_err(|error| corrupt(PLUGIN, error))?;
        let learnt = known.learn(&self.new.provenance);
        let renewed = self.new.unpinned_at.is_some_and(|at| known.renew(at));
        if learnt || renewed {
            let set = doc! { "$set": bodies::body(PLUGIN, &known)? };
            base.plugins.update_one(filter, set).session(&mut *session).await?;
        }
        Ok(Some(if learnt { Put::Updated } else { Put::Unchanged }))
    }
}

/// Rewrites everything that is stored of a plugin. No plugin names its former file any more, so that is removed
/// later.
async fn mend(base: &Base, new: &Plugin, bytes: Bytes) -> Result<Put> {
    let mut set = bodies::body(PLUGIN, new)?;
    set.insert("file", files::write(base, new.info.digest.as_str(), bytes).await?);
    let mended = base.plugins.update_one(by_digest(&new.info.digest), doc! { "$set": set });
    call("keep a plugin", mended).await?;
    Ok(Put::Updated)
}

/// The file of a plugin. None if there is no such plugin.
async fn file(base: &Base, digest: &Digest) -> Result<Option<ObjectId>> {
    let found = base.plugins.find_one(by_digest(digest)).projection(doc! { "file": 1 });
    let Some(found) = call("read a plugin", found).await? else { return Ok(None) };
    let file = found.get_object_id("file");
    let damage = |error| Damage::new(PLUGIN_BYTES, digest.to_string(), &error).into();
    file.map(Some).map_err(damage)
}

pub(super) fn by_digest(digest: &Digest) -> Document {
    doc! { "_id": digest.as_str() }
}

pub(super) async fn plugin(base: &Base, digest: &Digest) -> Result<Option<Plugin>> {
    let (collection, filter, order) = (&base.plugins, by_digest(digest), doc! {});
    let question = Question { collection, what: PLUGIN, filter, order, limit: 1 };
    question.first(digest.as_str(), from_document).await
}

pub(super) async fn plugin_by_name(
    base: &Base,
    name: &str,
    version: &str,
) -> Result<Option<Plugin>> {
    let filter = doc! { "info.name": name, "info.version": version };
    let (collection, order) = (&base.plugins, doc! { "added_at": -1, "_id": -1 });
    let question = Question { collection, what: PLUGIN, filter, order, limit: 1 };
    question.first(name, from_document).await
}

pub(super) async fn plugin_bytes(base: &Base, digest: &Digest) -> Result<Option<Bytes>> {
    for _ in 0..LOOKS {
        let Some(file) = file(base, digest).await? else { return Ok(None) };
        match files::read(base, file).await {
            Ok(Some(bytes)) => return whole_bytes(digest, bytes).map(Some),
            Ok(None) => {}
            Err(StoreError::Damaged(Damage { why, .. })) => {
                return Err(Damage::new(PLUGIN_BYTES, digest.to_string(), &why).into());
            }
            Err(error) => return Err(error),
        }
    }
    Err(no_bytes(digest).into())
}

pub(super) async fn plugins(
    base: &Base,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Found<Plugin>> {
    let filter = match after {
        Some(after) => doc! { "_id": { "$gt": after.as_str() } },
        None => doc! {},
    };
    let (collection, order) = (&base.plugins, doc! { "_id": 1 });
    let question = Question { collection, what: PLUGIN, filter, order, limit };
    question.found(&["_id"], from_document).await
}

/// Removes a plugin that nothing pins; with `unpinned_before`, only if its retention began before that. Returns whether it
/// was removed.
///
/// # Errors
/// [`StoreError::Pinned`] if something pins it.
pub(super) async fn remove_plugin(
    base: &Base,
    digest: &Digest,
    unpinned_before: Option<Timestamp>,
    at: &Moment,
) -> Result<bool> {
    let removed = transaction::make(base, &Remove { digest, unpinned_before, at }).await?;
    let Some(file) = removed else { return Ok(false) };
    // If this fails, no plugin names the file any more, so it is removed later.
    if let Some(file) = file
        && let Err(error) = files::remove(base, file).await
    {
        tracing::warn!(%digest, %error, "the bytes of a plugin stay for now");
    }
    Ok(true)
}

struct Remove<'a> {
    digest: &'a Digest,
    unpinned_before: Option<Timestamp>,
    at: &'a Moment,
}

#[async_trait]
impl Transaction for Remove<'_> {
    /// The file with the bytes, if the plugin was removed; none for a plugin that names none.
    type Output = Option<Option<ObjectId>>;

    const DOING: &'static str = "remove a plugin";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Option<Option<ObjectId>>, Failure> {
        let Self { digest, unpinned_before, at } = *self;
        // This write comes first, so that whoever is about to pin the plugin has to wait or to start again. Pinning and
        // renewing change the field that is asked for.
        let mut filter = by_digest(digest);
        if let Some(before) = unpinned_before {
            filter.insert(UNPINNED_AT, doc! { "$lt": date(before) });
        }
        let removed = base.plugins.find_one_and_delete(filter).projection(doc! { "file": 1 });
        let removed = removed.session(&mut *session).await?;
        refuse_pinned(base, digest, at, session).await?;
        Ok(removed.map(|removed| removed.get_object_id("file").ok()))
    }
}
