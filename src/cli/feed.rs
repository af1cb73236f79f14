//! The events of a run as they happen, across lost connections and restarts of the server. Whoever reads the
//! feed sees each event once, and never handles a connection.

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;
use reqwest::Response;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, REQUEST_TIMEOUT, name_of};
use super::error::ClientError;
use super::sse::{Message, Parser, SseError};
use crate::api::wire::{ProblemDetails, RunView};
use crate::run::{RunEvent, RunId};

/// How long a stream may be silent before it counts as broken. The server sends a comment at least every 15 s.
pub const MAX_SILENCE: Duration = Duration::from_secs(45);

/// How long the server may be away before the feed gives up: long enough for a restart with recovery, even by
/// hand.
pub const MAX_AWAY: Duration = Duration::from_secs(120);

/// The wait before the first new connection; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait between two new connections.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The limits of a feed; their defaults are [`MAX_SILENCE`] and [`MAX_AWAY`].
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// How long a stream may be silent before it counts as broken.
    pub silence: Duration,
    /// How long the server may be away before the feed gives up.
    pub away: Duration,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self { silence: MAX_SILENCE, away: MAX_AWAY }
    }
}

/// What the feed reports.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something happened. Sequences grow, and no event comes twice.
    Event(Box<RunEvent>),
    /// The connection is lost and a new one is being made; reported once per loss.
    Lost {
        /// What happened, as human-readable text.
        message: String,
    },
    /// The connection is back.
    Back,
    /// The run has ended, with its final view. Nothing follows.
    Ended(Box<RunView>),
}

/// Follows a run from its first event.
///
/// The stream ends after [`Update::Ended`] or an error. It is an error when the server refuses, or when it
/// stays away for longer than `limits` allow.
pub fn follow(
    client: Client,
    run: RunId,
    limits: FeedLimits,
) -> impl Stream<Item = Result<Update, ClientError>> + Send {
    follow_after(client, run, 0, limits)
}

/// The same from the event after the one with sequence `last` on.
pub(super) fn follow_after(
    client: Client,
    run: RunId,
    last: u64,
    limits: FeedLimits,
) -> impl Stream<Item = Result<Update, ClientError>> + Send {
    let feed = Feed {
        client,
        run,
        limits,
        last,
        open: None,
        ready: VecDeque::new(),
        away: None,
        ended: false,
    };
    futures::stream::unfold(feed, |mut feed| async move {
        if feed.ended {
            return None;
        }
        let update = feed.next().await;
        feed.ended = matches!(update, Ok(Update::Ended(_)) | Err(_));
        Some((update, feed))
    })
}

struct Feed {
    client: Client,
    run: RunId,
    limits: FeedLimits,
    last: u64,
    open: Option<(Response, Parser)>,
    ready: VecDeque<Message>,
    away: Option<Away>,
    ended: bool,
}

struct Away {
    since: Instant,
    wait: Duration,
}

/// Why the present connection is no longer of use.
enum Broken {
    /// A new connection may work.
    Passing(String),
    /// No new connection helps: the server refuses.
    ForGood(ClientError),
    /// No new connection helps: this is not a stream of events.
    Unreadable(SseError),
}

