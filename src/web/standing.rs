//! How far each connection is, and which of them gives its place to another.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who is at the other end, as far as that is known: its address, or of an IPv6 address the network, which is
/// what one client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// The one at this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => {
                let [a, b, c, d, ..] = ip.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => Self(ip),
        }
    }

    /// One of whom nothing is known.
    pub(crate) const fn unknown() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte of a request is there.
    Waiting,
    /// Not all headers of it are there.
    Head,
    /// It is being answered.
    Answering,
    /// The end of the answer is on its way.
    Answered,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) struct Standing {
    at: Mutex<(Phase, Instant)>,
    /// Its place is given to another.
    pub(super) leaves: CancellationToken,
}

impl Standing {
    pub(super) fn new() -> Self {
        let at = Mutex::new((Phase::Waiting, Instant::now()));
        Self { at, leaves: CancellationToken::new() }
    }

    /// What it is at, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        *self.lock()
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        self.turn(|phase| matches!(phase, Phase::Waiting | Phase::Answered), Phase::Head);
    }

    /// A request begins to be answered.
    pub(super) fn begins(&self) {
        self.turn(|_| true, Phase::Answering);
    }

    /// There is no more to be said.
    pub(super) fn ends(&self) {
        self.turn(|phase| phase == Phase::Answering, Phase::Answered);
    }

    /// All that was said is on its way. Whether this is new.
    pub(super) fn flushed(&self) -> bool {
        self.turn(|phase| phase == Phase::Answered, Phase::Waiting)
    }

    fn turn(&self, from: impl Fn(Phase) -> bool, to: Phase) -> bool {
        let mut at = self.lock();
        let turns = from(at.0);
        if turns {
            *at = (to, Instant::now());
        }
        turns
    }

    /// Since when it has waited for its client to ask for something.
    fn waits_since(&self) -> Option<Instant> {
        match self.phase() {
            (Phase::Waiting | Phase::Head, since) => Some(since),
            (Phase::Answering | Phase::Answered, _) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places for connections. When none is free, the connection that has waited longest for a request gives
/// its own to the new one: who only keeps connections open keeps nobody out.
#[derive(Debug)]
pub(super) struct Places {
    /// Connections that are open at once.
    most: usize,
    /// The same, of one client.
    per_client: usize,
    open: Mutex<Open>,
    freed: Notify,
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

enum Taken {
    Yes(Place),
    /// All that are open are being answered.
    Full,
    /// So are all of this client.
    TooMany,
}

impl Places {
    pub(super) fn new(most: usize, per_client: usize) -> Arc<Self> {
        let (most, per_client) = (most.max(1), per_client.max(1));
        Arc::new(Self { most, per_client, open: Mutex::default(), freed: Notify::new() })
    }

    /// A place, once there is one. None where this client has too many requests going on.
    pub(super) async fn take(self: &Arc<Self>, client: Client) -> Option<Place> {
        loop {
            let freed = self.freed.notified();
            match self.try_take(client) {
                Taken::Yes(place) => return Some(place),
                Taken::TooMany => return None,
                Taken::Full => freed.await,
            }
        }
    }

    fn try_take(self: &Arc<Self>, client: Client) -> Taken {
        let mut open = self.lock();
        if open.of.get(&client).is_some_and(|of| *of >= self.per_client)
            && !open.dismiss(|one| one == client)
        {
            return Taken::TooMany;
        }
        if open.all.len() >= self.most && !open.dismiss(|_| true) {
            return Taken::Full;
        }
        let (number, standing) = (open.next, Arc::new(Standing::new()));
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
    /// Ends the connection, of those clients, that has waited longest. False if none of them waits.
    fn dismiss(&mut self, of: impl Fn(Client) -> bool) -> bool {
        let waiting = self.all.iter().filter(|(_, (client, _))| of(*client));
        let waiting =
            waiting.filter_map(|(number, (_, s))| s.waits_since().map(|at| (at, *number)));
        let Some((_, number)) = waiting.min() else { return false };
        if let Some((_, standing)) = self.all.get(&number) {
            standing.leaves.cancel();
        }
        self.remove(number);
        true
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
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn client(ip: &str) -> Client {
        Client::at(SocketAddr::new(ip.parse().unwrap(), 1))
    }

    fn take(places: &Arc<Places>, ip: &str) -> Option<Place> {
        places.take(client(ip)).now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_longest_gives_its_place_to_a_new_connection() {
        let places = Places::new(3, 3);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(take(&places, "10.0.0.1").unwrap());
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        held[0].standing.begins();
        held[1].standing.heard();
        let fourth = take(&places, "10.0.0.2").unwrap();
        let left = held.iter().map(|place| place.standing.leaves.is_cancelled());
        assert_eq!(left.collect::<Vec<_>>(), [false, false, true], "by the last byte");
        fourth.standing.begins();
        held[1].standing.begins();
        // All are being answered.
        assert!(take(&places, "10.0.0.2").is_none());
        drop(fourth);
        assert!(take(&places, "10.0.0.2").is_some());
    }

    #[tokio::test]
    async fn a_client_has_only_so_many() {
        let places = Places::new(4, 2);
        let held: Vec<_> = (0..2).map(|_| take(&places, "10.0.0.1").unwrap()).collect();
        held.iter().for_each(|place| place.standing.begins());
        assert!(take(&places, "10.0.0.1").is_none());
        assert!(take(&places, "10.0.0.2").is_some());
        held[0].standing.ends();
        assert!(take(&places, "10.0.0.1").is_none(), "its answer is still on its way");
        held[0].standing.flushed();
        let again = take(&places, "10.0.0.1").unwrap();
        assert!(held[0].standing.leaves.is_cancelled() && !held[1].standing.leaves.is_cancelled());
        drop((held, again));
        assert!(places.lock().all.is_empty() && places.lock().of.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
    }
}
