//! Serving a router on a socket, within limits, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::connections::{Connection, Times};
use super::kept::keep;
use super::standing::{Client, Place, Places, Standing};

/// Bytes of a connection that are in memory at once.
const BUFFER: usize = 32 * 1024;

/// Bytes of the headers of a request: a few tokens and a cursor are far below. What is larger is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;

/// Headers that a request may have: browsers behind several proxies send half of that.
const HEADERS: usize = 64;

/// How long to wait when no connection can be accepted, for example for want of descriptors.
const AGAIN: Duration = Duration::from_millis(200);

/// How many connections a server has, and how slow their clients may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections that are open at once. Past that the one that has waited longest for a request is closed
    /// for a new one.
    pub(crate) places: usize,
    /// The same, of one client.
    pub(crate) per_client: usize,
    /// How slow they may be.
    pub(crate) times: Times,
}

/// Serves `router` until `stop` is over, then returns when the requests that go on by then have ended.
/// A handler finds the [`Client`] among the extensions of its request.
pub(crate) async fn serve(
    listener: TcpListener,
    limits: Limits,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Places::new(limits.places, limits.per_client);
    let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut stop = pin!(stop);
    loop {
        let (stream, client, place) = tokio::select! {
            () = &mut stop => break,
            next = next(&listener, &places) => next,
        };
        let Some(place) = place else {
            tracing::debug!(?client, "a client has too many connections");
            continue;
        };
        let router = router.clone();
        let one = converse(stream, client, place, limits.times, router, stopping.clone());
        tasks.spawn(one);
    }
    drop(listener);
    stopping.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The next connection. Without a place it is closed by dropping it.
async fn next(listener: &TcpListener, places: &Arc<Places>) -> (TcpStream, Client, Option<Place>) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small answers should not wait until there is more to send.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "failed to set TCP_NODELAY");
                }
                let client = Client::at(address);
                let place = places.take(client).await;
                return (stream, client, place);
            }
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Whether the error is about the connection that was to be accepted, and not about us.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of one connection, until it ends, gives its place away, or the server stops.
async fn converse(
    stream: TcpStream,
    client: Client,
    place: Place,
    times: Times,
    router: Router,
    stopping: CancellationToken,
) {
    let standing = Arc::clone(&place.standing);
    let io = TokioIo::new(Connection::new(stream, Arc::clone(&standing), times));
    let service = service_fn(|request: Request<Incoming>| {
        standing.begins();
        let standing = Arc::clone(&standing);
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(client);
            let said = Said(standing);
            let answer = router.oneshot(request).await?;
            Ok::<Response, Infallible>(answer.map(|body| keep(body, said)))
        }
    });
    let mut http = http1::Builder::new();
    // The connection itself tells a slow head from a quiet one.
    http.header_read_timeout(None).max_buf_size(BUFFER);
    http.max_header_size(HEAD_BYTES).max_headers(HEADERS);
    let mut connection = pin!(http.serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        // Who waits for a request has none that would be cut off.
        () = place.standing.leaves.cancelled() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    log(connection.await);
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(?error, "a connection ended");
    }
}

/// Dropped when all of an answer was said.
struct Said(Arc<Standing>);

impl Drop for Said {
    fn drop(&mut self) {
        self.0.ends();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    struct Served {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        task: AbortOnDropHandle<io::Result<()>>,
    }

    async fn served(limits: Limits) -> Served {
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<()>))
            .route("/", post(async |body: String| body));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = serve(listener, limits, router, async {
            let _ = stopped.await;
        });
        Served { address, stop, task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    fn limits(places: usize, per_client: usize) -> Limits {
        Limits { places, per_client, times: Times::silent_for(Duration::from_secs(3_600)) }
    }

    async fn client(served: &Served, says: &str) -> TcpStream {
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        client
    }

    /// All that comes until the server closes.
    async fn heard(client: &mut TcpStream) -> String {
        let mut heard = Vec::new();
        // A connection that is cut may end with a reset.
        let _ = client.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    }

    /// One answer, on a connection that goes on.
    async fn answer(client: &mut TcpStream) -> String {
        let mut heard = String::new();
        while !heard.ends_with("hello") {
            let byte = client.read_u8().await.unwrap();
            heard.push(char::from(byte));
        }
        heard
    }

    #[tokio::test]
    async fn whoever_comes_is_served_though_others_keep_every_place_without_asking() {
        let served = served(limits(4, 4)).await;
        let mut quiet = Vec::new();
        for number in 0..20 {
            let says = ["", "GET / HTTP/1.1\r\nhost: "][number % 2];
            quiet.push(client(&served, says).await);
        }
        let mut asks = client(&served, GET).await;
        assert!(answer(&mut asks).await.starts_with("HTTP/1.1 200"));
        assert_eq!(heard(&mut quiet[0]).await, "");
    }

    #[tokio::test]
    async fn who_is_being_answered_is_not_sent_away() {
        let served = served(limits(2, 2)).await;
        let mut slow = client(&served, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
        for _ in 0..3 {
            assert!(answer(&mut client(&served, GET).await).await.starts_with("HTTP/1.1 200"));
        }
        let none = tokio::time::timeout(Duration::from_millis(1), slow.read_u8()).await;
        assert!(none.is_err(), "{none:?}");
    }

    #[tokio::test]
    async fn headers_have_a_size_and_a_number() {
        let served = served(limits(4, 4)).await;
        for head in ["x: y\r\n".repeat(HEADERS + 1), format!("x: {}\r\n", "y".repeat(HEAD_BYTES))] {
            let mut client = client(&served, &format!("GET / HTTP/1.1\r\n{head}\r\n")).await;
            let answer = heard(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
        }
        assert!(answer(&mut client(&served, GET).await).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn it_stops_with_connections_that_wait_and_after_those_that_are_answered() {
        let served = served(limits(4, 4)).await;
        let _quiet = client(&served, "").await;
        let mut kept = client(&served, GET).await;
        answer(&mut kept).await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel";
        let mut half = client(&served, post).await;
        // It goes on by now.
        answer(&mut client(&served, GET).await).await;
        served.stop.send(()).unwrap();
        assert_eq!(heard(&mut kept).await, "");
        half.write_all(b"lo").await.unwrap();
        let last = heard(&mut half).await;
        assert!(last.ends_with("hello"), "{last}");
        served.task.await.unwrap().unwrap();
    }
}
