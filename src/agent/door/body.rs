//! The bodies of answers: no more bytes than may come in, no slower than makes progress, and not too
//! many large ones at once.

use std::error::Error as _;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::bounds::REFUSAL_BYTES;
use super::coming::Coming;
use super::message::cut;

/// Bytes of a body that are read without asking: nearly all answers are smaller.
const SMALL_BYTES: usize = 32 * 1024;

const _: () = assert!(REFUSAL_BYTES <= SMALL_BYTES, "all that may be read of a refusal is read");

/// Larger bodies that are in memory at once, until they are read: with the largest of 4 MiB, 64 MiB.
/// Later ones wait; what has already arrived of them stays in the buffers of the system.
const LARGE_AT_ONCE: usize = 16;

/// How slowly an answer may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time within which the next piece must be there.
    pub idle: Duration,
    /// The fewest bytes a second, on average. Together with the limit on bytes, this ends an answer that
    /// keeps coming a little at a time.
    pub rate: u32,
    /// How long a large answer may keep its place while another one waits for it. Then it must give the
    /// place up, and is asked for again, behind those that wait. Slow lines must not keep everybody else
    /// out.
    pub turn: Duration,
}

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBody {
    /// It has more bytes than may come in.
    #[error("the body: found more than {limit} bytes, expected at most that")]
    TooLarge { limit: usize },
    /// It came too slowly.
    #[error("only {received} bytes of the answer came in {seconds} s")]
    TooSlow { received: usize, seconds: u64 },
    /// The connection ended before it.
    #[error("{}", describe(.0))]
    Broken(reqwest::Error),
}

/// A body, and its place among those that are in memory.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads bodies. Cheap to clone; all clones share the places for large ones.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    pace: Pace,
    large: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// A body that waits for a place. It is counted until it has one, or until nobody reads it any more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bodies {
    pub(crate) fn new(pace: Pace) -> Self {
        Self::with_places(pace, LARGE_AT_ONCE)
    }

    /// The same, with another number of places for large bodies.
    pub(crate) fn with_places(pace: Pace, large: usize) -> Self {
        Self { pace, large: Arc::new(Semaphore::new(large)), waiting: Arc::default() }
    }

    /// Reads the body of an answer, at most `limit` bytes of it.
    pub(crate) async fn read(&self, response: Response, limit: usize) -> Result<Body, NoBody> {
        let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        if announced.is_some_and(|bytes| bytes > limit) {
            return Err(NoBody::TooLarge { limit });
        }
        let mut body = Body { bytes: Vec::new(), place: None };
        self.read_into(&mut body, response, announced, limit).await?;
        Ok(body)
    }

    /// The beginning of a body that only explains a refusal or a failure, as much of it as arrives within that
    /// time. It never waits for a place.
    pub(crate) async fn beginning(
        &self,
        response: Response,
        limit: usize,
        within: Duration,
    ) -> Vec<u8> {
        let mut body = Body { bytes: Vec::new(), place: None };
        let limit = limit.min(SMALL_BYTES);
        // The status says what to do, whatever happens to the rest.
        let _ = timeout(within, self.read_into(&mut body, response, None, limit)).await;
        body.bytes
    }

    async fn read_into(
        &self,
        body: &mut Body,
        mut response: Response,
        announced: Option<usize>,
        limit: usize,
    ) -> Result<(), NoBody> {
        let _coming = Coming::begins();
        let mut began = Instant::now();
        let mut placed = began;
        loop {
            let chunk = timeout_at(self.due(began, body.bytes.len()), response.chunk()).await;
            let seconds = began.elapsed().as_secs();
            let received = body.bytes.len();
            let chunk = chunk.map_err(|_| NoBody::TooSlow { received, seconds })?;
            let Some(chunk) = chunk.map_err(NoBody::Broken)? else { return Ok(()) };
            let room = limit - received;
            body.bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                return Err(NoBody::TooLarge { limit });
            }
            let is_over = body.place.is_some() && placed.elapsed() > self.pace.turn;
            if is_over && self.waiting.load(Ordering::Relaxed) > 0 {
                return Err(NoBody::TooSlow { received, seconds });
            }
            if body.bytes.len() > SMALL_BYTES && body.place.is_none() {
                // That we wait for a place is not the fault of whoever answers.
                let waits = Instant::now();
                let counted = Waiting::count(&self.waiting);
                // It is never closed.
                body.place = Arc::clone(&self.large).acquire_owned().await.ok();
                drop(counted);
                began += waits.elapsed();
                placed = Instant::now();
                // Growing bit by bit would take twice as much.
                body.bytes.reserve_exact(announced.unwrap_or(0).saturating_sub(body.bytes.len()));
            }
        }
    }

    /// When the next piece of a body must be there, after so many bytes of it.
    fn due(&self, began: Instant, received: usize) -> Instant {
        let earned = received as f64 / f64::from(self.pace.rate.max(1));
        let whole = began + self.pace.idle + Duration::from_secs_f64(earned);
        whole.min(Instant::now() + self.pace.idle)
    }
}

/// Whether what came is not HTTP: this says something about who answers, and not about the way there.
pub(crate) fn is_not_http(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput)) {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The causes of an error, which say more than the error itself ("error sending request").
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    // Certificates of strangers are among what they tell.
    cut(&if causes.is_empty() { error.to_string() } else { causes.join(": ") })
}
