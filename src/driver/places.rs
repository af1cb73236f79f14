//! The places of an engine: how many runs it drives at once, and how many of one cluster.
//!
//! A run that waits for the lock of its cluster takes no place: it holds nothing but its own document. It takes
//! one before it asks for the lock, so that no run gets its cluster and then waits for an engine. A place that is
//! given back goes to the run that has waited for one the longest; a newly claimed run gets it only if none waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::run::cluster_share;

/// How many runs an engine takes up beyond its places when commands for them have come: whoever steers a run that
/// nobody drives need not wait until others have ended.
const WOKEN: usize = 50;

/// How many runs of one cluster an engine takes up although they only wait in its queue: enough for each person
/// who looks at one of them to read what it waits for. The others stay in the store and cost nothing.
pub(super) const QUEUED_OF_CLUSTER: usize = 100;

/// How many runs of all clusters an engine takes up although they only wait in a queue. Each has its document in
/// memory and a task.
pub(super) const QUEUED: usize = 1_000;

/// The places of one engine.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Places that are reserved for runs that are being claimed.
    kept: usize,
    /// How many places the runs of each cluster have taken.
    of_cluster: BTreeMap<String, usize>,
    /// Runs that wait for a place, in the order in which they came.
    line: VecDeque<Arc<Seat>>,
}

/// A run that can be given a place.
#[derive(Debug)]
struct Seat {
    cluster: String,
    is_taken: AtomicBool,
    is_in_line: AtomicBool,
    /// Whether the place was taken although perhaps none was free.
    is_beyond: AtomicBool,
    given: Notify,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default() })
    }

    /// How many places are free. While a run waits for a place that it can have, there are none.
    pub(super) fn free(&self) -> usize {
        let state = self.state();
        self.max.saturating_sub(state.taken + state.kept)
    }

    /// Whether any run waits for a place.
    pub(super) fn has_line(&self) -> bool {
        !self.state().line.is_empty()
    }

    /// How many more runs may be taken up because a command for them has come.
    pub(super) fn for_woken(&self) -> usize {
        self.max.saturating_add(WOKEN).saturating_sub(self.state().taken)
    }

    /// How many places one cluster may have.
    pub(super) fn of_cluster(&self) -> usize {
        cluster_share(self.max)
    }

    /// Reserves this many places for runs that are being claimed, until the result is dropped.
    pub(super) fn keep(self: &Arc<Self>, places: usize) -> Kept {
        self.state().kept += places;
        Kept { of: Arc::clone(self), places }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_one_for(&self, state: &State, cluster: &str) -> bool {
        let of_cluster = state.of_cluster.get(cluster).copied().unwrap_or_default();
        state.taken + state.kept < self.max && of_cluster < self.of_cluster()
    }

    /// Gives free places to the runs that wait, in their order. Runs whose cluster has its share already are
    /// passed over.
    fn hand_on(&self, state: &mut State) {
        let next = |state: &State| {
            state.line.iter().position(|seat| self.has_one_for(state, &seat.cluster))
        };
        while let Some(seat) = next(state).and_then(|next| state.line.remove(next)) {
            seat.is_in_line.store(false, Ordering::Release);
            state.take(&seat);
            seat.given.notify_one();
        }
    }
}

impl State {
    fn take(&mut self, seat: &Seat) {
        if !seat.is_taken.swap(true, Ordering::AcqRel) {
            self.taken += 1;
            *self.of_cluster.entry(seat.cluster.clone()).or_default() += 1;
        }
    }

    fn give_back(&mut self, seat: &Seat) {
        seat.is_beyond.store(false, Ordering::Release);
        if seat.is_taken.swap(false, Ordering::AcqRel) {
            self.taken -= 1;
            if let Some(taken) = self.of_cluster.get_mut(&seat.cluster) {
                *taken -= 1;
                if *taken == 0 {
                    self.of_cluster.remove(&seat.cluster);
                }
            }
        }
    }

