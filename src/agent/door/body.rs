//! The bodies of answers: no more bytes than may come in, no slower than makes progress, and not too
//! many large ones at once.

use std::error::Error as _;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

use super::bounds::{ACTION_BYTES, REFUSAL_BYTES};
use super::coming::Coming;
use super::cut;
use super::places::{Place, Places};

/// Bytes of a body that are read without asking: nearly all answers are smaller.
const SMALL_BYTES: usize = 32 * 1024;

const _: () = assert!(REFUSAL_BYTES <= SMALL_BYTES, "all that may be read of a refusal is read");

/// Bytes of larger bodies that are in memory at once, until they are read: sixteen of the largest, or hundreds of
/// those about nodes. Later ones wait; what has already arrived of them stays in the buffers of the system.
const LARGE_BYTES: usize = 16 * ACTION_BYTES;

/// How slowly an answer may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time within which the next piece must be there.
    pub idle: Duration,
    /// The fewest bytes a second, on average. Together with the limit on bytes, this ends an answer that
    /// keeps coming a little at a time.
    pub rate: u32,
    /// How long a large answer keeps its place at least while others wait for one. Then, if it is slow and most of
    /// it is still to come, or if it hardly comes at all, it may have to give the place up. It is asked for again,
    /// and keeps the next place twice as long: slow lines must not keep everybody else out, and must not get
    /// nowhere.
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
    /// It had to give its place to others.
    #[error("after {received} bytes of the answer others needed the room for it")]
    GaveWay { received: usize },
    /// The connection ended because nobody read from it while the body waited for a place.
    #[error("the connection ended while there was no room for the answer: {}", describe(.0))]
    CutOff(reqwest::Error),
    /// The connection ended before it.
    #[error("{}", describe(.0))]
    Broken(reqwest::Error),
}

impl NoBody {
    /// Whether whoever answers is not to blame, and the answer should be asked for again.
    pub(crate) const fn is_ours(&self) -> bool {
        match self {
            Self::GaveWay { .. } | Self::CutOff(_) => true,
            Self::TooLarge { .. } | Self::TooSlow { .. } | Self::Broken(_) => false,
        }
    }
}

/// A body, and its place among those that are in memory.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    _place: Option<Place>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is kept of an answer from one time that it is asked for to the next.
pub(crate) struct Seat {
    /// How long it keeps a place at least.
    turn: Duration,
    place: Option<Place>,
}

/// Reads bodies. Cheap to clone; all clones share the room for large ones.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    pace: Pace,
    places: Places,
}

impl Bodies {
    pub(crate) fn new(pace: Pace) -> Self {
        Self::with_room(pace, LARGE_BYTES)
    }

    /// The same, with room for another number of bytes of large bodies.
    pub(crate) fn with_room(pace: Pace, bytes: usize) -> Self {
        Self { pace, places: Places::new(bytes) }
    }

    /// For an answer that is asked for the first time.
    pub(crate) fn seat(&self) -> Seat {
        Seat { turn: self.pace.turn, place: None }
    }

    /// Reads the body of an answer, at most `limit` bytes of it. If it fails because of us
    /// ([`NoBody::is_ours`]), it should be asked for again with the same seat: it then keeps its place longer,
    /// so that it arrives in the end.
    pub(crate) async fn read(
        &self,
        seat: &mut Seat,
        response: Response,
        limit: usize,
    ) -> Result<Body, NoBody> {
        let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        if announced.is_some_and(|bytes| bytes > limit) {
            return Err(NoBody::TooLarge { limit });
        }
        let needed = announced.unwrap_or(limit);
        let mut bytes = Vec::new();
        match self
            .read_into(&mut bytes, Some((&mut *seat, needed)), response, announced, limit)
            .await
        {
            Ok(()) => Ok(Body { bytes, _place: seat.place.take() }),
            Err(error) => {
                if matches!(error, NoBody::GaveWay { .. }) {
                    seat.place = None;
                    seat.turn = seat.turn.saturating_mul(2);
                }
                Err(error)
            }
        }
    }

    /// The beginning of a body that only explains a refusal or a failure, as much of it as arrives within that
    /// time. It never waits for a place.
    pub(crate) async fn beginning(
        &self,
        response: Response,
        limit: usize,
        within: Duration,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let limit = limit.min(SMALL_BYTES);
        // The status says what to do, whatever happens to the rest.
        let _ = timeout(within, self.read_into(&mut bytes, None, response, None, limit)).await;
        bytes
    }

    async fn read_into(
        &self,
        bytes: &mut Vec<u8>,
        mut seat: Option<(&mut Seat, usize)>,
        mut response: Response,
        announced: Option<usize>,
        limit: usize,
    ) -> Result<(), NoBody> {
        let _coming = Coming::begins();
        let mut began = Instant::now();
        let mut waited = Duration::ZERO;
        loop {
            let chunk = timeout_at(self.due(began, bytes.len()), response.chunk()).await;
            let seconds = began.elapsed().as_secs();
            let received = bytes.len();
            let chunk = chunk.map_err(|_| NoBody::TooSlow { received, seconds })?;
            let chunk = chunk.map_err(|error| match waited >= self.pace.idle {
                true => NoBody::CutOff(error),
                false => NoBody::Broken(error),
            })?;
            let Some(chunk) = chunk else { return Ok(()) };
            let room = limit - received;
            bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                return Err(NoBody::TooLarge { limit });
            }
            let Some((seat, needed)) = &mut seat else { continue };
            if seat.place.as_ref().is_some_and(|place| place.has_to_leave(bytes.len())) {
                return Err(NoBody::GaveWay { received });
            }
            let has_place = seat.place.as_ref().is_some_and(|place| place.bytes() >= *needed);
            if bytes.len() > SMALL_BYTES && !has_place {
                // That we wait for a place is not the fault of whoever answers.
                let waits = Instant::now();
                seat.place = None;
                seat.place = Some(self.places.take(*needed, seat.turn).await);
                waited = waits.elapsed();
                began += waited;
                // Growing bit by bit would take twice as much.
                bytes.reserve_exact(announced.unwrap_or(0).saturating_sub(bytes.len()));
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
