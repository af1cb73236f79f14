//! Clients that are let in by a certificate which expires, or whose authority is taken away, while they are answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::StreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_util::task::AbortOnDropHandle;

use super::super::connections::Times;
use super::super::serve::{Limits, serve_secured};
use super::*;

use crate::certificates::{Authority, Issued};

/// Long enough for a busy machine, and not for a connection that nobody cuts.
const DEADLINE: Duration = Duration::from_secs(60);

/// After the end of one certificate, and before that of another one.
const YEAR_2098: Duration = Duration::from_secs(4_040_000_000);

/// A server with a stream that never ends, whose settings can be changed.
struct Served {
    address: SocketAddr,
    own: Authority,
    secured: Arc<Mutex<Secured>>,
    /// Whether it is 2098 for the server.
    late: Arc<AtomicBool>,
    identity: Issued,
    _task: AbortOnDropHandle<io::Result<()>>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let cert = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
    (vec![cert], PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

fn roots(authorities: &[&Authority]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let pem = authority.pem();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    roots
}

/// Settings under which clients of these authorities are let in, and everybody if there are none.
fn settings(identity: &Issued, authorities: &[&Authority]) -> Secured {
    let (chain, key) = chain(identity);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let clients = (!authorities.is_empty()).then(|| {
        let roots = Arc::new(roots(authorities));
        WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap()
    });
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    Secured { config, clients, retired: CancellationToken::new() }
}

async fn served(authorities: &[&Authority]) -> Served {
    let own = Authority::new("the server's");
    let identity = own.issue(&["127.0.0.1"]);
    let secured = Arc::new(Mutex::new(settings(&identity, authorities)));
    let current = Arc::clone(&secured);
    let late = Arc::new(AtomicBool::new(false));
    let is_late = Arc::clone(&late);
    let mut source = TlsSource::of(move || current.lock().unwrap().clone());
    source.clock = Arc::new(move || match is_late.load(Ordering::SeqCst) {
        true => UnixTime::since_unix_epoch(YEAR_2098),
        false => UnixTime::now(),
    });
    let ticks = async || {
        let every = tokio::time::interval(Duration::from_millis(10));
        let ticks = futures::stream::unfold(every, |mut every| async move {
            every.tick().await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"tick")), every))
        });
        Body::from_stream(ticks.boxed())
    };
    let router = Router::new().route("/", get(ticks));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits::for_few(8, Times::silent_for(Duration::from_secs(3_600)));
    let task = serve_secured(listener, limits, Some(source), router, std::future::pending());
    let _task = AbortOnDropHandle::new(tokio::spawn(task));
    Served { address, own, secured, late, identity, _task }
}

impl Served {
    /// Changes whose certificates are let in.
    fn now(&self, authorities: &[&Authority]) {
        let next = settings(&self.identity, authorities);
        let before = std::mem::replace(&mut *self.secured.lock().unwrap(), next);
        before.retired.cancel();
    }

    /// A client with this certificate, if any, that has the beginning of the stream.
    async fn listening(&self, issued: Option<&Issued>) -> ClientStream<TcpStream> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&[&self.own]));
        let config = match issued.map(chain) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        hears(&mut stream).await;
        stream
    }
}

/// The next bytes of the stream, which has to go on.
async fn hears(stream: &mut ClientStream<TcpStream>) {
    let mut bytes = [0; 4_096];
    for _ in 0..8 {
        let read = timeout(DEADLINE, stream.read(&mut bytes)).await.unwrap();
        assert!(read.is_ok_and(|length| length > 0), "the stream goes on");
    }
}

/// Returns once the stream was cut.
async fn cut(stream: &mut ClientStream<TcpStream>) {
    let mut rest = Vec::new();
    // A connection that is cut may end with a reset.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it is cut");
}

#[tokio::test]
async fn a_stream_is_cut_when_the_authority_of_its_client_is_gone_and_others_go_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let served = served(&[&old, &new]).await;
    let (mut of_old, mut of_new) = (
        served.listening(Some(&old.issue(&["a"]))).await,
        served.listening(Some(&new.issue(&["b"]))).await,
    );
    // Both are let in before and after another one is added.
    served.now(&[&old, &new, &Authority::new("another")]);
    for stream in [&mut of_old, &mut of_new] {
        hears(stream).await;
    }
    served.now(&[&new]);
    cut(&mut of_old).await;
    hears(&mut of_new).await;
    served.now(&[&old]);
    cut(&mut of_new).await;
}

#[tokio::test]
async fn what_counts_no_more_lets_nobody_stay() {
    let authority = Authority::new("ours");
    // Certificates are asked for from now on, or no longer, and then something else has to say who somebody is.
    let open = served(&[]).await;
    let mut anybody = open.listening(None).await;
    open.now(&[&authority]);
    cut(&mut anybody).await;
    let asking = served(&[&authority]).await;
    let mut client = asking.listening(Some(&authority.issue(&["a"]))).await;
    asking.now(&[]);
    cut(&mut client).await;
}

#[tokio::test]
async fn a_stream_is_cut_when_the_certificate_of_its_client_expires_and_others_go_on() {
    let authority = Authority::new("ours");
    let served = served(&[&authority]).await;
    let (mut early, mut late) = (
        served.listening(Some(&authority.issue_until(&["a"], (2097, 1, 1)))).await,
        served.listening(Some(&authority.issue_until(&["b"], (2099, 1, 1)))).await,
    );
    served.late.store(true, Ordering::SeqCst);
    cut(&mut early).await;
    hears(&mut late).await;
}

#[tokio::test(start_paused = true)]
async fn an_admission_ends_within_seconds_of_a_certificate() {
    let authority = Authority::new("ours");
    let issued = authority.issue_until(&["a"], (2031, 5, 6));
    let secured = settings(&authority.issue(&["127.0.0.1"]), &[&authority]);
    let retired = secured.retired.clone();
    let mut source = TlsSource::of(move || secured.clone());
    let began = tokio::time::Instant::now();
    // The first moment of that day, which still counts.
    let end = Duration::from_secs(1_935_792_000);
    let hour = Duration::from_secs(3_600);
    source.clock = Arc::new(move || UnixTime::since_unix_epoch(end - hour + began.elapsed()));
    let admission = Admission::new(source, chain(&issued).0, retired);
    admission.withdrawn().await;
    let lasted = began.elapsed();
    assert!(lasted > hour && lasted + WITHDRAWN < hour + Duration::from_secs(5), "{lasted:?}");
}
