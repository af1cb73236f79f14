//! Database files come into being whole: they are made under another name, and renamed once everything in them is
//! on the disk. So a database of 0 bytes is never one that is just being made.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::directory::{Directory, create_private, failed as failed_at, refused};
use super::failure::failed;
use super::{open, schema};
use crate::contract::Result;

/// The endings of the files of a database: its own, and those of the files that SQLite keeps beside it.
pub(super) const FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Appended to the name of a database that is not ready yet.
const NEW: &str = "-new";

/// The value of `auto_vacuum` in a database that gives pages back.
const INCREMENTAL: i64 = 2;

/// How many free pages a database keeps: removed documents make room for later ones, and to move pages costs as
/// much as to write them.
pub(super) const KEPT_FREE: u32 = 1_024;

/// How many free pages one write gives back: some milliseconds, for which commits have to wait.
pub(super) const GIVEN_BACK: u32 = 1_000;

/// Makes the database, if it does not exist.
///
/// # Errors
/// When the database is empty, or only its log exists: something was lost.
pub(super) fn ensure(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    match path.metadata() {
        Ok(found) if found.len() == 0 => Err(refused(format!(
            "found the database {} empty, expected at least a header: it was truncated, or a copy of it failed, since a \
             new one is never empty. Put a backup in its place, or remove it if there is nothing to lose",
            path.display()
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if log.metadata().is_ok_and(|found| found.len() > 0) {
                return Err(refused(format!(
                    "found no database {}, but its log {}: the database was removed. Put it back, or remove the log \
                     too if there is nothing to lose",
                    path.display(),
                    log.display()
                )));
            }
            make(path)
        }
        Err(error) => Err(failed_at("look at", path, error)),
    }
}

fn make(path: &Path) -> Result<()> {
    let new = empty(path)?;
    let doing = format!("make the database {}", path.display());
    let connection = open::rebuilder(&new)?;
    set_incremental(&connection).map_err(|error| failed(&doing, error))?;
    schema::migrate(&connection)?;
    close(connection, &doing)?;
    take_its_place(&new, path)
}

/// Rewrites a database so that it gives pages back from then on. Returns whether that had to be done. Needs as
/// much free space as the database takes.
///
/// # Errors
/// When something else uses the database.
pub(super) fn rebuild(directory: &Directory) -> Result<bool> {
    let path = directory.database();
    let connection = open::writer(&path)?;
    schema::known(&connection)?;
    if gives_back(&connection)? {
        return Ok(false);
    }
    let rewritten = rewrite(connection, &path);
    if rewritten.is_err() {
        // The new file may be what fills the disk. If it can't be removed either, the first error explains more.
        let _ = remove_left(&beside(&path, NEW));
    }
    rewritten.map(|()| true)
}

fn rewrite(connection: Connection, path: &Path) -> Result<()> {
    let doing = format!("rewrite the database {}", path.display());
    let new = empty(path)?;
    set_incremental(&connection).map_err(|error| failed(&doing, error))?;
    let target = new.to_string_lossy().into_owned();
    connection.execute("VACUUM INTO ?1", [target]).map_err(|error| failed(&doing, error))?;
    close(connection, &doing)?;
    if beside(path, "-wal").exists() {
        return Err(refused(format!(
            "failed to {doing}: something else has it open; end it, and try again"
        )));
    }
    take_its_place(&new, path)
}

/// Whether the database can give pages back.
pub(super) fn gives_back(connection: &Connection) -> Result<bool> {
    let mode: i64 = connection
        .query_row("PRAGMA auto_vacuum", [], |row| row.get(0))
        .map_err(|error| failed("read how the database is kept", error))?;
    Ok(mode == INCREMENTAL)
}

/// Gives back some of the pages that are free beyond [`KEPT_FREE`], and returns how many.
pub(super) fn give_back(connection: &Connection) -> Result<u32> {
    let failed = |error| failed("give free pages back", error);
    let free = || connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u32>(0));
    let before = free().map_err(failed)?;
    let pages = before.saturating_sub(KEPT_FREE).min(GIVEN_BACK);
    if pages == 0 {
        return Ok(0);
    }
    // Each row that is fetched gives one page back.
    let sql = format!("PRAGMA incremental_vacuum({pages})");
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while rows.next().map_err(failed)?.is_some() {}
    drop(rows);
    Ok(before.saturating_sub(free().map_err(failed)?))
}

fn set_incremental(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// Creates an empty file under the other name, and removes what an earlier try left.
fn empty(path: &Path) -> Result<PathBuf> {
    let new = beside(path, NEW);
    remove_left(&new)?;
    create_private(&new)?;
    Ok(new)
}

/// Removes what an earlier try left.
fn remove_left(new: &Path) -> Result<()> {
    for left in FILES.map(|suffix| beside(new, suffix)) {
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed_at("remove", &left, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn close(connection: Connection, doing: &str) -> Result<()> {
    connection.close().map_err(|(_, error)| failed(doing, error))
}

/// Gives a database its name, once all of it is on the disk.
fn take_its_place(new: &Path, path: &Path) -> Result<()> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(new).map_err(|error| failed_at("write", new, error))?;
    std::fs::rename(new, path).map_err(|error| failed_at("rename", new, error))?;
    let directory = path.parent().unwrap_or(path);
    sync(directory).map_err(|error| failed_at("write", directory, error))
}

/// The path of the file whose name is that of `path` with `suffix` appended.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::DATABASE_FILE;
    use super::*;

    fn says(path: &Path, expected: &str) {
        let error = ensure(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_database_is_made_whole_and_what_is_left_of_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        // An earlier try was cut short.
        std::fs::write(beside(&path, "-new"), "half").unwrap();
        std::fs::write(beside(&path, "-new-journal"), "half").unwrap();
        ensure(&path).unwrap();
        let names =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), [DATABASE_FILE]);
        let connection = open::writer(&path).unwrap();
        assert!(gives_back(&connection).unwrap());
        schema::known(&connection).unwrap();
        drop(connection);
        ensure(&path).unwrap();

        std::fs::write(beside(&path, "-wal"), "log").unwrap();
        ensure(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        says(&path, "the database was removed");
        std::fs::write(&path, "").unwrap();
        says(&path, "empty, expected at least a header");
    }

    #[test]
    fn pages_are_given_back_in_steps_and_some_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        ensure(&path).unwrap();
        let connection = open::writer(&path).unwrap();
        let fill = "CREATE TABLE t (x BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                    WHERE i < 3500) INSERT INTO t SELECT zeroblob(3000) FROM n; DROP TABLE t";
        connection.execute_batch(fill).unwrap();
        let size = || {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
            path.metadata().unwrap().len()
        };
        let before = size();
        let mut steps = Vec::new();
        loop {
            match give_back(&connection).unwrap() {
                0 => break,
                pages => steps.push(pages),
            }
        }
        assert!(steps.len() >= 3 && steps.iter().all(|pages| *pages <= GIVEN_BACK), "{steps:?}");
        let free = connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u32>(0));
        assert_eq!(free.unwrap(), KEPT_FREE);
        let after = size();
        assert!(before - after >= 2_400 * 4_096, "{before} {after}");
    }

    #[test]
    fn a_database_that_keeps_its_pages_is_rewritten_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DATABASE_FILE);
        let old = Connection::open(&path).unwrap();
        schema::migrate(&old).unwrap();
        old.execute("INSERT INTO clusters (name, body) VALUES ('a', '{}')", []).unwrap();
        drop(old);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA journal_mode = WAL; BEGIN; SELECT * FROM clusters").unwrap();
        let error = rebuild(&directory).unwrap_err().to_string();
        assert!(error.contains("something else has it open"), "{error}");
        assert!(!beside(&path, "-new").exists());
        drop(other);
        assert!(rebuild(&directory).unwrap());
        drop(directory);
        let directory = Directory::open(folder.path()).unwrap();
        assert!(!rebuild(&directory).unwrap());
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let connection = open::reader(&path).unwrap();
        let rows =
            connection.query_row("SELECT count(*) FROM clusters", [], |row| row.get::<_, u32>(0));
        assert_eq!((rows.unwrap(), mode), (1, 0o600));
    }
}
