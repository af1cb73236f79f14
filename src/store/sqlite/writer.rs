//! The one thread that writes. It puts all writes that are waiting into one transaction, so that they share one
//! write to the disk.

use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::directory::{Directory, Noted};
use super::failure::{causes, failed, reason, unavailable};
use super::log_bounds::{Bounds, Log};
use crate::contract::Result;
use crate::error::StoreError;

/// How many writes may wait for the thread; further callers wait to be queued. There is room for several groups,
/// so that the thread never lacks work while there is some.
const QUEUE: usize = 1_024;

/// The most writes in one transaction. With more, sharing one write to the disk gains little, and the first caller
/// would wait long for its answer.
const GROUP_WRITES: usize = 512;

/// After this many bytes no further write joins a transaction, so that the log grows in steps that a checkpoint
/// can keep up with.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Hands writes to the thread. Dropping this waits until the thread has finished what it was given.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

/// What has to be written before anything else. None if that was done.
pub(super) type First = Option<fn(&Connection) -> Result<()>>;

/// One write, and its approximate size in bytes.
struct Write {
    bytes: usize,
    work: Box<dyn Work>,
}

/// What a write does. It may be made again if its transaction was undone.
trait Work: Send {
    /// Makes the write and keeps its result. Returns why it failed, if it did. Without a transaction it writes
    /// nothing.
    fn make(&mut self, open: Open<'_>) -> Option<Why>;

    /// Answers the caller, once the outcome of the transaction is known.
    fn answer(self: Box<Self>, group: std::result::Result<(), &Why>);
}

/// Why a write or its transaction failed. All writes that share the transaction get this.
#[derive(Clone)]
enum Why {
    Unavailable(String),
    /// The file is damaged: what was being done when that was noticed, and the error that showed it. Trying again
    /// does not help.
    Broken(String, String),
}

impl Why {
    fn of(error: &StoreError) -> Self {
        if let StoreError::Broken { doing, source } = error {
            return Self::Broken(doing.clone(), causes(source.as_ref()));
        }
        Self::Unavailable(reason(error))
    }

    fn error(&self) -> StoreError {
        match self {
            Self::Unavailable(message) => unavailable(message.clone()),
            Self::Broken(doing, cause) => {
                StoreError::Broken { doing: doing.clone(), source: cause.clone().into() }
            }
        }
    }
}

/// The connection within a transaction, or why there is no transaction.
type Open<'a> = std::result::Result<&'a Connection, Why>;

struct Task<T, F> {
    work: F,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T> + Send> Work for Task<T, F> {
    fn make(&mut self, open: Open<'_>) -> Option<Why> {
        let result = open.map_err(|why| why.error()).and_then(&mut self.work);
        let failure = result.as_ref().err().map(Why::of);
        self.result = Some(result);
        failure
    }

    fn answer(self: Box<Self>, group: std::result::Result<(), &Why>) {
        let lost = || Err(unavailable("the write was not made"));
        // An error only means that nobody waits.
        let _ = self.reply.send(match group {
            Ok(()) => self.result.unwrap_or_else(lost),
            Err(why) => Err(why.error()),
        });
    }
}

impl Writer {
    /// Starts the thread. It keeps `directory` locked until its connection is closed. If there is a `first` write,
    /// nothing else is written before that has succeeded.
    pub(super) fn start(
        connection: Connection,
        directory: Directory,
        bounds: Bounds,
        first: First,
    ) -> Result<Self> {
        let (queue, writes) = mpsc::channel(QUEUE);
        let run = move || {
            let log = Log::of(&directory.database(), bounds);
            serve(&connection, &directory, log, first, writes);
            directory.note(Noted::Closing);
            drop(connection);
            drop(directory);
        };
        let thread = thread::Builder::new().name("replibook-store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Unavailable {
            message: "failed to start the thread that writes".to_owned(),
            source: Some(Box::new(error)),
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Makes a write, and returns once it is on the disk. `bytes` is its approximate size. If the caller goes
    /// away, the write is still made. `work` may be called again, if what it did was undone.
    ///
    /// # Errors
    /// The error of `work`; then nothing was written. [`StoreError::Unavailable`] when the transaction failed.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || unavailable("the thread that writes has ended");
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Task { work, result: None, reply });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Write { bytes, work }).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported already, and nobody is left to be told.
            let _ = thread.join();
        }
    }
}

