//! The file of the agent's database: private, of a version that this agent knows, and used by one agent at a
//! time.
//!
//! Whoever can read it can read the arguments of all actions but for their secrets, and whoever can write to it
//! can make the agent believe that it did something. So all that touches the file and its permissions is here,
//! apart from the queries in `store`.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::StoreError;

/// Version of the tables, which the database keeps too. Later versions are refused.
pub(super) const VERSION: i64 = 4;

/// How long to wait for a database that another agent is about to close.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Suffixes of the files that SQLite creates beside the database, with the permissions of the database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The flag that makes `open` follow no link.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// The indexes contain every column that lists and sums need, so that these queries read no arguments.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS actions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        args TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_time TEXT NOT NULL,
        scheduled_time TEXT NOT NULL,
        finished_time TEXT,
        finished_at INTEGER,
        phase TEXT NOT NULL,
        payload TEXT NOT NULL DEFAULT 'null',
        error TEXT,
        executions INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        process TEXT,
        command_end TEXT
    ) STRICT;
    CREATE INDEX actions_by_phase ON actions (phase, seq, id, kind, bytes);
    CREATE INDEX actions_by_end ON actions (finished_at, seq, id, kind, phase)
        WHERE finished_at IS NOT NULL;
";

/// Converts version 1, which did not keep the process of a command: nothing is known about one that ran then.
const FROM_1: &str = "
    ALTER TABLE actions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE actions ADD COLUMN process TEXT;
    UPDATE actions SET bytes = octet_length(args) + octet_length(metadata);
    UPDATE actions SET process = 'null' WHERE phase = 'RUNNING';
    DROP INDEX actions_by_phase;
    DROP INDEX actions_by_end;
";

/// Converts version 2, which lost how a command had ended if the agent stopped while something of it was left.
const FROM_2: &str = "ALTER TABLE actions ADD COLUMN command_end TEXT;";

/// Version 4 keeps what commands have written. Sizes come before the bytes, so that a sum reads no bytes.
const OUTPUTS: &str = "
    CREATE TABLE outputs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        stream TEXT NOT NULL,
        size INTEGER NOT NULL,
        gone INTEGER NOT NULL,
        exit INTEGER,
        bytes BLOB NOT NULL,
        UNIQUE (id, stream)
    ) STRICT;
";

/// Opens the database, and creates it if needed. It stays locked for others until the connection is closed.
/// Blocks.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let path = make_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let prepared = prepare(&mut connection, &path);
    if let Err(StoreError::Sqlite(error)) = &prepared
        && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
    {
        return Err(StoreError::InUse { path });
    }
    prepared?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An action that was acknowledged must not be forgotten, even if the machine loses power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found });
    }
    if found == 1 {
        tx.execute_batch(FROM_1)?;
    }
    if found == 1 || found == 2 {
        tx.execute_batch(FROM_2)?;
    }
    if found < 2 {
        tx.execute_batch(SCHEMA)?;
    }
    if found < 4 {
        tx.execute_batch(OUTPUTS)?;
    }
    if found < VERSION {
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    tx.commit()?;
    Ok(())
}

/// Creates the file and its directory for their owner alone, whatever the umask is, and removes the permissions
/// of others from existing files. Returns the path without links in its directories.
fn make_private(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |doing: &str, source: io::Error| StoreError::File {
        path: path.to_owned(),
        message: format!("failed to {doing}"),
        source: Some(source),
    };
    let Some(name) = path.file_name() else {
        let message = "expected the path of a file".to_owned();
        return Err(StoreError::File { path: path.to_owned(), message, source: None });
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(parent).map_err(|error| failed("make its directory", error))?;
    let parent = parent.canonicalize().map_err(|error| failed("find its directory", error))?;
    let path = parent.join(name);
    secure(&path, true)?;
    for end in BESIDE {
        let mut name = name.to_owned();
        name.push(end);
        secure(&parent.join(name), false)?;
    }
    Ok(path)
}

/// Checks that a file is the agent's own, and removes the permissions of others. Creates it if it does not
/// exist and `create` says so.
fn secure(path: &Path, create: bool) -> Result<(), StoreError> {
    let failed = |message: String, source: Option<io::Error>| StoreError::File {
        path: path.to_owned(),
        message,
        source,
    };
    let refuse = |found: String, expected: &str| {
        Err(failed(format!("found {found}, expected {expected}"), None))
    };
    match path.symlink_metadata() {
        Ok(about) if about.is_symlink() => {
            return refuse(
                "a symbolic link".to_owned(),
                "a file; give --data the path that it leads to",
            );
        }
        Ok(about) if !about.is_file() => return refuse("something else".to_owned(), "a file"),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("failed to look at it".to_owned(), Some(error))),
    }
    let opened = |error| failed("failed to open it".to_owned(), Some(error));
    let file = open_itself(path, create).map_err(opened)?;
    let (is, named) = (file.metadata().map_err(opened)?, path.symlink_metadata().map_err(opened)?);
    if (is.dev(), is.ino()) != (named.dev(), named.ino()) {
        return refuse("another file than a moment before".to_owned(), "one that stays");
    }
    let (owner, user) = (is.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        let expected = format!(
            "one of user {user}, who runs the agent: change its owner, or give another --data"
        );
        return refuse(format!("a file of user {owner}"), &expected);
    }
    if is.mode() & 0o777 != 0o600 {
        make_ours(&file).map_err(opened)?;
    }
    Ok(())
}

