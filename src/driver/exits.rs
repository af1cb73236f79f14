//! Lets runs leave the engine so that other engines can have them: how many may go, and which of them nobody took.
//!
//! Any run that has nothing in flight may go, until as many have gone as were let out. So runs that are always at
//! work don't hold up the others, and nobody has to be told when the engine changes its mind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::standing::{BEAT, LEFT};
use crate::run::{EngineId, Millis, RunId, Timestamp};

/// How long runs may go after the engine has looked at the others: two of its beats, one of which may be late. If
/// the store does not answer, or the process stood still, what the engine knows about the others is out of date.
const OPEN_FOR: Millis = Millis(2 * BEAT.0);

/// How long a run stays after no engine has taken it for the first time; each further time it stays twice as long.
/// A run that leaves stands still for some seconds, which is no harm if that happens so rarely.
const STAYS: Millis = Millis::from_secs(5 * 60);

/// How long a run stays at most: by then, whatever keeps the others from taking it may be over.
const STAYS_AT_MOST: Millis = Millis::from_secs(60 * 60);

/// How long to remember that a run went, or that its stay was over: several beats. The others either take it
/// within that time or not at all.
const REMEMBERED: Millis = Millis::from_secs(10 * 60);

/// The most runs that are remembered, several times what an engine drives. The oldest run is forgotten first.
const REMEMBERED_AT_ONCE: usize = 10_000;

/// How many runs may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    /// How many of the runs that only wait for their cluster.
    pub(super) waiting: usize,
    /// How many of the runs that go on.
    pub(super) going: usize,
}

impl Open {
    /// Lets `count` runs go. As many of them as possible are runs that only wait, since handing those over costs
    /// nothing.
    pub(super) fn of(count: usize, waiting: usize) -> Self {
        let waiting = waiting.min(count);
        Self { waiting, going: count - waiting }
    }

    pub(super) fn count(self) -> usize {
        self.waiting.saturating_add(self.going)
    }
}

/// A run that left, and may have come back.
#[derive(Clone, Copy, Debug)]
struct Gone {
    epoch: u64,
    at: Timestamp,
    /// Whether it only waited when it left.
    waited: bool,
    /// How many times no engine took it.
    refused: u32,
    stays_until: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    open: Open,
    until: Timestamp,
    gone: BTreeMap<RunId, Gone>,
    last: Option<Timestamp>,
    takers: BTreeSet<EngineId>,
}

/// The way out of one engine. All times are the store's, because the clock of a run may be ahead of it.
#[derive(Debug, Default)]
pub(super) struct Exits {
    state: Mutex<State>,
    opened: Notify,
}

impl Exits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lets this many runs out, whatever was set before, until the engine's knowledge of the others is
    /// out of date.
    pub(super) fn open(&self, open: Open, now: Timestamp) {
        let mut state = self.state();
        (state.open, state.until) = (open, now.plus(OPEN_FOR));
        drop(state);
        if open.count() > 0 {
            self.opened.notify_waiters();
        }
    }

    /// How many runs may still go.
    pub(super) fn still_open(&self) -> usize {
        self.state().open.count()
    }

    /// When a run last left.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.state().last
    }

    /// Records which other engines take runs. An engine that has newly begun to may take what nobody took before.
    pub(super) fn look(&self, takers: BTreeSet<EngineId>, now: Timestamp) {
        let mut state = self.state();
        if !takers.is_subset(&state.takers) {
            state
                .gone
                .values_mut()
                .for_each(|gone| (gone.refused, gone.stays_until) = (0, gone.at));
        }
        state.takers = takers;
        state.gone.retain(|_, gone| now.since(gone.at.max(gone.stays_until)) < REMEMBERED);
    }

    /// Records that the engine takes up a run under this epoch. Whoever takes up a run raises its epoch by one. So
    /// if this is the next epoch after that under which the run left here, nobody else wanted the run.
    pub(super) fn came(&self, run: RunId, epoch: u64, now: Timestamp) {
        let mut state = self.state();
        let Some(gone) = state.gone.get_mut(&run) else { return };
        if epoch != gone.epoch.saturating_add(1) {
            state.gone.remove(&run);
        } else if now.since(gone.at) >= LEFT {
            let stays = STAYS.0.saturating_mul(1 << gone.refused.min(16)).min(STAYS_AT_MOST.0);
            gone.refused = gone.refused.saturating_add(1);
            gone.stays_until = now.plus(Millis(stays));
        }
    }
}

