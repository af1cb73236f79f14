//! The places of an engine: how many runs it drives at once, and how many of one cluster.
//!
//! A run that waits for the lock of its cluster takes none: it holds nothing but its own document. It takes
//! one before it asks for the lock, so that no run gets its cluster and then waits for an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// How soon a run that waits for a place looks again: a person hardly notices.
const LOOK: Duration = Duration::from_millis(250);

/// Of so many places one cluster may have one: whoever starts a hundred runs on one cluster, each of which
/// allows the others beside it, leaves places for the other clusters.
const SHARES: usize = 2;

/// Places that one cluster may have however few there are.
const FEWEST: usize = 2;

/// Runs beyond its places that an engine takes up when a command for them has come: whoever steers a run that was
/// parked need not wait until others have ended.
const WOKEN: usize = 50;

/// Runs of one cluster that an engine takes up although they only wait in its queue: enough that each person who
/// looks at one of them reads what it waits for. The others stay in the store and cost nothing.
pub(super) const QUEUED_OF_CLUSTER: usize = 100;

/// Runs that an engine takes up although they only wait in a queue, of all clusters: each has its document in
/// memory and a task.
pub(super) const QUEUED: usize = 1_000;

/// The places of one engine.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// Places that are free.
    pub(super) fn free(&self) -> usize {
        self.max.saturating_sub(self.taken.load(Ordering::Acquire))
    }

    /// Runs that may still be taken up when a command for them has come.
    pub(super) fn for_woken(&self) -> usize {
        self.max.saturating_add(WOKEN).saturating_sub(self.taken.load(Ordering::Acquire))
    }

    /// Places that one cluster may have.
    pub(super) fn of_cluster(&self) -> usize {
        self.max.div_ceil(SHARES).max(FEWEST)
    }
}

/// What one run has of them. It is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    is_taken: AtomicBool,
}

impl Place {
    /// A place for a run that was claimed. Whether there is one was looked at before.
    pub(super) fn new(places: &Arc<Places>) -> Arc<Self> {
        places.taken.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self { places: Arc::clone(places), is_taken: AtomicBool::new(true) })
    }

    /// Whether the run has its place.
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }

    /// Takes the place, unless no one is free. Whether the run has it now.
    pub(super) fn take(&self) -> bool {
        if self.is_taken() {
            return true;
        }
        let more = |taken: usize| (taken < self.places.max).then(|| taken + 1);
        let taken =
            self.places.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if taken {
            self.is_taken.store(true, Ordering::Release);
        }
        taken
    }

    /// Takes the place, as soon as one is free.
    pub(super) async fn wait_for(&self, clock: &dyn Clock) {
        while !self.take() {
            clock.sleep(LOOK).await;
        }
    }

    /// Gives the place back while the run only waits.
    pub(super) fn give_back(&self) {
        if self.is_taken.swap(false, Ordering::AcqRel) {
            self.places.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How many runs of each cluster an engine drives.
#[derive(Debug, Default)]
pub(super) struct Clusters<'a> {
    of: BTreeMap<&'a str, (usize, usize)>,
    queued: usize,
}

impl<'a> Clusters<'a> {
    /// Counts a run with its place.
    pub(super) fn count(&mut self, cluster: Option<&'a str>, place: &Place) {
        let of = self.of.entry(cluster.unwrap_or_default()).or_default();
        match place.is_taken() {
            true => of.0 += 1,
            false => {
                of.1 += 1;
                self.queued += 1;
            }
        }
    }

    /// Those of which no run is taken that has not started.
    pub(super) fn full(&self, places: &Places) -> Vec<String> {
        let full = |(going, queued): &(usize, usize)| {
            *going >= places.of_cluster() || *queued >= QUEUED_OF_CLUSTER
        };
        self.of.iter().filter(|(_, of)| full(of)).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// How many runs may be claimed at once, of which nobody knows beforehand of which clusters they are.
    pub(super) fn room(&self, places: &Places) -> usize {
        let share = places.of_cluster();
        let most = self.of.values().map(|(going, _)| *going).filter(|going| *going < share).max();
        let room = places.free().min(share - most.unwrap_or_default());
        room.min(QUEUED.saturating_sub(self.queued))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    #[test]
    fn no_more_places_are_taken_than_there_are_but_by_those_that_are_claimed() {
        let places = Places::new(2);
        let [first, second] = [(); 2].map(|()| Place::new(&places));
        assert_eq!(places.free(), 0);
        first.give_back();
        first.give_back();
        assert_eq!(places.free(), 1);
        let third = Place::new(&places);
        assert!(!first.take());
        assert!(second.take(), "it has one");
        drop(third);
        assert!(first.take());
        drop((first, second));
        assert_eq!(places.free(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_gets_the_next_that_is_free() {
        let places = Places::new(1);
        let going = Place::new(&places);
        let waiting = Place::new(&places);
        waiting.give_back();
        let clock = TokioClock::starting_at(Timestamp::default());
        let wait = waiting.wait_for(&clock);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        drop(going);
        wait.await;
        assert!(waiting.is_taken());
    }

    #[test]
    fn a_cluster_has_its_share_of_places_and_of_those_that_are_queued() {
        let places = Places::new(10);
        let going: Vec<_> = (0..4).map(|_| Place::new(&places)).collect();
        let count = |names: &[&'static str]| {
            let mut clusters = Clusters::default();
            for (name, place) in names.iter().zip(&going) {
                clusters.count(Some(name), place);
            }
            (clusters.full(&places), clusters.room(&places))
        };
        assert_eq!(count(&[]), (vec![], 5));
        assert_eq!(count(&["a", "a", "a", "b"]), (vec![], 2));
        let more = Place::new(&places);
        let mut clusters = Clusters::default();
        going.iter().chain([&more]).for_each(|place| clusters.count(Some("a"), place));
        assert_eq!((clusters.full(&places), clusters.room(&places)), (vec!["a".to_owned()], 5));

        let queued = Place::new(&places);
        queued.give_back();
        let mut clusters = Clusters::default();
        (0..QUEUED_OF_CLUSTER).for_each(|_| clusters.count(Some("b"), &queued));
        assert_eq!((clusters.full(&places), clusters.room(&places)), (vec!["b".to_owned()], 5));
        (QUEUED_OF_CLUSTER..QUEUED).for_each(|_| clusters.count(Some("c"), &queued));
        assert_eq!(clusters.room(&places), 0);
        assert_eq!(Places::new(1).of_cluster(), FEWEST);
    }
}
