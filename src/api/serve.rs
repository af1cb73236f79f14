//! Serving the API on a socket, and stopping again.

use std::future::Future;
use std::io;

use tokio::net::TcpListener;

use super::limits::{MAX_CONNECTIONS, STOP_DEADLINE};
use super::router::router;
use super::state::ApiState;
use crate::web::Limited;

/// Serves the API until `shutdown` is over, then finishes what goes on.
///
/// # Flow
/// On `shutdown` no new connection is accepted, event streams end, and requests may go on for
/// `STOP_DEADLINE`; then this returns whatever still goes on.
///
/// # Errors
/// What the listener says, when it can't go on. A connection that fails is its own matter.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = state.stopping.clone();
    let signal = stopping.clone();
    let listener = Limited::new(listener, MAX_CONNECTIONS);
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(async move {
        shutdown.await;
        signal.cancel();
    });
    tokio::select! {
        result = server.into_future() => result,
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
