//! Playbooks and clusters: what people apply.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use semver::Version;

use super::base::{Base, call};
use super::bodies;
use super::codec::from_document;
use super::locks::lock_with_guards;
use super::pins::touch;
use super::rows::{Question, decode};
use super::transaction::{self, Failure, Transaction};
use crate::contract::Result;
use crate::damage::Found;
use crate::documents::{Cluster, Object, Page, Put, StoredPlaybook, gets_guards};
use crate::error::StoreError;
use crate::keys::version_key;
use replibook_core::run::{RunId, RunStatus};

const PLAYBOOK: &str = "a playbook";
const CLUSTER: &str = "a cluster";

/// An object to be kept, with its document.
enum New<'a> {
    Playbook(&'a StoredPlaybook, Document),
    Cluster(&'a Cluster, Document),
}

impl<'a> New<'a> {
    fn playbook(new: &'a StoredPlaybook) -> Result<Self> {
        Ok(Self::Playbook(new, bodies::playbook(new)?))
    }

    fn cluster(new: &'a Cluster) -> Result<Self> {
        let mut document = doc! { "_id": &new.spec.name };
        document.extend(bodies::body(CLUSTER, new)?);
        Ok(Self::Cluster(new, document))
    }
}

struct PutAll<'a>(Vec<New<'a>>);

pub(super) async fn put_playbook(base: &Base, new: &StoredPlaybook) -> Result<Put> {
    put_one(base, New::playbook(new)?).await
}

pub(super) async fn put_cluster(base: &Base, new: &Cluster) -> Result<Put> {
    put_one(base, New::cluster(new)?).await
}

async fn put_one(base: &Base, new: New<'_>) -> Result<Put> {
    let put = transaction::make(base, &PutAll(vec![new])).await?;
    Ok(put.first().copied().unwrap_or(Put::Unchanged))
}

pub(super) async fn put_all(base: &Base, objects: &[Object]) -> Result<Vec<Put>> {
    let new = objects.iter().map(|object| match object {
        Object::Playbook(playbook) => New::playbook(playbook),
        Object::Cluster(cluster) => New::cluster(cluster),
    });
    transaction::make(base, &PutAll(new.collect::<Result<_>>()?)).await
}

#[async_trait]
impl Transaction for PutAll<'_> {
    type Output = Vec<Put>;

    const DOING: &'static str = "keep what is applied";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Vec<Put>, Failure> {
        let mut put = Vec::with_capacity(self.0.len());
        for new in &self.0 {
            put.push(match new {
                New::Playbook(new, document) => keep_playbook(base, new, document, session).await?,
                New::Cluster(new, document) => keep_cluster(base, new, document, session).await?,
            });
        }
        Ok(put)
    }
}

async fn keep_playbook(
    base: &Base,
    new: &StoredPlaybook,
    document: &Document,
    session: &mut ClientSession,
) -> std::result::Result<Put, Failure> {
    let (name, version) = (&new.playbook.name, &new.playbook.version);
    let playbooks = base.playbooks.clone_with_type::<RawDocumentBuf>();
    let known = playbooks.find_one(by_version(name, version)).session(&mut *session).await?;
    let is_known = known.is_some();
    if let Some(known) = known {
        if !known.get_str("content").is_ok_and(|known| known == new.content.as_str()) {
            let what = format!("playbook {name} version {version}");
            return Err(StoreError::Conflict { what }.into());
        }
        if decode(&known, from_document::<StoredPlaybook>).is_ok() {
            return Ok(Put::Unchanged);
        }
    }
    let pins = new.playbook.plugins.values().map(|pin| &pin.digest).collect();
    touch(base, &pins, session).await?;
    if is_known {
        // A playbook that can't be read is mended by applying it anew.
        let replace = base.playbooks.replace_one(by_version(name, version), document);
        replace.session(session).await?;
        return Ok(Put::Updated);
    }
    base.playbooks.insert_one(document).session(session).await?;
    Ok(Put::Created)
}

async fn keep_cluster(
    base: &Base,
    new: &Cluster,
    document: &Document,
    session: &mut ClientSession,
) -> std::result::Result<Put, Failure> {
    let by_name = doc! { "_id": &new.spec.name };
    let clusters = base.clusters.clone_with_type::<RawDocumentBuf>();
    let known = clusters.find_one(by_name.clone()).session(&mut *session).await?;
    let (put, known) = match known.map(|raw| decode(&raw, from_document::<Cluster>)) {
        Some(Ok(known)) if known.text == new.text && known.spec == new.spec => {
            return Ok(Put::Unchanged);
        }
        Some(Ok(known)) => (Put::Updated, Some(known)),
        // A cluster that can't be read is mended by applying it anew.
        Some(Err(_)) => (Put::Updated, None),
        None => (Put::Created, None),
    };
    if gets_guards(known.as_ref(), new) {
        lock_with_guards(base, &new.spec.name, session).await?;
    }
    let replace = base.clusters.replace_one(by_name, document).upsert(true);
    replace.session(session).await?;
    Ok(put)
}