    fn join_line(&mut self, seat: &Arc<Seat>) {
        seat.is_in_line.store(true, Ordering::Release);
        self.line.push_back(Arc::clone(seat));
    }

    fn leave_line(&mut self, seat: &Arc<Seat>) {
        if seat.is_in_line.swap(false, Ordering::AcqRel) {
            self.line.retain(|other| !Arc::ptr_eq(other, seat));
        }
    }
}

/// Places that are reserved for runs that are being claimed. Dropping this gives back those that are left.
#[derive(Debug)]
pub(super) struct Kept {
    of: Arc<Places>,
    places: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.of.state();
        state.kept -= self.places;
        self.of.hand_on(&mut state);
    }
}

/// The place that one run has, may get or waits for. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Place {
    /// A place for a claimed run of this cluster. The caller has checked that one is free.
    pub(super) fn new(places: &Arc<Places>, cluster: Option<&str>) -> Arc<Self> {
        let place = Self::none(places, cluster);
        place.hold();
        place
    }

    /// The same for a run that is taken up because a command for it has come, even if no place is free.
    pub(super) fn beyond(places: &Arc<Places>, cluster: Option<&str>) -> Arc<Self> {
        let place = Self::new(places, cluster);
        place.seat.is_beyond.store(true, Ordering::Release);
        place
    }

    /// The same for a run that does not have a place yet.
    pub(super) fn none(places: &Arc<Places>, cluster: Option<&str>) -> Arc<Self> {
        let cluster = cluster.unwrap_or_default().to_owned();
        let [is_taken, is_in_line, is_beyond] = [(); 3].map(|()| AtomicBool::new(false));
        let seat = Seat { cluster, is_taken, is_in_line, is_beyond, given: Notify::new() };
        let seat = Arc::new(seat);
        Arc::new(Self { places: Arc::clone(places), seat })
    }

    /// Whether the run has its place.
    pub(super) fn is_taken(&self) -> bool {
        self.seat.is_taken.load(Ordering::Acquire)
    }

    /// Whether the run waits for its place.
    pub(super) fn is_in_line(&self) -> bool {
        self.seat.is_in_line.load(Ordering::Acquire)
    }

    /// Whether the run was taken up beyond the places and still has none of its own. If one has become free, it
    /// belongs to the run from now on, like any other.
    pub(super) fn is_beyond(&self) -> bool {
        let seat = &self.seat;
        if !seat.is_beyond.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.places.state();
        state.give_back(seat);
        // Runs that waited for a place come first.
        self.places.hand_on(&mut state);
        let has_one = self.places.has_one_for(&state, &seat.cluster);
        state.take(seat);
        seat.is_beyond.store(!has_one, Ordering::Release);
        !has_one
    }

    /// Lets a run that was taken up beyond the places keep its place for good.
    pub(super) fn keep(&self) {
        self.seat.is_beyond.store(false, Ordering::Release);
    }

    /// Takes a place, even if none is free, because the run is under way.
    pub(super) fn hold(&self) {
        let mut state = self.places.state();
        state.leave_line(&self.seat);
        state.take(&self.seat);
    }

    /// Takes a place as soon as one is free and the runs that came before have theirs. A run whose cluster has its
    /// share waits until another run of that cluster gives a place back.
    pub(super) async fn wait_for(&self) {
        let _line = {
            let mut state = self.places.state();
            if self.is_taken() {
                return;
            }
            if self.places.has_one_for(&state, &self.seat.cluster) {
                state.take(&self.seat);
                return;
            }
            state.join_line(&self.seat);
            InLine(self)
        };
        while !self.is_taken() {
            self.seat.given.notified().await;
        }
    }

    /// Gives the place back, for a run that only waits.
    pub(super) fn give_back(&self) {
        let mut state = self.places.state();
        state.give_back(&self.seat);
        self.places.hand_on(&mut state);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A run in the line. Dropping this takes it out of the line.
struct InLine<'a>(&'a Place);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.places.state().leave_line(&self.0.seat);
    }
}

