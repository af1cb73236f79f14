//! How far each connection is. From this, `Places` decides which connection may be dismissed, and the connection
//! itself which time-out applies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::holds::Holds;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte of the next request has arrived.
    Waiting,
    /// The request has begun, but more of it has to arrive before anything is done.
    Head,
    /// The request is being answered.
    Answering,
    /// The answer is complete, but not all of it is with the system yet.
    Answered,
    /// Its place was given to another connection.
    Dismissed,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) struct Standing {
    at: Mutex<At>,
    /// Cancelled when the place is given to another connection.
    pub(super) leaves: CancellationToken,
    /// Notified whenever the connection may have become one that can be dismissed.
    turned: Arc<Notify>,
}

#[derive(Debug)]
struct At {
    phase: Phase,
    since: Instant,
    /// Bytes of the next request arrived before the answer was sent.
    early: bool,
    /// What is held for answers that are not completely sent.
    held: Vec<Holds>,
}

impl Standing {
    pub(super) fn new(turned: Arc<Notify>) -> Self {
        let at =
            At { phase: Phase::Waiting, since: Instant::now(), early: false, held: Vec::new() };
        Self { at: Mutex::new(at), leaves: CancellationToken::new(), turned }
    }

    /// What the connection is doing, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        let at = self.lock();
        (at.phase, at.since)
    }

    /// Called when bytes arrive.
    pub(super) fn heard(&self) {
        let mut at = self.lock();
        match at.phase {
            Phase::Waiting => at.turn(Phase::Head),
            Phase::Answered => at.early = true,
            Phase::Head | Phase::Answering | Phase::Dismissed => {}
        }
    }

    /// A request begins to be answered. Returns false if its connection has to go; then nothing may be done.
    pub(super) fn begins(&self) -> bool {
        let mut at = self.lock();
        match at.phase {
            Phase::Waiting | Phase::Head | Phase::Answering | Phase::Answered => {
                at.turn(Phase::Answering);
                true
            }
            Phase::Dismissed => false,
        }
    }

    /// More of the request has to arrive before anything is done.
    fn needs_more(&self) {
        let mut at = self.lock();
        if at.phase == Phase::Answering {
            at.turn(Phase::Head);
        }
        drop(at);
        self.turned.notify_waiters();
    }

    /// The answer is complete. What is held for it is kept until all of it is sent.
    pub(super) fn ends(&self, held: Option<Holds>) {
        let mut at = self.lock();
        at.held.extend(held);
        if at.phase == Phase::Answering {
            at.turn(Phase::Answered);
        }
    }

    /// All that was said is now with the system. Returns whether that is the end of an answer.
    pub(super) fn flushed(&self) -> bool {
        let mut at = self.lock();
        let sent = std::mem::take(&mut at.held);
        let turns = at.phase == Phase::Answered;
        if turns {
            let next = if at.early { Phase::Head } else { Phase::Waiting };
            at.early = false;
            at.turn(next);
        }
        drop(at);
        drop(sent);
        if turns {
            self.turned.notify_waiters();
        }
        turns
    }

    /// Since when its place could have been given to another connection: nobody waits for an answer on it, and
    /// nothing is held. A client may not take its time to read an answer for which nothing is held.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since()
    }

    /// Makes the connection give up its place, if it still can. Returns whether it does.
    pub(super) fn dismiss(&self) -> bool {
        let mut at = self.lock();
        if at.idle_since().is_none() {
            return false;
        }
        at.turn(Phase::Dismissed);
        drop(at);
        self.leaves.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl At {
    fn turn(&mut self, to: Phase) {
        (self.phase, self.since) = (to, Instant::now());
    }

    fn idle_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting | Phase::Head => Some(self.since),
            Phase::Answered => self.held.is_empty().then_some(self.since),
            Phase::Answering | Phase::Dismissed => None,
        }
    }
}

/// Found among the extensions of each request. If more of the request has to arrive before anything is done, its
/// handler says so here; until then the connection counts as one that waits.
#[derive(Clone, Debug)]
pub(crate) struct Arrival(pub(super) Arc<Standing>);

impl Arrival {
    /// More of the request has to arrive.
    pub(crate) fn needs_more(&self) {
        self.0.needs_more();
    }

    /// The request has arrived completely. Returns false if its connection has to go; then nothing may be done.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.begins()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::Response;

    use super::super::holds::{Said, hold};
    use super::*;

    fn standing() -> Arc<Standing> {
        Arc::new(Standing::new(Arc::default()))
    }

    /// Says an answer for which `held` is held.
    fn says(standing: &Arc<Standing>, held: &Arc<()>) {
        let mut answer = Response::new(Body::empty());
        hold(&mut answer, Arc::clone(held));
        drop(Said::new(Arc::clone(standing)).with(answer));
    }

    #[test]
    fn what_is_held_for_an_answer_is_held_until_it_is_sent() {
        let (standing, held) = (standing(), Arc::new(()));
        assert!(standing.begins());
        says(&standing, &held);
        assert_eq!((standing.phase().0, Arc::strong_count(&held)), (Phase::Answered, 2));
        assert_eq!(standing.idle_since(), None);
        // The next request was sent before that, and is answered too.
        assert!(standing.begins());
        says(&standing, &held);
        assert_eq!(Arc::strong_count(&held), 3);
        assert!(standing.flushed());
        assert_eq!((standing.phase().0, Arc::strong_count(&held)), (Phase::Waiting, 1));
        // A connection that ends sends nothing more.
        assert!(standing.begins());
        says(&standing, &held);
        drop(standing);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn the_next_request_does_not_end_the_time_for_the_answer_before_it() {
        let (standing, held) = (standing(), Arc::new(()));
        standing.begins();
        says(&standing, &held);
        standing.heard();
        assert_eq!(standing.phase().0, Phase::Answered);
        assert!(!standing.dismiss());
        standing.flushed();
        assert_eq!(standing.phase().0, Phase::Head, "half a request is there");
        standing.begins();
        standing.ends(None);
        standing.flushed();
        assert_eq!(standing.phase().0, Phase::Waiting);
    }

    #[test]
    fn nothing_begins_on_a_connection_that_has_to_go() {
        let one = standing();
        one.heard();
        assert!(one.dismiss() && one.leaves.is_cancelled());
        assert!(!one.begins() && !one.dismiss());
        let one = standing();
        assert!(one.begins() && !one.dismiss());
        // All of its body has to arrive first.
        let arrival = Arrival(Arc::clone(&one));
        arrival.needs_more();
        assert!(one.dismiss() && !arrival.is_whole());
    }

    #[test]
    fn an_answer_that_is_not_read_keeps_a_place_only_if_something_is_held_for_it() {
        let standing = standing();
        standing.begins();
        standing.ends(None);
        assert!(standing.dismiss());
    }
}
