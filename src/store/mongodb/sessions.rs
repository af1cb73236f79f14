//! Sessions for transactions, and how transactions that were left open are ended.
//!
//! If the client of a transaction is gone, the server keeps the transaction, and every document that it wrote to,
//! for a minute. Whoever writes to one of these documents waits: for example the engine that wants to take over a
//! run, and with it all other runs that it would claim in the same write. A new transaction in the same session
//! ends the old one, and so does ending the session. So a store uses few sessions again and again, for
//! transactions and nothing else (`pool.rs`). It ends sessions that were left with a transaction. It also records
//! all its sessions in the database, so that others can end them when the whole store is gone. To end too many
//! costs no more than another try.
//!
//! Nothing waits for a session to end for longer than [`PATIENCE`], and nothing fails because of it: leases have
//! to be renewed meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::base::{Base, call, uuid};
use super::bodies::read_uuid;
use super::failure::{Said, failed, unavailable};
use super::pool::{Pool, Which};
use super::time::{ServerTime, date};
use crate::contract::Result;
use replibook_core::run::{Millis, Timestamp};

/// How many transactions may go on at once: twice the connections, so that no connection is idle.
const TRANSACTIONS: usize = 64;

/// How long the ending of sessions may hold up what comes after it, which is a part of the life of a lease. A
/// server ends sessions within milliseconds; one that does not is asked again later.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// How many sessions are ended at once: as many as drivers end with one command. There are more only if hundreds
/// of servers exist, or were started, within [`ALIVE`]; then those that were recorded last are ended.
const ENDED_AT_ONCE: usize = 10_000;

/// How often the sessions are recorded again although they are the same: well within [`KEPT`].
const REFRESH: Duration = Duration::from_secs(3_600);

/// How long ago a living store has recorded its sessions at most. The sessions of a store that is gone for longer
/// hold nothing up, since the server has ended their transactions by itself.
const ALIVE: Millis = Millis::from_secs(2 * REFRESH.as_secs());

/// How long the sessions of a store that is gone stay recorded, in seconds.
pub(super) const KEPT: u64 = 24 * 3_600;

/// The field with the time at which the sessions were last recorded.
pub(super) const SEEN: &str = "sessions_seen";

/// The sessions of one store.
pub(super) struct Sessions {
    /// Identifies this store among all those that share the database.
    pub(super) store: Uuid,
    places: Semaphore,
    pool: Mutex<Pool>,
    written: Mutex<Written>,
}

/// Which sessions are recorded in the database, and when that was last done.
#[derive(Default)]
struct Written {
    ids: Vec<Document>,
    at: Option<Instant>,
}

/// A session that is lent for one transaction. If it is dropped before it is given back, it counts as left.
pub(super) struct Lent<'a> {
    sessions: &'a Sessions,
    session: Option<ClientSession>,
    _place: SemaphorePermit<'a>,
}