fn serve(
    connection: &Connection,
    directory: &Directory,
    mut log: Log,
    mut first: First,
    mut writes: mpsc::Receiver<Write>,
) {
    while let Some(Write { bytes, mut work }) = writes.blocking_recv() {
        let kept = directory.check().and_then(|()| log.keep(connection));
        let ready = kept.map_err(Why::Unavailable);
        match ready.and_then(|()| begin(connection, directory, &mut first)) {
            Ok(()) => group(connection, Write { bytes, work }, &mut writes),
            Err(why) => {
                work.make(Err(why));
                work.answer(Ok(()));
            }
        }
    }
}

/// Makes the first write, if that was not possible when the store was opened, for example because the disk was
/// full. Only from then on the log has something that is nowhere else.
fn begin(
    connection: &Connection,
    directory: &Directory,
    first: &mut First,
) -> std::result::Result<(), Why> {
    if let Some(write) = first {
        write(connection).map_err(|error| Why::of(&error))?;
        directory.note(Noted::Open);
        *first = None;
        tracing::info!("the store can be written now");
    }
    Ok(())
}

/// Makes one transaction of `first` and of the writes that wait behind it.
fn group(connection: &Connection, first: Write, writes: &mut mpsc::Receiver<Write>) {
    let mut made = Vec::new();
    let mut outcome = make_together(connection, first, writes, &mut made);
    if let Ok(Whole::Spoilt) = outcome {
        outcome = statement(connection, "ROLLBACK")
            .and_then(|()| make_apart(connection, &mut made))
            .map(|()| Whole::Made);
    }
    let outcome = outcome.and_then(|_| statement(connection, "COMMIT"));
    if outcome.is_err() && !connection.is_autocommit() {
        // If this fails too, so does the next BEGIN, and that is reported to its callers.
        let _ = statement(connection, "ROLLBACK");
    }
    for work in made {
        work.answer(outcome.as_ref().copied());
    }
}

/// The outcome of writes that were made without savepoints.
enum Whole {
    Made,
    /// One of them failed half way, so all have to be undone.
    Spoilt,
}

/// Makes the writes one after the other. A savepoint for each would cost several times what the write itself does,
/// and hardly any write fails after it has changed something: a refused one does not.
fn make_together(
    connection: &Connection,
    first: Write,
    writes: &mut mpsc::Receiver<Write>,
    made: &mut Vec<Box<dyn Work>>,
) -> std::result::Result<Whole, Why> {
    let open = statement(connection, "BEGIN IMMEDIATE");
    let mut bytes = 0_usize;
    let mut next = Some(first);
    let mut whole = Whole::Made;
    while let Some(Write { bytes: size, mut work }) = next {
        bytes = bytes.saturating_add(size);
        let before = connection.total_changes();
        let failure = work.make(open.clone().map(|()| connection));
        made.push(work);
        open.clone()?;
        if let Some(failure) = failure {
            if connection.is_autocommit() {
                // Some errors, for example a full disk, undo the whole transaction.
                return Err(failure);
            }
            if connection.total_changes() != before {
                whole = Whole::Spoilt;
                break;
            }
        }
        let room = made.len() < GROUP_WRITES && bytes < GROUP_BYTES;
        next = if room { writes.try_recv().ok() } else { None };
    }
    Ok(whole)
}

/// Makes the writes again, each within a savepoint, so that one that fails is undone by itself.
fn make_apart(
    connection: &Connection,
    writes: &mut [Box<dyn Work>],
) -> std::result::Result<(), Why> {
    statement(connection, "BEGIN IMMEDIATE")?;
    for work in writes {
        statement(connection, "SAVEPOINT one")?;
        if let Some(failure) = work.make(Ok(connection)) {
            if connection.is_autocommit() {
                return Err(failure);
            }
            statement(connection, "ROLLBACK TO one")?;
        }
        statement(connection, "RELEASE one")?;
    }
    Ok(())
}

fn statement(connection: &Connection, sql: &str) -> std::result::Result<(), Why> {
    let run = || connection.prepare_cached(sql)?.execute([]);
    run().map(drop).map_err(|error| Why::of(&failed("write", error)))
}
