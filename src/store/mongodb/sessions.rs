//! Sessions for transactions, and the end of transactions that were left open.
//!
//! A server keeps a transaction whose client is gone, with every document that it wrote, for a minute,
//! and whoever writes to one of them waits: the engine that wants to take a run over, and with it all
//! other runs that it would claim in the same write. A new transaction of the same session ends the old
//! one, and so does ending the session. So a store uses few sessions, again and again; those that are
//! left with a transaction are ended by itself; and all of them are written down, so that others can end
//! them when the whole store is gone. Ending too many costs no more than another try.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::base::{Base, LIMIT, call, uuid, within};
use super::bodies::read_uuid;
use super::failure::{Said, failed, unavailable};
use crate::store::contract::Result;

/// Transactions at once, and sessions: twice the connections, so that none of those is idle.
const SESSIONS: usize = 64;

/// How long a session that was left is ended again and again: what it sent may arrive later than that
/// it is ended.
const ENDING: Duration = Duration::from_secs(20);

/// How often the sessions are written down though they are the same: well within [`KEPT`].
const REFRESH: Duration = Duration::from_secs(3_600);

/// How long the sessions of a store that is gone stay written down, in seconds.
pub(super) const KEPT: u64 = 24 * 3_600;

/// The field with the time at which they were.
pub(super) const SEEN: &str = "sessions_seen";

/// The sessions of one store.
pub(super) struct Sessions {
    /// Names this store among all that share the database.
    pub(super) store: Uuid,
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last is used next.
    free: Vec<ClientSession>,
    /// Those that may have a transaction which nobody ends.
    left: Vec<Left>,
    /// Those that are written down, and when they were.
    known: Vec<Document>,
    written: Option<Instant>,
}

#[derive(Clone)]
struct Left {
    id: Document,
    since: Instant,
    /// Whether it was ended at least once.
    ended: bool,
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
            self.sessions.state().free.push(session);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let left = Left { id: session.id().clone(), since: Instant::now(), ended: false };
            self.sessions.state().left.push(left);
        }
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        let (places, state) = (Semaphore::new(SESSIONS), Mutex::default());
        Self { store: Uuid::new_v4(), places, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_store(&self) -> Document {
        doc! { "_id": { "sessions": uuid(self.store) } }
    }

    /// A session that nobody else uses; waits while there are too many.
    pub(super) async fn lend(&self, base: &Base) -> Result<Lent<'_>> {
        let place = self.places.acquire().await.map_err(|_| unavailable("found no sessions"))?;
        let left = self.left(|left| !left.ended);
        self.end_left(base, left).await?;
        let free = self.state().free.pop();
        let session = match free {
            Some(session) => session,
            None => self.start(base).await?,
        };
        Ok(Lent { sessions: self, session: Some(session), _place: place })
    }

    /// A session that is written down before it is used.
    async fn start(&self, base: &Base) -> Result<ClientSession> {
        // Nothing here reads on from what another session wrote, and a bulk write takes no read
        // concern.
        let session = base.client.start_session().causal_consistency(false);
        let session = call("start a session", session).await?;
        self.write(base, vec![session.id().clone()]).await?;
        self.state().known.push(session.id().clone());
        Ok(session)
    }

    async fn write(&self, base: &Base, ids: Vec<Document>) -> Result<()> {
        let ids: Vec<_> = ids.iter().filter_map(|id| id.get("id").cloned()).collect();
        let add = doc! {
            "$addToSet": { "sessions": { "$each": ids } },
            "$currentDate": { SEEN: true },
        };
        let update = base.meta.update_one(self.by_store(), add).upsert(true);
        call("write down the sessions", update).await?;
        self.state().written = Some(Instant::now());
        Ok(())
    }

    /// Those of the sessions that were left that fit.
    fn left(&self, fits: impl Fn(&Left) -> bool) -> Vec<Document> {
        let state = self.state();
        state.left.iter().filter(|left| fits(left)).map(|left| left.id.clone()).collect()
    }

    async fn end_left(&self, base: &Base, ids: Vec<Document>) -> Result<()> {
        end(base, &ids).await?;
        for left in self.state().left.iter_mut().filter(|left| ids.contains(&left.id)) {
            left.ended = true;
        }
        Ok(())
    }

    /// Ends what this store left, and sees to it that its sessions stay written down.
    pub(super) async fn tidy(&self, base: &Base) -> Result<()> {
        let left = self.left(|_| true);
        self.end_left(base, left).await?;
        let over = self.left(|left| left.ended && left.since.elapsed() > ENDING);
        if !over.is_empty() {
            let ids: Vec<_> = over.iter().filter_map(|id| id.get("id").cloned()).collect();
            let forget = doc! { "$pullAll": { "sessions": ids } };
            let update = base.meta.update_one(self.by_store(), forget);
            call("write down the sessions", update).await?;
            let mut state = self.state();
            state.left.retain(|left| !over.contains(&left.id));
            state.known.retain(|id| !over.contains(id));
        }
        let (written, known) = {
            let state = self.state();
            (state.written, state.known.clone())
        };
        if written.is_some_and(|written| written.elapsed() > REFRESH) {
            self.write(base, known).await?;
        }
        Ok(())
    }

    /// Ends the sessions of these stores, but for our own.
    pub(super) async fn end_of(&self, base: &Base, stores: &[Bson]) -> Result<()> {
        let stores = stores.iter().filter(|store| read_uuid(store) != Some(self.store));
        let ids: Vec<_> = stores.map(|store| doc! { "sessions": store.clone() }).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.end_found(base, doc! { "_id": { "$in": ids } }).await
    }

    /// Ends the sessions of all other stores.
    pub(super) async fn end_of_all_others(&self, base: &Base) -> Result<()> {
        let own = doc! { "sessions": uuid(self.store) };
        self.end_found(base, doc! { SEEN: { "$exists": true }, "_id": { "$ne": own } }).await
    }

    async fn end_found(&self, base: &Base, filter: Document) -> Result<()> {
        let found: Vec<Document> = call("read the sessions of others", async {
            base.meta.find(filter).await?.try_collect().await
        })
        .await?;
        let sessions = found.iter().filter_map(|found| found.get_array("sessions").ok());
        let ids: Vec<_> = sessions.flatten().map(|id| doc! { "id": id.clone() }).collect();
        end(base, &ids).await
    }
}

/// Ends these sessions, and with them what they have open. A server that refuses it, since they are
/// another user's, does so by itself after a minute.
async fn end(base: &Base, sessions: &[Document]) -> Result<()> {
    const DOING: &str = "end sessions";
    // No sessions at all would be understood as all there are.
    if sessions.is_empty() {
        return Ok(());
    }
    let command = doc! { "killSessions": sessions };
    let admin = base.client.database("admin");
    match within(LIMIT, DOING, admin.run_command(command)).await? {
        Ok(_) => Ok(()),
        Err(error) if matches!(&*error.kind, ErrorKind::Command(_)) => {
            tracing::warn!(error = %Said::by(&error), "transactions of others are left open");
            Ok(())
        }
        Err(error) => Err(failed(DOING, error)),
    }
}
