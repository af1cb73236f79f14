//! The beginning of a connection with TLS. Whoever does not get on with it holds up nobody: there is a limit to how many
//! begin at once, and beyond it the one that has been at it for longest gives way to a new one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::places::{Closed, Place, Places};
use crate::credentials::not_after;
use crate::run::Timestamp;

/// How long a handshake may take: a few messages each way, on the slowest line.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes may go on at once. Each costs a few milliseconds of one core, and some 50 kB.
pub(crate) const HANDSHAKES: usize = 512;

/// How many of them one client may have: less than all, so that one that never ends its handshakes keeps nobody out.
const HANDSHAKES_PER_CLIENT: usize = 256;

/// How long a handshake may go on at least, even if others wait.
const GRACE: Duration = Duration::from_secs(1);

/// How long a request may still go on whose client may not be one any more. With what reading changed files takes, it
/// ends within five seconds of the change, as streams of people do from whom a role was taken.
pub(super) const WITHDRAWN: Duration = Duration::from_secs(1);

/// How often it is looked whether a client's certificate has expired. It is a comparison for each connection, and goes by
/// the machine's clock even if that is set meanwhile. With [`WITHDRAWN`] an answer ends within five seconds of the end.
const LOOK: Duration = Duration::from_secs(2);

/// How a connection is secured.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// The settings.
    pub(crate) config: Arc<ServerConfig>,
    /// Says whose certificates are those of clients; `None` if nobody has to show one.
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Cancelled when connections that began under these settings should end.
    pub(crate) retired: CancellationToken,
}

impl Secured {
    /// Whether a client that has shown this chain of certificates would be let in. Who has shown one where none is asked
    /// for any more was let in by something that counts no more.
    fn knows(&self, shown: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&self.clients, shown.split_first()) {
            (Some(clients), Some((own, chain))) => {
                clients.verify_client_cert(own, chain, now).is_ok()
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Where a server takes its settings of TLS from, for each connection anew. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TlsSource {
    source: Arc<dyn Fn() -> Secured + Send + Sync>,
    /// The clock that certificates of clients expire by.
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSource")
    }
}

impl TlsSource {
    /// Asks `source` each time.
    pub(crate) fn of(source: impl Fn() -> Secured + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), clock: Arc::new(UnixTime::now) }
    }

    pub(super) fn now(&self) -> Secured {
        (self.source)()
    }
}

/// What a connection was let in by, which may be taken away while it goes on.
pub(super) struct Admission {
    source: TlsSource,
    /// The certificates that the client has shown.
    shown: Vec<CertificateDer<'static>>,
    /// When each of them expires; `None` if that can't be read.
    ends: Vec<Option<UnixTime>>,
    /// When the connection was let in.
    since: UnixTime,
    /// Cancelled when the connection should end after its request.
    retired: CancellationToken,
}

impl Admission {
    fn new(
        source: TlsSource,
        shown: Vec<CertificateDer<'static>>,
        retired: CancellationToken,
    ) -> Self {
        let ends = shown.iter().map(|one| not_after(one).ok().and_then(unix_time)).collect();
        let since = (source.clock)();
        Self { source, shown, ends, since, retired }
    }

    /// Returns once the client would not be let in any more.
    async fn withdrawn(&self) {
        let (mut retired, mut since) = (self.retired.clone(), self.since);
        loop {
            self.in_doubt(&retired, since).await;
            let now = self.source.now();
            since = (self.source.clock)();
            if !now.knows(&self.shown, since) {
                return;
            }
            // Others were turned away. The next time it may be this one. Nobody is held up if the source has not gone on.
            retired = now.retired;
            tokio::task::yield_now().await;
        }
    }

    /// Returns when the client may not be let in any more: the settings are retired, or one of its certificates that was
    /// valid has expired.
    async fn in_doubt(&self, retired: &CancellationToken, since: UnixTime) {
        tokio::select! {
            biased;
            () = retired.cancelled() => {}
            () = self.expired(since) => {}
        }
    }

    /// Returns when a certificate has expired that was valid before. One whose end can't be read may have.
    async fn expired(&self, since: UnixTime) {
        let ends = self.ends.iter().copied().filter(|end| end.is_none_or(|end| end >= since));
        let Some(first) = ends.min() else { return std::future::pending().await };
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if first.is_none_or(|first| (self.source.clock)() > first) {
                return;
            }
        }
    }
}

/// The second in which something ends; `None` if it was before 1970.
fn unix_time(at: Timestamp) -> Option<UnixTime> {
    let millis = u64::try_from(at.as_millis()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
}

/// Returns when an admission has to be looked at again; never if there is none.
pub(super) async fn in_doubt(admission: Option<&Admission>) {
    match admission {
        Some(admission) => admission.in_doubt(&admission.retired, admission.since).await,
        None => std::future::pending().await,
    }
}

/// Returns once an admission was taken away; never if there is none.
pub(super) async fn withdrawn(admission: Option<&Admission>) {
    match admission {
        Some(admission) => admission.withdrawn().await,
        None => std::future::pending().await,
    }
}

/// Begins connections with TLS. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct Greeter {
    source: TlsSource,
    places: Arc<Places>,
    closed: Closed,
}

impl Greeter {
    pub(super) fn new(source: TlsSource, closed: Closed) -> Self {
        let (most, each) = (HANDSHAKES, HANDSHAKES_PER_CLIENT);
        // Those that give way are counted apart from connections that wait for a request.
        let places = Places::new(most, each, GRACE, Closed::default());
        Self { source, places, closed }
    }

    /// Does the handshake. `None` if the client does not get on with it, or has to give way.
    pub(super) async fn greet(
        &self,
        stream: TcpStream,
        client: Client,
        place: &Place,
        stopping: &CancellationToken,
    ) -> Option<(TlsStream<TcpStream>, Admission)> {
        let greeting = async {
            let Some(turn) = self.places.take(client).await else {
                self.closed.refuse(client);
                return None;
            };
            let Secured { config, retired, .. } = self.source.now();
            let shaken = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
            let shaken = tokio::select! {
                biased;
                () = turn.standing.leaves.cancelled() => return None,
                shaken = shaken => shaken,
            };
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
            match shaken.unwrap_or_else(|_| Err(late())) {
                Ok(stream) => {
                    let shown = stream.get_ref().1.peer_certificates();
                    let shown =
                        shown.unwrap_or_default().iter().map(|one| one.clone().into_owned());
                    let admission = Admission::new(self.source.clone(), shown.collect(), retired);
                    Some((stream, admission))
                }
                Err(error) => {
                    tracing::debug!(?client, %error, "a handshake failed");
                    None
                }
            }
        };
        tokio::select! {
            biased;
            () = place.standing.leaves.cancelled() => None,
            () = stopping.cancelled() => None,
            greeted = greeting => greeted,
        }
    }

    /// Has what is retired noticed also while nobody connects.
    pub(super) async fn watch(&self, stopping: CancellationToken) {
        let mut looks = tokio::time::interval(GRACE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = looks.tick() => drop(self.source.now()),
            }
        }
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "withdrawn_tests.rs"]
mod withdrawn_tests;
