//! What holds for every request: a time limit, a panic that stays its own, and a known host.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::error::{ApiError, Code};
use super::params;
use super::state::ApiState;

/// How long a request may take until its answer begins.
#[derive(Clone, Copy)]
pub(super) struct Timeout(pub(super) Duration);

/// Ends a request that takes too long, or that panics, with a problem.
pub(super) async fn limit(
    Extension(Timeout(timeout)): Extension<Timeout>,
    request: Request,
    next: Next,
) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal("a handler panicked").into_response(),
        Err(_) => {
            let detail = format!("the request took longer than {} s", timeout.as_secs());
            ApiError::new(Code::TimedOut, detail).into_response()
        }
    }
}

/// Refuses requests for a host name that this server does not have. A web page of a stranger may
/// let its own name point to loopback; a browser then takes this server for a part of that page.
pub(super) async fn check_host(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    if state.any_host {
        return next.run(request).await;
    }
    let found = match params::header(request.headers(), header::HOST.as_str()) {
        Ok(header) => header.or_else(|| request.uri().authority().map(Authority::as_str)),
        Err(error) => return error.into_response(),
    };
    match found {
        Some(host) if !is_own(host) => {
            let detail = format!("host: found {host:?}, expected localhost or an address");
            ApiError::new(Code::HostRefused, detail).into_response()
        }
        Some(_) | None => next.run(request).await,
    }
}

fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn only_localhost_and_addresses_are_its_own_names() {
        for own in ["localhost", "LOCALHOST:8900", "127.0.0.1:8900", "[::1]:8900", "10.0.0.7"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["", "evil.example", "localhost.evil.example:8900", "127.0.0.1.evil", "[::1"] {
            assert!(!is_own(other), "{other}");
        }
    }

    async fn answer(router: Router) -> axum::http::StatusCode {
        let limited =
            router.layer(from_fn(limit)).layer(Extension(Timeout(Duration::from_secs(30))));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        limited.oneshot(request).await.unwrap().status()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_ended() {
        let slow = Router::new().route("/", get(std::future::pending::<()>));
        assert_eq!(answer(slow).await, 503);
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_only() {
        async fn broken() {
            panic!("a bug");
        }
        assert_eq!(answer(Router::new().route("/", get(broken))).await, 500);
    }
}
