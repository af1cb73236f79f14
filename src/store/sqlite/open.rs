//! Opens connections, each set up for what it is used for.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::create::beside;
use super::failure::failed;
use crate::contract::Result;

/// How long a connection waits for another one of this process: far longer than any of our transactions takes, and
/// short enough to be noticed if something else holds the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 128;

/// After this many pages, the write-ahead log is moved to the database. Not every group of commits should have to
/// do that.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The size, in bytes, to which the write-ahead log is cut back after a burst.
const LOG_BYTES: u32 = 64 * 1024 * 1024;

/// Memory for pages of the connection that writes, in KiB.
const WRITER_CACHE_KIB: i32 = 16 * 1024;

/// The connection that writes. Every commit is on the disk when it returns.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let failed = |error| failed(&format!("open {}", path.display()), error);
    let connection = connect(path)?;
    let setup = || {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        // Keep what is needed to undo a statement that fails half way in memory, not in a file.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)
    };
    setup().map_err(failed)?;
    Ok(connection)
}

/// A connection that fills a database that nobody else uses.
pub(super) fn rebuilder(path: &Path) -> Result<Connection> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(|error| failed(&format!("open {}", path.display()), error))?;
    Ok(connection)
}

/// A connection that only reads. If it is the last one to close, it may still clean up the log.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|error| failed(&format!("open {}", path.display()), error))?;
    Ok(connection)
}

/// A connection that leaves everything as it is, including the log; SQLite only creates the log's index if that is
/// missing. If there is no log, SQLite creates an empty one, which only a connection that may write removes again.
/// So then this is a reader, which removes the log when it closes, if it is the last connection and no engine came
/// meanwhile.
pub(super) fn looker(path: &Path) -> Result<Connection> {
    let is_there = |end| beside(path, end).symlink_metadata().is_ok();
    match is_there("-wal") || is_there("-shm") {
        true => connect_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY),
        false => reader(path),
    }
}

fn connect(path: &Path) -> Result<Connection> {
    connect_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn connect_with(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let failed = |error| failed(&format!("open {}", path.display()), error);
    // Each connection is used by one thread at a time, so SQLite needs no locks for that.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
