//! What is held until an answer has been handed to the system: the share of a request, the memory of its bytes.
//!
//! hyper takes the last bytes of an answer long before the client does, so the end of a body says nothing. What is
//! held is therefore given to the connection, which knows when everything has been sent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::standing::Standing;

/// What is held for one answer. It travels as an extension of the answer, so it has to be cloneable.
#[derive(Clone, Default)]
pub(super) struct Holds(Arc<Mutex<Vec<Box<dyn Send>>>>);

impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holds")
    }
}

/// Keeps `what` until the last byte of the answer was given to the system, or until the connection has ended.
pub(crate) fn hold(answer: &mut Response, what: impl Send + 'static) {
    let extensions = answer.extensions_mut();
    let holds = extensions.get_or_insert_default::<Holds>();
    holds.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(what));
}

/// Dropped when the whole answer was said, or never will be. That is when the [`Standing`] learns that it has
/// ended.
pub(super) struct Said {
    standing: Arc<Standing>,
    holds: Option<Holds>,
}

impl Said {
    pub(super) const fn new(standing: Arc<Standing>) -> Self {
        Self { standing, holds: None }
    }

    /// The answer, which from now on reports when all of it was said.
    pub(super) fn with(mut self, mut answer: Response) -> Response {
        self.holds = answer.extensions_mut().remove();
        answer.map(|body| Body::new(Saying { body, _said: self }))
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.standing.ends(self.holds.take());
    }
}

struct Saying {
    body: Body,
    _said: Said,
}

impl HttpBody for Saying {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
