//! Bounds the size of the write-ahead log while an engine runs. SQLite starts the log over once all of it is in
//! the database and nobody reads from it any more. A reader that never stops would let it grow for ever.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::create::beside;

/// Beyond this many bytes, the log is started over as soon as the present readers are done: several times what is
/// moved to the database at a time.
const ENOUGH: u64 = 64 * 1024 * 1024;

/// Beyond this many bytes, nothing more is written: far more than accumulates while a large database is copied,
/// and much less than a disk.
const MOST: u64 = 1024 * 1024 * 1024;

/// How long a write waits for readers, so that the log can start over. They read one page of documents.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often to try that.
const EVERY: Duration = Duration::from_secs(5);

/// How often to log that the log can't start over.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The bounds of a log: two sizes in bytes, and how often to try to start over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) enough: u64,
    pub(super) most: u64,
    pub(super) every: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { enough: ENOUGH, most: MOST, every: EVERY }
    }
}

/// The write-ahead log of a database that is written to.
pub(super) struct Log {
    path: PathBuf,
    bounds: Bounds,
    /// Device and inode of the file. None before it was first seen.
    file: Option<(u64, u64)>,
    tried: Option<Instant>,
    said: Option<Instant>,
    /// Why nothing is written, as human-readable text.
    full: Option<String>,
}

impl Log {
    pub(super) fn of(database: &Path, bounds: Bounds) -> Self {
        let path = beside(database, "-wal");
        Self { path, bounds, file: None, tried: None, said: None, full: None }
    }

    /// Keeps the log within its bounds. To be called before each write.
    ///
    /// # Errors
    /// That the log is too large, or that it is no longer the file that is written to, as human-readable text.
    pub(super) fn keep(&mut self, connection: &Connection) -> Result<(), String> {
        let Bounds { enough, most, every } = self.bounds;
        let size = self.size()?;
        if size <= enough && self.full.is_none() {
            return Ok(());
        }
        if self.tried.is_none_or(|tried| tried.elapsed() >= every) {
            self.tried = Some(Instant::now());
            self.full = match begin_anew(connection) {
                Ok(true) => None,
                // If something else is wrong with the database, the write will report it.
                Err(_) => None,
                Ok(false) => {
                    self.say(size);
                    (size > most).then(|| self.words(size))
                }
            };
        }
        self.full.clone().map_or(Ok(()), Err)
    }

    fn size(&mut self) -> Result<u64, String> {
        let found = self.path.symlink_metadata();
        let file = found.as_ref().ok().map(identity);
        if self.file.is_some() && file != self.file {
            let what = if file.is_some() { "replaced" } else { "removed" };
            let message = format!(
                "the log {} was {what} under the running server, which does not write any more: what it committed \
                 last may be lost; stop it, and put a whole backup in place",
                self.path.display()
            );
            self.say_error(&message);
            return Err(message);
        }
        self.file = file;
        Ok(found.map_or(0, |log| log.len()))
    }

    /// Whether a message is due. If it is, it counts as logged from now on.
    fn is_due(&mut self) -> bool {
        let is_due = self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY);
        if is_due {
            self.said = Some(Instant::now());
        }
        is_due
    }

    fn say_error(&mut self, message: &str) {
        if self.is_due() {
            tracing::error!(%message, "the log is gone");
        }
    }

    fn words(&self, size: u64) -> String {
        format!(
            "failed to write: the log {} has {} MiB and can't start over, since something reads the database all \
             the time (a shell, a copy, a check): end that",
            self.path.display(),
            size / (1024 * 1024)
        )
    }

    fn say(&mut self, size: u64) {
        if self.is_due() {
            let (log, bytes) = (self.path.display(), size);
            tracing::warn!(%log, bytes, "the log can't start over, since something reads the database all the time");
        }
    }
}

#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Moves the whole log to the database, so that the next write starts it over. Returns whether no reader prevented
/// that.
fn begin_anew(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(PATIENCE)?;
    let busy =
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(super::open::BUSY_TIMEOUT)?;
    Ok(busy? == 0)
}

#[cfg(test)]
mod tests {
    use super::super::{DATABASE_FILE, create, open};
    use super::*;

    const BOUNDS: Bounds = Bounds { enough: 256 * 1024, most: 1024 * 1024, every: Duration::ZERO };

    fn write(connection: &Connection) {
        let sql = "INSERT OR REPLACE INTO clusters (name, body) VALUES ('a', ?1)";
        connection.execute(sql, ["x".repeat(50_000)]).unwrap();
    }

    #[test]
    fn a_reader_that_stays_does_not_let_the_log_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        create::ensure(&path).unwrap();
        let writer = open::writer(&path).unwrap();
        let mut log = Log::of(&path, BOUNDS);
        let size = || beside(&path, "-wal").metadata().unwrap().len();
        write(&writer);
        let reader = open::reader(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM clusters").unwrap();
        let mut writes = 0;
        let why = loop {
            match log.keep(&writer) {
                Ok(()) => write(&writer),
                Err(why) => break why,
            }
            writes += 1;
            assert!(writes < 1_000, "the log grew for ever");
        };
        assert!(why.contains("-wal has 1 MiB") && why.contains("end that"), "{why}");
        assert!(size() < 2 * BOUNDS.most);
        assert!(log.keep(&writer).is_err());

        reader.execute_batch("COMMIT").unwrap();
        for _ in 0..100 {
            log.keep(&writer).unwrap();
            write(&writer);
        }
        assert!(size() <= 2 * BOUNDS.most, "it is begun anew again and again");
    }

    #[test]
    fn a_log_that_is_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        create::ensure(&path).unwrap();
        let writer = open::writer(&path).unwrap();
        let mut log = Log::of(&path, BOUNDS);
        log.keep(&writer).unwrap();
        write(&writer);
        log.keep(&writer).unwrap();
        let (file, aside) = (beside(&path, "-wal"), folder.path().join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        assert!(log.keep(&writer).unwrap_err().contains("was removed under the running server"));
        std::fs::copy(&aside, &file).unwrap();
        assert!(log.keep(&writer).unwrap_err().contains("was replaced under the running server"));
        std::fs::rename(&aside, &file).unwrap();
        log.keep(&writer).unwrap();
    }
}
