//! Follows a run: sends its events as server-sent events until the run has ended. The state of a stream is one
//! [`Follower`], so that what is read ahead of a slow client is bounded in one place.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::Event;
use futures::Stream;
use futures::stream::unfold;
use serde::Serialize;

use super::error::{ApiError, Code};
use super::limits::{
    EVENT_BYTES, FIRST_PIECE, STREAM_BYTES, STREAM_FAILURES, STREAM_PAGE, STREAM_POLL,
};
use super::pages::json_bytes;
use super::runs;
use super::shares::Going;
use super::state::ApiState;
use super::watched::{News, Watching};
use super::wire::RunView;
use crate::run::{RunEvent, RunId, RunStatus};
use crate::store::Head;
use crate::web::{Memory, Share};

/// The events of `run` after sequence `after`, in order and without gaps, then an `end` with the final view of
/// the run.
///
/// # Flow
/// The stream sends what the store has, then waits until it is [told](super::watched) that there is more: that
/// is asked of the store once for all streams. It reads at most [`STREAM_BYTES`], or one larger event, ahead of
/// what the client takes. What it has read counts with `reads`, the memory of the client, until it is known to
/// be small or has been sent.
///
/// # Errors
/// When the run expires, or the store fails [`STREAM_FAILURES`] times in a row, the stream ends with an `error`
/// whose data is a problem document. When the server stops, the stream just ends: the client then comes back
/// with `Last-Event-ID`.
pub(super) fn follow(
    state: ApiState,
    run: RunId,
    after: u64,
    place: Going,
    reads: Memory,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // It joins before the first read, so that no commit is missed between the two.
    let watching = state.watched.join(&state, run);
    state.metrics.stream_opened();
    let follower = Follower {
        state,
        run,
        after,
        watching,
        queue: VecDeque::new(),
        piece: FIRST_PIECE,
        share: None,
        reads,
        failures: 0,
        _place: place,
    };
    unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Next::Send(event) => Some((Ok(event), Some(follower))),
            Next::Last(event) => Some((Ok(event), None)),
            Next::Stop => None,
        }
    })
}

struct Follower {
    state: ApiState,
    run: RunId,
    /// Sequence of the last event in the queue, or else of the last event sent.
    after: u64,
    watching: Watching,
    queue: VecDeque<RunEvent>,
    /// How many events to read next time.
    piece: u32,
    /// The memory of a large event that is in the queue or was sent last.
    share: Option<Share>,
    reads: Memory,
    failures: u32,
    _place: Going,
}

enum Next {
    Send(Event),
    Last(Event),
    Stop,
}

enum Found {
    Events,
    Nothing,
    End(Box<RunView>),
}

