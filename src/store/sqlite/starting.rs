//! The first write, which is made each time that a store is opened: it voids the leases of earlier engines.

use rusqlite::Connection;

use super::broken::Met;
use super::directory::{Directory, Noted};
use super::writer::First;
use super::{leases, locks, schema};
use crate::contract::Result;
use crate::error::StoreError;

/// Makes the first write. If that is not possible now, returns what has to be written first once it is: history
/// can still be read, even if the disk is full or the database is damaged.
///
/// # Errors
/// An error that neither free space nor reading the history would mend.
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

/// After this there is a log.
fn write(connection: &Connection) -> Result<()> {
    leases::void_all(connection)?;
    locks::remove_gone(connection)?;
    schema::touch(connection)
}
