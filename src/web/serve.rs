//! Serves a router on a socket, within limits, until it is told to stop. axum's own `serve` has neither limits nor
//! time-outs.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::client::Client;
use super::connections::{Connection, Times};
use super::holds::Said;
use super::places::{Closed, Place, Places, Taken};
use super::standing::{Arrival, Phase};
use super::tls::{Admission, Greeter, TlsSource, WITHDRAWN, in_doubt, withdrawn};

/// Bytes of one connection that are buffered in memory.
const BUFFER: usize = 32 * 1024;

/// Bytes of a request's headers: a few tokens and a cursor are far below. A larger request is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;

/// Headers that a request may have: browsers behind several proxies send half of that.
const HEADERS: usize = 64;

/// How many connections may wait a few seconds for a place, where a server has few clients.
const LOBBY_FOR_FEW: usize = 16;

/// How long to wait before accepting again when that failed, for example for want of descriptors.
const AGAIN: Duration = Duration::from_millis(200);

/// How many connections a server has, and how slow their clients may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How many connections may be open at once. Beyond that, a new one replaces the one that has waited longest
    /// for a request.
    pub(crate) places: usize,
    /// How many of them one client may have.
    pub(crate) per_client: usize,
    /// How many further connections may wait for a place, for a few seconds each.
    pub(crate) lobby: usize,
    /// How slow clients may be.
    pub(crate) times: Times,
    /// Counts the connections that were closed for want of a place.
    pub(crate) closed: Closed,
}

impl Limits {
    /// Limits for a server whose clients are few and known, each of which may use all the connections.
    pub(crate) fn for_few(places: usize, times: Times) -> Self {
        Self { places, per_client: places, lobby: LOBBY_FOR_FEW, times, closed: Closed::default() }
    }
}

/// Serves `router` as [`serve_secured`] does, without TLS.
#[cfg(test)]
pub(crate) async fn serve(
    listener: TcpListener,
    limits: Limits,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_secured(listener, limits, None, router, stop).await
}

/// Serves `router` until `stop` is over, then returns once all requests whose headers had arrived by then have
/// ended. With `tls` that is over TLS alone. Handlers find the [`Client`] and the [`Arrival`] among the extensions of a request.
///
/// # Flow
/// A connection gets a place, or waits for one in the lobby. When the lobby is full too, a client that has more
/// than its share loses its own oldest idle connection or, if it has none, the new one; anyone else waits to be
/// accepted.
pub(crate) async fn serve_secured(
    listener: TcpListener,
    limits: Limits,
    tls: Option<TlsSource>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let Limits { places, per_client, lobby, times, closed } = limits;
    let places = Places::new(places, per_client, times.grace, closed.clone());
    let lobby = Arc::new(Semaphore::new(lobby.max(1)));
    let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
    let tls = tls.map(|source| Greeter::new(source, closed.clone()));
    if let Some(tls) = tls.clone() {
        let stopping = stopping.clone();
        tasks.spawn(async move { tls.watch(stopping).await });
    }
    let mut stop = pin!(stop);
    loop {
        let (stream, client) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener) => accepted,
        };
        let (router, tls, stopping) = (router.clone(), tls.clone(), stopping.clone());
        let server = Server { router, tls, times, stopping };
        let seat = match places.try_take(client) {
            Taken::Yes(place) => {
                tasks.spawn(server.converse(stream, client, place));
                continue;
            }
            Taken::TooMany(_) => match Arc::clone(&lobby).try_acquire_owned() {
                Ok(seat) => seat,
                Err(_) => {
                    match places.take_from_own(client) {
                        Taken::Yes(place) => {
                            tasks.spawn(server.converse(stream, client, place));
                        }
                        Taken::Full(_) | Taken::TooMany(_) => closed.refuse(client),
                    }
                    continue;
                }
            },
            Taken::Full(_) => tokio::select! {
                () = &mut stop => break,
                seat = Arc::clone(&lobby).acquire_owned() => match seat {
                    Ok(seat) => seat,
                    // The semaphore is never closed.
                    Err(_) => continue,
                },
            },
        };
        let (places, closed) = (Arc::clone(&places), closed.clone());
        tasks.spawn(async move {
            let place = tokio::select! {
                () = server.stopping.cancelled() => return,
                place = places.take(client) => place,
            };
            drop(seat);
            match place {
                Some(place) => server.converse(stream, client, place).await,
                None => closed.refuse(client),
            }
        });
    }
    drop(listener);
    stopping.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, Client) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small answers should not wait until there is more to send.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "failed to set TCP_NODELAY");
                }
                return (stream, Client::at(address));
            }
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Whether the error concerns only the connection that was to be accepted, and not the server.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// What every connection needs to be served.
struct Server {
    router: Router,
    tls: Option<Greeter>,
    times: Times,
    stopping: CancellationToken,
}