/// Opens a file, but never through a link, not even one that appeared a moment ago.
fn open_itself(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_FOLLOW)
        .open(path)
}

fn make_ours(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn the_database_and_its_directory_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/agent.sqlite");
        let connection = open(&path).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for end in ["", "-wal"] {
            assert_eq!(mode(&path.with_file_name(format!("agent.sqlite{end}"))), 0o600, "{end}");
        }
        drop(connection);
        // Files that an earlier version made lose the permissions of others.
        let beside = path.with_file_name("agent.sqlite-wal");
        std::fs::write(&beside, "").unwrap();
        for file in [&path, &beside] {
            std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        let _connection = open(&path).unwrap();
        assert_eq!((mode(&path), mode(&beside)), (0o600, 0o600));
    }

    #[test]
    fn what_is_not_its_own_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |path: &Path| open(path).unwrap_err().to_string();
        std::fs::write(at("other"), "").unwrap();
        symlink(at("other"), at("link")).unwrap();
        assert!(refused(&at("link")).contains("found a symbolic link"), "{}", refused(&at("link")));
        symlink(at("other"), at("agent-wal")).unwrap();
        assert!(refused(&at("agent")).contains("agent-wal: found a symbolic link"));
        std::fs::create_dir(at("folder")).unwrap();
        assert!(refused(&at("folder")).contains("found something else, expected a file"));
        assert!(refused(Path::new("/")).contains("expected the path of a file"));
        assert!(refused(&at("other/x")).contains("failed to make its directory"));
        // A directory may be a link: it was made by the administrator.
        symlink(folder.path(), at("here")).unwrap();
        open(&at("here/database")).unwrap();
        assert_eq!(std::fs::read(at("other")).unwrap(), b"");
    }

    #[test]
    fn a_link_that_came_a_moment_ago_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        symlink(&target, &link).unwrap();
        open_itself(&link, true).unwrap_err();
        assert!(!target.exists());
        open_itself(&target, true).unwrap();
        open_itself(&link, false).unwrap_err();
    }

    #[test]
    fn a_database_of_version_1_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let old = Connection::open(&path).unwrap();
        let schema = SCHEMA
            .replace(",\n        bytes INTEGER NOT NULL DEFAULT 0,\n        process TEXT", "")
            .replace(",\n        command_end TEXT", "")
            .replace("(phase, seq, id, kind, bytes)", "(phase, seq)")
            .replace("(finished_at, seq, id, kind, phase)", "(finished_at)");
        assert!(!schema.contains("process") && !schema.contains("command_end"));
        old.execute_batch(&schema).unwrap();
        old.execute_batch(
            "INSERT INTO actions (id, kind, args, metadata, created_time, scheduled_time, phase)
             VALUES ('1', 'k', '[1]', '{}', '', '', 'RUNNING'), ('2', 'k', '2', '{}', '', '', 'NEW');
             PRAGMA user_version = 1",
        )
        .unwrap();
        drop(old);
        let new = open(&path).unwrap();
        let row = |id: i64| {
            new.query_row(
                "SELECT bytes, process FROM actions WHERE id = ?1",
                [id.to_string()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)),
            )
            .unwrap()
        };
        assert_eq!(row(1), (5, Some("null".to_owned())));
        assert_eq!(row(2), (3, None));
        drop(new);
        open(&path).unwrap();
    }

    #[test]
    fn a_database_of_version_2_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let old = Connection::open(&path).unwrap();
        let schema = SCHEMA.replace(",\n        command_end TEXT", "");
        assert!(!schema.contains("command_end"));
        old.execute_batch(&schema).unwrap();
        old.execute_batch(
            "INSERT INTO actions (id, kind, args, metadata, created_time, scheduled_time, phase)
             VALUES ('1', 'k', '[1]', '{}', '', '', 'RUNNING');
             PRAGMA user_version = 2",
        )
        .unwrap();
        drop(old);
        for _ in 0..2 {
            let end = "SELECT command_end FROM actions WHERE id = '1'";
            let new = open(&path).unwrap();
            let end: Option<String> = new.query_row(end, [], |row| row.get(0)).unwrap();
            assert_eq!(end, None);
        }
    }

    #[test]
    fn a_database_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let later = Connection::open(&path).unwrap();
        later.pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(later);
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Version { found: 5, .. }), "{error}");
    }
}
