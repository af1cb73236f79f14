//! A few connections that read, in addition to the one that writes, so that reads don't wait for writes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::failure::{failed, unavailable};
use super::open;
use crate::contract::Result;

/// How many connections there are, and so how many reads at a time: enough that a long page does not hold up the
/// others, and few enough that reads don't push everything else off the processors. Further reads wait their turn.
const READERS: usize = 4;

/// A pool of connections that read.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// Opens the connections.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let idle = (0..READERS).map(|_| ready(path)).collect::<Result<Vec<_>>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(READERS)) })
    }

    /// Reads on a thread that may block. Must be called on a tokio runtime, of any kind.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || unavailable("the store is closed");
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| stopped())?;
        let idle = Arc::clone(&self.idle);
        // The thread itself gives the connection back, because the caller may be gone by then.
        let reading = tokio::task::spawn_blocking(move || {
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock().pop().ok_or_else(stopped)?;
            let result = work(&connection);
            lock().push(connection);
            drop(turn);
            result
        });
        reading.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// Opens a connection and reads once: only then does SQLite open the log, for which there may be no file
/// descriptor left later.
fn ready(path: &Path) -> Result<Connection> {
    let connection = open::reader(path)?;
    connection
        .pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))
        .map_err(|error| failed(&format!("read {}", path.display()), error))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_has_all_its_files_open_before_it_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite3");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let readers = Readers::open(&path).unwrap();
        let logs = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            let paths = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
            paths.filter(|open| open.starts_with(directory.path()) && is_log(open)).count()
        };
        assert_eq!(logs(), READERS + 1);
        let rows = |c: &Connection| Ok(c.query_row("SELECT count(*) FROM t", [], |row| row.get(0)));
        let rows: i64 = readers.read(rows).await.unwrap().unwrap();
        assert_eq!((rows, logs()), (0, READERS + 1));
    }

    fn is_log(path: &Path) -> bool {
        path.to_string_lossy().ends_with("-wal")
    }
}
