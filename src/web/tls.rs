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
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::places::{Closed, Place, Places};

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
    fn knows(&self, shown: &[CertificateDer<'_>]) -> bool {
        match (&self.clients, shown.split_first()) {
            (Some(clients), Some((own, chain))) => {
                clients.verify_client_cert(own, chain, UnixTime::now()).is_ok()
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Where a server takes its settings of TLS from, for each connection anew. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TlsSource(Arc<dyn Fn() -> Secured + Send + Sync>);

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSource")
    }
}

impl TlsSource {
    /// Asks `source` each time.
    pub(crate) fn of(source: impl Fn() -> Secured + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    pub(super) fn now(&self) -> Secured {
        (self.0)()
    }
}

/// What a connection was let in by, which may be taken away while it goes on.
pub(super) struct Admission {
    source: TlsSource,
    /// The certificates that the client has shown.
    shown: Vec<CertificateDer<'static>>,
    /// Cancelled when the connection should end after its request.
    pub(super) retired: CancellationToken,
}

impl Admission {
    /// Returns once the client would not be let in any more.
    pub(super) async fn withdrawn(&self) {
        let mut retired = self.retired.clone();
        loop {
            retired.cancelled().await;
            let now = self.source.now();
            if !now.knows(&self.shown) {
                return;
            }
            // Others were turned away. The next time it may be this one. Nobody is held up if the source has not gone on.
            retired = now.retired;
            tokio::task::yield_now().await;
        }
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
                    let (source, shown) = (self.source.clone(), shown.collect());
                    Some((stream, Admission { source, shown, retired }))
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
