//! Asks at the start whether the server can do what the store needs. Servers that only speak the protocol can't do
//! all of it, and an error about that in the middle of a run would help nobody.

use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::UpdateOneModel;
use uuid::Uuid;

use super::base::{Base, LIMIT, call, uuid, within};
use super::failure::{Said, failed, is_lacking, unfit, unfit_because};
use super::sessions::end;
use crate::contract::Result;
use crate::error::StoreError;

/// What a server may lack without making the store useless.
const NO_SESSIONS_ENDED: &str = "it does not end sessions (killSessions): a run whose server was killed in the \
     middle of a commit may wait for a minute";
const NO_BULK_WRITE: &str =
    "it does not write to several collections at once (bulkWrite): a commit takes more round trips";
const NOTHING_REMOVED: &str = "it removes nothing that has expired: ttlMonitorEnabled is off";

/// Checks that the server can do what the store needs. Returns what it lacks that the store can do without.
///
/// # Errors
/// [`StoreError::Unfit`], which says what is missing.
pub(super) async fn probe(base: &mut Base) -> Result<Vec<&'static str>> {
    let id = doc! { "probe": uuid(base.sessions.store) };
    transactions(base, &id).await?;
    let asked = server_time(base, &id).await;
    // The probe may exist in spite of an error.
    let _ = within(LIMIT, "remove a probe", base.meta.delete_one(doc! { "_id": &id })).await;
    asked?;
    let mut lacks = Vec::new();
    if base.bulk_write && !writes_in_bulk(base).await? {
        base.bulk_write = false;
        lacks.push(NO_BULK_WRITE);
    }
    if !end(base, &[doc! { "id": uuid(Uuid::new_v4()) }]).await? {
        lacks.push(NO_SESSIONS_ENDED);
    }
    if !removes(base).await {
        lacks.push(NOTHING_REMOVED);
    }
    Ok(lacks)
}

/// The server's answer to a question. If the server can't do `missing` at all, the error says so.
async fn asked<T>(
    doing: &str,
    missing: &str,
    question: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T> {
    within(LIMIT, doing, question).await?.map_err(|error| match is_lacking(&error) {
        true => unfit_because(lacking(missing), Said::by(&error)),
        false => failed(doing, error),
    })
}

/// The message about a server that lacks something.
pub(super) fn lacking(what: &str) -> String {
    format!(
        "found a server without {what}; expected MongoDB 5.0 or newer. Servers that only speak its protocol \
         may not have it"
    )
}

/// Checks that the server has transactions, because a commit is one.
async fn transactions(base: &Base, id: &Document) -> Result<()> {
    const MISSING: &str = "transactions (startTransaction)";
    let mut session = call("start a session", base.client.start_session()).await?;
    asked("begin a transaction", MISSING, session.start_transaction()).await?;
    let made = base.meta.insert_one(doc! { "_id": id }).session(&mut session);
    let made = asked("write in a transaction", MISSING, made).await;
    // If the server does not hear of this, the transaction ends with the session.
    let _ = session.abort_transaction().await;
    made?;
    // A server that ignores transactions has kept the document.
    let kept = call("look for a probe", base.meta.find_one(doc! { "_id": id })).await?;
    match kept {
        None => Ok(()),
        Some(_) => Err(unfit(lacking(MISSING))),
    }
}

/// Checks that the server's own clock can be used in updates, because leases are decided by it.
async fn server_time(base: &Base, id: &Document) -> Result<()> {
    const MISSING: &str = "its own clock in updates ($$NOW, $dateAdd)";
    let hour = doc! { "startDate": "$$NOW", "unit": "hour", "amount": 1_i64 };
    let long_ago = Bson::DateTime(DateTime::from_millis(0));
    let is_past = doc! { "$lte": [long_ago, "$$NOW"] };
    let set = doc! {
        "until": { "$dateAdd": hour },
        "is_past": { "$cond": [is_past, true, false] },
    };
    let update = base.meta.update_one(doc! { "_id": id }, vec![doc! { "$set": set }]).upsert(true);
    asked("ask the server for its time in an update", MISSING, update).await?;
    let found = call("look for a probe", base.meta.find_one(doc! { "_id": id })).await?;
    let knows = found.is_some_and(|found| {
        found.get_datetime("until").is_ok() && found.get_bool("is_past").unwrap_or_default()
    });
    if knows { Ok(()) } else { Err(unfit(lacking(MISSING))) }
}

/// Whether one command may write to several collections.
async fn writes_in_bulk(base: &Base) -> Result<bool> {
    let nothing = doc! { "_id": { "probe": uuid(Uuid::new_v4()) } };
    let model = UpdateOneModel::builder().namespace(base.meta.namespace()).filter(nothing);
    let model = model.update(doc! { "$set": { "probe": true } }).build();
    const DOING: &str = "write in bulk";
    match within(LIMIT, DOING, base.client.bulk_write([model])).await? {
        Ok(_) => Ok(true),
        Err(error) if is_lacking(&error) => Ok(false),
        Err(error) => Err(failed(DOING, error)),
    }
}

/// Whether the server removes expired documents, as far as it tells. Some providers' servers do although they
/// don't tell.
async fn removes(base: &Base) -> bool {
    let question = doc! { "getParameter": 1, "ttlMonitorEnabled": 1 };
    let admin = base.client.database("admin");
    let asked = admin.run_command(question);
    match within(LIMIT, "ask whether what has expired is removed", asked).await {
        Ok(Ok(answer)) => answer.get_bool("ttlMonitorEnabled").unwrap_or(true),
        Ok(Err(_)) | Err(_) => true,
    }
}

/// Logs what the server lacks.
pub(super) fn say(lacks: &[&'static str]) {
    for lack in lacks {
        tracing::warn!("the MongoDB server lacks something: {lack}");
    }
}

/// The error about an index that the server can't create because it has no indexes of that kind.
pub(super) fn without_index(name: &str, error: &mongodb::error::Error) -> StoreError {
    let missing = format!("indexes like {name:?} (TTL, unique and partial ones are needed)");
    unfit_because(lacking(&missing), Said::by(error))
}
