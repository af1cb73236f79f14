//! Serves the API on a socket, and stops in an orderly way within a known time, so that a restart neither cuts
//! off answers nor waits for clients.

use std::future::Future;
use std::io;

use tokio::net::TcpListener;

use super::limits::{MAX_IDLE, STOP_DEADLINE};
use super::router::router;
use super::state::ApiState;
use crate::credentials::ServedTls;
use crate::web::{self, Times, TlsSource};

/// Serves the API until `shutdown` completes, then finishes the requests in progress.
///
/// # Flow
/// After `shutdown` no new connection is accepted. Connections that wait for a request are closed, event
/// streams and incomplete bodies are ended, and requests may go on for `STOP_DEADLINE`; then this returns,
/// whatever is still in progress. A connection that passes no byte for `MAX_IDLE` is ended, and sooner if it
/// has no request.
///
/// # Errors
/// Those of the listener, when it can't go on. A failure of one connection is not an error here.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_secured(listener, None, state, shutdown).await
}

/// Like [`serve`], over TLS if there is any.
///
/// # Errors
/// As [`serve`].
pub async fn serve_secured(
    listener: TcpListener,
    tls: Option<&ServedTls>,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let state = if tls.is_some() { state.with_tls() } else { state };
    let tls = tls.map(ServedTls::source);
    serve_patiently(listener, tls, state, shutdown, Times::silent_for(MAX_IDLE)).await
}

/// Like `serve`, with other limits on slow clients.
async fn serve_patiently(
    listener: TcpListener,
    tls: Option<TlsSource>,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
    times: Times,
) -> io::Result<()> {
    let stopping = state.stopping.clone();
    let signal = stopping.clone();
    let limits = state.shares.limits(times, state.closed.clone());
    let server = web::serve_secured(listener, limits, tls, router(state), async move {
        shutdown.await;
        signal.cancel();
    });
    tokio::select! {
        result = server => result,
        () = deadline(stopping) => {
            tracing::warn!("stopped while requests were still going on");
            Ok(())
        }
    }
}

async fn deadline(stopping: tokio_util::sync::CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(STOP_DEADLINE).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::agent::platform::FakePlatforms;
    use crate::api::limits::{STREAM_KEEP_ALIVE, UPLOAD_TIMEOUT};
    use crate::clock::SystemClock;
    use crate::driver::{Followers, Signals};
    use crate::plugin::{HostConfig, PluginHost};
    use crate::store::{MemoryStore, StoreOptions};

    fn state() -> ApiState {
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        let platforms = Arc::new(FakePlatforms::new(clock.clone()));
        let followers = Followers::new(platforms, store.clone(), clock.clone());
        let config = HostConfig { threads: Some(1), ..HostConfig::default() };
        let plugins = PluginHost::start(config).unwrap();
        ApiState::new(store, plugins, Signals::new(), followers, clock)
    }

    #[tokio::test]
    async fn a_connection_that_passes_nothing_is_ended_and_no_request_is() {
        assert!(MAX_IDLE > UPLOAD_TIMEOUT && MAX_IDLE > STREAM_KEEP_ALIVE);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let short = Duration::from_millis(50);
        let times = Times { head: short, idle: short, ..Times::silent_for(MAX_IDLE) };
        let served = serve_patiently(listener, None, state(), std::future::pending(), times);
        let served = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(served));
        // A client that sends nothing, one that stops in the middle, and one whose request is answered.
        for (says, hears) in [
            ("", ""),
            ("GET /healthz HTTP/1.1\r\nhost: loc", ""),
            ("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", "HTTP/1.1 200"),
        ] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(says.as_bytes()).await.unwrap();
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            assert!(heard.starts_with(hears), "{says:?}: {heard:?}");
        }
        drop(served);
    }
}