/// The way out of the engine for one run.
#[derive(Clone)]
pub(super) struct Exit {
    exits: Arc<Exits>,
    run: RunId,
    epoch: u64,
    is_gone: Arc<AtomicBool>,
}

impl Exit {
    pub(super) fn new(exits: &Arc<Exits>, run: RunId, epoch: u64) -> Self {
        Self { exits: Arc::clone(exits), run, epoch, is_gone: Arc::default() }
    }

    /// Whether the run was let out, so that its driver ends.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Whether the run may be one of those that leave. `waits` says that it only waits for its cluster. A run that
    /// nobody took lately may not.
    pub(super) fn may_go(&self, waits: bool, now: Timestamp) -> bool {
        may_go(&self.exits.state(), self.run, waits, now)
    }

    /// Lets the run out, if it may go; then its driver has to end. Only for a run that has nothing in flight.
    pub(super) fn take(&self, waits: bool, now: Timestamp) -> bool {
        let mut state = self.exits.state();
        if now >= state.until || !may_go(&state, self.run, waits, now) {
            return false;
        }
        let open = if waits { &mut state.open.waiting } else { &mut state.open.going };
        let Some(rest) = open.checked_sub(1) else { return false };
        *open = rest;
        state.last = Some(now);
        self.remember(&mut state, waits, now);
        self.is_gone.store(true, Ordering::Release);
        true
    }

    /// Records that the run, which only waits, is given back because another engine has room. This does not count
    /// towards how many are let out.
    pub(super) fn passed_on(&self, now: Timestamp) {
        self.remember(&mut self.exits.state(), true, now);
    }

    fn remember(&self, state: &mut State, waits: bool, now: Timestamp) {
        let refused = state.gone.get(&self.run).map_or(0, |gone| gone.refused);
        let (epoch, at) = (self.epoch, now);
        let gone = Gone { epoch, at, waited: waits, refused, stays_until: now };
        state.gone.insert(self.run, gone);
        if state.gone.len() > REMEMBERED_AT_ONCE {
            state.gone.pop_first();
        }
    }

    /// Returns once the run was let out.
    pub(super) async fn taken(&self, waits: bool, time: impl Fn() -> Timestamp) {
        loop {
            let opened = self.exits.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if self.take(waits, time()) {
                return;
            }
            opened.await;
        }
    }
}

