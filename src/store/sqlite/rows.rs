//! Between documents and rows.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{corrupt, failed};
use crate::contract::Result;
use crate::damage::{Damage, Found};
use crate::finish::Finishes;
use replibook_core::run::{CommandId, RunId, Timestamp};

/// A document as text.
pub(super) fn encode(what: &str, document: &impl Serialize) -> Result<String> {
    serde_json::to_string(document).map_err(|error| corrupt(what, error))
}

/// Why a document can't be read.
pub(super) type Decoded<T> = std::result::Result<T, String>;

/// The document in a column.
pub(super) fn decode<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Decoded<T> {
    let text = row.get_ref(column).and_then(|value| Ok(value.as_str()?));
    let text = text.map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The record in column 0, with the `finish_ts` in column 1.
pub(super) fn record<T: DeserializeOwned + Finishes>(row: &Row<'_>) -> Decoded<T> {
    record_at(row, 0)
}

/// The record in a column, with the `finish_ts` in the next one.
pub(super) fn record_at<T: DeserializeOwned + Finishes>(
    row: &Row<'_>,
    column: usize,
) -> Decoded<T> {
    let mut record: T = decode(row, column)?;
    let finish_ts: Option<i64> = row.get(column + 1).map_err(|error| error.to_string())?;
    record.set_finish_ts(finish_ts.map(Timestamp::from_millis));
    Ok(record)
}

/// The values of these columns as a key for people and lists, with dots between them.
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

/// All documents of a query, in its order. One that can't be read is named by its key.
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

/// The first document of a query.
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

/// The plain value in a column of a document.
pub(super) fn value<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> Decoded<T> {
    row.get(column).map_err(|error| error.to_string())
}

/// Checks that the word beside a document, by which it is found, is the one that the document says of itself.
pub(super) fn same_word(row: &Row<'_>, column: usize, name: &str, document: &str) -> Decoded<()> {
    let found: String = value(row, column)?;
    match found == document {
        true => Ok(()),
        false => {
            Err(format!("it is stored under the {name} {found:?}, but says {document:?} itself"))
        }
    }
}

/// The plain value in a column.
pub(super) fn column<T: rusqlite::types::FromSql>(
    what: &str,
    row: &Row<'_>,
    column: usize,
) -> Result<T> {
    row.get(column).map_err(|error| failed(&format!("read {what}"), error))
}

/// All rows of a question.
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

/// Reads all rows of a question, in its order. If it fails, those in front of the failure were read.
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

/// The first row of a question.
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

/// Changes rows and returns how many.
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

/// A run's identifier as it is kept.
pub(super) fn run_key(id: RunId) -> [u8; 16] {
    id.0.into_bytes()
}

/// The run's identifier in a column.
pub(super) fn run_id(what: &str, row: &Row<'_>, index: usize) -> Result<RunId> {
    column(what, row, index).map(|bytes| RunId(uuid::Uuid::from_bytes(bytes)))
}

/// A command's identifier as it is kept.
pub(super) fn command_key(id: CommandId) -> [u8; 16] {
    id.0.into_bytes()
}

/// A moment as it is kept.
pub(super) fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millis)
}

/// A number as it is kept: SQLite's integers have a sign. What is past the largest is held there.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
