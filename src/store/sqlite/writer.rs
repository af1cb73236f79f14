//! The one thread that writes, and groups what waits into one transaction.

use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::directory::{Directory, Noted};
use super::failure::{causes, failed, reason, unavailable};
use super::log_bounds::{Bounds, Log};
use crate::contract::Result;
use crate::error::StoreError;

/// Writes that may wait for the thread; who comes after waits outside. Room for several groups, so
/// that the thread never waits for work while there is some.
const QUEUE: usize = 1_024;

/// Writes in one transaction: past this, sharing one write to the disk among more of them gains
/// little, and the first would wait long for its answer.
const GROUP_WRITES: usize = 512;

/// Bytes after which no further write joins a transaction, so that the log grows in steps that a
/// checkpoint keeps up with.
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Hands writes to the thread. Dropping it waits for the thread to finish what it was given.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be written before anything else; none if that was done.
pub(super) type First = Option<fn(&Connection) -> Result<()>>;

/// One write, and how large it is about.
struct Write {
    bytes: usize,
    work: Box<dyn Work>,
}

/// What a write does. It may be made again, when the transaction that it was made in is undone.
trait Work: Send {
    /// Makes the write and keeps its result; why it failed, if it did. Without a transaction it
    /// writes nothing.
    fn make(&mut self, open: Open<'_>) -> Option<Why>;

    /// Answers who asked, once it is known what became of the transaction.
    fn answer(self: Box<Self>, group: std::result::Result<(), &Why>);
}

/// Why a write, or the transaction that it was made in, failed. All who share it are told.
#[derive(Clone)]
enum Why {
    Unavailable(String),
    /// The file is damaged, as was noticed while this was done, by this: asking again does not help.
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

/// The connection within a transaction, or why there is none.
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
        // Nobody waiting is fine.
        let _ = self.reply.send(match group {
            Ok(()) => self.result.unwrap_or_else(lost),
            Err(why) => Err(why.error()),
        });
    }
}

impl Writer {
    /// Starts the thread. It keeps `directory` locked until its connection is closed. If there is a `first` write,
    /// nothing else is written before that one went well.
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

    /// Makes a write and returns when it is on the disk. `bytes` is its size, about. A caller that
    /// goes away does not stop it. `work` may be called again, after what it did was undone.
    ///
    /// # Errors
    /// What `work` returns, in which case nothing was written; [`StoreError::Unavailable`] when
    /// the transaction failed.
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
            // Its panic was reported already; there is nobody left to tell.
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

/// Makes the first write, if it was not made yet: the disk was full when the store was opened. Only now the log has
/// something that is nowhere else.
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

/// Makes one transaction of `first` and of what waits behind it.
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
        // If this fails too, so does the next BEGIN, and its callers are told.
        let _ = statement(connection, "ROLLBACK");
    }
    for work in made {
        work.answer(outcome.as_ref().copied());
    }
}

/// What became of writes that were made without savepoints.
enum Whole {
    Made,
    /// One failed half way, so that all have to be undone.
    Spoilt,
}

/// Makes the writes one after another. A savepoint for each would cost several times what the write
/// itself does, and hardly any fails after it changed something: one that is refused does not.
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
                // Some errors, a full disk among them, undo the whole transaction.
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

/// Makes writes again, each within a savepoint, so that one that fails is undone alone.
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
