//! The places for connections, and which connection gives up its place to another. They keep one client, or many
//! idle connections, from locking everybody else out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::standing::Standing;

/// How long a connection waits for a place. By then an earlier connection can be dismissed, or a request has
/// ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// The places for connections. When none is free, the connection that has waited longest for a request gives its
/// place to the new one, so that a client that only keeps connections open keeps nobody out.
#[derive(Debug)]
pub(super) struct Places {
    /// How many connections may be open at once.
    most: usize,
    /// How many of them one client may have.
    per_client: usize,
    /// How long a connection is kept at least while it waits for its request, which may already be in the socket.
    grace: Duration,
    open: Mutex<Open>,
    freed: Arc<Notify>,
    closed: Closed,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, (Client, Arc<Standing>)>,
    of: HashMap<Client, usize>,
}

/// The place of a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(super) standing: Arc<Standing>,
}

/// Whether there is a place.
pub(super) enum Taken {
    Yes(Place),
    /// None is free, and no connection can be dismissed before this moment. `None`: not before a request ends.
    Full(Option<Instant>),
    /// The same for the connections of this client, which has as many as it may.
    TooMany(Option<Instant>),
}

/// Counts the connections that were closed for want of a place. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    dismissed: AtomicU64,
    refused: AtomicU64,
}

impl Closed {
    /// Idle connections that were closed to make room for others.
    pub(crate) fn dismissed(&self) -> u64 {
        self.0.dismissed.load(Ordering::Relaxed)
    }

    /// New connections that were closed because no room could be made.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Counts a connection that is closed because there was no room.
    pub(super) fn refuse(&self, client: Client) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(?client, "there is no place for a connection");
    }
}

impl Places {
    pub(super) fn new(
        most: usize,
        per_client: usize,
        grace: Duration,
        closed: Closed,
    ) -> Arc<Self> {
        let (most, per_client) = (most.max(1), per_client.max(1));
        let (open, freed) = (Mutex::default(), Arc::default());
        Arc::new(Self { most, per_client, grace, open, freed, closed })
    }