/// A run that nobody took while it waited may still leave once it goes on, and the other way round.
fn may_go(state: &State, run: RunId, waits: bool, now: Timestamp) -> bool {
    let stays = |gone: &Gone| now < gone.stays_until && gone.waited == waits;
    !state.gone.get(&run).is_some_and(stays)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock as _, TokioClock};

    fn at(millis: u64) -> Timestamp {
        Timestamp::default().plus(Millis(millis))
    }

    fn id(number: usize) -> RunId {
        RunId(Uuid::from_u128(number as u128))
    }

    fn exit(exits: &Arc<Exits>, number: usize) -> Exit {
        Exit::new(exits, id(number), 1)
    }

    #[test]
    fn as_many_go_as_were_let_out_whichever_those_are() {
        let exits = Arc::new(Exits::default());
        let [first, second, third, waiting] = [1, 2, 3, 4].map(|number| exit(&exits, number));
        assert!(!first.take(false, at(0)));
        exits.open(Open::of(3, 1), at(0));
        assert!(second.take(false, at(1)) && third.take(false, at(2)));
        assert!(!first.take(false, at(3)), "the last one is for a run that waits");
        assert_eq!((exits.still_open(), exits.last()), (1, Some(at(2))));
        assert!(waiting.take(true, at(4)) && waiting.is_gone() && !first.is_gone());
        exits.open(Open::of(1, 5), at(5));
        assert!(!first.take(false, at(5)));
        assert!(!exit(&exits, 5).take(true, at(5 + OPEN_FOR.0)), "the others may be gone by now");
        exits.open(Open::default(), at(6));
        assert!(!exit(&exits, 5).take(true, at(6)), "it was taken back");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_at_the_exit_goes_when_it_opens() {
        let exits = Arc::new(Exits::default());
        let run = exit(&exits, 1);
        let clock = TokioClock::starting_at(at(0));
        let taken = run.taken(false, || clock.now());
        tokio::pin!(taken);
        assert!(futures::poll!(&mut taken).is_pending());
        exits.open(Open::of(1, 0), clock.now());
        taken.await;
        assert!(run.is_gone());
    }

    #[test]
    fn a_run_that_nobody_took_stays_longer_each_time_and_never_for_ever() {
        let exits = Arc::new(Exits::default());
        let (mut now, mut epoch, mut stays) = (0, 1, vec![]);
        for _ in 0..7 {
            let run = Exit::new(&exits, id(1), epoch);
            exits.open(Open::of(1, 1), at(now));
            assert!(run.take(true, at(now)));
            (now, epoch) = (now + LEFT.0, epoch + 1);
            exits.came(id(1), epoch, at(now));
            let since = now;
            while !run.may_go(true, at(now)) {
                now += 60_000;
                exits.look(BTreeSet::new(), at(now));
            }
            stays.push((now - since) / 60_000);
        }
        assert_eq!(stays, [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn only_what_was_there_for_long_and_had_no_other_engine_was_taken_by_nobody() {
        let exits = Arc::new(Exits::default());
        let run = exit(&exits, 1);
        let stays = |epoch, after| {
            exits.open(Open::of(1, 1), at(0));
            assert!(run.take(true, at(0)));
            exits.came(id(1), epoch, at(after));
            !run.may_go(true, at(after))
        };
        assert!(!stays(2, LEFT.0 - 1), "nobody had the time to take it");
        assert!(!stays(3, LEFT.0), "another engine had it");
        assert!(stays(2, LEFT.0));
        assert!(run.may_go(false, at(LEFT.0)), "it does not wait any more");
        let new = || BTreeSet::from([EngineId("new".to_owned())]);
        exits.look(new(), at(LEFT.0));
        assert!(run.may_go(true, at(LEFT.0)), "the new one may take it");
        assert!(stays(2, LEFT.0));
        exits.look(new(), at(LEFT.0));
        assert!(!run.may_go(true, at(LEFT.0)), "it was there before");
    }

    #[test]
    fn a_run_that_was_passed_on_and_that_nobody_took_stays_too() {
        let exits = Arc::new(Exits::default());
        exit(&exits, 1).passed_on(at(0));
        exits.came(id(1), 2, at(LEFT.0));
        let run = Exit::new(&exits, id(1), 2);
        assert!(!run.may_go(true, at(LEFT.0)) && run.may_go(true, at(LEFT.0 + STAYS.0)));
    }

    #[test]
    fn not_more_are_remembered_than_fit_and_none_for_long() {
        let exits = Arc::new(Exits::default());
        exits.open(Open::of(REMEMBERED_AT_ONCE + 5, 0), at(0));
        for number in 0..REMEMBERED_AT_ONCE + 5 {
            assert!(exit(&exits, number).take(false, at(0)));
        }
        assert_eq!(exits.state().gone.len(), REMEMBERED_AT_ONCE);
        exits.look(BTreeSet::new(), at(REMEMBERED.0 - 1));
        assert_eq!(exits.state().gone.len(), REMEMBERED_AT_ONCE);
        exits.look(BTreeSet::new(), at(REMEMBERED.0));
        assert!(exits.state().gone.is_empty());
    }
}
