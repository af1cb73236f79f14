//! The sessions of one store: which are free, which were left with a transaction, and which is used next. Free of
//! I/O, so that it can be tested by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mongodb::ClientSession;
use mongodb::bson::Document;

/// The most sessions: those of all transactions that may go on at once, and three times as many that were left. If
/// more were left, for example by callers that give up again and again, the one that was left first is used next.
/// That ends its open transaction, and if somebody is just ending the session, it only costs another try.
const SESSIONS: usize = 256;

/// For how long a session that was left is ended again and again, because what was sent in it may arrive after it
/// was ended.
const ENDING: Duration = Duration::from_secs(20);

/// How often it is ended during that time.
const AGAIN: Duration = Duration::from_secs(1);

/// The sessions of one store. Each session is in exactly one place: free here, left here, or in use by a
/// transaction.
#[derive(Default)]
pub(super) struct Pool {
    /// The session that was used last is used next.
    free: Vec<ClientSession>,
    /// Sessions that may have an open transaction that nobody ends, in the order in which they were left.
    left: VecDeque<Left>,
    /// How many times a session was left so far.
    leavings: u64,
    /// How many sessions exist, including those in use.
    made: usize,
}

/// A session that was left. It is kept here until its transaction is certainly over. If it were dropped, the
/// driver would use it next, for anything, and ending the session would end that too.
struct Left {
    session: ClientSession,
    /// The number of this leaving, since the same session may be left again.
    number: u64,
    since: Instant,
    /// When somebody last tried to end the session.
    tried: Option<Instant>,
    /// Whether that succeeded.
    ended: bool,
}

/// Which of the sessions that were left are to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that nobody has tried to end yet.
    New,
    /// Those that nobody has tried to end for a while.
    Due,
}

/// Sessions that are being ended, identified by the number of their leaving.
pub(super) struct Ending {
    numbers: Vec<u64>,
    pub(super) ids: Vec<Document>,
}

impl Pool {
    /// The session to use next. None: the caller has to create one, which is counted already.
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

    /// Frees sessions that were ended for long enough, unless they are just being ended once more.
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

    /// Takes back a session without an open transaction, or one whose next transaction ends it.
    pub(super) fn give_back(&mut self, session: ClientSession) {
        self.free.push(session);
    }

    /// Takes back a session that may have an open transaction that nobody ends.
    pub(super) fn leave(&mut self, session: ClientSession, now: Instant) {
        self.leavings += 1;
        let number = self.leavings;
        self.left.push_back(Left { session, number, since: now, tried: None, ended: false });
    }

    /// The sessions to end now. They count as tried, so that others don't try at the same time.
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

    /// Records that these sessions were ended, except for those that were used again meanwhile.
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

    /// A client of a server that does not exist: sessions can be created without one.
    async fn client() -> Client {
        Client::with_uri_str("mongodb://127.0.0.1:1").await.unwrap()
    }

    /// The next session of the pool, and whether it had to be created.
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
        // The session is used and left once more before the answer comes.
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
                // The session that was left first.
                assert_eq!(session.id(), &made[n - SESSIONS]);
            }
            pool.leave(session, start);
        }
        assert_eq!(made.len(), SESSIONS);
        assert_eq!(pool.begin_ending(Which::New, start).ids.len(), SESSIONS);
    }
}
