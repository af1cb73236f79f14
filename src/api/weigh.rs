//! Counts the memory that an answer takes until it is sent, so that slow clients with large answers can't fill
//! the memory of the server.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::HttpBody as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::limits::{LIGHT, READ_BYTES};
use super::state::ApiState;
use crate::web::{Client, Memory, Share, hold};

/// The memory for reads that the client of a request may use.
pub(super) struct Reads(pub(super) Memory);

impl FromRequestParts<ApiState> for Reads {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        Ok(Self(state.reads.of(client_of(&parts.extensions))))
    }
}

/// The client that sent a request.
pub(super) fn client_of(extensions: &axum::http::Extensions) -> Client {
    extensions.get().copied().unwrap_or(Client::unknown())
}

impl Reads {
    /// Waits for memory for what a handler is about to read, if that may be large.
    pub(super) async fn large(&self) -> Share {
        self.0.take(READ_BYTES).await
    }
}

/// An answer, with the memory that was taken for it.
pub(super) struct Weighed<T>(pub(super) T, pub(super) Share);

/// Carries the memory along with an answer as an extension, which has to be cloneable.
#[derive(Clone)]
struct Weight(Arc<Mutex<Option<Share>>>);

impl<T: IntoResponse> IntoResponse for Weighed<T> {
    fn into_response(self) -> Response {
        let mut answer = self.0.into_response();
        answer.extensions_mut().insert(Weight(Arc::new(Mutex::new(Some(self.1)))));
        answer
    }
}

/// Makes each answer keep as much memory as it has bytes until they are sent. Small answers, and those of
/// requests that steer a run, do not wait for memory.
pub(super) async fn weigh(
    State((reads, waits)): State<(Memory, bool)>,
    request: Request,
    next: Next,
) -> Response {
    let client = client_of(request.extensions());
    let mut answer = next.run(request).await;
    let length = answer.body().size_hint().exact();
    let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let weight = answer.extensions_mut().remove::<Weight>();
    let share =
        weight.and_then(|Weight(s)| s.lock().unwrap_or_else(PoisonError::into_inner).take());
    match (share, length) {
        (Some(mut share), length) => {
            if let Some(length) = length {
                share.shrink_to(length);
            }
            hold(&mut answer, share);
        }
        (None, Some(length)) if waits && length > LIGHT => {
            let share = reads.of(client).take(length).await;
            hold(&mut answer, share);
        }
        (None, _) => {}
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use futures::FutureExt as _;
    use tower::ServiceExt as _;

    use super::*;

    const MOST: usize = 1024 * 1024;

    #[tokio::test]
    async fn every_large_answer_counts_until_it_is_gone_and_a_small_one_does_not() {
        let memory = Memory::new(2 * MOST);
        let of_handler = memory.clone();
        let router = Router::new()
            .route("/light", get(async || vec![b'x'; LIGHT]))
            .route("/heavy", get(async || vec![b'x'; MOST / 2]))
            .route(
                "/read",
                get(async move || Weighed(vec![b'x'; MOST / 4], of_handler.take(MOST).await)),
            )
            .layer(from_fn_with_state((memory.clone(), true), weigh));
        let ask = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap()
        };
        let is_free = |bytes: usize| memory.take(bytes).now_or_never().is_some();
        let _light = ask("/light").await;
        assert!(is_free(2 * MOST));
        let heavy = ask("/heavy").await;
        assert!(is_free(2 * MOST - MOST / 2) && !is_free(2 * MOST));
        let read = ask("/read").await;
        assert!(is_free(MOST * 5 / 4) && !is_free(MOST * 5 / 4 + 1024));
        drop((heavy, read));
        assert!(is_free(2 * MOST));
    }
}
