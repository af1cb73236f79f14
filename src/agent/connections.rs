//! The connections to agents and platforms. Their number stays below the file descriptors of this process, and
//! a shortage is logged and reported as our own, because it must never count against an agent.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How long a request waits for a free connection before its run is told of the shortage. Nearly all requests
/// get one sooner, and a quick look at an agent has only three seconds altogether.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// How often unused connections are checked for having been closed: nobody reports that, and checking all of
/// them takes time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The shortest time between two lines in the log that report a shortage.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// How long a shortage counts as present after it was last met. Requests that met it are repeated within a few
/// seconds.
const REMEMBERED: Duration = Duration::from_secs(15);

/// For how long it counts as our shortage that the system has no address or port to connect from. If they ran
/// out, some are free again after a minute; an address of a kind that the system does not have at all never
/// appears.
const NO_ADDRESS_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a host is remembered for which there was no local address. Agents are asked again sooner.
const NO_ADDRESS_REMEMBERED: Duration = Duration::from_secs(2 * 60);

/// What this process is short of, as seen by its requests to agents. Cheap to clone; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<Mutex<Met>>);

#[derive(Debug, Default)]
struct Met {
    times: u64,
    last: Option<Last>,
    said: Option<Instant>,
    /// The hosts for which there was no local address to connect from: since when, and when last.
    no_address: HashMap<String, (Instant, Instant)>,
}

#[derive(Debug)]
struct Last {
    since: Instant,
    at: Instant,
    message: String,
}

/// A shortage that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// For how long it has existed without a pause.
    pub since: Duration,
    /// What is short, as human-readable text.
    pub message: String,
}

impl Shortage {
    /// What this process is short of at the moment; `None` if it is short of nothing.
    pub fn now(&self) -> Option<Short> {
        let met = self.lock();
        let last = met.last.as_ref().filter(|last| last.at.elapsed() < REMEMBERED)?;
        Some(Short { since: last.since.elapsed(), message: last.message.clone() })
    }

    /// How often a request had to wait for something that is short, since the process started.
    pub fn times(&self) -> u64 {
        self.lock().times
    }

    /// Notes a shortage, and logs it.
    fn met(&self, message: String) -> TooLittle {
        let now = Instant::now();
        let mut met = self.lock();
        met.times += 1;
        let before = met.last.take().filter(|last| now - last.at < REMEMBERED);
        let since = before.map_or(now, |last| last.since);
        met.last = Some(Last { since, at: now, message: message.clone() });
        if met.said.is_none_or(|said| now - said >= SAID_AGAIN) {
            met.said = Some(now);
            let times = met.times;
            tracing::warn!(%message, times, "requests to agents are waiting: this server is short of something");
        }
        TooLittle(message)
    }

    /// Whether the lack of a local address from which to reach `host` still counts as our shortage.
    fn has_no_address_for_now(&self, host: &str) -> bool {
        let (now, mut met) = (Instant::now(), self.lock());
        met.no_address.retain(|_, (_, last)| now - *last < NO_ADDRESS_REMEMBERED);
        let (since, last) = met.no_address.entry(host.to_owned()).or_insert((now, now));
        *last = now;
        now - *since < NO_ADDRESS_FOR
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this process is short of when it can't make a connection, as human-readable text.
#[derive(Debug)]
pub(in crate::agent) struct TooLittle(pub(in crate::agent) String);

/// Limits the connections that are open at once. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// How long an unused connection is kept.
    kept_for: Duration,
    open: Mutex<Open>,
    freed: Notify,
    shortage: Shortage,
}

#[derive(Debug, Default)]
struct Open {
    /// Requests in progress.
    going: usize,
    /// For each host, until when its unused connections are kept. There may be fewer: the other side may close
    /// them.
    kept: HashMap<String, Vec<Instant>>,
    kept_in_all: usize,
    /// How many of the requests in progress will leave a connection that is kept.
    to_be_kept: usize,
    /// When unused connections were last checked for having been closed.
    looked: Option<Instant>,
}

/// The right of one request to use a connection, until it is dropped.
#[derive(Debug)]
pub(in crate::agent) struct Turn {
    connections: Connections,
    host: String,
    keeps: bool,
}

impl Connections {
    pub(in crate::agent) fn new(most: usize, kept_for: Duration) -> Self {
        let (open, freed, shortage) = (Mutex::default(), Notify::new(), Shortage::default());
        Self(Arc::new(Shared { most: most.max(1), kept_for, open, freed, shortage }))
    }

