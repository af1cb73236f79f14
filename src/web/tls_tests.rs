//! Clients that do not get on with their handshake, and many of them.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_util::task::AbortOnDropHandle;

use super::super::connections::Times;
use super::super::serve::{Limits, serve_secured};
use super::*;

use crate::certificates::{Authority, Issued};

struct Served {
    address: SocketAddr,
    authority: Authority,
    retired: CancellationToken,
    closed: Closed,
    _task: AbortOnDropHandle<io::Result<()>>,
}

fn settings(issued: &Issued) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        );
    Arc::new(config.unwrap())
}

async fn served(places: usize) -> Served {
    served_within(places, Times::silent_for(Duration::from_secs(3_600))).await
}

async fn served_within(places: usize, times: Times) -> Served {
    let authority = Authority::new("ours");
    let config = settings(&authority.issue(&["127.0.0.1"]));
    let retired = CancellationToken::new();
    let secured = Secured { config, clients: None, retired: retired.clone() };
    let source = TlsSource::of(move || secured.clone());
    let closed = Closed::default();
    let limits = Limits { closed: closed.clone(), ..Limits::for_few(places, times) };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/large", get(async || vec![b'x'; 16 << 20]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = serve_secured(listener, limits, Some(source), router, std::future::pending());
    let _task = AbortOnDropHandle::new(tokio::spawn(task));
    Served { address, authority, retired, closed, _task }
}

/// A connection from an address of this machine.
async fn connected(served: &Served, ip: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((ip, 0))).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// One on which the handshake is done.
async fn greeted(served: &Served, ip: [u8; 4]) -> io::Result<ClientStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let pem = served.authority.pem();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = connected(served, ip).await;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut ClientStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let mut heard = String::new();
    while !heard.ends_with("hello") {
        heard.push(char::from(stream.read_u8().await?));
    }
    Ok(heard)
}

/// What arrives until the server closes.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    // A connection that is cut may end with a reset.
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_get_on_is_cut() {
    let served = served(8).await;
    for says in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut client = connected(&served, [127, 0, 0, 1]).await;
        client.write_all(says).await.unwrap();
        let heard = rest(&mut client).await;
        assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    }
}

#[tokio::test]
async fn thousands_of_half_open_connections_keep_nobody_out() {
    let served = served(2_048).await;
    let mut half_open = Vec::new();
    for _ in 0..2 * HANDSHAKES {
        half_open.push(connected(&served, [127, 0, 0, 1]).await);
    }
    // Another client finds room among the handshakes at once, and the same one after a while.
    for ip in [[127, 0, 0, 2], [127, 0, 0, 1]] {
        let answered = async {
            loop {
                if let Ok(mut stream) = greeted(&served, ip).await
                    && let Ok(answer) = ask(&mut stream).await
                {
                    return answer;
                }
            }
        };
        let answer = timeout(Duration::from_secs(60), answered).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(half_open);
}

#[tokio::test]
async fn a_connection_whose_settings_are_retired_ends_after_its_request() {
    let served = served(8).await;
    let mut kept = greeted(&served, [127, 0, 0, 1]).await.unwrap();
    ask(&mut kept).await.unwrap();
    let mut large = greeted(&served, [127, 0, 0, 1]).await.unwrap();
    large.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    large.read_u8().await.unwrap();
    served.retired.cancel();
    assert_eq!(rest(&mut kept).await, b"");
    assert!(rest(&mut large).await.len() > 16 << 20, "the whole answer");
    assert_eq!((served.closed.refused(), served.closed.dismissed()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_over_tls_too() {
    let stalled = Duration::from_millis(20);
    let times = Times { stalled, ..Times::silent_for(Duration::from_secs(3_600)) };
    let served = served_within(1, times).await;
    let mut heedless = greeted(&served, [127, 0, 0, 1]).await.unwrap();
    heedless.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // There is one place, which it keeps until it is cut.
    let mut next = greeted(&served, [127, 0, 0, 2]).await.unwrap();
    ask(&mut next).await.unwrap();
    assert!(rest(&mut heedless).await.len() < 16 << 20);
}

#[tokio::test]
async fn headers_that_trickle_in_over_tls_are_cut_and_hold_up_nobody() {
    let head = Duration::from_millis(200);
    let times = Times { head, ..Times::silent_for(Duration::from_secs(3_600)) };
    let served = served_within(4, times).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(greeted(&served, [127, 0, 0, 1]).await.unwrap());
    }
    // A header at a time, which is never the last one.
    let trickle = async |client: &mut ClientStream<TcpStream>| {
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while client.write_all(b"x: y\r\n").await.is_ok() && client.flush().await.is_ok() {
            let mut byte = [0];
            let heard = timeout(Duration::from_millis(5), client.read(&mut byte)).await;
            if heard.is_ok_and(|read| !read.is_ok_and(|length| length > 0)) {
                return;
            }
        }
    };
    let cut = futures::future::join_all(slow.iter_mut().map(trickle));
    // They have all places, and another client gets one of them.
    let answered = async {
        let mut other = greeted(&served, [127, 0, 0, 2]).await.unwrap();
        ask(&mut other).await.unwrap()
    };
    let both = async { tokio::join!(cut, answered) };
    let (_, answer) = timeout(Duration::from_secs(60), both).await.expect("they are cut");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
