//! Playbooks and clusters.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use semver::Version;

use super::base::{Base, call};
use super::bodies;
use super::pins::touch;
use super::rows::Question;
use super::transaction::{self, Failure, Transaction};
use crate::store::contract::Result;
use crate::store::documents::{Cluster, Page, Put, StoredPlaybook};
use crate::store::error::StoreError;
use crate::store::keys::version_key;

const PLAYBOOK: &str = "a playbook";
const CLUSTER: &str = "a cluster";

struct PutPlaybook<'a> {
    new: &'a StoredPlaybook,
    document: Document,
}

pub(super) async fn put_playbook(base: &Base, new: &StoredPlaybook) -> Result<Put> {
    let document = bodies::playbook(new)?;
    transaction::make(base, &PutPlaybook { new, document }).await
}

#[async_trait]
impl Transaction for PutPlaybook<'_> {
    type Output = Put;

    const DOING: &'static str = "keep a playbook";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Put, Failure> {
        let Self { new, document } = self;
        let (name, version) = (&new.playbook.name, &new.playbook.version);
        let known = base.playbooks.find_one(by_version(name, version));
        let known = known.projection(doc! { "content": 1 }).session(&mut *session).await?;
        if let Some(known) = known {
            return if known.get_str("content").is_ok_and(|known| known == new.content.as_str()) {
                Ok(Put::Unchanged)
            } else {
                let what = format!("playbook {name} version {version}");
                Err(StoreError::Conflict { what }.into())
            };
        }
        let pins = new.playbook.plugins.values().map(|pin| &pin.digest).collect();
        touch(base, &pins, session).await?;
        base.playbooks.insert_one(document).session(session).await?;
        Ok(Put::Created)
    }
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
    Question { collection, what: PLAYBOOK, filter, order, limit: 1 }.first().await
}

pub(super) async fn playbooks(
    base: &Base,
    after: Option<(&str, Version)>,
    limit: u32,
) -> Result<Vec<StoredPlaybook>> {
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
    Question { collection, what: PLAYBOOK, filter, order, limit }.all().await
}

pub(super) async fn delete_playbook(base: &Base, name: &str, version: &Version) -> Result<bool> {
    let delete = base.playbooks.delete_one(by_version(name, version));
    Ok(call("remove a playbook", delete).await?.deleted_count > 0)
}

pub(super) async fn put_cluster(base: &Base, new: &Cluster) -> Result<Put> {
    let name = &new.spec.name;
    let put = match cluster(base, name).await? {
        Some(known) if known.text == new.text && known.spec == new.spec => {
            return Ok(Put::Unchanged);
        }
        Some(_) => Put::Updated,
        None => Put::Created,
    };
    let mut document = doc! { "_id": name };
    document.extend(bodies::body(CLUSTER, new)?);
    let replace = base.clusters.replace_one(doc! { "_id": name }, document).upsert(true);
    call("keep a cluster", replace).await?;
    Ok(put)
}

pub(super) async fn cluster(base: &Base, name: &str) -> Result<Option<Cluster>> {
    let (collection, filter, order) = (&base.clusters, doc! { "_id": name }, doc! {});
    Question { collection, what: CLUSTER, filter, order, limit: 1 }.first().await
}

pub(super) async fn clusters(base: &Base, page: &Page) -> Result<Vec<Cluster>> {
    let filter = match &page.after {
        Some(after) => doc! { "_id": { "$gt": after } },
        None => doc! {},
    };
    let (collection, order, limit) = (&base.clusters, doc! { "_id": 1 }, page.limit);
    Question { collection, what: CLUSTER, filter, order, limit }.all().await
}

pub(super) async fn delete_cluster(base: &Base, name: &str) -> Result<bool> {
    let delete = base.clusters.delete_one(doc! { "_id": name });
    Ok(call("remove a cluster", delete).await?.deleted_count > 0)
}
