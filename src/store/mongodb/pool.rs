//! The sessions of one store: those that are free, those that were left, and which one is used next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mongodb::ClientSession;
use mongodb::bson::Document;

/// Sessions: those of all transactions that may go on at once, and three times as many that were left.
/// With more than that left, as by callers that give up again and again, the one that was left first
/// is used next: what it has open ends with that, and whoever is just ending it only costs another try.
const SESSIONS: usize = 256;

/// How long a session that was left is ended again and again: what it sent may arrive later than that
/// it is ended.
const ENDING: Duration = Duration::from_secs(20);

/// How often it is ended meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// The sessions of one store. Each is in one place: here as free or as left, or with a transaction.
#[derive(Default)]
pub(super) struct Pool {
    /// The one that was used last is used next.
    free: Vec<ClientSession>,
    /// Those that may have a transaction which nobody ends, in the order in which they were left.
    left: VecDeque<Left>,
    /// How many were left so far.
    leavings: u64,
    /// How many there are, those with transactions too.
    made: usize,
}

/// A session that was left. It is kept here until it is over: one that is dropped is what the driver uses
/// next, for anything, and that would be ended with it.
struct Left {
    session: ClientSession,
    /// Which time that a session was left this is: the same session may be left again.
    number: u64,
    since: Instant,
    /// When it was last ended, or that was tried.
    tried: Option<Instant>,
    /// Whether that went well.
    ended: bool,
}

/// Which of those that were left are to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that nobody has tried to end yet.
    New,
    /// Those whose turn it is.
    Due,
}

/// Sessions that are being ended, each as it was left.
pub(super) struct Ending {
    numbers: Vec<u64>,
    pub(super) ids: Vec<Document>,
}

impl Pool {
    /// The session that is used next. When there is none, one is to be made, and counts already.
    pub(super) fn next(&mut self, now: Instant) -> Option<ClientSession> {
        self.take_up(now);
        if let Some(session) = self.free.pop() {
            return Some(session);
        }
        if self.made >= SESSIONS
            && let Some(left) = self.left.pop_front()
        {
            return Some(left.session);
        }
        self.made += 1;
        None
    }

    /// What was ended for long enough is free again, but not while it is being ended once more.
    fn take_up(&mut self, now: Instant) {
        let is_old = |left: &Left| now.saturating_duration_since(left.since) > ENDING;
        if !self.left.front().is_some_and(is_old) {
            return;
        }
        for left in std::mem::take(&mut self.left) {
            if left.ended && is_old(&left) {
                self.free.push(left.session);
            } else {
                self.left.push_back(left);
            }
        }
    }

    /// It has no transaction, or its next one ends it.
    pub(super) fn give_back(&mut self, session: ClientSession) {
        self.free.push(session);
    }

    /// It may have a transaction which nobody ends.
    pub(super) fn leave(&mut self, session: ClientSession, now: Instant) {
        self.leavings += 1;
        let number = self.leavings;
        self.left.push_back(Left { session, number, since: now, tried: None, ended: false });
    }

    /// What is to be ended now. Others need not do it as well.
    pub(super) fn begin_ending(&mut self, which: Which, now: Instant) -> Ending {
        let mut ending = Ending { numbers: Vec::new(), ids: Vec::new() };
        for left in &mut self.left {
            let is_to_be_ended = match (which, left.tried) {
                (_, None) => true,
                (Which::New, Some(_)) => false,
                (Which::Due, Some(tried)) => now.saturating_duration_since(tried) >= AGAIN,
            };
            if is_to_be_ended {
                (left.tried, left.ended) = (Some(now), false);
                ending.numbers.push(left.number);
                ending.ids.push(left.session.id().clone());
            }
        }
        ending
    }

    /// Takes notice that they were ended: those that are still as they were left.
    pub(super) fn ended(&mut self, ending: &Ending) {
        for left in self.left.iter_mut().filter(|left| ending.numbers.contains(&left.number)) {
            left.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::Client;

    use super::*;

    /// A client of a server that is not there: sessions are made without it.
    async fn client() -> Client {
        Client::with_uri_str("mongodb://127.0.0.1:1").await.unwrap()
    }

    /// The next session of the pool, and whether it was made for that.
    async fn next(pool: &mut Pool, client: &Client, now: Instant) -> (ClientSession, bool) {
        match pool.next(now) {
            Some(session) => (session, false),
            None => (client.start_session().await.unwrap(), true),
        }
    }

    #[tokio::test]
    async fn a_session_that_was_left_is_ended_for_a_while_and_then_free_again() {
        let (client, mut pool, start) = (client().await, Pool::default(), Instant::now());
        let (session, _) = next(&mut pool, &client, start).await;
        let id = session.id().clone();
        pool.leave(session, start);
        assert_eq!(pool.begin_ending(Which::New, start).ids, std::slice::from_ref(&id));
        // The first try is on its way, and may never be answered.
        assert_eq!(pool.begin_ending(Which::New, start).ids, [] as [Document; 0]);
        assert_eq!(pool.begin_ending(Which::Due, start).ids, [] as [Document; 0]);
        let late = start + ENDING + AGAIN;
        let (other, is_made) = next(&mut pool, &client, late).await;
        assert!(is_made, "it was not ended yet");
        assert_ne!(other.id(), &id);

        let ending = pool.begin_ending(Which::Due, late);
        assert_eq!(ending.ids, std::slice::from_ref(&id));
        pool.ended(&ending);
        let later = late + AGAIN;
        let once_more = pool.begin_ending(Which::Due, later);
        assert!(next(&mut pool, &client, later).await.1, "it is being ended");
        pool.ended(&once_more);
        let (again, is_made) = next(&mut pool, &client, later).await;
        assert!(!is_made && again.id() == &id);
        assert_eq!(pool.begin_ending(Which::Due, later + AGAIN).ids, [] as [Document; 0]);
    }

    #[tokio::test]
    async fn a_session_that_is_left_again_is_ended_again() {
        let (client, mut pool, start) = (client().await, Pool::default(), Instant::now());
        let (session, _) = next(&mut pool, &client, start).await;
        pool.leave(session, start);
        let first = pool.begin_ending(Which::New, start);
        // It is used and left once more before that is answered.
        let session = pool.left.pop_front().unwrap().session;
        pool.leave(session, start);
        pool.ended(&first);
        assert!(!pool.left[0].ended);
        let second = pool.begin_ending(Which::New, start);
        assert_eq!(second.ids, first.ids);
        pool.ended(&second);
        assert!(pool.left[0].ended);
    }

    #[tokio::test]
    async fn there_are_no_more_sessions_than_so_many_however_many_are_left() {
        let (client, mut pool, start) = (client().await, Pool::default(), Instant::now());
        let mut made = Vec::new();
        for n in 0..SESSIONS + 2 {
            let (session, is_made) = next(&mut pool, &client, start).await;
            if is_made {
                made.push(session.id().clone());
            } else {
                // The one that was left first.
                assert_eq!(session.id(), &made[n - SESSIONS]);
            }
            pool.leave(session, start);
        }
        assert_eq!(made.len(), SESSIONS);
        assert_eq!(pool.begin_ending(Which::New, start).ids.len(), SESSIONS);
    }
}