impl Follower {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return frame(&event).map_or_else(give_up, Next::Send);
            }
            // The client asks for more, so the event that was sent last is gone.
            self.share = None;
            let stopping = self.state.stopping.clone();
            let found = tokio::select! {
                biased;
                () = stopping.cancelled() => return Next::Stop,
                found = self.read() => found,
            };
            match found {
                Ok(Found::Events) => continue,
                Ok(Found::End(view)) => {
                    return message("end", &*view).map_or_else(give_up, Next::Last);
                }
                Ok(Found::Nothing) => self.failures = 0,
                Err(error) if error.retryable() && self.failures < STREAM_FAILURES => {
                    self.failures += 1;
                }
                Err(error) => return give_up(error),
            }
            let again = self.failures > 0;
            tokio::select! {
                () = self.state.stopping.cancelled() => return Next::Stop,
                () = self.state.clock.sleep(STREAM_POLL), if again => {}
                () = more(&mut self.watching, self.after), if !again => {}
            }
        }
    }

    async fn read(&mut self) -> Result<Found, ApiError> {
        if self.fill().await? {
            return Ok(Found::Events);
        }
        let going = |head: &Head| head.status.is_some_and(|status| !status.is_final());
        if self.state.store.heads(&[self.run]).await?.iter().any(going) {
            return Ok(Found::Nothing);
        }
        let run = runs::look(&self.state, self.run).await?;
        if !run.status.is_final() {
            return Ok(Found::Nothing);
        }
        // The last events may have been written between the two reads.
        match self.fill().await? {
            true => Ok(Found::Events),
            false => Ok(Found::End(Box::new(run))),
        }
    }

    /// Fills the queue, and returns whether there were further events.
    async fn fill(&mut self) -> Result<bool, ApiError> {
        loop {
            let mut share = self.reads.take(self.piece as usize * EVENT_BYTES).await;
            let found = self.state.store.read_events(self.run, self.after, self.piece).await?;
            self.failures = 0;
            if found.is_empty() {
                return Ok(false);
            }
            // A stream that has caught up only reads new events, which are few.
            let most = if found.len() < self.piece as usize { FIRST_PIECE } else { STREAM_PAGE };
            let (mut bytes, mut largest) = (0, 1);
            for event in found {
                let event = match event {
                    Ok(event) => event,
                    // An event that can't be read leaves a gap; if the stream ended there, it could never get
                    // past it.
                    Err(damage) => {
                        self.after = damage.key.parse().unwrap_or(self.after.saturating_add(1));
                        continue;
                    }
                };
                let size = json_bytes(&event);
                largest = largest.max(size);
                if bytes + size > STREAM_BYTES && !self.queue.is_empty() {
                    break;
                }
                bytes += size;
                self.after = event.seq;
                self.queue.push_back(event);
            }
            let fit = u32::try_from(STREAM_BYTES / largest).unwrap_or(u32::MAX);
            self.piece = fit.clamp(1, self.piece * 4).min(most);
            if bytes > STREAM_BYTES {
                share.shrink_to(bytes);
                self.share = Some(share);
            }
            if !self.queue.is_empty() {
                return Ok(true);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.state.metrics.stream_closed();
    }
}

/// Returns when there may be something after the event `after`: another event, or the end of the run. Also
/// returns when that can't be known.
async fn more(watching: &mut Watching, after: u64) {
    while is_nothing_new(&watching.news().await, after) {}
}

fn is_nothing_new(news: &News, after: u64) -> bool {
    match &news.head {
        Some(Head { status: Some(status), next_event: Some(next), .. }) => {
            !news.silent && !RunStatus::is_final(*status) && *next <= after.saturating_add(1)
        }
        Some(_) | None => false,
    }
}

/// One event as it is sent: `id` is its sequence, `event` its kind, `data` the whole event in JSON.
fn frame(event: &RunEvent) -> Result<Event, ApiError> {
    let value = serde_json::to_value(event).map_err(ApiError::internal)?;
    let kind = value["event"].as_str().unwrap_or("message").to_owned();
    Ok(Event::default().id(event.seq.to_string()).event(kind).data(value.to_string()))
}

fn message(kind: &str, data: &impl Serialize) -> Result<Event, ApiError> {
    Event::default().event(kind).json_data(data).map_err(ApiError::internal)
}

fn give_up(error: ApiError) -> Next {
    if matches!(error.code, Code::Internal | Code::StoreDamaged) {
        tracing::error!(%error, "an event stream failed");
    }
    message("error", &error.details()).map_or(Next::Stop, Next::Last)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use axum::response::sse::Sse;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::run::{AgentId, AgentState, Happened, Timestamp};

    async fn text(event: Event) -> String {
        let stream = futures::stream::iter([Ok::<_, Infallible>(event)]);
        let body = Sse::new(stream).into_response().into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_event_is_sent_with_its_sequence_and_kind_and_is_read_back() {
        let event = RunEvent {
            run: RunId(Uuid::from_u128(7)),
            seq: 12,
            at: Timestamp::from_millis(0),
            actor: None,
            what: Happened::Agent {
                agent: AgentId::from("node\n1"),
                from: None,
                to: AgentState::Pending,
                batch: None,
                why: None,
                failure: None,
            },
            finish_ts: None,
        };
        let sent = text(frame(&event).unwrap()).await;
        let data = sent.strip_prefix("id: 12\nevent: agent\ndata: ").unwrap();
        let data = data.strip_suffix("\n\n").unwrap();
        assert_eq!(data.lines().count(), 1);
        assert_eq!(serde_json::from_str::<RunEvent>(data).unwrap(), event);
    }

    #[tokio::test]
    async fn the_last_message_of_a_stream_that_fails_is_a_problem() {
        let Next::Last(event) = give_up(ApiError::new(Code::RunNotFound, "gone")) else {
            panic!("the stream goes on");
        };
        let sent = text(event).await;
        let data: Value =
            serde_json::from_str(sent.strip_prefix("event: error\ndata: ").unwrap()).unwrap();
        assert_eq!((&data["code"], &data["status"]), (&"run-not-found".into(), &404.into()));
    }
}
