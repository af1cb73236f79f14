//! Sessions for transactions, and the end of transactions that were left open.
//!
//! A server keeps a transaction whose client is gone, with every document that it wrote, for a minute,
//! and whoever writes to one of them waits: the engine that wants to take a run over, and with it all
//! other runs that it would claim in the same write. A new transaction of the same session ends the old
//! one, and so does ending the session. So a store uses few sessions, again and again, for transactions
//! and for nothing else (`pool.rs`); those that are left with a transaction are ended by itself; and all
//! of them are written down, so that others can end them when the whole store is gone. Ending too many
//! costs no more than another try.
//!
//! Nothing waits for the end of a session for longer than [`PATIENCE`], and nothing fails because of it:
//! leases have to be renewed meanwhile.

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

/// Transactions at once: twice the connections, so that none of those is idle.
const TRANSACTIONS: usize = 64;

/// How long ending sessions may hold up what comes after it, which is a part of the life of a lease. A
/// server does it within milliseconds; one that does not is asked again.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// Sessions that are ended at once: as many as drivers end with one command. There are more only when
/// hundreds of servers are there, or were started, within [`ALIVE`]; then those that were written down
/// last are ended.
const ENDED_AT_ONCE: usize = 10_000;

/// How often the sessions are written down though they are the same: well within [`KEPT`].
const REFRESH: Duration = Duration::from_secs(3_600);

/// How long ago the sessions of a store that is there are written down at most. Those of one that is
/// gone hold nothing up: the server has ended by itself what they had open.
const ALIVE: Millis = Millis::from_secs(2 * REFRESH.as_secs());

/// How long the sessions of a store that is gone stay written down, in seconds.
pub(super) const KEPT: u64 = 24 * 3_600;

/// The field with the time at which they were.
pub(super) const SEEN: &str = "sessions_seen";

/// The sessions of one store.
pub(super) struct Sessions {
    /// Names this store among all that share the database.
    pub(super) store: Uuid,
    places: Semaphore,
    pool: Mutex<Pool>,
    written: Mutex<Written>,
}

/// The sessions that are written down, and when they were.
#[derive(Default)]
struct Written {
    ids: Vec<Document>,
    at: Option<Instant>,
}

/// A session for one transaction at a time. Dropped before it is given back, it counts as left.
pub(super) struct Lent<'a> {
    sessions: &'a Sessions,
    session: Option<ClientSession>,
    _place: SemaphorePermit<'a>,
}

impl Lent<'_> {
    pub(super) fn session(&mut self) -> Result<&mut ClientSession> {
        self.session.as_mut().ok_or_else(|| unavailable("found no session"))
    }

    /// Gives it back: its transaction has ended, or its next one may end it.
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

    /// A session that nobody else uses; waits while there are too many transactions.
    pub(super) async fn lend(&self, base: &Base) -> Result<Lent<'_>> {
        let place = self.places.acquire().await.map_err(|_| unavailable("found no sessions"))?;
        // Mostly it is the same work that was left which is done again now.
        aside(self.end_left(base, Which::New)).await;
        let next = lock(&self.pool).next(Instant::now());
        let session = match next {
            Some(session) => session,
            // Nothing here reads on from what another session wrote, and a bulk write takes no read
            // concern.
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

    /// A session is written down before it is used, and has no transaction.
    async fn make_ready(&self, base: &Base, session: &mut ClientSession) -> Result<()> {
        // The driver begins none where it knows of one that goes on: one that was left. It asks the
        // server for nothing otherwise.
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

    /// Ends what this store left, and sees to it that its sessions stay written down.
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

    /// Ends all sessions of this store, also those of transactions that go on. Those are made again, if
    /// somebody still waits for them.
    pub(super) async fn end_own(&self, base: &Base) {
        let ids = lock(&self.written).ids.clone();
        aside(async { end(base, &ids).await.map(drop) }).await;
    }

    /// Ends the sessions of these stores, but for our own.
    pub(super) async fn end_of(&self, base: &Base, stores: &[Bson]) {
        let stores = stores.iter().filter(|store| read_uuid(store) != Some(self.store));
        let ids: Vec<_> = stores.map(|store| doc! { "sessions": store.clone() }).collect();
        if !ids.is_empty() {
            aside(end_found(base, doc! { "_id": { "$in": ids } })).await;
        }
    }

    /// Ends the sessions of all other stores that may be there.
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

/// Does what can be done later as well, for as long as the rest can wait; what goes wrong is only said.
async fn aside(work: impl Future<Output = Result<()>>) {
    let error = match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => unavailable(format!("no answer within {} ms", PATIENCE.as_millis())),
    };
    let error: &(dyn std::error::Error + 'static) = &error;
    tracing::warn!(error, "failed to look after the sessions of transactions");
}

/// Ends the sessions that these documents have, those first that were written down last.
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

/// Ends these sessions, and with them what they have open. They are those of the user that we are: the
/// server does not find those of another user, and does not say so. It ends what they have open by itself
/// after a minute, as it does where it refuses to end sessions at all. Whether it does not refuse.
pub(super) async fn end(base: &Base, sessions: &[Document]) -> Result<bool> {
    // No sessions at all would be understood as all there are.
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
