//! What the driver needs of the network for steps.

use async_trait::async_trait;
use uuid::Uuid;

pub use crate::run::Caller;
use crate::run::{HttpError, HttpRequest, HttpResponse};

/// A request to send.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The request, which was checked and granted.
    pub request: HttpRequest,
    /// What the header `Idempotency-Key` says. A request that is sent again, after a crash or since it was cut off, has the
    /// same key.
    pub key: Uuid,
    /// The plugin and the playbook on whose behalf it is sent.
    pub caller: Caller,
}

/// Sends requests of steps.
#[async_trait]
pub trait Outbound: Send + Sync {
    /// Sends a request once, and returns the whole answer, whatever its status. Redirects are answers and are not
    /// followed. May be dropped at any point; the request may have been sent then.
    ///
    /// # Errors
    /// [`HttpError::NotGranted`] if the address may not be reached, [`HttpError::TimedOut`] if no whole answer came
    /// within the timeout of the request, and [`HttpError::Failed`] for everything else, also for an answer that is
    /// larger than what is kept.
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError>;
}

/// Reaches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOutbound;

#[async_trait]
impl Outbound for NoOutbound {
    async fn send(&self, _: Sending) -> Result<HttpResponse, HttpError> {
        Err(HttpError::NotGranted("this engine sends no requests of steps".to_owned()))
    }
}
