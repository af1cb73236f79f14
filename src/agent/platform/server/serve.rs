//! Serving a file as a platform, and stopping again.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::args::PlatformArgs;
use super::file::Nodes;
use super::watch::{FileError, Watcher};
use crate::clock::{Clock, SystemClock};
use crate::listen::{NotLoopback, check_listen};
use crate::stop::StopAsked;
use crate::web::{self, Limits, OwnNames, Times, check_origin};

/// How long requests that go on may take once it is to stop: an answer is in memory.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are open at once; for a further one the connection is closed that has waited longest for a request.
/// Each cluster of an engine keeps one.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may pass no byte, with a request or without one. This is longer than the 90 s for which
/// engines of an earlier version keep an idle connection, so that they never find it closed. A client that neither
/// speaks nor reads keeps no place.
const MAX_IDLE: Duration = Duration::from_secs(120);

/// Why the platform did not start.
#[derive(Debug, thiserror::Error)]
pub enum PlatformServeError {
    /// Its file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Other machines would reach it.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// It can't listen there.
    #[error("failed to listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// A platform that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct RunningPlatform {
    address: SocketAddr,
    stop: CancellationToken,
    server: AbortOnDropHandle<io::Result<()>>,
    _watcher: AbortOnDropHandle<()>,
}

/// Starts a platform that serves `file` and answers requests for `names`. It listens when this returns.
///
/// # Errors
/// [`PlatformServeError`]. A file that can't be used later on is no error: it is said in the log, and
/// the last good content is served.
pub async fn start(
    file: &Path,
    listen: SocketAddr,
    insecure: bool,
    names: OwnNames,
    clock: Arc<dyn Clock>,
) -> Result<RunningPlatform, PlatformServeError> {
    check_listen(listen, insecure)?;
    let (watcher, nodes) = Watcher::open(file)?;
    tracing::info!(clusters = nodes.clusters, nodes = nodes.nodes, "the file is read");
    let bind = |source| PlatformServeError::Bind { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let (sender, served) = watch::channel(nodes);
    let router = Router::new()
        .route("/discover", get(discover))
        .layer(from_fn_with_state(Arc::new(names), guard))
        .with_state(served);
    let times = Times { idle: MAX_IDLE, ..Times::silent_for(MAX_IDLE) };
    let limits = Limits::for_few(MAX_CONNECTIONS, times);
    let stop = CancellationToken::new();
    let server = web::serve(listener, limits, router, stop.clone().cancelled_owned());
    Ok(RunningPlatform {
        address,
        stop,
        server: AbortOnDropHandle::new(tokio::spawn(server)),
        _watcher: AbortOnDropHandle::new(tokio::spawn(watcher.run(clock, sender))),
    })
}

/// Refuses what a web page sends, and what is sent to a name that is not this platform's. Otherwise any
/// page could read the addresses of all nodes through a browser near the platform.
async fn guard(State(names): State<Arc<OwnNames>>, request: Request, next: Next) -> Response {
    let refused = |message: String| (StatusCode::FORBIDDEN, message).into_response();
    if let Err(stranger) = names.check(request.headers(), request.uri()) {
        return refused(format!("{stranger}, or a name of --allow-host"));
    }
    match check_origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(stranger) => refused(stranger.to_string()),
    }
}

async fn discover(State(served): State<watch::Receiver<Nodes>>) -> impl IntoResponse {
    let body = served.borrow().body.clone();
    ([(header::CONTENT_TYPE, "application/json")], body)
}

impl RunningPlatform {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: no new requests, and those that go on end.
    ///
    /// # Errors
    /// They did not end in time, or the server had ended before.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        match tokio::time::timeout(STOP_TIMEOUT, self.server).await {
            Ok(ended) => Ok(ended.context("the platform ended early")??),
            Err(_) => {
                anyhow::bail!("failed to stop the platform within {} s", STOP_TIMEOUT.as_secs())
            }
        }
    }
}

/// Runs a platform as a program: `replibook platform`. Prints `listening on http://ADDRESS` to standard
/// output once it listens, and returns after SIGINT, SIGTERM, or the end of standard input when that
/// was asked for.
pub async fn serve(args: PlatformArgs) -> anyhow::Result<()> {
    // Before it says that it listens, so that a signal that follows at once is not missed.
    let mut asked = StopAsked::listen(args.until_stdin_closes)?;
    let PlatformArgs { file, listen, insecure, allow_hosts, .. } = args;
    let names = OwnNames::with(allow_hosts);
    let platform = start(&file, listen, insecure, names, Arc::new(SystemClock)).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", platform.address())
        .and_then(|()| stdout.flush())
        .context("failed to print the address")?;
    asked.wait().await;
    platform.stop().await
}
