//! What holds for every request: a time limit, a known host name, a share of the requests in progress, and a
//! panic that ends only its own request. The router puts these around each endpoint, so that no handler can
//! forget one.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::bodies::{self, Budget};
use super::error::{ApiError, Code};
use super::shares::{Class, Shares};
use super::weigh::client_of;
use crate::web::{Arrival, OwnNames, check_origin, hold};

/// How long a request may take until its answer begins.
#[derive(Clone, Copy)]
pub(super) struct Timeout(pub(super) Duration);

/// Answers with a problem document when a request takes too long or panics.
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

/// Receives the whole body of a request that steers a run before the request takes a share: a client that only
/// announces a body keeps nobody out. Until then its connection counts as one that waits.
pub(super) async fn arrive(State(budget): State<Budget>, request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>().cloned();
    if let Some(arrival) = &arrival {
        arrival.needs_more();
    }
    let arrived = bodies::arrive(request, &budget).await;
    let goes_on = arrival.is_none_or(|arrival| arrival.is_whole());
    match arrived {
        Ok(request) if goes_on => next.run(request).await,
        // The connection is closing, so nobody receives this.
        Ok(_) => ApiError::new(Code::TooBusy, "the connection gave up its place").into_response(),
        Err(error) => error.into_response(),
    }
}

/// Refuses a request when too many of its class are in progress. A request is in progress until the system has
/// the last bytes of its answer.
pub(super) async fn share(
    State((shares, class)): State<(Arc<Shares>, Class)>,
    request: Request,
    next: Next,
) -> Response {
    match shares.take(class, client_of(request.extensions())) {
        Some(going) => {
            let mut answer = next.run(request).await;
            hold(&mut answer, going);
            answer
        }
        None => {
            shares.refuse(class, client_of(request.extensions()));
            let detail = "too many requests are in progress; try again later";
            ApiError::new(Code::TooBusy, detail).into_response()
        }
    }
}

/// Checks that no endpoint ends in an error that its description does not name.
pub(super) async fn described(
    State(codes): State<Arc<BTreeSet<Code>>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if let Some(code) = response.extensions().get::<Code>().filter(|code| !codes.contains(code)) {
        tracing::error!(
            code = code.as_str(),
            "an error that the description of the API lacks here"
        );
        debug_assert!(false, "the endpoint does not name the code {code:?}");
    }
    response
}

/// Refuses requests for a host name that is not this server's. A web page of a stranger may let its own name
/// point to loopback; a browser then takes this server for a part of that page.
pub(super) async fn check_host(
    State(names): State<OwnNames>,
    request: Request,
    next: Next,
) -> Response {
    match names.check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(stranger) => ApiError::new(Code::HostRefused, stranger.to_string()).into_response(),
    }
}

/// Refuses requests that a page of another site had a browser send. Following a link to here is no harm.
pub(super) async fn check_page(
    State(secure): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers();
    match check_origin(headers, secure) {
        Err(page) if !only_looks || headers.contains_key(header::ORIGIN) => {
            ApiError::new(Code::OriginRefused, page.to_string()).into_response()
        }
        Ok(()) | Err(_) => next.run(request).await,
    }
}

/// How long a browser remembers to come over TLS only: a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Tells browsers to guess no types, to show this in no frame of another page, to keep nothing of the API, and where the
/// server has TLS, to come no other way. What a handler says itself counts.
pub(super) async fn keep_browsers_careful(
    State(secure): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };
    say(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    say(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    say(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if is_api {
        say(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if secure {
        say(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

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
