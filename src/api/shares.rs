//! Limits how many requests are in progress. Requests that steer a run have a share of their own, and so have
//! those that ask how the server is: they are answered even when everything else is taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::limits::{LOBBY, MAX_PROBES, MAX_STREAMS, MAX_URGENT, REFUSALS_SAID};
use crate::web::{Client, Closed, Limits, Times};

/// Which share a request takes a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Answered at once, out of memory; needs no share.
    AtOnce,
    /// Asks how the server is.
    Probe,
    /// Steers a run.
    Urgent,
    /// Any other request.
    Ordinary,
    /// An ordinary request whose answer goes on until the run ends.
    Stream,
}

impl Class {
    /// Whether the answer waits for memory. Other classes have small answers, which must always get through.
    pub(super) const fn waits_for_memory(self) -> bool {
        match self {
            Self::AtOnce | Self::Probe | Self::Urgent => false,
            Self::Ordinary | Self::Stream => true,
        }
    }
}

/// How many requests are in progress, by class and by client.
#[derive(Debug)]
pub(super) struct Shares {
    connections: usize,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    probes: Count,
    urgent: Count,
    ordinary: Count,
    streams: Count,
    /// How many requests were refused.
    refused: u64,
    /// When the log last said so.
    said: Option<Instant>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    of: HashMap<Client, usize>,
}

/// A request in progress; its part of the share is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Going {
    shares: Arc<Shares>,
    class: Class,
    client: Client,
}

impl Shares {
    /// The shares of a server with `connections` connections.
    pub(super) fn new(connections: usize) -> Arc<Self> {
        Arc::new(Self { connections: connections.max(FEWEST), now: Mutex::default() })
    }

    /// The limits on connections. One client alone never gets all of them.
    pub(super) fn limits(&self, times: Times, closed: Closed) -> Limits {
        let lobby = (self.connections / 16).clamp(1, LOBBY);
        let per_client = self.connections - self.connections / 8;
        Limits { places: self.connections - lobby, per_client, lobby, times, closed }
    }

    /// The most requests of this class that are in progress. All classes together have fewer than there are
    /// connections, so some connections are left to receive a request.
    fn most(&self, class: Class) -> usize {
        let eighth = self.connections / 8;
        let (urgent, probes) = (eighth.min(MAX_URGENT), eighth.min(MAX_PROBES));
        match class {
            Class::AtOnce => usize::MAX,
            Class::Probe => probes,
            Class::Urgent => urgent,
            Class::Ordinary => self.connections - 2 * urgent - probes,
            Class::Stream => MAX_STREAMS.min(self.most(Class::Ordinary) / 2),
        }
    }

    /// A part of the share for a request of this client; `None` if too many are in progress, of this client or
    /// of all.
    pub(super) fn take(self: &Arc<Self>, class: Class, client: Client) -> Option<Going> {
        let most = self.most(class);
        // Behind a proxy all clients look like one, so one client may have most of the share.
        let per_client = most - most.div_ceil(4);
        let mut now = self.lock();
        let Some(count) = now.count(class) else {
            return Some(Going { shares: Arc::clone(self), class, client });
        };
        let of = count.of.get(&client).copied().unwrap_or(0);
        if count.all >= most || of >= per_client {
            return None;
        }
        count.all += 1;
        count.of.insert(client, of + 1);
        Some(Going { shares: Arc::clone(self), class, client })
    }

    /// Notes that a request was refused, and logs that from time to time.
    pub(super) fn refuse(&self, class: Class, client: Client) {
        let mut now = self.lock();
        now.refused += 1;
        tracing::debug!(?class, ?client, "a request is refused: too many are in progress");
        if now.said.is_none_or(|said| said.elapsed() >= REFUSALS_SAID) {
            now.said = Some(Instant::now());
            let refused = now.refused;
            tracing::warn!(
                ?class,
                ?client,
                refused,
                "requests are refused: too many are in progress"
            );
        }
    }

    /// How many requests were refused since the server started.
    pub(super) fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fewest connections of a server: enough to leave room in each share.
const FEWEST: usize = 16;

impl Now {
    fn count(&mut self, class: Class) -> Option<&mut Count> {
        match class {
            Class::AtOnce => None,
            Class::Probe => Some(&mut self.probes),
            Class::Urgent => Some(&mut self.urgent),
            Class::Ordinary => Some(&mut self.ordinary),
            Class::Stream => Some(&mut self.streams),
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut now = self.shares.lock();
        let Some(count) = now.count(self.class) else { return };
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
            let mut small = Vec::new();
            for class in [Class::Urgent, Class::Probe] {
                let of_one = all(&shares, class, client(1));
                assert!(!of_one.is_empty(), "{connections}");
                let of_two = all(&shares, class, client(2));
                assert!(!of_two.is_empty(), "{connections}");
                small.extend([of_one, of_two]);
            }
            assert!(shares.take(Class::AtOnce, client(3)).is_some(), "{connections}");
            let limits =
                shares.limits(Times::silent_for(std::time::Duration::ZERO), Closed::default());
            let going = one.len() + two.len() + small.iter().map(Vec::len).sum::<usize>();
            assert!(going < limits.places, "{connections}: a further request can't come");
            assert!(one.len() + small[0].len() + small[2].len() < limits.per_client);
            assert!(limits.places + limits.lobby <= connections.max(FEWEST));
            let streams = all(&shares, Class::Stream, client(1));
            assert!(shares.take(Class::Stream, client(2)).is_some(), "{connections}");
            assert!(streams.len() < one.len(), "{connections}: no stream, no other request");
            drop((one, two, small, streams));
            assert!(shares.lock().ordinary.of.is_empty() && shares.lock().urgent.all == 0);
        }
    }
}
