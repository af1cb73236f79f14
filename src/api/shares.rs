//! How many requests go on at once. Those that steer a run, or ask how the server is, have a share of their own,
//! so that they are answered when everything else is taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::{MAX_STREAMS, MAX_URGENT};
use crate::web::{Client, Limits, Times};

/// To whose share a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It steers a run, or asks how the server is.
    Urgent,
    /// Any other.
    Ordinary,
    /// An ordinary one whose answer goes on until the run ends.
    Stream,
}

/// How many requests go on, of which class and of whom.
#[derive(Debug)]
pub(super) struct Shares {
    connections: usize,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    urgent: Count,
    ordinary: Count,
    streams: Count,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    of: HashMap<Client, usize>,
}

/// A request's part, given back when dropped.
#[derive(Debug)]
pub(super) struct Going {
    shares: Arc<Shares>,
    class: Class,
    client: Client,
}

impl Shares {
    /// The shares of a server with so many connections.
    pub(super) fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self { connections: connections.max(FEWEST), now: Mutex::default() })
    }

    /// How many connections the server takes. One client alone never has all of them.
    pub(super) fn limits(&self, times: Times) -> Limits {
        let per_client = self.connections - self.connections / 8;
        Limits { places: self.connections, per_client, times }
    }

    /// Requests of this class that go on at once. Together they are fewer than the connections: some are left on
    /// which a request can come at all.
    fn most(&self, class: Class) -> usize {
        let urgent = (self.connections / 8).min(MAX_URGENT);
        match class {
            Class::Urgent => urgent,
            Class::Ordinary => self.connections - 2 * urgent,
            Class::Stream => MAX_STREAMS.min(self.most(Class::Ordinary) / 2),
        }
    }

    /// A part for a request of this client; none if too many go on, of this client or of all.
    pub(super) fn take(self: &Arc<Self>, class: Class, client: Client) -> Option<Going> {
        let most = self.most(class);
        // Behind a proxy all are one client, so one may have most.
        let per_client = most - most.div_ceil(4);
        let mut now = self.lock();
        let count = now.count(class);
        let of = count.of.get(&client).copied().unwrap_or(0);
        if count.all >= most || of >= per_client {
            return None;
        }
        count.all += 1;
        count.of.insert(client, of + 1);
        Some(Going { shares: Arc::clone(self), class, client })
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fewest connections of a server: with those each share has room.
const FEWEST: usize = 16;

impl Now {
    fn count(&mut self, class: Class) -> &mut Count {
        match class {
            Class::Urgent => &mut self.urgent,
            Class::Ordinary => &mut self.ordinary,
            Class::Stream => &mut self.streams,
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut now = self.shares.lock();
        let count = now.count(self.class);
        count.all -= 1;
        if let Some(of) = count.of.get_mut(&self.client) {
            *of -= 1;
            if *of == 0 {
                count.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn client(number: u8) -> Client {
        Client::at(SocketAddr::from(([10, 0, 0, number], 1)))
    }

    fn all(shares: &Arc<Shares>, class: Class, client: Client) -> Vec<Going> {
        std::iter::from_fn(|| shares.take(class, client)).collect()
    }

    #[test]
    fn one_client_never_has_all_and_those_that_steer_always_have_some() {
        for connections in [0, 16, 40, 4_096, 100_000] {
            let shares = Shares::new(connections);
            let one = all(&shares, Class::Ordinary, client(1));
            let two = all(&shares, Class::Ordinary, client(2));
            assert!(!one.is_empty() && !two.is_empty(), "{connections}");
            assert!(shares.take(Class::Ordinary, client(3)).is_none(), "{connections}");
            let urgent = all(&shares, Class::Urgent, client(1));
            assert!(!urgent.is_empty(), "{connections}");
            assert!(shares.take(Class::Urgent, client(2)).is_some(), "{connections}");
            let limits = shares.limits(Times::silent_for(std::time::Duration::ZERO));
            let going = one.len() + two.len() + urgent.len();
            assert!(going < limits.places, "{connections}: a further request can't come");
            assert!(one.len() + urgent.len() < limits.per_client, "{connections}");
            let streams = all(&shares, Class::Stream, client(1));
            assert!(shares.take(Class::Stream, client(2)).is_some(), "{connections}");
            assert!(streams.len() < one.len(), "{connections}: no stream, no other request");
            drop((one, two, urgent, streams));
            assert!(shares.lock().ordinary.of.is_empty() && shares.lock().urgent.all == 0);
        }
    }
}
