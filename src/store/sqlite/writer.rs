//! The one thread that writes, and groups what waits into one transaction.

use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::directory::Directory;
use super::failure::{failed, reason, unavailable};
use crate::store::contract::Result;
use crate::store::error::StoreError;

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

/// One write, and how large it is about.
struct Write {
    bytes: usize,
    work: Box<dyn FnOnce(Opened<'_>) -> Written + Send>,
}

/// The connection within a savepoint, or why there is none.
type Opened<'a> = std::result::Result<&'a Connection, String>;

/// A write that was made within a transaction that is still open.
struct Written {
    /// Why it failed, in which case what it did is undone.
    failure: Option<String>,
    /// Answers who asked, once it is known what became of the transaction.
    answer: Answer,
}

type Answer = Box<dyn FnOnce(std::result::Result<(), &str>) + Send>;

impl Writer {
    /// Starts the thread. It keeps `directory` locked until its connection is closed.
    pub(super) fn start(connection: Connection, directory: Directory) -> Result<Self> {
        let (queue, writes) = mpsc::channel(QUEUE);
        let run = move || {
            serve(&connection, writes);
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
    /// goes away does not stop it.
    ///
    /// # Errors
    /// What `work` returns, in which case nothing was written; [`StoreError::Unavailable`] when
    /// the transaction failed.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || unavailable("the thread that writes has ended");
        let (reply, answer) = oneshot::channel();
        let work = move |opened: Opened<'_>| {
            let result = opened.map_err(unavailable).and_then(work);
            let failure = result.as_ref().err().map(reason);
            let answer = move |group: std::result::Result<(), &str>| {
                // Nobody waiting is fine.
                let _ = reply.send(match group {
                    Ok(()) => result,
                    Err(message) => Err(unavailable(message)),
                });
            };
            Written { failure, answer: Box::new(answer) }
        };
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Write { bytes, work: Box::new(work) }).await.map_err(|_| stopped())?;
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

fn serve(connection: &Connection, mut writes: mpsc::Receiver<Write>) {
    while let Some(first) = writes.blocking_recv() {
        group(connection, first, &mut writes);
    }
}

/// Makes one transaction of `first` and of what waits behind it.
fn group(connection: &Connection, first: Write, writes: &mut mpsc::Receiver<Write>) {
    let mut answers = Vec::new();
    let made = make_group(connection, first, writes, &mut answers);
    let made = made.and_then(|()| statement(connection, "COMMIT"));
    if made.is_err() && !connection.is_autocommit() {
        // If this fails too, so does the next BEGIN, and its callers are told.
        let _ = statement(connection, "ROLLBACK");
    }
    let made = match &made {
        Ok(()) => Ok(()),
        Err(message) => Err(message.as_str()),
    };
    for answer in answers {
        answer(made);
    }
}

fn make_group(
    connection: &Connection,
    first: Write,
    writes: &mut mpsc::Receiver<Write>,
    answers: &mut Vec<Answer>,
) -> std::result::Result<(), String> {
    let mut open = statement(connection, "BEGIN IMMEDIATE");
    let mut bytes = 0_usize;
    let mut next = Some(first);
    while let Some(Write { bytes: size, work }) = next {
        bytes = bytes.saturating_add(size);
        open = open.and_then(|()| statement(connection, "SAVEPOINT one"));
        // Without a savepoint nothing may be written: it would not be undone.
        let Written { failure, answer } = work(open.clone().map(|()| connection));
        answers.push(answer);
        open.clone()?;
        if let Some(failure) = failure {
            if connection.is_autocommit() {
                // Some errors, a full disk among them, undo the whole transaction.
                return Err(failure);
            }
            statement(connection, "ROLLBACK TO one")?;
        }
        statement(connection, "RELEASE one")?;
        let room = answers.len() < GROUP_WRITES && bytes < GROUP_BYTES;
        next = if room { writes.try_recv().ok() } else { None };
    }
    Ok(())
}

fn statement(connection: &Connection, sql: &str) -> std::result::Result<(), String> {
    let run = || connection.prepare_cached(sql)?.execute([]);
    run().map(drop).map_err(|error| reason(&failed("write", error)))
}
