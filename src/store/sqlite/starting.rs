//! What is written each time that a store is opened.

use rusqlite::Connection;

use super::broken::Met;
use super::directory::{Directory, Noted};
use super::writer::First;
use super::{leases, locks, schema};
use crate::contract::Result;
use crate::error::StoreError;

/// Writes it, or returns what is to be written first once that can be done. History can be read all the same, also
/// where the disk is full or the database is damaged.
///
/// # Errors
/// What neither more room nor a look at the history mends.
pub(super) fn start(connection: &Connection, directory: &Directory, met: &Met) -> Result<First> {
    match met.look(write(connection)) {
        Ok(()) => {
            directory.note(Noted::Open);
            Ok(None)
        }
        Err(error) if error.retryable() || matches!(error, StoreError::Broken { .. }) => {
            tracing::error!(%error, "the store can't be written at the start");
            Ok(Some(write))
        }
        Err(error) => Err(error),
    }
}

/// After it there is a log.
fn write(connection: &Connection) -> Result<()> {
    leases::void_all(connection)?;
    locks::remove_gone(connection)?;
    schema::touch(connection)
}
