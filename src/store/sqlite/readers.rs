//! A few connections that read, beside the one that writes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::failure::unavailable;
use super::open;
use crate::contract::Result;

/// Connections, and so reads at a time: enough that a long page does not hold up the others, and
/// few enough that reads don't push everything else off the processors. Others wait their turn.
const READERS: usize = 4;

/// The connections.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// Opens them.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let idle = (0..READERS).map(|_| open::reader(path)).collect::<Result<Vec<_>>>()?;
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
        // The connection goes back from the thread itself: the caller may be gone by then.
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
