//! What the store keeps of its settings.

use rusqlite::{Connection, params};

use super::rows::{change, column, first, integer};
use crate::contract::Result;
use crate::options::StoreOptions;
use replibook_core::run::Millis;

const SETTING: &str = "a setting";

const RETENTION: &str = "retention";

/// The retention that counts from now on, which is kept.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when it is shorter than what is kept.
pub(super) fn settle_retention(connection: &Connection, options: &StoreOptions) -> Result<Millis> {
    let stored = retention(connection)?;
    let counts = options.retention_over(stored)?;
    if stored != Some(counts) {
        let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
        change(connection, SETTING, sql, params![RETENTION, integer(counts.0)])?;
    }
    Ok(counts)
}

/// The retention that is kept, in a database that has one.
pub(super) fn retention(connection: &Connection) -> Result<Option<Millis>> {
    let sql = "SELECT value FROM settings WHERE name = ?1";
    let value =
        first(connection, SETTING, sql, params![RETENTION], |row| column::<i64>(SETTING, row, 0))?;
    Ok(value.map(|millis| Millis(millis.unsigned_abs())))
}
