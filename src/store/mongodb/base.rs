//! The database with its collections, and calls to it with a time limit.

use std::time::Duration;

use mongodb::bson::{Binary, Bson, Document};
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Client, Collection, Database};
use uuid::Uuid;

use super::failure::{failed, unavailable};
use super::held_up::HeldUp;
use super::sessions::Sessions;
use super::time::date;
use crate::contract::Result;
use replibook_core::run::Timestamp;

/// How long a call may take. Shorter than a lease, so that an engine whose store is slow still notices in time
/// that it may have lost its runs.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// How long the server waits until a majority has a write. After that it is open whether the write stays.
pub(super) const MAJORITY_LIMIT: Duration = Duration::from_secs(5);

/// The database, its collections, and what calls to it share.
pub(super) struct Base {
    pub(super) client: Client,
    pub(super) database: Database,
    /// Whether one command may write to several collections, as of MongoDB 8.0.
    pub(super) bulk_write: bool,
    pub(super) sessions: Sessions,
    pub(super) held_up: HeldUp,
    pub(super) meta: Collection<Document>,
    pub(super) playbooks: Collection<Document>,
    pub(super) clusters: Collection<Document>,
    pub(super) plugins: Collection<Document>,
    pub(super) runs: Collection<Document>,
    pub(super) agent_records: Collection<Document>,
    pub(super) journals: Collection<Document>,
    pub(super) logs: Collection<Document>,
    pub(super) events: Collection<Document>,
    pub(super) commands: Collection<Document>,
    pub(super) locks: Collection<Document>,
    pub(super) troubles: Collection<Document>,
    pub(super) engines: Collection<Document>,
}

impl Base {
    pub(super) fn new(client: Client, database: Database, bulk_write: bool) -> Self {
        let collection = |name| database.collection(name);
        Self {
            meta: collection("meta"),
            playbooks: collection("playbooks"),
            clusters: collection("clusters"),
            plugins: collection("plugins"),
            runs: collection("runs"),
            agent_records: collection("agent_records"),
            journals: collection("journals"),
            logs: collection("logs"),
            events: collection("events"),
            commands: collection("commands"),
            locks: collection("locks"),
            troubles: collection("troubles"),
            engines: collection("engines"),
            client,
            database,
            bulk_write,
            sessions: Sessions::new(),
            held_up: HeldUp::default(),
        }
    }

    /// The collections of documents that belong to runs and get their `finish_ts`.
    pub(super) fn of_runs(&self) -> [&Collection<Document>; 5] {
        [&self.agent_records, &self.journals, &self.logs, &self.events, &self.commands]
    }
}

/// Makes a call, for at most [`LIMIT`].
pub(super) async fn call<T>(
    doing: &str,
    call: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T> {
    within(LIMIT, doing, call).await?.map_err(|error| failed(doing, error))
}

/// Makes a call, for at most `limit`, and returns the server's answer, even a refusal.
pub(super) async fn within<T>(
    limit: Duration,
    doing: &str,
    call: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<mongodb::error::Result<T>> {
    let answer = tokio::time::timeout(limit, call.into_future()).await;
    answer.map_err(|_| {
        let seconds = limit.as_secs();
        unavailable(format!("failed to {doing}: the server did not answer within {seconds} s"))
    })
}

/// A write is on the disks of most members before it counts, so that no election can undo it.
pub(super) fn majority() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(MAJORITY_LIMIT)
        .build()
}

/// An identifier in its stored form.
pub(super) fn uuid(id: Uuid) -> Bson {
    Bson::Binary(Binary {
        subtype: mongodb::bson::spec::BinarySubtype::Uuid,
        bytes: id.into_bytes().to_vec(),
    })
}

/// A number in its stored form: as 32 bits if it fits, otherwise as 64 bits. The server's integers have a sign;
/// larger numbers become the largest one.
pub(super) fn integer(number: u64) -> Bson {
    match i32::try_from(number) {
        Ok(number) => Bson::Int32(number),
        Err(_) => Bson::Int64(i64::try_from(number).unwrap_or(i64::MAX)),
    }
}

/// A stored number, or one that the server has counted.
pub(super) fn whole(value: &Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

/// Matches the `finish_ts` of documents that have not expired.
pub(super) fn live(cutoff: Timestamp) -> Bson {
    Bson::Document(mongodb::bson::doc! { "$not": { "$lt": date(cutoff) } })
}
