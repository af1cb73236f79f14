//! The writer when the disk does not do what it should.

use std::sync::Arc;

use rusqlite::Connection;

use super::directory::{Directory, is_open};
use super::failure::{failed, reason};
use super::log_bounds::Bounds;
use super::open;
use super::writer::{First, Writer};
use crate::contract::Result;
use crate::error::StoreError;

fn writer() -> (tempfile::TempDir, Arc<Writer>) {
    writer_with(None)
}

fn writer_with(first: First) -> (tempfile::TempDir, Arc<Writer>) {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::open(parent.path()).unwrap();
    let connection = open::writer(&directory.database()).unwrap();
    connection.execute_batch("CREATE TABLE t (x INTEGER, y BLOB)").unwrap();
    if first.is_some() {
        // Don't wait for anyone who is in the way.
        connection.pragma_update(None, "busy_timeout", 0).unwrap();
    }
    (parent, Arc::new(Writer::start(connection, directory, Bounds::default(), first).unwrap()))
}

fn insert(connection: &Connection, x: u32, bytes: usize) -> Result<()> {
    let sql = "INSERT INTO t (x, y) VALUES (?1, zeroblob(?2))";
    let run = connection.execute(sql, rusqlite::params![x, bytes as i64]);
    run.map(drop).map_err(|error| failed("insert", error))
}

async fn sum(writer: &Writer) -> u32 {
    let sum = |connection: &Connection| {
        let sql = "SELECT coalesce(sum(x), 0) FROM t";
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| failed("sum", error))
    };
    writer.write(0, sum).await.unwrap()
}

async fn pragma(writer: &Writer, name: &'static str, value: i64) {
    let set = move |connection: &Connection| {
        let set = connection.pragma_update(None, name, value);
        set.map_err(|error| failed("set", error))
    };
    writer.write(0, set).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_the_writer_goes_on() {
    let (_parent, writer) = writer();
    writer.write(0, |connection| insert(connection, 1, 1)).await.unwrap();
    pragma(&writer, "max_page_count", 10).await;
    let large = writer.write(0, |connection| insert(connection, 2, 1_000_000));
    let error = large.await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(sum(&writer).await, 1);
    pragma(&writer, "max_page_count", 100_000).await;
    writer.write(0, |connection| insert(connection, 4, 1_000_000)).await.unwrap();
    assert_eq!(sum(&writer).await, 5);
}

#[tokio::test]
async fn a_database_is_noted_as_open_once_there_is_room_for_the_first_write() {
    let first: First = Some(|connection| insert(connection, 8, 1_000_000));
    let (parent, writer) = writer_with(first);
    let other = Connection::open(parent.path().join(super::DATABASE_FILE)).unwrap();
    other.pragma_update(None, "journal_mode", "WAL").unwrap();
    // Another connection holds the lock that the first write needs.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let error = writer.write(0, |connection| insert(connection, 1, 1)).await.unwrap_err();
        assert!(error.retryable() && error.to_string().contains("insert"), "{error}");
        assert!(!is_open(parent.path()));
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sum(&writer).await, 8, "nothing was written before, and this once");
    assert!(is_open(parent.path()));
    assert_eq!(sum(&writer).await, 8);
}

#[tokio::test]
async fn a_read_only_database_is_said() {
    let (_parent, writer) = writer();
    pragma(&writer, "query_only", 1).await;
    let error = writer.write(0, |connection| insert(connection, 1, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_is_lost_fails_all_that_share_it_and_nothing_after() {
    let (_parent, writer) = writer();
    // The first write holds the thread until the others wait behind it, so that they share its transaction.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let held = writer.write(0, move |connection| {
        let _ = wait.recv();
        insert(connection, 1, 1)
    });
    let second = writer.write(0, |connection| insert(connection, 2, 1));
    let lost = writer.write(0, |connection| {
        connection.execute_batch("ROLLBACK").map_err(|error| failed("roll back", error))?;
        Err::<(), _>(failed("write to the broken disk", rusqlite::Error::InvalidQuery))
    });
    let after = writer.write(0, |connection| insert(connection, 4, 1));
    let release = async { go.send(()).unwrap() };
    let (held, second, lost, after, ()) = tokio::join!(biased; held, second, lost, after, release);
    for result in [held, second, lost] {
        let error = result.unwrap_err();
        assert!(error.retryable(), "{error}");
        assert!(error.to_string().contains("write to the broken disk"), "{error}");
    }
    after.unwrap();
    assert_eq!(sum(&writer).await, 4);
}

#[tokio::test]
async fn a_write_that_fails_half_way_is_undone_alone() {
    let (_parent, writer) = writer();
    // As above, all four share a transaction.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let held = writer.write(0, move |connection| {
        // The second time nobody sends any more, and this returns at once.
        let _ = wait.recv();
        insert(connection, 1, 1)
    });
    let refused =
        writer.write(0, |_| Err::<(), _>(failed("find it", rusqlite::Error::InvalidQuery)));
    let half = writer.write(0, |connection| {
        insert(connection, 2, 1)?;
        Err::<(), _>(failed("write the other half", rusqlite::Error::InvalidQuery))
    });
    let after = writer.write(0, |connection| insert(connection, 4, 1));
    let release = async move { go.send(()).unwrap() };
    let (held, refused, half, after, ()) =
        tokio::join!(biased; held, refused, half, after, release);
    held.unwrap();
    assert!(refused.unwrap_err().to_string().contains("find it"));
    assert!(half.unwrap_err().to_string().contains("write the other half"));
    after.unwrap();
    assert_eq!(sum(&writer).await, 5);
}

#[tokio::test]
async fn without_a_transaction_nothing_is_written() {
    let (parent, writer) = writer();
    let path = parent.path().join(super::DATABASE_FILE);
    pragma(&writer, "busy_timeout", 0).await;
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = writer.write(0, |connection| insert(connection, 1, 1)).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sum(&writer).await, 0);
    writer.write(0, |connection| insert(connection, 2, 1)).await.unwrap();
    assert_eq!(sum(&writer).await, 2);
}

#[tokio::test]
async fn damage_is_told_as_it_was_met_to_all_whose_write_was_not_made() {
    fn first(_: &Connection) -> Result<()> {
        Err(StoreError::Broken { doing: "read a lease".to_owned(), source: "page 7".into() })
    }
    let (_parent, writer) = writer_with(Some(first));
    for _ in 0..2 {
        let error = writer.write(0, |connection| insert(connection, 1, 1)).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to read a lease: the database is damaged");
        assert_eq!(reason(&error), format!("{error}: page 7"));
    }
}