/// How many runs of each cluster an engine has: those that have a place or are in line for one, and those that
/// have none.
#[derive(Debug, Default)]
pub(super) struct Clusters<'a> {
    of: BTreeMap<&'a str, (usize, usize)>,
    queued: usize,
}

impl<'a> Clusters<'a> {
    /// Counts a run of `cluster` with its place, or with the place that it waits for.
    pub(super) fn count(&mut self, cluster: Option<&'a str>, place: &Place) {
        let of = self.of.entry(cluster.unwrap_or_default()).or_default();
        let is_taken = place.is_taken();
        if is_taken || place.is_in_line() {
            of.0 += 1;
        }
        if !is_taken {
            of.1 += 1;
            self.queued += 1;
        }
    }

    /// The clusters of which the engine takes up no run that has not started.
    pub(super) fn full(&self, places: &Places) -> Vec<String> {
        self.names(|(going, queued)| going >= places.of_cluster() || queued >= QUEUED_OF_CLUSTER)
    }

    /// The clusters that have their share of the places.
    pub(super) fn served(&self, places: &Places) -> Vec<String> {
        self.names(|(going, _)| going >= places.of_cluster())
    }

    fn names(&self, of: impl Fn((usize, usize)) -> bool) -> Vec<String> {
        let those = self.of.iter().filter(|(_, counts)| of(**counts));
        those.map(|(name, _)| (*name).to_owned()).collect()
    }

    /// How many runs may be claimed at once, given that nobody knows beforehand to which clusters they belong.
    pub(super) fn room(&self, places: &Places) -> usize {
        let share = places.of_cluster();
        let most = self.of.values().map(|(going, _)| *going).filter(|going| *going < share).max();
        let room = places.free().min(share - most.unwrap_or_default());
        room.min(self.room_in_queues())
    }

