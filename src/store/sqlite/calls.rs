//! What a call of the store is: one read or one write, off the threads of the caller.

use rusqlite::Connection;

use super::store::SqliteStore;
use crate::contract::Result;
use crate::error::StoreError;
use crate::keys::page_limit;

impl SqliteStore {
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.met.look(self.readers.read(work).await)
    }

    /// The same, but where the database is damaged what this work can save of it.
    pub(super) async fn read_or_save<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
        save: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.read(work).await {
            Err(StoreError::Broken { .. }) => self.read(save).await,
            read => read,
        }
    }

    /// The same for a page of a list. Its last page can be read although pages before it are damaged, so once damage
    /// was met this work says whether all of the list is known.
    pub(super) async fn read_list<T: Send + 'static>(
        &self,
        limit: u32,
        work: impl FnOnce(&Connection) -> Result<Vec<T>> + Send + 'static,
        save: impl FnOnce(&Connection) -> Result<Vec<T>> + Send + 'static,
    ) -> Result<Vec<T>> {
        match self.read(work).await {
            Ok(page) if page.len() == page_limit(limit) as usize || self.met.said().is_none() => {
                Ok(page)
            }
            Ok(_) | Err(StoreError::Broken { .. }) => self.read(save).await,
            Err(error) => Err(error),
        }
    }

    /// Makes a small write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_bytes(0, work).await
    }

    /// Makes a write of about so many bytes.
    pub(super) async fn write_bytes<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.met.look(self.writer.write(bytes, work).await)
    }
}
