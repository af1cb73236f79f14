//! The data directory: created if it does not exist, and locked for one engine. Opening the store voids the leases
//! of earlier engines, so two engines must never share a directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::unavailable;
#[cfg(unix)]
use super::private;
use super::{create, left_log};
use crate::contract::Result;
use crate::error::StoreError;

/// Name of the database in the data directory.
pub const DATABASE_FILE: &str = "replibook.db";

/// Name of the file in the data directory that an engine locks while it uses the directory.
pub const LOCK_FILE: &str = "replibook.lock";

/// A data directory that only this process uses, until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The locked file. Its content says whether the database is open.
    lock: File,
    /// The database file as it was opened.
    database: File,
    /// Whether it was logged that the database file is now another one.
    said: AtomicBool,
}

impl Directory {
    /// Creates the directory if it does not exist, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// When the directory is in use; when it belongs to neither this user nor root; when others may write to it or
    /// read what is in it, since they could make the agents do any action (except for a group that this process is
    /// in, because volumes in containers come like that); when a file of the store is a link, since whoever made
    /// the link decides what is written where.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| failed("make the data directory", path, error))?;
        #[cfg(unix)]
        private::check_directory(path)?;

        let lock_path = path.join(LOCK_FILE);
        let lock = create_private(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(unavailable(format!(
                    "the data directory {} is in use by another engine; stop it, or use another \
                     directory",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path, error)),
        }
        #[cfg(unix)]
        private::check_files(path)?;
        let database_path = path.join(DATABASE_FILE);
        create::ensure(&database_path)?;
        left_log::check(&database_path, &lock_path, was_open(&lock))?;
        // SQLite gives the files that it makes beside the database the permissions of this one.
        let database = create_private(&database_path)?;
        Ok(Self { path: path.to_owned(), lock, database, said: AtomicBool::new(false) })
    }

    /// Notes the state of the database in the lock file, so that whoever opens it next knows which files must
    /// exist.
    pub(super) fn note(&self, state: Noted) {
        let write = |mut lock: &File| {
            lock.seek(SeekFrom::Start(0))?;
            lock.write_all(state.word())?;
            lock.sync_data()
        };
        if let Err(error) = write(&self.lock) {
            // Without the note, a lost log may not be noticed. That is no reason to stop.
            let path = self.path.join(LOCK_FILE);
            tracing::warn!(path = %path.display(), %error, "failed to note how the database is");
        }
    }

    /// Checks that the database is still in its place: whatever is written to a file that nobody can open again is
    /// lost, and actions that were done would be done again.
    ///
    /// # Errors
    /// That it was removed or replaced, as human-readable text.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let path = self.database();
        let what = match same_file(&self.database, &path) {
            Ok(true) => {
                self.said.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Ok(false) => "was replaced".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed".to_owned(),
            Err(error) => format!("can't be looked at ({error})"),
        };
        let message = format!(
            "the database {} {what} under the running server, which does not write any more: stop it, put the \
             database in order, and start it again",
            path.display()
        );
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(%message, "the store is gone");
        }
        Err(message)
    }

    /// Path of the database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }
}

/// The state of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It has a log, which may contain commits that are nowhere else.
    Open,
    /// It is being closed, or was closed, which removes the log.
    Closing,
}

impl Noted {
    /// All have the same length, so that one can replace another even on a full disk.
    const fn word(self) -> &'static [u8; 8] {
        match self {
            Self::Open => b"open   \n",
            Self::Closing => b"closing\n",
        }
    }
}

/// Whether an engine has the database in this directory open, or the last engine did not close it.
pub(super) fn is_open(path: &Path) -> bool {
    File::open(path.join(LOCK_FILE)).is_ok_and(|lock| was_open(&lock))
}

/// Whether the previous engine did not close the database.
fn was_open(mut lock: &File) -> bool {
    let mut found = [0; 8];
    lock.read_exact(&mut found).is_ok() && &found == Noted::Open.word()
}

pub(super) fn create_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(unix)]
    private::refuse_link(path)?;
    options.open(path).map_err(|error| failed("open", path, error))
}

#[cfg(unix)]
fn same_file(open: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (open, there) = (open.metadata()?, std::fs::symlink_metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> io::Result<bool> {
    std::fs::symlink_metadata(path).map(|_| true)
}

pub(super) fn refused(message: String) -> StoreError {
    StoreError::Unfit { message, source: None }
}

pub(super) fn failed(doing: &str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Unavailable {
        message: format!("failed to {doing} {} ({})", path.display(), advice(error.kind())),
        source: Some(Box::new(error)),
    }
}

/// What a person can do about a data directory that can't be used.
fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    if kind == PermissionDenied {
        "the user of this process must own the data directory and all files in it, or be allowed to \
         write to them"
    } else if kind == ReadOnlyFilesystem {
        "the data directory must be on a file system that is mounted for writing"
    } else if [StorageFull, QuotaExceeded, FileTooLarge].contains(&kind) {
        "there is no room; free some, or use another directory"
    } else {
        "expected a directory that this process can write to"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = Directory::open(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o700);
            assert_eq!(mode(&first.database()), 0o600);
        }
        let error = Directory::open(&path).unwrap_err();
        assert!(error.to_string().contains("in use by another engine"), "{error}");
        drop(first);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn a_lock_file_says_whether_the_log_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let lock = || File::open(folder.path().join(LOCK_FILE)).unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert!(!was_open(&lock()));
        directory.note(Noted::Open);
        drop(directory);
        assert!(was_open(&lock()));
        let index = folder.path().join(format!("{DATABASE_FILE}-shm"));
        std::fs::write(&index, "half").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&index, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let error = Directory::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("-wal is gone"), "{error}");
        std::fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory.note(Noted::Closing);
        drop(directory);
        drop(Directory::open(folder.path()).unwrap());
    }

    #[test]
    fn a_database_that_is_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(directory.check(), Ok(()));
        let (database, aside) = (directory.database(), folder.path().join("aside"));
        std::fs::rename(&database, &aside).unwrap();
        assert!(directory.check().unwrap_err().contains("was removed under the running server"));
        std::fs::copy(&aside, &database).unwrap();
        assert!(directory.check().unwrap_err().contains("was replaced under the running server"));
        std::fs::rename(&aside, &database).unwrap();
        assert_eq!(directory.check(), Ok(()));
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        File::create(&path).unwrap();
        let error = Directory::open(&path).unwrap_err().to_string();
        assert!(error.contains("failed to make the data directory"), "{error}");
        assert!(error.contains("file"), "{error}");
    }
}
