//! Transactions, which are repeated while the server says that another try may succeed.

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

/// How long one call may try its transaction. Shorter than a lease, so that an engine whose store is slow still
/// notices in time that it may have lost its runs.
const LIMIT: Duration = Duration::from_secs(10);

/// The most tries of one transaction. Two that write to the same document take turns; when many runs are created
/// at once, a dozen may meet at one plugin.
const TRIES: u32 = 30;

/// The most tries to confirm a commit whose answer was lost, in addition to the driver's own.
const COMMIT_TRIES: u32 = 5;

/// The first wait before a transaction is repeated: about as long as the other transaction takes.
const BACKOFF_START: Duration = Duration::from_millis(4);

/// The longest wait before a transaction is repeated.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// What a transaction does. It may be attempted several times; only the last attempt counts.
#[async_trait]
pub(super) trait Transaction: Sync {
    /// The result of the transaction.
    type Output: Send;

    /// Its purpose, as in "failed to …".
    const DOING: &'static str;

    /// Reads and writes within `session`.
    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Self::Output, Failure>;
}

/// Why a transaction was not committed.
pub(super) enum Failure {
    /// It must not be made.
    Store(StoreError),
    /// The server refused something, or did not answer.
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

/// Makes a transaction: either all of it is durable with a majority of the members, or nothing was written.
///
/// # Errors
/// The error of [`attempt`](Transaction::attempt); then nothing was written. [`StoreError::Unavailable`] when the
/// server does not complete it within [`LIMIT`]; then it may have been written.
pub(super) async fn make<T: Transaction>(base: &Base, transaction: &T) -> Result<T::Output> {
    within_limit::<T, _>(async {
        let mut lent = base.sessions.lend(base).await?;
        let made = tries(base, lent.session()?, transaction).await;
        settle::<T, _>(lent, made)
    })
    .await
}

/// Like [`make`], but tried only once. None if another transaction has written to a document that this one writes
/// to.
///
/// # Errors
/// Like [`make`].
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

/// Gives the session back, or leaves it if the server may still have the transaction open.
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
        // The server may still have the transaction open, so the session counts as left.
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

/// The result of one try.
enum Try<T> {
    Made(T),
    /// Nothing was written, and another try may succeed.
    Undone(Error),
    /// It must not be repeated: if it failed while it was committed, it may have been written.
    Failed(Failure),
}

async fn once<T: Transaction>(
    base: &Base,
    session: &mut ClientSession,
    transaction: &T,
) -> Try<T::Output> {
    // A transaction sees one snapshot of the primary. Once it commits, everything that it read is with a majority
    // too.
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
            // If the server does not hear of this, the next transaction of this session ends it.
            let _ = session.abort_transaction().await;
            match failure {
                // Others end what seems to hold them up, even if it only was slow.
                Failure::Server(error) if says_undone(&error) || is_interrupted(&error) => {
                    Try::Undone(error)
                }
                Failure::Server(_) | Failure::Store(_) => Try::Failed(failure),
            }
        }
    }
}

/// Commits. If the outcome is unknown, commits again, which the server does only once.
async fn commit(session: &mut ClientSession) -> mongodb::error::Result<()> {
    let mut number = 1;
    loop {
        match session.commit_transaction().await {
            Err(error) if number < COMMIT_TRIES && is_unknown(&error) => number += 1,
            other => return other,
        }
    }
}

/// Whether a commit may have taken effect, so that the server has to be asked again.
fn is_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) || is_interrupted(error)
}

/// Whether the server says that nothing of a transaction was written, and that another try may succeed. If a key
/// has come into existence meanwhile, the next try will find it.
fn says_undone(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR) || is_conflict(error) || is_duplicate(error)
}
