//! Reads the bodies of answers: no more bytes than may come in, no slower than a [`Pace`], and not too many
//! large ones at once, so that no number of agents can fill the memory of the engine.

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

/// Bytes of a body that are read without taking a place: nearly all answers are smaller.
const SMALL_BYTES: usize = 32 * 1024;

const _: () = assert!(REFUSAL_BYTES <= SMALL_BYTES, "all that may be read of a refusal is read");

/// Bytes of larger bodies that are in memory at once until they are interpreted: sixteen of the largest, or
/// hundreds of those about nodes. Later bodies wait; what has already arrived of them stays in the buffers of
/// the system.
const LARGE_BYTES: usize = 16 * ACTION_BYTES;

/// How slowly an answer may come in before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time within which the next piece must arrive.
    pub idle: Duration,
    /// The fewest bytes per second, on average. Together with the limit on bytes, this ends an answer that
    /// keeps coming a little at a time.
    pub rate: u32,
    /// For how long at least a large answer keeps its place while others wait for one. After that it may have
    /// to give the place up, if it is slow and most of it is still to come, or if it hardly comes at all. It is
    /// then asked for again, and keeps its next place twice as long: slow lines must not keep everybody else
    /// out, and must still arrive in the end.
    pub turn: Duration,
}

/// Why a body could not be read completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBody {
    /// The body has more bytes than may come in.
    #[error("the body: found more than {limit} bytes, expected at most that")]
    TooLarge { limit: usize },
    /// The body came too slowly.
    #[error("only {received} bytes of the answer came in {seconds} s")]
    TooSlow { received: usize, seconds: u64 },
    /// The body had to give up its place to others.
    #[error("after {received} bytes of the answer others needed the room for it")]
    GaveWay { received: usize },
    /// The connection ended because nobody read from it while the body waited for a place.
    #[error("the connection ended while there was no room for the answer: {}", describe(.0))]
    CutOff(reqwest::Error),
    /// The connection ended before the body did.
    #[error("{}", describe(.0))]
    Broken(reqwest::Error),
}

impl NoBody {
    /// Whether the cause is on our side, so that the answer should be asked for again.
    pub(crate) const fn is_ours(&self) -> bool {
        match self {
            Self::GaveWay { .. } | Self::CutOff(_) => true,
            Self::TooLarge { .. } | Self::TooSlow { .. } | Self::Broken(_) => false,
        }
    }
}

/// A body, together with its place among those in memory. Dropping it frees the place.
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

/// What is kept between one request for an answer and its repetition.
pub(crate) struct Seat {
    /// How long at least the next place is kept.
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

    /// A reader with room for `bytes` bytes of large bodies.
    pub(crate) fn with_room(pace: Pace, bytes: usize) -> Self {
        Self { pace, places: Places::new(bytes) }
    }

    /// The seat for an answer that is asked for the first time.
    pub(crate) fn seat(&self) -> Seat {
        Seat { turn: self.pace.turn, place: None }
    }

    /// Reads the body of an answer, at most `limit` bytes of it. If this fails because of us
    /// ([`NoBody::is_ours`]), the answer should be asked for again with the same seat: it then keeps its place
    /// longer, so that it arrives in the end.
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

    /// The beginning of a body that only explains a refusal or a failure: at most `limit` bytes, and as much as
    /// arrives in the time `within`. It never waits for a place.
    pub(crate) async fn beginning(
        &self,
        response: Response,
        limit: usize,
        within: Duration,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let limit = limit.min(SMALL_BYTES);
        // The status says what to do, whatever happens to the body.
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
                // The wait for a place is not the fault of whoever answers.
                let waits = Instant::now();
                seat.place = None;
                seat.place = Some(self.places.take(*needed, seat.turn).await);
                waited = waits.elapsed();
                began += waited;
                // Growing bit by bit would take twice the memory.
                bytes.reserve_exact(announced.unwrap_or(0).saturating_sub(bytes.len()));
            }
        }
    }

    /// When the next piece of a body must arrive, after `received` bytes of it.
    fn due(&self, began: Instant, received: usize) -> Instant {
        let earned = received as f64 / f64::from(self.pace.rate.max(1));
        let whole = began + self.pace.idle + Duration::from_secs_f64(earned);
        whole.min(Instant::now() + self.pace.idle)
    }
}

/// Whether what came is not HTTP. That says something about whoever answers, and nothing about the way there.
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
    // The causes may quote certificates of strangers, so the text is cut.
    cut(&if causes.is_empty() { error.to_string() } else { causes.join(": ") })
}