impl Lent<'_> {
    pub(super) fn session(&mut self) -> Result<&mut ClientSession> {
        self.session.as_mut().ok_or_else(|| unavailable("found no session"))
    }

    /// Gives the session back: its transaction has ended, or may be ended by the next one.
    pub(super) fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            lock(&self.sessions.pool).give_back(session);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            lock(&self.sessions.pool).leave(session, Instant::now());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            store: Uuid::new_v4(),
            places: Semaphore::new(TRANSACTIONS),
            pool: Mutex::default(),
            written: Mutex::default(),
        }
    }

    fn by_store(&self) -> Document {
        doc! { "_id": { "sessions": uuid(self.store) } }
    }

    /// Lends a session that nobody else uses. Waits while too many transactions go on.
    pub(super) async fn lend(&self, base: &Base) -> Result<Lent<'_>> {
        let place = self.places.acquire().await.map_err(|_| unavailable("found no sessions"))?;
        // End what was left before: mostly the same work is about to be done again, and would have to wait for it.
        aside(self.end_left(base, Which::New)).await;
        let next = lock(&self.pool).next(Instant::now());
        let session = match next {
            Some(session) => session,
            // Nothing here relies on reading what another session wrote, and a bulk write allows no read concern.
            None => {
                let session = base.client.start_session().causal_consistency(false);
                call("start a session", session).await?
            }
        };
        let mut lent = Lent { sessions: self, session: Some(session), _place: place };
        match self.make_ready(base, lent.session()?).await {
            Ok(()) => Ok(lent),
            Err(error) => {
                lent.give_back();
                Err(error)
            }
        }
    }

    /// Makes sure that the session is recorded before it is used, and that it has no transaction.
    async fn make_ready(&self, base: &Base, session: &mut ClientSession) -> Result<()> {
        // The driver begins no transaction in a session in which it knows of another one, that is, one that was
        // left. Otherwise this does not ask the server for anything.
        let _ = session.abort_transaction().await;
        let ids = {
            let written = lock(&self.written);
            if written.ids.contains(session.id()) {
                return Ok(());
            }
            [&written.ids[..], &[session.id().clone()]].concat()
        };
        self.write(base, &ids).await?;
        lock(&self.written).ids.push(session.id().clone());
        Ok(())
    }

    async fn write(&self, base: &Base, ids: &[Document]) -> Result<()> {
        let ids: Vec<_> = ids.iter().filter_map(|id| id.get("id").cloned()).collect();
        let add = doc! {
            "$addToSet": { "sessions": { "$each": ids } },
            "$currentDate": { SEEN: true },
        };
        let update = base.meta.update_one(self.by_store(), add).upsert(true);
        call("write down the sessions", update).await?;
        lock(&self.written).at = Some(Instant::now());
        Ok(())
    }

    /// Ends what this store left, and sees to it that its sessions stay recorded.
    pub(super) async fn tidy(&self, base: &Base) {
        aside(async {
            let left = self.end_left(base, Which::Due);
            let (ended, refreshed) = tokio::join!(left, self.refresh(base));
            ended.and(refreshed)
        })
        .await;
    }

    async fn end_left(&self, base: &Base, which: Which) -> Result<()> {
        let ending = lock(&self.pool).begin_ending(which, Instant::now());
        end(base, &ending.ids).await?;
        lock(&self.pool).ended(&ending);
        Ok(())
    }

    async fn refresh(&self, base: &Base) -> Result<()> {
        let ids = {
            let written = lock(&self.written);
            let is_due = written.at.is_some_and(|at| at.elapsed() > REFRESH);
            is_due.then(|| written.ids.clone())
        };
        match ids {
            Some(ids) => self.write(base, &ids).await,
            None => Ok(()),
        }
    }

    /// Ends all sessions of this store, including those of transactions that are going on. If somebody still waits
    /// for such a transaction, it is repeated.
    pub(super) async fn end_own(&self, base: &Base) {
        let ids = lock(&self.written).ids.clone();
        aside(async { end(base, &ids).await.map(drop) }).await;
    }

    /// Ends the sessions of these stores, except for our own.
    pub(super) async fn end_of(&self, base: &Base, stores: &[Bson]) {
        let stores = stores.iter().filter(|store| read_uuid(store) != Some(self.store));
        let ids: Vec<_> = stores.map(|store| doc! { "sessions": store.clone() }).collect();
        if !ids.is_empty() {
            aside(end_found(base, doc! { "_id": { "$in": ids } })).await;
        }
    }

    /// Ends the sessions of all other stores that may be alive.
    pub(super) async fn end_of_all_others(&self, base: &Base, time: &ServerTime) {
        let since = time.there().as_millis().saturating_sub_unsigned(ALIVE.0);
        let own = doc! { "sessions": uuid(self.store) };
        let others = doc! {
            SEEN: { "$gt": date(Timestamp::from_millis(since)) },
            "_id": { "$ne": own },
        };
        aside(end_found(base, others)).await;
    }
}

/// Does work that could also be done later, for as long as everything else can wait. A failure is only logged.
async fn aside(work: impl Future<Output = Result<()>>) {
    let error = match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => unavailable(format!("no answer within {} ms", PATIENCE.as_millis())),
    };
    let error: &(dyn std::error::Error + 'static) = &error;
    tracing::warn!(error, "failed to look after the sessions of transactions");
}

/// Ends the sessions in these documents, beginning with those that were recorded last.
async fn end_found(base: &Base, filter: Document) -> Result<()> {
    let limit = i64::try_from(ENDED_AT_ONCE).unwrap_or(i64::MAX);
    let ids = call("read the sessions of others", async {
        let mut ids = Vec::new();
        let mut found = base.meta.find(filter).sort(doc! { SEEN: -1 }).limit(limit).await?;
        while let Some(store) = found.try_next().await? {
            let sessions = store.get_array("sessions").into_iter().flatten();
            ids.extend(sessions.map(|id| doc! { "id": id.clone() }));
            if ids.len() >= ENDED_AT_ONCE {
                break;
            }
        }
        Ok(ids)
    })
    .await?;
    end(base, &ids).await.map(drop)
}

/// Ends these sessions, and with them their open transactions. The sessions must belong to our own user: the
/// server does not find those of another user, and does not say so. It ends their transactions by itself after a
/// minute, as it does if it refuses to end sessions at all. Returns false if it refuses.
pub(super) async fn end(base: &Base, sessions: &[Document]) -> Result<bool> {
    // The server would take an empty list to mean all sessions.
    if sessions.is_empty() {
        return Ok(true);
    }
    let command = doc! { "killSessions": &sessions[..sessions.len().min(ENDED_AT_ONCE)] };
    match base.client.database("admin").run_command(command).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(&*error.kind, ErrorKind::Command(_)) => {
            tracing::warn!(error = %Said::by(&error), "the server refuses to end sessions");
            Ok(false)
        }
        Err(error) => Err(failed("end sessions", error)),
    }
}
