//! How a server answers while it waits for its store: it is alive, and not ready. This needs no `ApiState`,
//! which only exists once there is a store.

use std::io;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::error::{ApiError, Code};
use super::limits::{MAX_IDLE, MAX_URGENT};
use super::{guard, health};
use crate::credentials::ServedTls;
use crate::web::{self, Closed, Limits, OwnNames, Times};

/// Serves `/healthz`, and answers everything else with 503 and the reason, if there is one that anybody may know, until `stop` completes and the
/// requests made by then are answered.
///
/// # Errors
/// Those of the listener, when it can't go on.
pub async fn serve_waiting(
    listener: TcpListener,
    tls: Option<&ServedTls>,
    names: OwnNames,
    why: Option<watch::Receiver<String>>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let waits = move || {
        let why = why.as_ref().map(|why| why.borrow().clone());
        async move { ApiError::new(Code::NotReady, waits_for(why.as_deref())) }
    };
    let router = Router::new()
        .route("/healthz", get(health::healthz))
        .fallback(waits)
        .layer(from_fn_with_state(names, guard::check_host));
    // Only clients that check whether the server is up send requests now.
    let times = Times::silent_for(MAX_IDLE);
    let (places, per_client, closed) = (MAX_URGENT, MAX_URGENT, Closed::default());
    let limits = Limits { places, per_client, lobby: 1, times, closed };
    web::serve_secured(listener, limits, tls.map(ServedTls::source), router, stop).await
}

/// What is said meanwhile. Errors of a store name hosts and files, and who asks is not known yet.
fn waits_for(why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("the server waits for its store{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_told_only_where_anybody_may_know_it() {
        assert_eq!(waits_for(Some("no primary")), "the server waits for its store: no primary");
        assert_eq!(waits_for(None), "the server waits for its store");
    }
}
