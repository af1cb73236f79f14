//! The settings that are stored in the database itself, and so outlive the options of one start.

use rusqlite::{Connection, params};

use super::rows::{change, column, first, integer};
use crate::contract::Result;
use crate::options::StoreOptions;
use replibook_core::run::Millis;

const SETTING: &str = "a setting";

const RETENTION: &str = "retention";

/// Settles which retention counts from now on, and stores it.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when the retention is shorter than the stored one.
pub(super) fn settle_retention(connection: &Connection, options: &StoreOptions) -> Result<Millis> {
    let stored = retention(connection)?;
    let counts = options.retention_over(stored)?;
    if stored != Some(counts) {
        let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
        change(connection, SETTING, sql, params![RETENTION, integer(counts.0)])?;
    }
    Ok(counts)
}

/// The stored retention, if there is one.
pub(super) fn retention(connection: &Connection) -> Result<Option<Millis>> {
    let sql = "SELECT value FROM settings WHERE name = ?1";
    let value =
        first(connection, SETTING, sql, params![RETENTION], |row| column::<i64>(SETTING, row, 0))?;
    Ok(value.map(|millis| Millis(millis.unsigned_abs())))
}