    /// A place, once one is free. None if that takes longer than [`PATIENCE`].
    pub(super) async fn take(self: &Arc<Self>, client: Client) -> Option<Place> {
        let end = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            let next = match self.try_take(client) {
                Taken::Yes(place) => return Some(place),
                Taken::Full(next) | Taken::TooMany(next) => next,
            };
            if Instant::now() >= end {
                return None;
            }
            tokio::select! {
                () = freed => {}
                () = sleep_until(next.unwrap_or(end).min(end)) => {}
            }
        }
    }

    /// A place, if one can be had now.
    pub(super) fn try_take(self: &Arc<Self>, client: Client) -> Taken {
        self.take_after(client, self.grace)
    }

    /// Like [`try_take`](Self::try_take), but this client's own connection that has waited longest may have to
    /// give up its place at once, however short its wait was.
    pub(super) fn take_from_own(self: &Arc<Self>, client: Client) -> Taken {
        self.take_after(client, Duration::ZERO)
    }

    fn take_after(self: &Arc<Self>, client: Client, own_grace: Duration) -> Taken {
        let mut open = self.lock();
        if open.of.get(&client).is_some_and(|of| *of >= self.per_client)
            && let Err(next) = open.dismiss(own_grace, |one| one == client)
        {
            return Taken::TooMany(next);
        }
        if open.all.len() >= self.most
            && let Err(next) = open.dismiss(self.grace, |_| true)
        {
            return Taken::Full(next);
        }
        let (number, standing) = (open.next, Arc::new(Standing::new(Arc::clone(&self.freed))));
        open.next += 1;
        open.all.insert(number, (client, Arc::clone(&standing)));
        *open.of.entry(client).or_default() += 1;
        Taken::Yes(Place { places: Arc::clone(self), number, standing })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Among the connections of the clients that `of` accepts, ends the one that has waited longest, if that is at
    /// least `grace`. Otherwise the error says when one will have waited that long, if any is waiting.
    fn dismiss(
        &mut self,
        grace: Duration,
        of: impl Fn(Client) -> bool,
    ) -> Result<(), Option<Instant>> {
        loop {
            let all = self.all.iter().filter(|(_, (client, _))| of(*client));
            let idle = all.filter_map(|(number, (_, s))| Some((s.idle_since()?, *number)));
            let Some((since, number)) = idle.min() else { return Err(None) };
            if since + grace > Instant::now() {
                return Err(Some(since + grace));
            }
            // Its request may have arrived in the meantime.
            if self.all.get(&number).is_some_and(|(_, standing)| standing.dismiss()) {
                self.remove(number);
                return Ok(());
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let Some((client, _)) = self.all.remove(&number) else { return };
        if let Some(of) = self.of.get_mut(&client) {
            *of -= 1;
            if *of == 0 {
                self.of.remove(&client);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.number);
        if self.standing.leaves.is_cancelled() {
            self.places.closed.0.dismissed.fetch_add(1, Ordering::Relaxed);
        }
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(ip: &str) -> Client {
        Client::at(SocketAddr::new(ip.parse().unwrap(), 1))
    }

    fn places(most: usize, per_client: usize) -> Arc<Places> {
        Places::new(most, per_client, SECOND, Closed::default())
    }

    fn take(places: &Arc<Places>, ip: &str) -> Option<Place> {
        match places.try_take(client(ip)) {
            Taken::Yes(place) => Some(place),
            Taken::Full(_) | Taken::TooMany(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_longest_gives_its_place_to_a_new_connection() {
        let places = places(3, 3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(take(&places, "10.0.0.1").unwrap());
            tokio::time::advance(SECOND).await;
        }
        held[0].standing.begins();
        held[1].standing.heard();
        let fourth = take(&places, "10.0.0.2").unwrap();
        let left = held.iter().map(|place| place.standing.leaves.is_cancelled());
        assert_eq!(left.collect::<Vec<_>>(), [false, false, true], "by the last byte");
        fourth.standing.begins();
        held[1].standing.begins();
        // All connections are being answered.
        tokio::time::advance(SECOND).await;
        assert!(take(&places, "10.0.0.2").is_none());
        drop(fourth);
        assert!(take(&places, "10.0.0.2").is_some());
        drop(held);
        assert_eq!(places.closed.dismissed(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_only_so_many() {
        let places = places(4, 2);
        let held: Vec<_> = (0..2).map(|_| take(&places, "10.0.0.1").unwrap()).collect();
        held.iter().for_each(|place| assert!(place.standing.begins()));
        assert!(take(&places, "10.0.0.1").is_none());
        assert!(take(&places, "10.0.0.2").is_some());
        held[0].standing.ends(Some(Default::default()));
        tokio::time::advance(SECOND).await;
        assert!(take(&places, "10.0.0.1").is_none(), "its answer is still on its way");
        held[0].standing.flushed();
        tokio::time::advance(SECOND).await;
        let again = take(&places, "10.0.0.1").unwrap();
        assert!(held[0].standing.leaves.is_cancelled() && !held[1].standing.leaves.is_cancelled());
        drop((held, again));
        assert!(places.lock().all.is_empty() && places.lock().of.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_a_moment_ago_is_not_dismissed_but_by_its_own_client() {
        let places = places(2, 2);
        let held: Vec<_> = (0..2).map(|_| take(&places, "10.0.0.1").unwrap()).collect();
        assert!(take(&places, "10.0.0.2").is_none() && take(&places, "10.0.0.1").is_none());
        let began = Instant::now();
        assert!(places.take(client("10.0.0.2")).await.is_some());
        assert_eq!(began.elapsed(), SECOND);
        assert!(held[0].standing.leaves.is_cancelled());
        let _third = take(&places, "10.0.0.1").unwrap();
        let own = places.take_from_own(client("10.0.0.1"));
        assert!(matches!(own, Taken::Yes(_)) && held[1].standing.leaves.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_hears_that_an_answer_has_ended() {
        let places = places(2, 1);
        let held = ["10.0.0.1", "10.0.0.2"].map(|ip| take(&places, ip).unwrap());
        held.iter().for_each(|place| assert!(place.standing.begins()));
        let began = Instant::now();
        let third = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(client("10.0.0.3")).await }
        });
        tokio::time::advance(2 * SECOND).await;
        assert!(!third.is_finished());
        held[0].standing.ends(None);
        held[0].standing.flushed();
        let third = third.await.unwrap().unwrap();
        // The wait ends before its patience does.
        assert_eq!(began.elapsed(), 3 * SECOND);
        assert!(held[0].standing.leaves.is_cancelled() && third.standing.begins());
        let began = Instant::now();
        assert!(places.take(client("10.0.0.4")).await.is_none());
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
