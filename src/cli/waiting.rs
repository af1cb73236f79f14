//! Waits for the store when a server starts: databases and servers are often started together, in any order, so
//! an absent store is no reason to give up.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::serve_waiting;
use crate::clock::Clock;
use crate::credentials::ServedTls;
use crate::run::Millis;
use crate::stop::StopAsked;
use crate::store::StoreError;
use crate::web::OwnNames;

/// How often the log says that the store is waited for.
const WORD: Millis = Millis::from_secs(10);

/// The pause between two tries. Each try itself looks for a primary for some seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the last answers that the server is not ready may take, once it is ready.
const LAST: Duration = Duration::from_millis(500);

/// Opens a store, with as many tries as it takes, and meanwhile answers that the server is not ready, with the reason if it
/// `tells` anybody. `None` if the server is asked to stop first.
///
/// # Errors
/// Another try would not help, or requests can't be answered.
pub(super) async fn opened<T, F>(
    open: impl Fn() -> F,
    (listener, tls, tells): (TcpListener, Option<&ServedTls>, bool),
    names: OwnNames,
    asked: &mut StopAsked,
    clock: &dyn Clock,
) -> anyhow::Result<Option<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let (said, why) = watch::channel("it is looked for".to_owned());
    let stop = CancellationToken::new();
    let why = tells.then_some(why);
    let answering = serve_waiting(listener, tls, names, why, stop.clone().cancelled_owned());
    let opening = async {
        let opened = until_open(open, &said, clock).await;
        // The next request of a connection is for the server itself.
        stop.cancel();
        opened
    };
    tokio::select! {
        biased;
        () = asked.wait() => Ok(None),
        (opened, answered) = async { tokio::join!(opening, answered(answering, &stop, clock)) } => {
            answered.context("failed to answer requests while waiting for the store")?;
            opened.map(Some)
        }
    }
}

/// Answers requests until `answering` ends, and for at most [`LAST`] after `stop`.
async fn answered(
    answering: impl Future<Output = io::Result<()>>,
    stop: &CancellationToken,
    clock: &dyn Clock,
) -> io::Result<()> {
    let late = async {
        stop.cancelled().await;
        clock.sleep(LAST).await;
    };
    tokio::select! {
        answered = answering => answered,
        () = late => Ok(()),
    }
}

async fn until_open<T, F>(
    open: impl Fn() -> F,
    why: &watch::Sender<String>,
    clock: &dyn Clock,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut words = Words { start: clock.passed(), said: None, clock };
    loop {
        let opened = words.while_open(open(), |word| drop(why.send_replace(word))).await;
        let error = match opened {
            Err(error) if may_come(&error) => format!("{error:#}"),
            done => return done,
        };
        words.say(&error);
        why.send_replace(error);
        clock.sleep(PAUSE).await;
    }
}

/// Opens a store with one try, and logs from time to time that this is still going on.
pub(super) async fn opened_once<T>(
    open: impl Future<Output = anyhow::Result<T>>,
    clock: &dyn Clock,
) -> anyhow::Result<T> {
    Words { start: clock.passed(), said: None, clock }.while_open(open, drop).await
}

/// Logs that a store is waited for, at most once per [`WORD`].
struct Words<'c> {
    start: Millis,
    said: Option<Millis>,
    clock: &'c dyn Clock,
}

impl Words<'_> {
    fn say(&mut self, why: &str) {
        let now = self.clock.passed();
        if self.said.is_none_or(|said| now.0 - said.0 >= WORD.0) {
            let seconds = (now.0 - self.start.0) / 1_000;
            tracing::warn!(seconds, "waiting for the store: {why}");
            self.said = Some(now);
        }
    }

    /// Waits for one try, which may take minutes if indexes are made over many documents. Meanwhile it logs,
    /// and passes the same text to `also`.
    async fn while_open<T>(
        &mut self,
        open: impl Future<Output = anyhow::Result<T>>,
        also: impl Fn(String),
    ) -> anyhow::Result<T> {
        let began = self.clock.passed();
        let mut open = std::pin::pin!(open);
        loop {
            tokio::select! {
                biased;
                done = &mut open => return done,
                () = self.clock.sleep(Duration::from_millis(WORD.0)) => {}
            }
            let seconds = (self.clock.passed().0 - began.0) / 1_000;
            let word = format!("it has been opened for {seconds} s, and that goes on");
            self.say(&word);
            also(word);
        }
    }
}

/// Whether the store may be available later. A wrong address, file or password, or a wrong kind of server, does
/// not go away.
fn may_come(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(StoreError::retryable)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    fn unavailable() -> StoreError {
        StoreError::Unavailable { message: "no primary yet".to_owned(), source: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_waited_for_and_the_reason_is_said_to_who_asks() {
        let (said, why) = watch::channel(String::new());
        let tries = Cell::new(0);
        let open = || {
            tries.set(tries.get() + 1);
            let came = if tries.get() < 5 { Err(unavailable()) } else { Ok(7) };
            std::future::ready(came.context("failed to open the store"))
        };
        let clock = TokioClock::starting_at(Timestamp::from_millis(0));
        assert_eq!(until_open(open, &said, &clock).await.unwrap(), 7);
        assert_eq!(tries.get(), 5);
        assert!(why.borrow().ends_with("no primary yet"), "{:?}", why.borrow());
    }

    /// The text goes to the log, and to whoever asks.
    #[tokio::test(start_paused = true)]
    async fn one_try_that_takes_long_is_said_while_it_goes_on() {
        let (said, mut why) = watch::channel(String::new());
        let clock = TokioClock::starting_at(Timestamp::from_millis(0));
        let open = async || {
            clock.sleep(Duration::from_secs(35)).await;
            Ok(7)
        };
        let heard = async {
            for seconds in [10, 20, 30] {
                why.changed().await.unwrap();
                let word = format!("it has been opened for {seconds} s, and that goes on");
                assert_eq!(*why.borrow_and_update(), word);
                assert_eq!(clock.passed().0 / 1_000, seconds);
            }
        };
        let (opened, ()) = tokio::join!(until_open(open, &said, &clock), heard);
        assert_eq!(opened.unwrap(), 7);
        assert!(!why.has_changed().unwrap());
        let mut words = Words { start: clock.passed(), said: None, clock: &clock };
        words.while_open(open(), drop).await.unwrap();
        assert_eq!(clock.passed().0 - words.said.unwrap().0, 5_000, "the last word in time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_try_mends_is_said_at_once() {
        let (said, _why) = watch::channel(String::new());
        let unfit = || StoreError::Unfit { message: "a wrong password".to_owned(), source: None };
        let open = || std::future::ready(Err::<(), _>(unfit()).context("failed to open the store"));
        let clock = TokioClock::starting_at(Timestamp::from_millis(0));
        let error = until_open(open, &said, &clock).await.unwrap_err();
        assert!(format!("{error:#}").contains("a wrong password"));
    }
}
