//! Transactions, made again while the server says that another try may go well.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadPreference, SelectionCriteria};
use rand::Rng as _;

use super::base::{Base, majority};
use super::failure::{failed, is_conflict, is_duplicate, is_interrupted, is_refused, unavailable};
use super::sessions::Lent;
use crate::contract::Result;
use crate::error::StoreError;

/// How long one call may try its transaction: less than a lease, so that an engine whose store is
/// slow still notices in time that it may have lost its runs.
const LIMIT: Duration = Duration::from_secs(10);

/// Tries of one transaction. Two that write the same document take turns; a dozen may meet at one
/// plugin when many runs are created at once.
const TRIES: u32 = 30;

/// Tries to have a commit confirmed whose answer was lost, beside the driver's own.
const COMMIT_TRIES: u32 = 5;

/// The first wait before a transaction is tried again: about as long as the other one takes.
const BACKOFF_START: Duration = Duration::from_millis(4);

/// The longest wait before a transaction is tried again.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// What a transaction does. It may be done several times; only the last one counts.
#[async_trait]
pub(super) trait Transaction: Sync {
    /// What it gives.
    type Output: Send;

    /// What it is for, as in "failed to …".
    const DOING: &'static str;

    /// Reads and writes within `session`.
    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Self::Output, Failure>;
}

/// Why a transaction was not made.
pub(super) enum Failure {
    /// It is not to be made.
    Store(StoreError),
    /// The server refused something, or does not answer.
    Server(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

/// Makes a transaction: all of it is durable with a majority of the servers, or nothing of it is.
///
/// # Errors
/// What [`attempt`](Transaction::attempt) says, in which case nothing was written.
/// [`StoreError::Unavailable`] when the server does not let it through within [`LIMIT`]; then it may
/// have been written.
pub(super) async fn make<T: Transaction>(base: &Base, transaction: &T) -> Result<T::Output> {
    within_limit::<T, _>(async {
        let mut lent = base.sessions.lend(base).await?;
        let made = tries(base, lent.session()?, transaction).await;
        settle::<T, _>(lent, made)
    })
    .await
}

/// The same, tried once: none where another transaction has a document that this one writes to.
///
/// # Errors
/// As [`make`].
pub(super) async fn make_at_once<T: Transaction>(
    base: &Base,
    transaction: &T,
) -> Result<Option<T::Output>> {
    within_limit::<T, _>(async {
        let mut lent = base.sessions.lend(base).await?;
        let made = match once(base, lent.session()?, transaction).await {
            Try::Made(output) => Ok(Some(output)),
            Try::Undone(error) if is_refused(&error) => Ok(None),
            Try::Undone(error) => Err(error.into()),
            Try::Failed(failure) => Err(failure),
        };
        settle::<T, _>(lent, made)
    })
    .await
}

/// Gives the session back, or leaves it where the server may still have something open.
fn settle<T: Transaction, O>(lent: Lent<'_>, made: std::result::Result<O, Failure>) -> Result<O> {
    match made {
        Ok(output) => {
            lent.give_back();
            Ok(output)
        }
        Err(Failure::Store(error)) => {
            lent.give_back();
            Err(error)
        }
        // What the server has of it may still be open, so its session counts as left.
        Err(Failure::Server(error)) => Err(failed(T::DOING, error)),
    }
}

async fn within_limit<T: Transaction, O>(made: impl Future<Output = Result<O>>) -> Result<O> {
    match tokio::time::timeout(LIMIT, made).await {
        Ok(result) => result,
        Err(_) => Err(unavailable(format!(
            "failed to {}: the server did not answer within {} s",
            T::DOING,
            LIMIT.as_secs()
        ))),
    }
}

async fn tries<T: Transaction>(
    base: &Base,
    session: &mut ClientSession,
    transaction: &T,
) -> std::result::Result<T::Output, Failure> {
    let mut wait = BACKOFF_START;
    let mut number = 1;
    loop {
        match once(base, session, transaction).await {
            Try::Made(output) => return Ok(output),
            Try::Failed(failure) => return Err(failure),
            Try::Undone(error) if number >= TRIES => return Err(error.into()),
            Try::Undone(_) => {}
        }
        number += 1;
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(wait.mul_f64(jitter)).await;
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}

/// What came of one try.
enum Try<T> {
    Made(T),
    /// Nothing of it was written, and another try may go well.
    Undone(Error),
    /// It is not tried again: where it failed while it was committed, it may have been written.
    Failed(Failure),
}

async fn once<T: Transaction>(
    base: &Base,
    session: &mut ClientSession,
    transaction: &T,
) -> Try<T::Output> {
    // A transaction sees one snapshot of the primary; what it read is with a majority when it is.
    let started = session
        .start_transaction()
        .write_concern(majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    if let Err(error) = started.await {
        return Try::Failed(error.into());
    }
    match transaction.attempt(base, session).await {
        Ok(output) => match commit(session).await {
            Ok(()) => Try::Made(output),
            Err(error) if says_undone(&error) => Try::Undone(error),
            Err(error) => Try::Failed(error.into()),
        },
        Err(failure) => {
            // Where the server does not hear of it, the next transaction of this session ends it.
            let _ = session.abort_transaction().await;
            match failure {
                // Others end what seems to hold them up, also where it only was slow.
                Failure::Server(error) if says_undone(&error) || is_interrupted(&error) => {
                    Try::Undone(error)
                }
                Failure::Server(_) | Failure::Store(_) => Try::Failed(failure),
            }
        }
    }
}

/// Commits, and asks again whether it is committed where that is not known. The server makes it once.
async fn commit(session: &mut ClientSession) -> mongodb::error::Result<()> {
    let mut number = 1;
    loop {
        match session.commit_transaction().await {
            Err(error) if number < COMMIT_TRIES && is_unknown(&error) => number += 1,
            other => return other,
        }
    }
}

/// Whether a commit may have been made, and the server knows when it is asked again.
fn is_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) || is_interrupted(error)
}

/// Whether the server says that it has nothing of a transaction, and that another try may go well. A key
/// that came to be known meanwhile is found by the next try.
fn says_undone(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR) || is_conflict(error) || is_duplicate(error)
}