impl Feed {
    async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if let Some(update) = self.understand(&message)? {
                    return Ok(update);
                }
            }
            let broken = match self.open.as_mut() {
                Some((answer, parser)) => match read(answer, parser, self.limits.silence).await {
                    Ok(messages) => {
                        self.ready.extend(messages);
                        if self.away.take().is_some() {
                            return Ok(Update::Back);
                        }
                        continue;
                    }
                    Err(broken) => broken,
                },
                None => match self.connect().await {
                    Ok(open) => {
                        self.open = Some(open);
                        continue;
                    }
                    Err(broken) => broken,
                },
            };
            self.open = None;
            if let Some(lost) = self.lose(broken)? {
                return Ok(lost);
            }
        }
    }

    async fn connect(&mut self) -> Result<(Response, Parser), Broken> {
        if let Some(away) = &mut self.away {
            sleep(away.wait).await;
            away.wait = (away.wait * 2).min(MAX_WAIT);
        }
        let request = self.client.event_stream(self.run, self.last);
        let name = name_of(&request);
        let answer = match timeout(REQUEST_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(broken(self.client.unreachable(&error))),
            Err(_) => return Err(Broken::Passing("no answer in time".to_owned())),
        };
        let answer = self.client.check(answer, &name).await.map_err(broken)?;
        Ok((answer, Parser::default()))
    }

    /// Notes that the connection is lost, or returns the error that ends the feed.
    fn lose(&mut self, broken: Broken) -> Result<Option<Update>, ClientError> {
        let message = match broken {
            Broken::Passing(message) => message,
            Broken::ForGood(error) => return Err(error),
            Broken::Unreadable(error) => return Err(self.malformed(&error)),
        };
        let Some(away) = &self.away else {
            self.away = Some(Away { since: Instant::now(), wait: FIRST_WAIT });
            return Ok(Some(Update::Lost { message }));
        };
        if away.since.elapsed() > self.limits.away {
            let server = self.client.server().to_owned();
            return Err(ClientError::Unreachable { server, message });
        }
        Ok(None)
    }

    fn malformed(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Malformed {
            server: self.client.server().to_owned(),
            request: format!("GET /api/v1/runs/{}/events", self.run),
            message: format!("{error} in the stream of events"),
        }
    }

    fn understand(&mut self, message: &Message) -> Result<Option<Update>, ClientError> {
        let malformed = |error: serde_json::Error| self.malformed(&error);
        if message.event == "end" {
            let run = serde_json::from_str(&message.data).map_err(malformed)?;
            return Ok(Some(Update::Ended(run)));
        }
        if message.event == "error" {
            let problem = serde_json::from_str(&message.data).map_err(malformed)?;
            return self.refused(problem);
        }
        let event: Box<RunEvent> = serde_json::from_str(&message.data).map_err(malformed)?;
        if event.seq <= self.last {
            return Ok(None);
        }
        self.last = event.seq;
        Ok(Some(Update::Event(event)))
    }

    /// The server ended the stream and says why. The feed goes on if another try may help.
    fn refused(&mut self, problem: Box<ProblemDetails>) -> Result<Option<Update>, ClientError> {
        self.open = None;
        self.lose(broken(ClientError::Refused(problem)))
    }
}

async fn read(
    answer: &mut Response,
    parser: &mut Parser,
    silence: Duration,
) -> Result<Vec<Message>, Broken> {
    match timeout(silence, answer.chunk()).await {
        Ok(Ok(Some(bytes))) => parser.feed(&bytes).map_err(Broken::Unreadable),
        Ok(Ok(None)) => Err(Broken::Passing("the server closed the connection".to_owned())),
        Ok(Err(_)) => Err(Broken::Passing("the connection broke".to_owned())),
        Err(_) => Err(Broken::Passing(format!("silence for {silence:?}"))),
    }
}

fn broken(error: ClientError) -> Broken {
    match error {
        ClientError::Unreachable { message, .. } => Broken::Passing(message),
        ClientError::Refused(problem) if problem.status >= 500 => Broken::Passing(problem.detail),
        ClientError::Refused(_)
        | ClientError::Malformed { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Address { .. } => Broken::ForGood(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    #[tokio::test]
    async fn it_gives_up_when_the_server_stays_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(&format!("http://{address}")).unwrap();
        let run = RunId(uuid::Uuid::from_u128(7));
        let updates =
            follow(client, run, FeedLimits { away: Duration::ZERO, ..FeedLimits::default() })
                .collect::<Vec<_>>()
                .await;
        assert_eq!(updates.len(), 2, "{updates:?}");
        assert!(matches!(&updates[0], Ok(Update::Lost { .. })), "{updates:?}");
        assert!(matches!(&updates[1], Err(ClientError::Unreachable { .. })), "{updates:?}");
    }
}