fn by_version(name: &str, version: &Version) -> Document {
    doc! { "name": name, "version_key": version_key(version) }
}

pub(super) async fn playbook(
    base: &Base,
    name: &str,
    version: Option<&Version>,
) -> Result<Option<StoredPlaybook>> {
    let filter = match version {
        Some(version) => by_version(name, version),
        None => doc! { "name": name },
    };
    let (collection, order) = (&base.playbooks, doc! { "version_key": -1 });
    let question = Question { collection, what: PLAYBOOK, filter, order, limit: 1 };
    question.first(name, from_document).await
}

pub(super) async fn playbooks(
    base: &Base,
    after: Option<(&str, Version)>,
    limit: u32,
) -> Result<Found<StoredPlaybook>> {
    let filter = match after {
        Some((name, version)) => doc! {
            "name": { "$gte": name },
            "$or": [
                { "name": { "$gt": name } },
                { "version_key": { "$gt": version_key(&version) } },
            ],
        },
        None => doc! {},
    };
    let (collection, order) = (&base.playbooks, doc! { "name": 1, "version_key": 1 });
    let question = Question { collection, what: PLAYBOOK, filter, order, limit };
    question.found(&["_id"], from_document).await
}

pub(super) async fn delete_playbook(base: &Base, name: &str, version: &Version) -> Result<bool> {
    let delete = base.playbooks.delete_one(by_version(name, version));
    Ok(call("remove a playbook", delete).await?.deleted_count > 0)
}

pub(super) async fn cluster(base: &Base, name: &str) -> Result<Option<Cluster>> {
    let (collection, filter, order) = (&base.clusters, doc! { "_id": name }, doc! {});
    let question = Question { collection, what: CLUSTER, filter, order, limit: 1 };
    question.first(name, from_document).await
}

pub(super) async fn clusters(base: &Base, page: &Page) -> Result<Found<Cluster>> {
    let filter = match &page.after {
        Some(after) => doc! { "_id": { "$gt": after } },
        None => doc! {},
    };
    let (collection, order, limit) = (&base.clusters, doc! { "_id": 1 }, page.limit);
    let question = Question { collection, what: CLUSTER, filter, order, limit };
    question.found(&["_id"], from_document).await
}

struct DeleteCluster<'a>(&'a str);

pub(super) async fn delete_cluster(base: &Base, name: &str) -> Result<bool> {
    transaction::make(base, &DeleteCluster(name)).await
}

#[async_trait]
impl Transaction for DeleteCluster<'_> {
    type Output = bool;

    const DOING: &'static str = "remove a cluster";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<bool, Failure> {
        let name = self.0;
        // This write comes first, so that a transaction that is about to create a run on the cluster has to wait
        // or to start again.
        let removed = base.clusters.delete_one(doc! { "_id": name }).session(&mut *session).await?;
        if removed.deleted_count == 0 {
            return Ok(false);
        }
        let statuses = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
        let statuses: Vec<_> = statuses.map(RunStatus::as_str).collect();
        let unfinished =
            doc! { "cluster": name, "status": { "$in": statuses }, "finish_ts": Bson::Null };
        let run = base.runs.find_one(unfinished).sort(doc! { "_id": 1 });
        let run = run.projection(doc! { "_id": 1 }).session(&mut *session).await?;
        match run.and_then(|run| run.get("_id").and_then(bodies::read_uuid)) {
            Some(run) => {
                let (cluster, run) = (name.to_owned(), RunId(run));
                Err(StoreError::ClusterInUse { cluster, run }.into())
            }
            None => {
                // All its runs have ended, so nobody holds the lock.
                base.locks.delete_one(doc! { "_id": name }).session(session).await?;
                Ok(true)
            }
        }
    }
}

/// Writes to the cluster of a run that is being created. If the cluster is removed at the same time, one of the
/// two transactions has to start again, and then sees what the other did.
///
/// # Errors
/// [`StoreError::MissingCluster`] if the cluster is not in the store.
pub(super) async fn touch_cluster(
    base: &Base,
    name: &str,
    session: &mut ClientSession,
) -> std::result::Result<(), Failure> {
    let touched =
        base.clusters.update_one(doc! { "_id": name }, doc! { "$inc": { "runs": 1_i64 } });
    match touched.session(session).await?.matched_count {
        0 => Err(StoreError::MissingCluster { cluster: name.to_owned() }.into()),
        _ => Ok(()),
    }
}
