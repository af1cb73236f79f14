//! Room for large bodies. Bodies that find it full wait, and slow ones give way to them, so that agents behind
//! slow lines can't keep all others out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Bytes per second at which an answer keeps its place, whoever waits. The largest about an action takes a
/// minute at this pace; throwing it away would cost more than the wait.
const FAST: u64 = 64 * 1024;

/// Bytes per second below which an answer gives way even when most of it has arrived: the rest of the largest
/// would take more than eight minutes.
const CRAWLING: u64 = 4 * 1024;

/// Room for the bytes of large bodies. All clones share it.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<Room>>);

#[derive(Debug)]
struct Room {
    bytes: usize,
    free: usize,
    /// In the order of arrival: a small body does not overtake a large one.
    waiting: VecDeque<Waiting>,
    holders: BTreeMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    turn: Duration,
    place: oneshot::Sender<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    bytes: usize,
    turn: Duration,
    since: Instant,
    received: usize,
    /// It has been told to give way, and will soon be gone.
    leaves: bool,
}

impl Holder {
    /// Bytes per second, since it has its place.
    fn rate(&self) -> u64 {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let received = u64::try_from(self.received).unwrap_or(u64::MAX);
        received.saturating_mul(1_000) / millis.max(1)
    }

    /// Whether it may have to give way: its turn is over, and either it is slow ([`FAST`]) and more than half of
    /// it is still to come, or it hardly comes at all ([`CRAWLING`]).
    fn may_leave(&self) -> bool {
        let is_over = self.since.elapsed() > self.turn;
        let rate = self.rate();
        let is_slow = rate < CRAWLING || self.received < self.bytes / 2 && rate < FAST;
        is_over && !self.leaves && is_slow
    }
}

/// A place for one body. Dropping it makes the place free again.
#[derive(Debug)]
pub(super) struct Place {
    places: Option<Places>,
    number: u64,
    bytes: usize,
}

impl Places {
    pub(super) fn new(bytes: usize) -> Self {
        let (waiting, holders) = Default::default();
        Self(Arc::new(Mutex::new(Room { bytes, free: bytes, waiting, holders, next: 0 })))
    }

    /// Waits for a place for a body of `bytes` bytes, which keeps the place for at least `turn`. A body larger
    /// than the room gets the whole room.
    pub(super) async fn take(&self, bytes: usize, turn: Duration) -> Place {
        let (place, receiver) = oneshot::channel();
        {
            let mut room = self.lock();
            let bytes = bytes.min(room.bytes);
            room.waiting.push_back(Waiting { bytes, turn, place });
        }
        self.hand_out();
        // If this wait is given up, the next body may fit.
        let wait = Wait { places: self, receiver };
        wait.place().await
    }

