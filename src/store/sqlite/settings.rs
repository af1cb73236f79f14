//! The settings that are stored in the database itself, and so outlive the options of one start.

use rusqlite::{Connection, params};

use super::rows::{change, column, first, integer};
use crate::contract::Result;
use crate::options::StoreOptions;
use replibook_core::run::Millis;

const SETTING: &str = "a setting";

const RETENTION: &str = "retention";

const PLUGIN_RETENTION: &str = "plugin_retention";

/// Settles which retention counts from now on, and stores it.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when the retention is shorter than the stored one.
pub(super) fn settle_retention(connection: &Connection, options: &StoreOptions) -> Result<Millis> {
    let stored = retention(connection)?;
    let counts = options.retention_over(stored)?;
    keep(connection, RETENTION, stored, counts)
}

/// The same for the retention of plugins that nothing pins.
///
/// # Errors
/// Like [`settle_retention`].
pub(super) fn settle_plugin_retention(
    connection: &Connection,
    options: &StoreOptions,
) -> Result<Millis> {
    let stored = read(connection, PLUGIN_RETENTION)?;
    let counts = options.plugin_retention_over(stored)?;
    keep(connection, PLUGIN_RETENTION, stored, counts)
}

/// The stored retention, if there is one.
pub(super) fn retention(connection: &Connection) -> Result<Option<Millis>> {
    read(connection, RETENTION)
}

fn keep(
    connection: &Connection,
    name: &str,
    stored: Option<Millis>,
    counts: Millis,
) -> Result<Millis> {
    if stored != Some(counts) {
        let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
        change(connection, SETTING, sql, params![name, integer(counts.0)])?;
    }
    Ok(counts)
}

fn read(connection: &Connection, name: &str) -> Result<Option<Millis>> {
    let sql = "SELECT value FROM settings WHERE name = ?1";
    let value =
        first(connection, SETTING, sql, params![name], |row| column::<i64>(SETTING, row, 0))?;
    Ok(value.map(|millis| Millis(millis.unsigned_abs())))
}