    /// How many more runs may be taken up that only wait.
    pub(super) fn room_in_queues(&self) -> usize {
        QUEUED.saturating_sub(self.queued)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn place(places: &Arc<Places>) -> Arc<Place> {
        Place::new(places, Some("a"))
    }

    #[test]
    fn no_more_places_are_taken_than_there_are_but_by_those_that_are_claimed() {
        let places = Places::new(2);
        let [first, second] = [(); 2].map(|()| place(&places));
        assert_eq!(places.free(), 0);
        first.give_back();
        first.give_back();
        assert_eq!(places.free(), 1);
        let third = place(&places);
        assert!(first.wait_for().now_or_never().is_none());
        assert!(second.wait_for().now_or_never().is_some(), "it has one");
        drop(third);
        assert!(first.wait_for().now_or_never().is_some());
        let beyond = Place::none(&places, None);
        beyond.hold();
        assert_eq!(places.for_woken(), WOKEN - 1);
        drop((first, second, beyond));
        assert_eq!(places.free(), 2);
    }

    #[tokio::test]
    async fn whoever_waits_first_gets_the_next_place_and_nothing_is_left_for_others() {
        let places = Places::new(1);
        let going = place(&places);
        let waiting = [(); 3].map(|()| Place::none(&places, Some("b")));
        let mut waits = waiting.each_ref().map(|place| Box::pin(place.wait_for()));
        for wait in &mut waits {
            assert!(futures::poll!(wait).is_pending());
        }
        let [first, second, third] = waits;
        drop(going);
        assert_eq!(places.free(), 0, "it is given away already");
        assert!(waiting[0].is_taken() && !waiting[0].is_in_line());
        first.await;
        drop(second);
        assert!(!waiting[1].is_in_line());
        waiting[0].give_back();
        third.await;
        assert!(!waiting[1].is_taken() && waiting[2].is_taken() && !places.has_line());
    }

    #[test]
    fn who_was_taken_up_beyond_the_places_has_one_once_it_is_free() {
        let places = Places::new(2);
        let [first, second] = [(); 2].map(|()| place(&places));
        assert!(!first.is_beyond());
        let [beyond, other] = [(); 2].map(|()| Place::beyond(&places, Some("b")));
        assert_eq!(places.for_woken(), WOKEN - 2);
        assert!(beyond.is_beyond() && other.is_beyond() && beyond.is_taken());
        drop(first);
        assert!(beyond.is_beyond(), "there are three for two places");
        drop(second);
        assert!(!beyond.is_beyond() && !other.is_beyond());
        let third = place(&places);
        assert!(!other.is_beyond(), "it has its own");
        drop((beyond, other, third));
        let last = Place::beyond(&places, None);
        assert!(!last.is_beyond());
        last.give_back();
        assert_eq!(places.free(), 2);
    }

    #[test]
    fn who_was_taken_up_beyond_the_places_comes_after_those_in_the_line() {
        let places = Places::new(1);
        let (first, waits) = (place(&places), Place::none(&places, Some("c")));
        let mut turn = Box::pin(waits.wait_for());
        assert!(turn.as_mut().now_or_never().is_none() && waits.is_in_line());
        let beyond = Place::beyond(&places, Some("b"));
        drop(first);
        assert!(beyond.is_beyond() && waits.is_taken(), "it is the turn of the one that waited");
    }

    #[test]
    fn what_is_kept_for_a_claim_goes_to_those_who_wait_once_it_is_not_needed() {
        let places = Places::new(1);
        let kept = places.keep(1);
        let waiting = Place::none(&places, None);
        let mut wait = Box::pin(waiting.wait_for());
        assert!((&mut wait).now_or_never().is_none());
        assert_eq!(places.free(), 0);
        drop(kept);
        assert!(wait.now_or_never().is_some());
    }

    #[test]
    fn who_waits_for_a_place_of_a_cluster_that_has_its_share_holds_up_no_other() {
        let places = Places::new(4);
        let going = [(); 2].map(|()| place(&places));
        let same = Place::none(&places, Some("a"));
        let mut wait = Box::pin(same.wait_for());
        assert!((&mut wait).now_or_never().is_none());
        assert!(places.free() == 2 && places.has_line());
        let other = Place::none(&places, Some("b"));
        assert!(other.wait_for().now_or_never().is_some());
        let mut clusters = Clusters::default();
        going.iter().chain([&same]).for_each(|place| clusters.count(Some("a"), place));
        assert_eq!(clusters.room(&places), 1, "those of a do not count for b");
        drop(going);
        assert!(wait.now_or_never().is_some());
    }

    #[test]
    fn a_cluster_has_its_share_of_places_and_of_those_that_are_queued() {
        let places = Places::new(10);
        let going: Vec<_> = (0..4).map(|_| place(&places)).collect();
        let count = |names: &[&'static str]| {
            let mut clusters = Clusters::default();
            for (name, place) in names.iter().zip(&going) {
                clusters.count(Some(name), place);
            }
            (clusters.full(&places), clusters.room(&places))
        };
        assert_eq!(count(&[]), (vec![], 5));
        assert_eq!(count(&["a", "a", "a", "b"]), (vec![], 2));
        let more = place(&places);
        let mut clusters = Clusters::default();
        going.iter().chain([&more]).for_each(|place| clusters.count(Some("a"), place));
        assert_eq!((clusters.full(&places), clusters.room(&places)), (vec!["a".to_owned()], 5));

        let queued = Place::none(&places, Some("b"));
        let mut clusters = Clusters::default();
        (0..QUEUED_OF_CLUSTER).for_each(|_| clusters.count(Some("b"), &queued));
        assert_eq!((clusters.full(&places), clusters.room(&places)), (vec!["b".to_owned()], 5));
        assert!(clusters.served(&places).is_empty());
        (QUEUED_OF_CLUSTER..QUEUED).for_each(|_| clusters.count(Some("c"), &queued));
        assert_eq!((clusters.room(&places), clusters.room_in_queues()), (0, 0));
        assert_eq!(Places::new(1).of_cluster(), 2);
    }
}