/// The place of the connection was given to another one before its request began.
#[derive(Debug, thiserror::Error)]
#[error("the connection gave up its place")]
struct Dismissed;

impl Server {
    /// Serves one connection until it ends, loses its place, or the server stops.
    async fn converse(self, stream: TcpStream, client: Client, place: Place) {
        let Some(tls) = &self.tls else {
            return self.answer(stream, client, place, None).await;
        };
        let greeted = tls.greet(stream, client, &place, &self.stopping).await;
        if let Some((stream, admission)) = greeted {
            self.answer(stream, client, place, Some(admission)).await;
        }
    }

    /// Answers the requests of one connection. Once it is retired, it ends after the present request, and before that if its
    /// client may not have an answer any more.
    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        client: Client,
        place: Place,
        admission: Option<Admission>,
    ) {
        let standing = Arc::clone(&place.standing);
        let io = TokioIo::new(Connection::new(stream, Arc::clone(&standing), self.times));
        let service = service_fn(|request: Request<Incoming>| {
            let (standing, router) = (Arc::clone(&standing), self.router.clone());
            async move {
                if !standing.begins() {
                    return Err(Dismissed);
                }
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(client);
                request.extensions_mut().insert(Arrival(Arc::clone(&standing)));
                let said = Said::new(standing);
                let Ok(answer) = router.oneshot(request).await;
                Ok::<Response, Dismissed>(said.with(answer))
            }
        });
        let mut http = http1::Builder::new();
        // [`Connection`] has its own time-out, which tells slow headers from a quiet client.
        http.header_read_timeout(None).max_buf_size(BUFFER);
        http.max_header_size(HEAD_BYTES).max_headers(HEADERS);
        let mut connection = pin!(http.serve_connection(io, service));
        tokio::select! {
            // A request that arrives at the same moment must not begin.
            biased;
            // A connection that can be dismissed has no request that would be cut off.
            () = place.standing.leaves.cancelled() => return,
            () = self.stopping.cancelled() => match place.standing.phase().0 {
                // Nobody knows yet what the request would be, or when it would arrive.
                Phase::Waiting | Phase::Head | Phase::Dismissed => return,
                Phase::Answering | Phase::Answered => connection.as_mut().graceful_shutdown(),
            },
            () = in_doubt(admission.as_ref()) => connection.as_mut().graceful_shutdown(),
            ended = connection.as_mut() => return log(ended),
        }
        tokio::select! {
            biased;
            () = place.standing.leaves.cancelled() => {}
            () = withdrawn(admission.as_ref()) => match timeout(WITHDRAWN, connection).await {
                Ok(ended) => log(ended),
                Err(_) => {
                    tracing::info!(%client, "a connection was cut whose client may not be one any more");
                }
            },
            ended = connection.as_mut() => log(ended),
        }
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(?error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio_util::task::AbortOnDropHandle;

    use super::super::holds::hold;
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    struct Served {
        address: SocketAddr,
        /// One permit for each request for `/held` that may be answered.
        go: Arc<Semaphore>,
        /// Held for each answer that is not sent yet.
        held: Arc<()>,
        stop: oneshot::Sender<()>,
        task: AbortOnDropHandle<io::Result<()>>,
    }

    async fn served(limits: Limits) -> Served {
        let (go, held) = (Arc::new(Semaphore::new(0)), Arc::new(()));
        let (may_go, is_held) = (Arc::clone(&go), Arc::clone(&held));
        let large = async move || {
            let mut answer = Response::new(Body::from(vec![b'x'; LARGE]));
            hold(&mut answer, Arc::clone(&is_held));
            answer
        };
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<()>))
            .route("/large", get(large))
            .route("/heedless", get(async || vec![b'x'; LARGE]))
            .route(
                "/held",
                get(async move || {
                    may_go.acquire().await.unwrap().forget();
                    "hello"
                }),
            )
            .route("/", post(async |body: String| body));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = serve(listener, limits, router, async {
            let _ = stopped.await;
        });
        Served { address, go, held, stop, task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Connections may be dismissed at once, so that no test has to wait.
    fn limits(places: usize, per_client: usize) -> Limits {
        let times = Times { grace: Duration::ZERO, ..Times::silent_for(HOUR) };
        Limits { places, per_client, lobby: 1, times, closed: Closed::default() }
    }

    /// Bytes: more than the system buffers of an answer that nobody reads.
    const LARGE: usize = 64 * 1024 * 1024;

    const HOUR: Duration = Duration::from_secs(3_600);

    async fn client(served: &Served, says: &str) -> TcpStream {
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        client
    }

    /// Like `client`, but from another address of this machine.
    async fn client_at(served: &Served, ip: [u8; 4], says: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((ip, 0))).unwrap();
        let mut client = socket.connect(served.address).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        client
    }

    /// A request for something.
    fn ask(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
    }

    /// Everything that arrives until the server closes.
    async fn heard(client: &mut TcpStream) -> String {
        let mut heard = Vec::new();
        // A connection that is cut may end with a reset.
        let _ = client.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    }

    /// One answer, on a connection that stays open.
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
    async fn who_waits_for_a_place_gets_that_of_an_answer_that_has_ended() {
        let served = served(limits(2, 3)).await;
        let mut first = client(&served, &ask("/held")).await;
        let mut second = client(&served, &ask("/held")).await;
        let mut third = client(&served, GET).await;
        served.go.add_permits(2);
        // Their connections stay open.
        answer(&mut first).await;
        answer(&mut second).await;
        assert!(answer(&mut third).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_client_that_has_all_its_places_answered_keeps_nobody_else_out() {
        let served = served(limits(4, 3)).await;
        let mut slow = Vec::new();
        for _ in 0..6 {
            slow.push(client(&served, &ask("/slow")).await);
        }
        let mut other = client_at(&served, [127, 0, 0, 2], GET).await;
        assert!(answer(&mut other).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn what_is_held_for_an_answer_is_held_until_it_was_read() {
        let served = served(limits(2, 2)).await;
        let free = Arc::strong_count(&served.held);
        let mut first = client(&served, &ask("/large")).await;
        // The head has arrived, so the whole answer was said.
        first.read_u8().await.unwrap();
        assert_eq!(Arc::strong_count(&served.held), free + 1);
        let mut rest = vec![0; LARGE];
        first.read_exact(&mut rest).await.unwrap();
        let sent = async {
            while Arc::strong_count(&served.held) > free {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), sent).await.unwrap();
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_give_their_places_away_unless_something_is_held() {
        let served = served(limits(2, 2)).await;
        let mut held = client(&served, &ask("/large")).await;
        let mut heedless = client(&served, &ask("/heedless")).await;
        for client in [&mut held, &mut heedless] {
            client.read_u8().await.unwrap();
        }
        let mut third = client_at(&served, [127, 0, 0, 2], GET).await;
        assert!(answer(&mut third).await.starts_with("HTTP/1.1 200"));
        let mut rest = vec![0; LARGE];
        held.read_exact(&mut rest).await.unwrap();
        assert!(heedless.read_exact(&mut rest).await.is_err());
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
        let mut begun = client(&served, "GET / HTTP/1.1\r\nhost: ").await;
        let mut kept = client(&served, GET).await;
        answer(&mut kept).await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel";
        let mut half = client(&served, post).await;
        // The connection is still open at this point.
        answer(&mut client(&served, GET).await).await;
        served.stop.send(()).unwrap();
        assert_eq!(heard(&mut kept).await, "");
        assert_eq!(heard(&mut begun).await, "");
        half.write_all(b"lo").await.unwrap();
        let last = heard(&mut half).await;
        assert!(last.ends_with("hello"), "{last}");
        served.task.await.unwrap().unwrap();
    }
}
