//! Between documents and rows. Documents are read and written through here, so that failures are reported alike,
//! and damage to one document does not keep others from being read.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{corrupt, failed};
use crate::contract::Result;
use crate::damage::{Damage, Found};
use crate::finish::Finishes;
use replibook_core::run::{CommandId, RunId, Timestamp};

/// A document as text. `what` names its kind in errors.
pub(super) fn encode(what: &str, document: &impl Serialize) -> Result<String> {
    serde_json::to_string(document).map_err(|error| corrupt(what, error))
}

/// A document, or why it can't be read.
pub(super) type Decoded<T> = std::result::Result<T, String>;

/// Reads the document in a column.
pub(super) fn decode<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Decoded<T> {
    let text = row.get_ref(column).and_then(|value| Ok(value.as_str()?));
    let text = text.map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads the record in column 0, with its `finish_ts` from column 1.
pub(super) fn record<T: DeserializeOwned + Finishes>(row: &Row<'_>) -> Decoded<T> {
    record_at(row, 0)
}

/// Reads the record in a column, with its `finish_ts` from the next column.
pub(super) fn record_at<T: DeserializeOwned + Finishes>(
    row: &Row<'_>,
    column: usize,
) -> Decoded<T> {
    let mut record: T = decode(row, column)?;
    let finish_ts: Option<i64> = row.get(column + 1).map_err(|error| error.to_string())?;
    record.set_finish_ts(finish_ts.map(Timestamp::from_millis));
    Ok(record)
}

/// The values of these columns with dots between them, as a key for lists and messages.
pub(super) fn key_of(row: &Row<'_>, columns: &[usize]) -> String {
    let text = |column: &usize| match row.get_ref(*column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(bytes)) => match uuid::Uuid::from_slice(bytes) {
            Ok(id) => id.to_string(),
            Err(_) => hex::encode(bytes),
        },
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Null) | Err(_) => String::new(),
    };
    columns.iter().map(text).collect::<Vec<_>>().join(".")
}

/// All documents of a query, in its order. Damage is identified by the document's key.
pub(super) fn found<T>(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
    key: impl Fn(&Row<'_>) -> String,
    read: impl Fn(&Row<'_>) -> Decoded<T>,
) -> Result<Found<T>> {
    all(connection, what, sql, params, |row| {
        Ok(read(row).map_err(|why| Damage::new(what, key(row), &why)))
    })
}

/// The first document of a query. `key` identifies the damage if it can't be read.
pub(super) fn document<T>(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
    key: &str,
    read: impl Fn(&Row<'_>) -> Decoded<T>,
) -> Result<Option<T>> {
    first(connection, what, sql, params, |row| {
        read(row).map_err(|why| Damage::new(what, key.to_owned(), &why).into())
    })
}

/// The plain value in a column, or why it is not one.
pub(super) fn value<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Decoded<T> {
    row.get(column).map_err(|error| error.to_string())
}

/// Checks that the column by which a document is found agrees with the document.
pub(super) fn same_word(row: &Row<'_>, column: usize, name: &str, document: &str) -> Decoded<()> {
    let found: String = value(row, column)?;
    match found == document {
        true => Ok(()),
        false => {
            Err(format!("it is stored under the {name} {found:?}, but says {document:?} itself"))
        }
    }
}

/// The plain value in a column. `what` names the kind of document in errors.
pub(super) fn column<T: rusqlite::types::FromSql>(
    what: &str,
    row: &Row<'_>,
    column: usize,
) -> Result<T> {
    row.get(column).map_err(|error| failed(&format!("read {what}"), error))
}

/// All rows of a query.
pub(super) fn all<T>(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    each(connection, what, sql, params, |row| {
        found.push(read(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// Reads all rows of a query, in its order. If that fails, the rows before the failure have been read.
pub(super) fn each(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error| failed(&format!("read {what}"), error);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        read(row)?;
    }
    Ok(())
}

/// The first row of a query.
pub(super) fn first<T>(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let failed = |error| failed(&format!("read {what}"), error);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let found = statement.query_row(params, |row| Ok(read(row))).optional().map_err(failed)?;
    found.transpose()
}

/// Changes rows, and returns how many were changed.
pub(super) fn change(
    connection: &Connection,
    what: &str,
    sql: &str,
    params: impl Params,
) -> Result<usize> {
    let failed = |error| failed(&format!("write {what}"), error);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement.execute(params).map_err(failed)
}

/// A run's identifier in its stored form.
pub(super) fn run_key(id: RunId) -> [u8; 16] {
    id.0.into_bytes()
}

/// The identifier of a run in a column.
pub(super) fn run_id(what: &str, row: &Row<'_>, index: usize) -> Result<RunId> {
    column(what, row, index).map(|bytes| RunId(uuid::Uuid::from_bytes(bytes)))
}

/// A command's identifier in its stored form.
pub(super) fn command_key(id: CommandId) -> [u8; 16] {
    id.0.into_bytes()
}

/// A moment in its stored form: milliseconds since the Unix epoch.
pub(super) fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millis)
}

/// A number in its stored form. SQLite's integers have a sign; larger numbers become the largest one.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