    pub(in crate::agent) fn shortage(&self) -> &Shortage {
        &self.0.shortage
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// No connection became free within `TURN_WAIT`.
    pub(in crate::agent) async fn turn(&self, address: &str) -> Result<Turn, TooLittle> {
        let host = host_of(address);
        let turn = async {
            loop {
                let freed = self.0.freed.notified();
                if let Some(turn) = self.try_turn(host) {
                    return turn;
                }
                // Nobody reports that an unused connection has been closed.
                let _ = timeout(LOOK_AGAIN, freed).await;
            }
        };
        timeout(TURN_WAIT, turn).await.map_err(|_| {
            let most = self.0.most;
            let message =
                format!("all {most} connections that this server has for agents are in use");
            self.0.shortage.met(message)
        })
    }

    fn try_turn(&self, host: &str) -> Option<Turn> {
        let (mut open, now) = (self.lock(), Instant::now());
        let again = open.take_kept(host, now);
        let (most, half) = (self.0.most, self.0.most.div_ceil(2));
        if open.going + open.kept_in_all >= most || open.kept_in_all + open.to_be_kept >= half {
            open.forget_closed(now);
        }
        if !again && open.going + open.kept_in_all >= most {
            return None;
        }
        open.going += 1;
        // Kept connections to other hosts can't be closed from here, so at most half of all connections are
        // kept.
        let keeps = open.kept_in_all + open.to_be_kept < half;
        open.to_be_kept += usize::from(keeps);
        drop(open);
        Some(Turn { connections: self.clone(), host: host.to_owned(), keeps })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn forget_closed(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now - looked < LOOK_AGAIN) {
            return;
        }
        self.looked = Some(now);
        self.kept.retain(|_, ends| {
            ends.retain(|end| *end > now);
            !ends.is_empty()
        });
        self.kept_in_all = self.kept.values().map(Vec::len).sum();
    }

    fn take_kept(&mut self, host: &str, now: Instant) -> bool {
        let Some(ends) = self.kept.get_mut(host) else { return false };
        let before = ends.len();
        ends.retain(|end| *end > now);
        let taken = ends.pop().is_some();
        self.kept_in_all -= before - ends.len();
        if ends.is_empty() {
            self.kept.remove(host);
        }
        taken
    }
}

impl Turn {
    /// Whether the connection may be kept for the next request.
    pub(in crate::agent) const fn keeps(&self) -> bool {
        self.keeps
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Connections(shared) = &self.connections;
        let mut open = self.connections.lock();
        open.going -= 1;
        if self.keeps {
            open.to_be_kept -= 1;
            let end = Instant::now() + shared.kept_for;
            open.kept.entry(std::mem::take(&mut self.host)).or_default().push(end);
            open.kept_in_all += 1;
        }
        drop(open);
        shared.freed.notify_one();
    }
}

/// Where a connection leads: scheme, name and port.
fn host_of(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + "://".len());
    let rest = address.get(start..).unwrap_or_default();
    let length = start + rest.find('/').unwrap_or(rest.len());
    address.get(..length).unwrap_or(address)
}

/// Why no connection could be made, if the reason is a shortage of this process or its system, which says
/// nothing about the other side.
fn of_our_own(error: &(dyn std::error::Error + 'static)) -> Option<Ours> {
    let mut cause = Some(error);
    let mut number = None;
    while let Some(error) = cause {
        number = number.or(error.downcast_ref::<io::Error>().and_then(number_of));
        cause = error.source();
    }
    match number {
        Some(number) => what_is_short(number),
        // Resolving a name needs descriptors too, and its error does not say that they ran out.
        None => what_is_short(std::fs::File::open("/dev/null").err()?.raw_os_error()?),
    }
}

/// What may be a shortage of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// A resource has run out; this text names it.
    Short(&'static str),
    /// There is no free port or address to connect from: too few, or none of that kind at all.
    NoAddress,
}

/// The system's number of an error. An `io::Error` that wraps another one does not name it as its source, so
/// this looks inside.
fn number_of(error: &io::Error) -> Option<i32> {
    let within = || error.get_ref()?.downcast_ref::<io::Error>().and_then(number_of);
    error.raw_os_error().or_else(within)
}

fn what_is_short(number: i32) -> Option<Ours> {
    [
        (Errno::MFILE, Ours::Short("this server has no descriptors left")),
        (Errno::NFILE, Ours::Short("the machine of this server has no descriptors left")),
        (Errno::NOBUFS, Ours::Short("this server has no room for connections left")),
        (Errno::NOMEM, Ours::Short("this server has no memory for connections left")),
        (Errno::ADDRNOTAVAIL, Ours::NoAddress),
    ]
    .into_iter()
    .find_map(|(errno, what)| (errno.raw_os_error() == number).then_some(what))
}

impl Shortage {
    /// Notes a failure to connect to `address` if the reason is a shortage of our own. `None` if it is not;
    /// then [`why_no_address`] may say why.
    pub(in crate::agent) fn notice(
        &self,
        address: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Option<TooLittle> {
        let host = host_of(address);
        match of_our_own(error)? {
            Ours::Short(what) => Some(self.met(what.to_owned())),
            Ours::NoAddress if may_be_reached(host) && self.has_no_address_for_now(host) => {
                Some(self.met("this server has no free local port or address".to_owned()))
            }
            Ours::NoAddress => None,
        }
    }
}

/// Why this machine can never have a local address from which to reach another one. Empty if that is not the
/// reason of the error.
pub(in crate::agent) fn why_no_address(error: &(dyn std::error::Error + 'static)) -> &'static str {
    match of_our_own(error) {
        Some(Ours::NoAddress) => {
            " (this machine has no address of that kind: is IPv6 switched off?)"
        }
        Some(Ours::Short(_)) | None => "",
    }
}

/// Whether this machine has an address of the same kind (IPv4, IPv6) as `host`, as far as that can be told.
fn may_be_reached(host: &str) -> bool {
    let name = host.split_once("://").map_or(host, |(_, name)| name);
    let is_v4 = name.split(':').next().is_some_and(|ip| ip.parse::<Ipv4Addr>().is_ok());
    is_v4 || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize) -> Connections {
        Connections::new(most, Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_there_are_descriptors_for() {
        let connections = connections(4);
        let mut turns = Vec::new();
        for number in 0..4 {
            turns.push(connections.turn(&format!("http://10.0.0.{number}:1/a")).await.unwrap());
        }
        assert_eq!(connections.shortage().now(), None);
        let TooLittle(message) = connections.turn("http://10.0.0.9:1").await.unwrap_err();
        assert!(message.starts_with("all 4 connections"), "{message}");
        let short = connections.shortage().now().unwrap();
        assert!(short.message.starts_with("all 4 connections"), "{}", short.message);
        turns.pop();
        turns.push(connections.turn("http://10.0.0.9:1").await.unwrap());
        tokio::time::advance(REMEMBERED).await;
        assert_eq!((connections.shortage().now(), connections.shortage().times()), (None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn unused_ones_count_until_they_are_closed_and_half_are_never_kept() {
        let connections = connections(4);
        let mut all = Vec::new();
        for number in 0..4 {
            all.push(connections.turn(&format!("http://a:{number}")).await.unwrap());
        }
        drop(all);
        assert_eq!(connections.lock().kept_in_all, 2);
        let others = [
            connections.turn("http://b:1").await.unwrap(),
            connections.turn("http://b:2").await.unwrap(),
        ];
        assert!(others.iter().all(|turn| !turn.keeps()));
        assert!(connections.turn("http://b:3").await.is_err(), "the unused ones take their room");
        // A kept connection to the same host is used again.
        assert!(connections.turn("http://a:1/base").await.unwrap().keeps());
        assert!(connections.turn("http://b:3").await.is_err());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(connections.turn("http://b:3").await.unwrap().keeps());
        drop(others);
    }

    #[test]
    fn what_we_are_short_of_is_told_from_what_others_do() {
        for ours in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            let error = io::Error::other(io::Error::from(ours));
            assert!(matches!(of_our_own(&error), Some(Ours::Short(_))), "{ours}");
            assert_eq!(why_no_address(&error), "");
        }
        for theirs in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH, Errno::TIMEDOUT] {
            assert_eq!(of_our_own(&io::Error::from(theirs)), None, "{theirs}");
        }
        assert_eq!(of_our_own(&io::Error::other("no such name")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_no_address_is_our_shortage_for_a_while_only() {
        let error = io::Error::from(Errno::ADDRNOTAVAIL);
        let shortage = Shortage::default();
        let notice = |address: &str| shortage.notice(address, &error);
        let began = Instant::now();
        while began.elapsed() < NO_ADDRESS_FOR {
            assert!(notice("http://10.0.0.1:1/a").is_some());
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        assert!(notice("http://10.0.0.1:1/a").is_none());
        assert!(notice("http://10.0.0.2:1").is_some(), "another one's time begins now");
        assert!(why_no_address(&error).contains("is IPv6 switched off?"));
        // There was no shortage in between.
        tokio::time::advance(NO_ADDRESS_REMEMBERED).await;
        assert!(notice("http://10.0.0.1:1/a").is_some());
        // On a machine without any IPv6 it says nothing about a shortage.
        let has_v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        assert_eq!(notice("http://[2001:db8::1]:1").is_some(), has_v6);
    }

    #[test]
    fn unused_ones_are_looked_through_only_when_it_is_full_and_seldom() {
        let mut open = Open::default();
        let now = Instant::now();
        for number in 0..3 {
            open.kept.insert(number.to_string(), vec![now, now + LOOK_AGAIN * 2]);
        }
        open.kept_in_all = 6;
        // For one host only its own connections are checked.
        assert!(open.take_kept("1", now));
        assert_eq!((open.kept_in_all, open.kept.len()), (4, 2));
        open.forget_closed(now);
        assert_eq!(open.kept_in_all, 2);
        open.forget_closed(now + LOOK_AGAIN / 2);
        open.forget_closed(now + LOOK_AGAIN * 3);
        assert!(open.kept.is_empty() && open.kept_in_all == 0);
    }

    #[test]
    fn a_host_is_what_a_connection_leads_to() {
        for (address, host) in [
            ("http://10.0.0.1:8000/nodes/a", "http://10.0.0.1:8000"),
            ("https://a.example", "https://a.example"),
            ("a", "a"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
