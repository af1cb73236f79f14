//! Serves a file as a platform over HTTP, from the start of the server to its orderly stop.

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
use super::watch::Watcher;
use crate::clock::{Clock, SystemClock};
use crate::credentials::{ServedTls, lacking, reread};
use crate::listen::{NotLoopback, check_listen};
use crate::stop::StopAsked;
use crate::watched_file::FileError;
use crate::web::{self, Limits, OwnNames, Times, check_origin};

/// How long requests in progress may take after the stop was requested: every answer is in memory.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are open at once. When a further one arrives, the one that has waited longest for a request
/// is closed. An engine keeps one for each cluster.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may pass no byte, with or without a request in progress. Longer than the 90 s for
/// which engines of an earlier version keep an idle connection, so that they never find it closed. It frees the
/// place of a client that neither sends nor reads.
const MAX_IDLE: Duration = Duration::from_secs(120);

/// Why the platform did not start.
#[derive(Debug, thiserror::Error)]
pub enum PlatformServeError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The address is not loopback, so other machines would reach the platform.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// The platform can't listen on the address.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// A platform that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct RunningPlatform {
    address: SocketAddr,
    scheme: &'static str,
    stop: CancellationToken,
    server: AbortOnDropHandle<io::Result<()>>,
    _watcher: AbortOnDropHandle<()>,
}

/// Starts a platform that serves `file` and answers requests for `names`. It is listening when this returns.
///
/// # Errors
/// [`PlatformServeError`]. A file that becomes unusable later is no error: the log says so, and the last good
/// content is served.
pub async fn start(
    file: &Path,
    (listen, insecure): (SocketAddr, bool),
    tls: Option<ServedTls>,
    names: OwnNames,
    clock: Arc<dyn Clock>,
) -> Result<RunningPlatform, PlatformServeError> {
    check_listen(listen, insecure, lacking(tls.as_ref()))?;
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
    let router = web::admitting(router, tls.as_ref().map(ServedTls::tokens));
    let source = tls.as_ref().map(ServedTls::source);
    let until = stop.clone().cancelled_owned();
    let server = web::serve_secured(listener, limits, source, router, until);
    Ok(RunningPlatform {
        address,
        scheme: tls.map_or("http", |_| "https"),
        stop,
        server: AbortOnDropHandle::new(tokio::spawn(server)),
        _watcher: AbortOnDropHandle::new(tokio::spawn(watcher.run(clock, sender))),
    })
}

/// Refuses requests that a web page sends, and requests to a name that is not this platform's. Otherwise any
/// page could read the addresses of all nodes through a browser near the platform.
async fn guard(State(names): State<Arc<OwnNames>>, request: Request, next: Next) -> Response {
    let refused = |message: String| (StatusCode::FORBIDDEN, message).into_response();
    if let Err(stranger) = names.check(request.headers(), request.uri()) {
        return refused(format!("{stranger}, or a name of --allow-host"));
    }
    match check_origin(request.headers(), false) {
        Ok(()) => next.run(request).await,
        Err(stranger) => refused(stranger.to_string()),
    }
}

async fn discover(State(served): State<watch::Receiver<Nodes>>) -> impl IntoResponse {
    let body = served.borrow().body.clone();
    ([(header::CONTENT_TYPE, "application/json")], body)
}

impl RunningPlatform {
    /// The address that it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the platform: it takes no new requests, and those in progress are finished.
    ///
    /// # Errors
    /// The requests did not end in time, or the server had ended before.
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

/// Runs a platform as a program: `replibook platform`. Prints `listening on http://ADDRESS` to standard output
/// once it listens, and returns after SIGINT or SIGTERM, or, if that was asked for, after the end of standard
/// input.
pub async fn serve(args: PlatformArgs) -> anyhow::Result<()> {
    // Signals are caught before the address is printed, so that one that follows at once is not missed.
    let mut asked = StopAsked::listen(args.until_stdin_closes)?;
    let PlatformArgs { file, listen, insecure, tls, allow_hosts, .. } = args;
    let secured = tls.served()?;
    let tls = secured.as_ref().map(|(_, tls)| tls.clone());
    let names = OwnNames::with(allow_hosts);
    let platform = start(&file, (listen, insecure), tls, names, Arc::new(SystemClock)).await?;
    let _rereading = secured.map(|(kept, _)| reread(&kept)).transpose()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}://{}", platform.scheme, platform.address())
        .and_then(|()| stdout.flush())
        .context("failed to print the address")?;
    asked.wait().await;
    platform.stop().await
}
