//! The reports of engines, and the orders to drain them.

use rusqlite::{Connection, Row, params};

use super::rows::{Decoded, change, decode, document, encode, found};
use crate::contract::{MAX_PAGE, Result};
use crate::engines::{Draining, Engine, EngineReport};
use crate::options::Moment;
use replibook_core::run::{EngineId, Timestamp};

const ENGINE: &str = "an engine";

pub(super) fn put_engine(
    connection: &Connection,
    report: &EngineReport,
    at: &Moment,
) -> Result<Engine> {
    let body = encode(ENGINE, report)?;
    let row = params![report.id.0, at.now.as_millis(), body];
    let sql = "UPDATE engines SET seen = ?2, body = ?3 WHERE id = ?1";
    if change(connection, ENGINE, sql, row)? == 0 {
        let sql = "INSERT INTO engines (id, seen, body) VALUES (?1, ?2, ?3)";
        change(connection, ENGINE, sql, row)?;
        let sql = "DELETE FROM engines WHERE seen < ?1";
        change(connection, ENGINE, sql, params![at.engines_since.as_millis()])?;
    }
    let new = Engine { report: report.clone(), seen: at.now, draining: None };
    Ok(engine(connection, &report.id, at)?.unwrap_or(new))
}

pub(super) fn engines(connection: &Connection, at: &Moment) -> Result<Vec<Engine>> {
    let sql = "SELECT body, seen, draining FROM engines WHERE seen >= ?1 ORDER BY id LIMIT ?2";
    let row = params![at.engines_since.as_millis(), MAX_PAGE];
    let found = found(connection, ENGINE, sql, row, |_| String::new(), read)?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) fn drain_engine(
    connection: &Connection,
    id: &EngineId,
    draining: Option<&Draining>,
    at: &Moment,
) -> Result<Option<Engine>> {
    let drain = draining.is_some();
    let draining = draining.map(|draining| encode(ENGINE, draining)).transpose()?;
    let sql = "UPDATE engines SET draining = ?2 WHERE id = ?1 AND (draining IS NULL) = ?3";
    change(connection, ENGINE, sql, params![id.0, draining, drain])?;
    engine(connection, id, at)
}

pub(super) fn remove_engine(connection: &Connection, id: &EngineId) -> Result<()> {
    change(connection, ENGINE, "DELETE FROM engines WHERE id = ?1", params![id.0]).map(drop)
}

fn engine(connection: &Connection, id: &EngineId, at: &Moment) -> Result<Option<Engine>> {
    let sql = "SELECT body, seen, draining FROM engines WHERE id = ?1 AND seen >= ?2";
    let row = params![id.0, at.engines_since.as_millis()];
    document(connection, ENGINE, sql, row, &id.0, read)
}

/// Reads an engine from columns that begin with its body.
pub(super) fn read(row: &Row<'_>) -> Decoded<Engine> {
    let wrong = |error: rusqlite::Error| error.to_string();
    let seen = Timestamp::from_millis(row.get(1).map_err(wrong)?);
    let is_draining = row.get_ref(2).map_err(wrong)? != rusqlite::types::ValueRef::Null;
    let draining = is_draining.then(|| decode(row, 2)).transpose()?;
    Ok(Engine { report: decode(row, 0)?, seen, draining })
}
