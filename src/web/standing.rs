//! How far each connection is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::holds::Holds;

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte of a request is there.
    Waiting,
    /// Not all of it is there that has to be before anything is done.
    Head,
    /// It is being answered.
    Answering,
    /// The end of the answer is on its way.
    Answered,
    /// Its place was given to another.
    Dismissed,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) struct Standing {
    at: Mutex<At>,
    /// Its place is given to another.
    pub(super) leaves: CancellationToken,
    /// Told whenever it may have become one that gives its place away.
    turned: Arc<Notify>,
}

#[derive(Debug)]
struct At {
    phase: Phase,
    since: Instant,
    /// Bytes of the next request came while the answer was on its way.
    early: bool,
    /// What is held for answers of which not all is sent.
    held: Vec<Holds>,
}

impl Standing {
    pub(super) fn new(turned: Arc<Notify>) -> Self {
        let at =
            At { phase: Phase::Waiting, since: Instant::now(), early: false, held: Vec::new() };
        Self { at: Mutex::new(at), leaves: CancellationToken::new(), turned }
    }

    /// What it is at, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        let at = self.lock();
        (at.phase, at.since)
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        let mut at = self.lock();
        match at.phase {
            Phase::Waiting => at.turn(Phase::Head),
            Phase::Answered => at.early = true,
            Phase::Head | Phase::Answering | Phase::Dismissed => {}
        }
    }

    /// A request begins to be answered. False if its connection has to go: nothing may be done then.
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

    /// More of the request has to come before anything is done.
    fn needs_more(&self) {
        let mut at = self.lock();
        if at.phase == Phase::Answering {
            at.turn(Phase::Head);
        }
        drop(at);
        self.turned.notify_waiters();
    }

    /// There is no more to be said. What is held for it is kept until all is sent.
    pub(super) fn ends(&self, held: Option<Holds>) {
        let mut at = self.lock();
        at.held.extend(held);
        if at.phase == Phase::Answering {
            at.turn(Phase::Answered);
        }
    }

    /// All that was said is with the system. Whether it is the end of an answer.
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

    /// Since when its place could be given to another: nobody waits for an answer there, and nothing is held. An
    /// answer for which nothing is held is none that a client has a right to take its time with.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since()
    }

    /// Has it give its place away, if it still could.
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

/// A request of which more has to come before anything is done: until then its connection is one that waits. Found
/// among the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct Arrival(pub(super) Arc<Standing>);

impl Arrival {
    /// More has to come.
    pub(crate) fn needs_more(&self) {
        self.0.needs_more();
    }

    /// All is there. False if its connection has to go: nothing may be done then.
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

    /// An answer was said for which this is held.
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
        // All of its body has to be there first.
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
