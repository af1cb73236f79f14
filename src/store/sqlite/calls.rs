//! Each call of the store is one read or one write, off the caller's threads. Every result passes through here, so
//! that damage to the database is noticed whoever meets it.

use std::sync::Arc;

use rusqlite::Connection;

use super::failure::unavailable;
use super::store::SqliteStore;
use crate::contract::Result;
use crate::error::StoreError;

/// How many calls may salvage at a time. Salvaging reads whole tables, and must leave connections to those who
/// read what is intact.
pub(super) const SAVES: usize = 1;

impl SqliteStore {
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.met.look(self.readers.read(work).await)
    }

    /// Like [`read`](Self::read), but if the database is damaged, returns what `save` can salvage.
    pub(super) async fn read_or_save<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
        save: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.read(work).await {
            Err(StoreError::Broken { .. }) => {}
            read => return read,
        }
        // Whoever waits for a turn must not occupy a connection.
        let turn = Arc::clone(&self.saves).acquire_owned().await;
        let turn = turn.map_err(|_| unavailable("the store is closed"))?;
        self.read(move |connection| {
            // The caller may be gone before the work is done, so the work holds the turn.
            let _turn = turn;
            save(connection)
        })
        .await
    }

    /// Makes a small write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_bytes(0, work).await
    }

    /// Makes a write of about `bytes` bytes.
    pub(super) async fn write_bytes<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.met.look(self.writer.write(bytes, work).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::options::StoreOptions;
    use replibook_base::clock::SystemClock;

    fn broken() -> StoreError {
        StoreError::Broken { doing: "read".to_owned(), source: "page 7".into() }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_call_at_a_time_looks_for_what_can_be_saved_and_others_read_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let options = StoreOptions::default();
        let store = Arc::new(SqliteStore::open(data, options, Arc::new(SystemClock)).unwrap());
        let (saving, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (begun, (go, wait)) = (Arc::new(Notify::new()), watch::channel(false));
        let saves: Vec<_> = (0..8)
            .map(|_| {
                let (store, saving, most) = (store.clone(), saving.clone(), most.clone());
                let (begun, mut wait) = (begun.clone(), wait.clone());
                tokio::spawn(async move {
                    let save = move |_: &Connection| {
                        most.fetch_max(1 + saving.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                        begun.notify_one();
                        futures::executor::block_on(wait.wait_for(|go| *go)).unwrap();
                        saving.fetch_sub(1, Ordering::SeqCst);
                        Ok(7)
                    };
                    store.read_or_save(|_| Err(broken()), save).await.unwrap()
                })
            })
            .collect();
        begun.notified().await;
        for _ in 0..9 {
            assert_eq!(store.read(|_| Ok(8)).await.unwrap(), 8);
        }
        go.send_replace(true);
        for save in saves {
            assert_eq!(save.await.unwrap(), 7);
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
