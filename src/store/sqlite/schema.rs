//! The schema, and how a database of an earlier version is brought up to date.

use rusqlite::Connection;

use super::failure::failed;
use crate::contract::Result;
use crate::error::StoreError;

/// The steps from each version to the next, beginning with 0, the empty database. A released step is never
/// changed; a new version adds one.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];

/// Brings the database to the newest version, one step at a time. Each step is made completely or not at all.
pub(super) fn migrate(connection: &Connection) -> Result<()> {
    migrate_with(connection, MIGRATIONS)
}

/// Fails if the database was made by a newer version.
pub(super) fn known(connection: &Connection) -> Result<()> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    match version(connection)? {
        found if found > known => Err(StoreError::NewerSchema { found, known }),
        _ => Ok(()),
    }
}

fn version(connection: &Connection) -> Result<u32> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| failed("read the schema version", error))
}

/// Writes the version that is there already: whoever asks whether the store works wants to know that it can be
/// written to.
pub(super) fn touch(connection: &Connection) -> Result<()> {
    let version = version(connection)?;
    connection.pragma_update(None, "user_version", version).map_err(|error| failed("write", error))
}

fn migrate_with(connection: &Connection, migrations: &[&str]) -> Result<()> {
    let failed = |error| failed("bring the database to the present schema", error);
    let found = version(connection)?;
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for (version, step) in (1..).zip(migrations).skip(found as usize) {
        let step = format!("BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT;");
        if let Err(error) = connection.execute_batch(&step) {
            // The first error counts. If there is no transaction, there is nothing to roll back.
            let _ = connection.execute_batch("ROLLBACK");
            return Err(failed(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        super::version(connection).unwrap()
    }

    #[test]
    fn steps_that_were_taken_are_not_taken_again() {
        let connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT";
        let second = "INSERT INTO a VALUES (7)";
        migrate_with(&connection, &[first]).unwrap();
        migrate_with(&connection, &[first, second]).unwrap();
        migrate_with(&connection, &[first, second]).unwrap();
        assert_eq!(version(&connection), 2);
        let rows = connection.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, u32>(0));
        assert_eq!(rows.unwrap(), 1);
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"];
        assert!(migrate_with(&connection, &steps).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.is_autocommit());
        migrate_with(&connection, &[steps[0], "CREATE TABLE b (x)"]).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        let error = migrate_with(&connection, &[]).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 6, known: 0 }), "{error}");
    }
}