    /// Gives free room to the bodies that wait.
    fn hand_out(&self) {
        let mut room = self.lock();
        let room = &mut *room;
        room.waiting.retain(|waiting| !waiting.place.is_closed());
        while let Some(first) = room.waiting.front()
            && first.bytes <= room.free
            && let Some(Waiting { bytes, turn, place }) = room.waiting.pop_front()
        {
            let number = room.next;
            let given = Place { places: Some(self.clone()), number, bytes };
            match place.send(given) {
                Ok(()) => {
                    let since = Instant::now();
                    let holder = Holder { bytes, turn, since, received: 0, leaves: false };
                    room.holders.insert(number, holder);
                    room.free -= bytes;
                    room.next += 1;
                }
                // Its receiver went away a moment ago, so the place was not given out.
                Err(mut given) => given.places = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that `received` bytes of the body have arrived, and returns whether it has to give way. Only the
    /// slowest of the bodies that may leave has to, and no more of them leave than the waiting ones need.
    pub(super) fn has_to_leave(&self, received: usize) -> bool {
        let Some(places) = &self.places else { return false };
        let mut room = places.lock();
        let wanted: usize = {
            let waiting = room.waiting.iter().filter(|waiting| !waiting.place.is_closed());
            waiting.map(|waiting| waiting.bytes).sum()
        };
        let leaving = room.holders.values().filter(|holder| holder.leaves);
        let soon_free = room.free + leaving.map(|holder| holder.bytes).sum::<usize>();
        let Some(own) = room.holders.get_mut(&self.number) else { return false };
        own.received = received;
        let own = *own;
        if wanted <= soon_free || !own.may_leave() {
            return false;
        }
        let mut others = room.holders.iter().filter(|(number, _)| **number != self.number);
        if others.any(|(_, other)| other.may_leave() && other.rate() < own.rate()) {
            return false;
        }
        if let Some(own) = room.holders.get_mut(&self.number) {
            own.leaves = true;
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.places.take() else { return };
        {
            let mut room = places.lock();
            if let Some(holder) = room.holders.remove(&self.number) {
                room.free += holder.bytes;
            }
        }
        places.hand_out();
    }
}

/// A body that waits for its place. If the wait is given up, the next body may fit.
struct Wait<'a> {
    places: &'a Places,
    receiver: oneshot::Receiver<Place>,
}

impl Wait<'_> {
    async fn place(mut self) -> Place {
        match (&mut self.receiver).await {
            Ok(place) => place,
            // The sender is only dropped once nobody waits.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        // A place may have been given in the meantime.
        drop(self.receiver.try_recv());
        self.places.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, TokioClock};
    use crate::run::Timestamp;

    const BODY: usize = 4 * 1024 * 1024;
    const TURN: Duration = Duration::from_secs(30);

    fn clock() -> TokioClock {
        TokioClock::starting_at(Timestamp::from_millis(0))
    }

    /// Receives a body at a pace, and begins again whenever it had to give way, each time with a longer turn.
    /// Returns how often it began.
    async fn receive(places: &Places, bytes: usize, rate: usize, grows: u32) -> u32 {
        let mut turn = TURN;
        for begins in 1.. {
            let place = places.take(bytes, turn).await;
            let mut received = 0;
            while received < bytes && !place.has_to_leave(received) {
                clock().sleep(Duration::from_secs(5)).await;
                received += 5 * rate;
            }
            if received >= bytes {
                return begins;
            }
            turn *= grows;
        }
        unreachable!()
    }

    /// Sixty bodies share one line of `line` bytes per second, sixteen at a time. Returns how many seconds they
    /// take.
    async fn sixty(line: usize, grows: u32) -> Option<u64> {
        let places = Places::new(16 * BODY);
        let start = Instant::now();
        let all = (0..60).map(|_| receive(&places, BODY, line / 16, grows));
        let all = futures::future::join_all(all);
        tokio::time::timeout(Duration::from_secs(86_400), all).await.ok()?;
        Some(start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_all_come_at_one_pace_all_arrive() {
        // Each takes less than a minute, so nobody gives way.
        let fast = sixty(1_250_000, 2).await.unwrap();
        assert!(fast < 300, "{fast} s");
        // Slower lines waste some of their bytes, but only a part.
        for line in [600_000, 100_000, 16_000] {
            let least = u64::try_from(60 * BODY / line).unwrap();
            let took = sixty(line, 2).await.unwrap();
            assert!(took < 4 * least, "{took} s, at least {least} s");
        }
    }

    /// How often a slow body has to begin while others never cease to come; `None` if it never arrives.
    async fn among_others(grows: u32) -> Option<u32> {
        let places = Places::new(4 * BODY);
        let others = (0..6).map(|_| async {
            loop {
                receive(&places, BODY, 40_000, 2).await;
            }
        });
        let clock = clock();
        tokio::select! {
            begins = receive(&places, BODY, 2_000, grows) => Some(begins),
            _ = futures::future::join_all(others) => None,
            () = clock.sleep(Duration::from_secs(20_000)) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_of_all_arrives_since_its_turns_grow() {
        assert!(among_others(2).await.is_some_and(|begins| (2..12).contains(&begins)));
        assert_eq!(among_others(1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_gives_way_and_only_one_for_each_that_waits() {
        let places = Places::new(3 * BODY);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.take(BODY, TURN).await);
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(!held[0].has_to_leave(10_000), "nobody waits");
        assert!(!held[1].has_to_leave(500));
        assert!(!held[2].has_to_leave(BODY / 2 + 1));
        let waiting = places.take(BODY, TURN);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(!held[0].has_to_leave(10_000), "another one is slower");
        assert!(!held[2].has_to_leave(BODY / 2 + 1), "most of it is there");
        assert!(held[1].has_to_leave(500));
        assert!(!held[0].has_to_leave(10_000), "one leaves already");
        held.remove(1);
        let place = waiting.await;
        assert!(!held[0].has_to_leave(10_000) && !place.has_to_leave(0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hardly_sends_anything_gives_way_also_past_the_half() {
        let places = Places::new(BODY);
        let place = places.take(BODY, Duration::from_secs(1)).await;
        let waiting = places.take(BODY, TURN);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        // Nearly all of it came at 4 KiB per second.
        tokio::time::advance(Duration::from_secs(1_000)).await;
        assert!(!place.has_to_leave(1_000 * 4 * 1024));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(place.has_to_leave(1_000 * 4 * 1024));
        drop(place);
        waiting.await;
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_take_little_room_and_who_goes_leaves_none_behind() {
        let places = Places::new(BODY);
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(places.take(100_000, TURN).await);
        }
        let mut large = Box::pin(places.take(2 * BODY, TURN));
        assert!(futures::poll!(&mut large).is_pending());
        let mut behind = Box::pin(places.take(1, TURN));
        assert!(futures::poll!(&mut behind).is_pending(), "nobody overtakes");
        drop(large);
        assert!(futures::poll!(&mut behind).is_ready());
        drop(held);
        drop(behind);
        assert_eq!(places.take(2 * BODY, TURN).await.bytes(), BODY);
        assert_eq!(places.lock().free, BODY);
    }
}
