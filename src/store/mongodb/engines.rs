//! The engines: one document for each, by its identifier.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::base::{Base, call};
use super::bodies;
use super::codec::{CodecError, from_document};
use super::rows::Question;
use super::time::{ServerTime, date};
use crate::contract::{MAX_PAGE, Result};
use crate::damage::Damage;
use crate::engines::{Draining, Engine, EngineReport};
use crate::options::Moment;
use replibook_core::run::EngineId;

const ENGINE: &str = "an engine";

pub(super) async fn put_engine(
    base: &Base,
    time: &ServerTime,
    report: &EngineReport,
    at: &Moment,
) -> Result<Engine> {
    const DOING: &str = "keep what an engine says";
    let body = bodies::body(ENGINE, report)?;
    let said = doc! { "$set": { "report": { "$literal": body }, "seen": time.now() } };
    let id = doc! { "_id": &report.id.0 };
    let put = base.engines.update_one(id, vec![said]).upsert(true);
    if call(DOING, put).await?.upserted_id.is_some() {
        let gone = doc! { "seen": { "$lt": date(at.engines_since) } };
        call(DOING, base.engines.delete_many(gone)).await?;
    }
    let new = Engine { report: report.clone(), seen: at.now, draining: None };
    Ok(question(base, doc! { "_id": &report.id.0 }).first(&report.id.0, read).await?.unwrap_or(new))
}

pub(super) async fn engines(base: &Base, at: &Moment) -> Result<Vec<Engine>> {
    let seen = doc! { "seen": { "$gte": date(at.engines_since) } };
    Ok(question(base, seen).found(&["_id"], read).await?.into_iter().flatten().collect())
}

pub(super) async fn drain_engine(
    base: &Base,
    id: &EngineId,
    drain: bool,
    actor: Option<&str>,
    reason: Option<&str>,
    at: &Moment,
) -> Result<Option<Engine>> {
    let draining = Draining::new(at.now, actor, reason);
    let draining = match drain {
        true => Bson::Document(bodies::body(ENGINE, &draining)?),
        false => Bson::Null,
    };
    let known = doc! { "_id": &id.0, "seen": { "$gte": date(at.engines_since) } };
    let mut other = known.clone();
    other.insert(
        "draining",
        if drain {
            doc! { "$eq": null }
        } else {
            doc! { "$ne": null }
        },
    );
    let change = doc! { "$set": { "draining": draining } };
    let changed = base.engines.find_one_and_update(other, change);
    let changed = changed.return_document(ReturnDocument::After);
    if let Some(changed) = call("drain an engine", changed).await? {
        let read = read(changed).map_err(|why| Damage::new(ENGINE, id.0.clone(), &why))?;
        return Ok(Some(read));
    }
    question(base, known).first(&id.0, read).await
}

pub(super) async fn remove_engine(base: &Base, id: &EngineId) -> Result<()> {
    let removed = base.engines.delete_one(doc! { "_id": &id.0 });
    call("forget an engine", removed).await.map(drop)
}

fn question(base: &Base, filter: Document) -> Question<'_> {
    let (collection, order) = (&base.engines, doc! { "_id": 1 });
    Question { collection, what: ENGINE, filter, order, limit: MAX_PAGE }
}

/// An engine from its stored form.
pub(super) fn read(mut document: Document) -> std::result::Result<Engine, CodecError> {
    document.remove("_id");
    if !document.contains_key("draining") {
        document.insert("draining", Bson::Null);
    }
    from_document(document)
}
